"""From a liver's mask to regions, whatever found it."""

from types import SimpleNamespace

import numpy as np
import pytest

from dicomnode import fit
from dicomnode.measure import liver, regions
from dicomnode.model import FitRecord, Grade, Maps, Plane

SHAPE = (2, 96, 128)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORNER = (-128.0, -96.0, 0.0)


def planes(orientation=AXIAL, corner=CORNER):
    return tuple(Plane(96, 128, (corner[0], corner[1], 8.0 * k), orientation, (2.0, 2.0), "1.2") for k in range(2))


def maps():
    record = FitRecord("nls", "mono-exponential", "rician", True, 1, 0.0, "converged", {}, "0")
    ones = np.ones(SHAPE, np.float32)
    return Maps(dict.fromkeys(fit.QUANTITIES, ones), np.ones(SHAPE, bool), (1.0,), record)


def found(confidence=0.99, doubts=(), shrink=0):
    """A liver of 14 × 9 cm with a vessel, on the patient's right in axial slices; larger in the second slice."""
    rows, columns = np.indices(SHAPE[1:])
    whole = np.stack([np.hypot((rows - 48) / (22 + k - shrink), (columns - 42) / 35) < 1 for k in range(2)])
    vessel = np.hypot(rows - 48, columns - 50) < 4
    parenchyma = whole & ~vessel
    region = np.stack([np.hypot((rows - 48) / (19 + k), (columns - 42) / 32) < 1 for k in range(2)])
    return SimpleNamespace(
        mask=whole,
        parenchyma=parenchyma,
        region=parenchyma & region,
        confidence=confidence,
        slice_confidence=(0.97, 0.98),
        doubts=doubts,
        finder={"name": "drawn", "version": "1", "sha256": "0"},
        scene={"trunk": 1.0},
    )


@pytest.fixture
def find(monkeypatch):
    def run(finding, where=None):
        monkeypatch.setattr(liver, "find", lambda *_, **__: finding)
        return regions.find(np.ones((*SHAPE, 3), np.float32), (1.0, 2.0, 3.0), maps(), where or planes(), 1.0)

    return run


def centre(roi):
    k, row, column = np.array(np.nonzero(roi.mask)).mean(axis=1)
    return k, row, column


def test_the_liver_comes_first_and_the_four_circles_lie_in_it(find):
    result = find(found())
    assert [roi.name for roi in result.rois] == [
        "liver", "liver right lobe", "liver vessel", "liver edge", "liver left"
    ]  # fmt: skip
    assert all((roi.mask <= found().mask).all() for roi in result.rois)
    assert all(roi.mask.any(axis=(1, 2)).tolist() == [False, True] for roi in result.rois[1:])
    assert result.finder["confidence"] == 0.99
    assert (result.organ == found().mask).all()


def test_each_circle_lies_where_its_name_says(find):
    right, vessel, edge, left = (centre(roi) for roi in find(found()).rois[1:])
    assert edge[2] < right[2] < left[2]
    assert vessel[1:] == pytest.approx((48, 50), abs=3)
    assert edge[2] < 42 - 10


def test_circles_are_no_larger_than_readers_draw_and_hold_no_vessel_but_their_own(find):
    _, right, vessel, _, left = find(found()).rois
    assert all(roi.mask.sum() * 4 <= np.pi * regions.RADIUS_MM**2 * 1.05 for roi in (right, vessel, left))
    assert not (right.mask & ~found().parenchyma).any()
    assert (vessel.mask & ~found().parenchyma).sum() > 30


def test_right_is_the_patients_right_in_a_picture_that_runs_the_other_way(find):
    other_way = planes((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (126.0, -96.0))
    rois = {roi.name: centre(roi) for roi in find(found(), other_way).rois}
    assert rois["liver edge"][2] > rois["liver left"][2]


def test_a_plane_without_right_and_left_has_no_left_lobe_and_no_edge(find):
    sagittal = planes((0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    names = {roi.name for roi in find(found(), sagittal).rois}
    assert names == {"liver", "liver right lobe", "liver vessel"}


def test_a_thin_liver_has_no_circles(find):
    assert [roi.name for roi in find(found(shrink=20)).rois] == ["liver"]


@pytest.mark.parametrize("confidence", [0.0, 0.5, regions.TRUSTED - 0.01])
def test_a_liver_that_is_not_trusted_is_no_region(find, confidence):
    result = find(found(confidence))
    (roi,) = result.rois
    assert not roi.mask.any()
    assert not result.organ.any()
    assert [(flag.code, flag.grade) for flag in roi.doubts] == [("no-liver", Grade.NOT_MEASURABLE)]


def test_what_speaks_against_a_liver_is_the_reason_it_is_not_trusted(find):
    doubt = liver.Doubt("mirrored", "the images are mirrored")
    (roi,) = find(found(0.1, (doubt,))).rois
    assert [(flag.code, flag.grade) for flag in roi.doubts] == [("mirrored", Grade.NOT_MEASURABLE)]
    assert find(found(0.99, (doubt,))).rois[0].mask.sum() == 0


@pytest.mark.parametrize(("code", "grade"), [("small", Grade.LOW_CONFIDENCE), ("cut-off", Grade.INFO)])
def test_other_doubts_stand_beside_a_trusted_liver_and_do_not_forbid_it(find, code, grade):
    doubt = liver.Doubt(code, "something is so.")
    trusted = find(found(0.99, (doubt,))).rois[0]
    assert [(flag.code, flag.grade, flag.sentence) for flag in trusted.doubts] == [(code, grade, "something is so")]
    assert trusted.mask.any()
    (left_out, why) = find(found(0.1, (doubt,))).rois[0].doubts
    assert (left_out.grade, why.code) == (Grade.INFO, "no-liver")
