import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from bench.anatomy import exam
from dicomnode.measure.liver import find
from dicomnode.measure.liver.looking import dice

ABDOMEN = {
    "scene": "abdomen", "fault": "none", "plane": "axial", "habitus": "normal", "liver_shape": "usual", "arms": "up",
    "middle": (0, 0, 5.0), "slices": 3, "over": 1, "pixel_mm": 2.2, "t2star_ms": 5.0, "snr": 80.0, "n_coils": 1,
    "train": "short", "ghost": 0.0, "field_t": 1.5, "stored": "as drawn",
}  # fmt: skip
SEED = 3


@cache
def abdomen(**more):
    return exam(SEED, **{**ABDOMEN, **more})


def found(made, **more):
    signal = np.asarray(more.pop("signal", made.signal), np.float32)
    return find(signal, made.echo_times_ms, more.pop("planes", made.planes()), made.sigma * more.pop("scale", 1.0), 1.0)


def test_a_plain_liver_is_found_with_confidence():
    made = abdomen()
    finding = found(made)
    assert dice(finding.mask, made.whole) > 0.9
    assert finding.confidence > 0.9
    assert (finding.region <= finding.parenchyma).all()
    assert (finding.parenchyma <= finding.mask).all()
    assert made.whole[finding.region].mean() > 0.95


def test_intensity_scale_changes_nothing():
    made = abdomen()
    bright = found(made, signal=np.asarray(made.signal, np.float32) * 37.0, scale=37.0)
    assert dice(bright.mask, found(made).mask) > 0.999
    assert bright.confidence == pytest.approx(found(made).confidence, abs=0.01)


def test_the_order_of_slices_changes_nothing():
    made = abdomen()
    order = [2, 0, 1]
    shuffled = found(made, signal=made.signal[order], planes=tuple(made.planes()[k] for k in order))
    assert np.array_equal(shuffled.mask, found(made).mask[order])
    assert shuffled.confidence == pytest.approx(found(made).confidence)


def test_flips_that_the_header_tells_of_change_nothing_in_the_patient():
    made = abdomen()
    planes = []
    for plane in made.planes():
        column, row_mm = np.array(plane.orientation[3:]), plane.pixel_spacing_mm[0]
        last = np.array(plane.position) + column * row_mm * (plane.rows - 1)
        planes.append(replace(plane, position=tuple(last), orientation=(*plane.orientation[:3], *-column)))
    flipped = found(made, signal=made.signal[:, ::-1], planes=tuple(planes))
    assert np.array_equal(flipped.mask[:, ::-1], found(made).mask)


def test_transposed_rows_and_columns_change_nothing_in_the_patient():
    made = abdomen()
    planes = tuple(
        replace(p, rows=p.columns, columns=p.rows, orientation=(*p.orientation[3:], *p.orientation[:3]))
        for p in made.planes()
    )
    swapped = found(made, signal=np.swapaxes(made.signal, 1, 2), planes=planes)
    assert np.array_equal(np.swapaxes(swapped.mask, 1, 2), found(made).mask)


def test_a_mirrored_image_is_doubted():
    made = abdomen(fault="mirrored")
    finding = found(made)
    assert finding.confidence < 0.5
    assert "mirrored" in {doubt.code for doubt in finding.doubts}


@pytest.mark.parametrize(("scene", "code"), [("head", "not-an-abdomen"), ("vials", "phantom"), ("pelvis", "no-liver")])
def test_where_there_is_no_liver_none_is_found(scene, code):
    made = exam(SEED, scene=scene, slices=1, over=1, pixel_mm=2.5, plane="axial")
    finding = found(made)
    assert finding.confidence < 0.5
    assert code in {doubt.code for doubt in finding.doubts}


def test_air_alone_is_no_liver():
    made = abdomen()
    noise = np.random.default_rng(1).rayleigh(made.sigma, made.signal.shape)
    finding = found(made, signal=noise)
    assert not finding.mask.any()
    assert finding.confidence == 0


def test_a_signal_of_zeros_is_no_liver():
    finding = found(abdomen(), signal=np.zeros(abdomen().signal.shape))
    assert not finding.mask.any()
    assert "no-liver" in {doubt.code for doubt in finding.doubts}


def test_a_noise_map_is_as_good_as_one_number():
    made = abdomen()
    signal = np.asarray(made.signal, np.float32)
    maps = [
        find(signal, made.echo_times_ms, made.planes(), sigma, 1.0)
        for sigma in (made.sigma, np.full(signal.shape[1:3], made.sigma), np.full(signal.shape[:3], made.sigma))
    ]
    assert np.array_equal(maps[0].mask, maps[1].mask)
    assert np.array_equal(maps[0].mask, maps[2].mask)


