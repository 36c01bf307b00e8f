"""What of a phantom is found: every vial at its place, always in the same order; an even body; nothing in a liver."""

import numpy as np
import pytest

from bench import anatomy, phantom
from dicomnode import fit
from dicomnode.config import FitSettings
from dicomnode.measure.organs import PHANTOM
from dicomnode.measure.phantom import BODY, found, place_of

NLS = FitSettings(method="nls", model="mono-exponential")


def looked_at(exam):
    signal = exam.signal.astype(np.float32)
    maps = fit.fit(signal, exam.echo_times_ms, exam.spacing_mm[:2], NLS, exam.field_t)
    return found(signal, exam.echo_times_ms, maps, exam.planes(), 1.0), maps


def scanned(setting=None, slices=1):
    exam = phantom.scan(setting or phantom.Setting(), np.random.default_rng(1), slices)
    return *looked_at(exam), exam


@pytest.mark.parametrize(("shift", "turned"), [((0.0, 0.0), 0.0), ((6.0, -4.0), 9.0), ((-9.0, 3.0), -12.0)])
def test_vials_have_the_same_numbers_however_the_rack_was_laid_down(shift, turned):
    setting = phantom.Setting(shift_mm=shift, turned_deg=turned)
    vials, maps, exam = scanned(setting)
    assert [one.name for one in vials.rois] == [f"vial {number}" for number in range(1, 9)]
    for roi, rate, middle in zip(vials.rois, phantom.RATES_PER_S, phantom.middles_mm(setting), strict=True):
        assert np.median(maps.r2star_per_s[roi.mask]) == pytest.approx(rate, rel=0.02)
        (x, y, _), radius = place_of(roi, exam.planes())
        assert np.hypot(x - middle[0], y - middle[1]) < 1.6
        assert 0.55 * phantom.RADIUS_MM < radius < phantom.RADIUS_MM, "neither the wall nor the bath is measured"


def test_a_vial_of_several_slices_is_one_region():
    vials, _, _ = scanned(slices=3)
    assert len(vials.rois) == 8
    assert all(roi.mask.any(axis=(1, 2)).all() for roi in vials.rois)


def test_a_bottle_is_one_even_body_without_its_rim():
    rows, columns = np.indices((64, 64))
    away = np.hypot(rows - 32, columns - 32)
    times = np.array(phantom.ECHO_TIMES_MS)
    clean = np.where(away < 25, 1000.0, 0.0)[None, ..., None] * np.exp(-30e-3 * times)
    real, imaginary = np.random.default_rng(2).normal(0, 8, (2, *clean.shape))
    signal = np.hypot(clean + real, imaginary).astype(np.float32)
    maps = fit.fit(signal, phantom.ECHO_TIMES_MS, (2.0, 2.0), NLS)
    planes = (anatomy.exam(1, scene="bottle", slices=1).planes()[0],)
    (body,) = found(signal, phantom.ECHO_TIMES_MS, maps, planes, 1.0).rois
    assert body.name == BODY
    assert away[body.mask[0]].max() < 22


def test_where_there_is_neither_it_says_so():
    exam = anatomy.exam(1, "study", scene="abdomen", slices=1, fault="none")
    seen, _ = looked_at(exam)
    assert not seen.seen
    assert [flag.code for flag in seen.rois[0].doubts] == ["no-vials"]


def test_no_calibration_is_for_a_phantom_at_any_field():
    assert PHANTOM.calibrations == ()
    assert all(PHANTOM.calibration("hernando-2023", field_t) is None for field_t in (1.5, 2.89, 3.0))


def test_a_bottle_whose_rates_the_field_bends_is_one_by_its_smooth_round_shape():
    rows, columns = np.indices((64, 64))
    away = np.hypot(rows - 32, columns - 32)
    rates = 20.0 + 40.0 * (np.abs(rows - 32) > 10)
    bright = np.where(away < 25, 1000.0 * (1 + rows / 64), 0.0)
    signal = (bright[..., None] * np.exp(-rates[..., None] * 1e-3 * np.array(phantom.ECHO_TIMES_MS)))[None]
    signal = np.hypot(signal + np.random.default_rng(3).normal(0, 4, signal.shape), 4.0).astype(np.float32)
    maps = fit.fit(signal, phantom.ECHO_TIMES_MS, (2.0, 2.0), NLS)
    planes = (anatomy.exam(1, scene="bottle", slices=1).planes()[0],)
    seen = found(signal, phantom.ECHO_TIMES_MS, maps, planes, 1.0)
    assert [one.name for one in seen.rois] == [BODY]
    assert seen.scene == {"phantom": 1.0}
