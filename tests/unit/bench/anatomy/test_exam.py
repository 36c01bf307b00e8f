import numpy as np
import pytest

from bench.anatomy import LABEL, NAMES, exam, has_liver
from bench.anatomy.views import DIRECTIONS

QUICK = {"over": 1, "pixel_mm": 4.0}
PLAIN = {**QUICK, "scene": "abdomen", "plane": "axial", "slices": 2, "fault": "none", "middle": (0, 0, 10.0)}


def test_an_exam_is_made_again_from_its_seed():
    first, again = exam(3, **PLAIN), exam(3, **PLAIN)
    assert np.array_equal(first.signal, again.signal)
    assert np.array_equal(first.labels, again.labels)
    assert first.meta == again.meta


def test_families_never_share_an_exam():
    images = [exam(3, family, **PLAIN).labels for family in ("training", "calibration", "check", "study")]
    shapes_or_values_differ = [a.shape != b.shape or (a != b).any() for a in images for b in images if a is not b]
    assert all(shapes_or_values_differ)


def test_the_truth_of_the_liver_is_the_rate_asked_for():
    made = exam(5, **PLAIN, t2star_ms=4.0, texture=0.0, field_t=3.0)
    assert made.liver.any()
    assert np.median(made.r2star_per_s[made.liver]) == pytest.approx(250, rel=0.01)
    assert (made.whole | ~made.liver).all()


@pytest.mark.parametrize("scene", ["head", "limbs", "pelvis", "thorax", "vials", "bottle"])
def test_what_is_no_abdomen_has_no_liver(scene):
    made = exam(1, **QUICK, scene=scene)
    assert not has_liver(made)
    assert not made.whole.any()
    assert made.signal.max() > 0


def test_the_liver_lies_on_the_patients_right_by_the_header():
    for seed in range(6):
        made = exam(seed, **PLAIN, liver_shape="usual")
        rows, columns = np.nonzero(made.labels[0] == LABEL["liver"])
        body = np.nonzero(made.labels[0] != LABEL["air"])
        row, column = np.array(made.orientation[:3]), np.array(made.orientation[3:])
        offset = row * (columns.mean() - body[1].mean()) + column * (rows.mean() - body[0].mean())
        assert offset[0] < 0  # LPS: x grows to the left


def test_a_mirrored_image_keeps_its_header():
    right, mirrored = (exam(4, **{**PLAIN, "fault": fault}, stored="as drawn") for fault in ("none", "mirrored"))
    assert np.array_equal(right.labels, mirrored.labels[:, :, ::-1])
    assert right.orientation == mirrored.orientation


def test_a_wrong_plane_is_another_than_the_images():
    made = exam(4, **{**PLAIN, "fault": "wrong plane"}, stored="as drawn")
    axial = np.cross(*(np.array(d) for d in DIRECTIONS["axial"]))
    assert abs(np.cross(made.orientation[:3], made.orientation[3:]) @ axial) < 0.5


def test_noise_is_as_strong_as_the_exam_says():
    made = exam(
        7, **PLAIN, air="noise", n_coils=1, counts=None, ghost=0.0, flow=0.0, g_factor=0.0, arms="up", acquired=(1, 1)
    )
    air = made.signal[..., -1][made.labels == LABEL["air"]]
    # Of a Rayleigh distribution, whose median the bright rim beside the air does not move.
    assert np.sqrt(np.median(air**2) / (2 * np.log(2))) == pytest.approx(made.sigma, rel=0.1)


def test_the_whole_number_signal_is_stored_as_such():
    assert exam(2, **PLAIN, counts=500.0).signal.dtype == np.uint16
    assert exam(2, **PLAIN, counts=None).signal.dtype == np.float32


def test_every_label_has_a_name():
    assert exam(2, **PLAIN).labels.max() < len(NAMES)