def test_the_result_names_its_finder():
    finder = found(abdomen()).finder
    assert len(finder["sha256"]) == 64
    assert finder["training"]["samples"] > 0


def test_a_slice_with_another_rate_than_the_rest_is_left_out_and_said():
    made = abdomen(slices=4)
    signal = np.asarray(made.signal, np.float32).copy()
    # The third slice decays half as fast as the liver of the others.
    slower = np.exp(np.asarray(made.echo_times_ms) / 1000 * 100.0)
    signal[2] *= slower
    finding = found(made, signal=signal)
    assert not finding.mask[2].any()
    assert finding.notes[2]
    assert {"slices-disagree", "slices-doubtful"} & {doubt.code for doubt in finding.doubts}


def beside(made, mm):
    """Planes of the same images so far to the patient's left."""
    return tuple(replace(p, position=(p.position[0] + mm, *p.position[1:])) for p in made.planes())


def test_what_looks_like_a_liver_in_a_sagittal_slice_on_the_left_may_be_a_spleen():
    made = abdomen(plane="sagittal", middle=(-60.0, 0.0, 0.0))
    there = found(made)
    assert there.mask.any(axis=(1, 2)).sum() >= 2
    middle = np.mean([p.position[0] for p in made.planes()])
    elsewhere = found(made, planes=beside(made, 80.0 - middle))
    assert not elsewhere.mask.any()
    assert any("a spleen looks like a liver" in doubt.sentence for doubt in elsewhere.doubts)
    # A liver that reaches over from the right is one.
    across = found(made, planes=beside(made, 5.0 - middle))
    assert np.array_equal(across.mask, there.mask)


def test_slices_of_which_none_agrees_with_another_are_no_liver_to_believe():
    made = abdomen(slices=3)
    signal = np.asarray(made.signal, np.float32).copy()
    for k, faster in enumerate((-60.0, 0.0, 60.0)):
        signal[k] *= np.exp(-np.asarray(made.echo_times_ms) / 1000 * faster)
    finding = found(made, signal=signal)
    assert "slices-apart" in {doubt.code for doubt in finding.doubts}


def test_a_liver_at_the_images_edge_is_said_to_be_cut():
    made = abdomen()
    columns = np.flatnonzero(made.whole.any((0, 1)))
    first = int(columns[0] + 0.3 * np.ptp(columns))
    planes = tuple(
        replace(p, columns=p.columns - first, position=(p.position[0] + first * 2.2, *p.position[1:]))
        for p in made.planes()
    )
    finding = found(made, signal=made.signal[:, :, first:], planes=planes)
    assert "cut-off" in {doubt.code for doubt in finding.doubts}


def test_importing_the_finder_reads_no_weights():
    code = "import dicomnode.measure.liver.network as n; assert n.shipped.cache_info().currsize == 0"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_signal_that_does_not_decay_is_no_reason_to_fail():
    made = abdomen()
    flat = np.repeat(np.asarray(made.signal[..., :1], np.float32), made.signal.shape[-1], -1)
    assert np.isfinite(found(made, signal=flat).confidence)


def test_voxels_that_are_not_numbers_are_passed_over():
    made = abdomen()
    holed = np.asarray(made.signal, np.float32).copy()
    holed[:, 40:44, 60:64] = np.nan
    holed[:, 50, 60] = np.inf
    assert dice(found(made, signal=holed).mask, found(made).mask) > 0.97


def test_two_echoes_of_a_single_row_of_pixels_are_no_reason_to_fail():
    made = abdomen()
    sliver = np.asarray(made.signal, np.float32)[:1, 80:84, :, :2]
    planes = (replace(made.planes()[0], rows=4),)
    finding = find(sliver, made.echo_times_ms[:2], planes, made.sigma, 1.0)
    assert np.isfinite(finding.confidence)


def test_a_slice_that_hardly_shows_the_liver_is_doubted_where_no_other_bears_it_out():
    def codes(**more):
        return {doubt.code for doubt in found(exam(5, **{**ABDOMEN, "plane": "coronal", **more})).doubts}

    at_its_back, through_it = (0, 60, 5.0), (0, -30, 5.0)
    assert "one-slice" in codes(slices=1, middle=at_its_back)
    assert "one-slice" not in codes(slices=1, middle=through_it)
    assert "one-slice" not in codes(slices=3, middle=at_its_back)
