from dataclasses import replace

import numpy as np
import pytest

from dicomnode import analyse
from dicomnode.config import MeasureSettings
from dicomnode.model import (
    Component,
    EchoImage,
    EchoStack,
    Encoding,
    FitRecord,
    Flag,
    Grade,
    Maps,
    Plane,
    Roi,
    SequenceKind,
)

TIMES = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0)
SIGMA = 5.0
SIZE = 16
PLANE = Plane(SIZE, SIZE, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2.0, 2.0), "1.2")
KNOWN = {"n_coils": 1.0, "n_coils_source": "air", "noise_confidence": "high", "sigma_rel_sd": 0.02}


def stack(tmp_path, field_t=1.5, times=TIMES, slices=1):
    echoes = tuple(
        EchoImage(
            tmp_path, None, "1", f"1.{n}", "1.1", "1.2", Encoding.CLASSIC, Component.MAGNITUDE,
            SequenceKind.GRADIENT_ECHO, time, PLANE, field_strength_t=field_t,
        )
        for n, time in enumerate(times)
    )  # fmt: skip
    return EchoStack("1.2", ("1.1",), times, (echoes,) * slices)


def decays(r2star, floor=0.0, s0=500.0, times=TIMES):
    """Signals (slices, SIZE, SIZE, M) of those rates in noise."""
    clean = s0 * np.exp(-np.asarray(r2star, float)[..., None] * 1e-3 * np.array(times))
    noisy = np.hypot(clean, floor) + np.random.default_rng(1).normal(0.0, SIGMA, clean.shape)
    return noisy.astype(np.float32)


def maps_of(r2star, parameters=KNOWN, sigma=SIGMA):
    r2star = np.asarray(r2star, np.float32)
    record = FitRecord("nls", "mono-exponential", "rician", True, 1, 0.0, "converged", parameters, "0")
    valid = r2star > 0
    t2star = np.divide(1000.0, r2star, out=np.zeros_like(r2star), where=valid)
    values = {"t2star_ms": t2star, "r2star_per_s": r2star, "s0": np.full_like(r2star, 500.0)}
    return Maps({**values, "r2star_sd_per_s": np.ones_like(r2star)}, valid, (sigma,), record)


def measured(tmp_path, rates, parameters=KNOWN, floor=0.0, *, sigma=SIGMA, roi=None, signal=None, **settings):
    """The automatic region of SIZE x SIZE voxels with that rate each, known to 1/s."""
    rates = np.broadcast_to(np.asarray(rates, float), (1, SIZE, SIZE))
    signal = decays(rates, floor) if signal is None else signal
    roi = roi or Roi("liver", np.ones((1, SIZE, SIZE), bool))
    maps = maps_of(rates, parameters, sigma)
    field_t = settings.pop("field_t", 1.5)
    _, (one,), _ = analyse.measure_regions((roi,), stack(tmp_path, field_t), signal, maps, MeasureSettings(**settings))
    return one


def codes(one, grade=None):
    return {flag.code for flag in one.flags if grade is None or flag.grade is grade}


def test_a_region_of_one_rate_has_that_rate_and_its_iron(tmp_path):
    one = measured(tmp_path, 100.0)
    assert one.r2star_per_s.median == one.r2star.value == 100.0
    assert one.r2star.ci95[0] < 100.0 < one.r2star.ci95[1]
    assert abs(one.unregularised_r2star_per_s - 100.0) < 2.0
    assert one.lic_mg_per_g == 2.4
    assert one.lic.ci95[0] < 2.4 < one.lic.ci95[1]
    assert one.flags == ()


def test_a_decay_that_cannot_be_told_from_none_does_not_spoil_the_mean_t2star(tmp_path):
    rates = np.full((1, SIZE, SIZE), 100.0)
    rates[0, 0, :8] = 0.01  # T2* of 100 s, if one believes it
    one = measured(tmp_path, rates)
    assert one.t2star_ms.mean == pytest.approx(10.0)
    assert one.n_voxels == SIZE * SIZE
    assert "t2star-long" in codes(one, Grade.INFO)


def test_the_decay_of_a_region_is_judged_with_the_noise_of_the_maps(tmp_path):
    floor = 5.0 * (2 * 16 - 1) ** 0.5  # what 16 coils add to the square of a median, nearly
    told = measured(tmp_path, 300.0, KNOWN | {"n_coils": 16.0}, floor)
    untold = measured(tmp_path, 300.0, KNOWN, floor)
    assert abs(told.unregularised_r2star_per_s - 300.0) < 6.0  # noise of the median
    assert untold.unregularised_r2star_per_s is None or untold.unregularised_r2star_per_s < 285.0


@pytest.mark.parametrize("source", ["decays", "unclear", "unknown"])
def test_coils_that_are_not_seen_are_said_and_no_limit_is_claimed(tmp_path, source):
    known = KNOWN | {"n_coils_source": source}
    assert "coils" in codes(measured(tmp_path, 100.0, known))
    beyond = measured(tmp_path, 1500.0, known, floor=6.0)
    assert beyond.lic_mg_per_g is None
    assert (beyond.at_least is None) is (source != "decays")


def test_noise_that_is_hardly_known_widens_the_interval_and_then_forbids_the_number(tmp_path):
    good, doubtful = (measured(tmp_path, 400.0, KNOWN | {"sigma_rel_sd": sd}, floor=6.0) for sd in (0.02, 0.2))
    assert doubtful.r2star is None or doubtful.r2star.parts["noise"] > good.r2star.parts["noise"]
    hopeless = measured(tmp_path, 500.0, KNOWN | {"n_coils_range": [1.0, 64.0]}, floor=6.0)
    assert "noise" in codes(hopeless)


def test_fat_forbids_the_number_and_no_fat_does_not(tmp_path):
    times = np.array(TIMES) / 1000
    beat = np.abs(0.7 + 0.3 * np.exp(-2j * np.pi * 42.577 * 1.5 * 3.4 * times))
    fatty = measured(tmp_path, 100.0, signal=(decays(np.full((1, SIZE, SIZE), 100.0)) * beat).astype(np.float32))
    assert fatty.lic_mg_per_g is None
    assert "residuals" in codes(fatty, Grade.NOT_MEASURABLE)
    assert "residuals" not in codes(measured(tmp_path, 100.0))


def test_noise_that_was_overestimated_is_said(tmp_path):
    assert "residuals" in codes(measured(tmp_path, 100.0, sigma=10.0), Grade.INFO)


def test_voxels_at_full_scale_are_not_measured(tmp_path):
    clipped = np.minimum(decays(np.full((1, SIZE, SIZE), 100.0)), 300.0)
    one = measured(tmp_path, 100.0, signal=clipped)
    assert one.lic_mg_per_g is None
    assert "clipped" in codes(one, Grade.NOT_MEASURABLE)


def test_two_tissues_in_one_region_have_no_number(tmp_path):
    rates = np.full((1, SIZE, SIZE), 40.0)
    rates[0, ::2] = 200.0
    one = measured(tmp_path, rates)
    assert one.r2star_per_s is None
    assert "mixed" in codes(one, Grade.NOT_MEASURABLE)


def test_slices_that_disagree_have_no_number_and_are_told_apart(tmp_path):
    rates = np.stack([np.full((SIZE, SIZE), rate) for rate in (100.0, 100.0, 160.0)])
    roi = Roi("liver", np.ones((3, SIZE, SIZE), bool), slice_confidence=(0.99, 0.98, 0.97))
    _, (one,), _ = analyse.measure_regions(
        (roi,), stack(tmp_path, slices=3), decays(rates), maps_of(rates), MeasureSettings()
    )
    assert "slices-disagree" in codes(one, Grade.NOT_MEASURABLE)
    assert [slice_.index for slice_ in one.slices] == [0, 1, 2]


def test_slices_that_agree_stand_beside_the_value_of_all(tmp_path):
    rates = np.stack([np.full((SIZE, SIZE), rate) for rate in (98.0, 100.0, 103.0)])
    roi = Roi("liver", np.ones((3, SIZE, SIZE), bool), slice_confidence=(0.99, 0.98, 0.97))
    _, (one,), _ = analyse.measure_regions(
        (roi,), stack(tmp_path, slices=3), decays(rates), maps_of(rates), MeasureSettings()
    )
    assert [slice_.r2star_per_s for slice_ in one.slices] == [98.0, 100.0, 103.0]
    assert [slice_.confidence for slice_ in one.slices] == [0.99, 0.98, 0.97]
    assert one.slices[1].lic_mg_per_g == one.lic_mg_per_g
    assert one.r2star.parts["slices"] > 0


TRAIN = tuple(1.1 * n for n in range(1, 13))


def with_a_field(tmp_path, across_hz, **drawn):
    """Four slices of 50/s in fields of so many Hz from face to face, read as one exponential would."""
    bends = np.sinc(np.array(across_hz)[:, None, None, None] * np.array(TRAIN) / 1000)
    signal = decays(np.full((4, SIZE, SIZE), 50.0), times=TRAIN) * bends.astype(np.float32)
    rates = np.stack([np.full((SIZE, SIZE), 50.0 + hz / 2) for hz in across_hz])
    roi = Roi("liver", np.ones((4, SIZE, SIZE), bool), **drawn)
    (kept,), (one,), _ = analyse.measure_regions(
        (roi,), stack(tmp_path, times=TRAIN, slices=4), signal, maps_of(rates), MeasureSettings()
    )
    return kept, one


def test_a_slice_whose_field_bends_its_decay_is_left_out_and_said(tmp_path):
    kept, one = with_a_field(tmp_path, (0.0, 0.0, 0.0, 60.0))
    assert [bool(slice_.any()) for slice_ in kept.mask] == [True, True, True, False]
    assert one.r2star_per_s.median == 50.0
    (said,) = [flag for flag in one.flags if flag.code == "field-left-out"]
    assert said.grade is Grade.INFO
    assert said.sentence.startswith("left out: 1 of 4 slices")
    assert "field" not in codes(one)


@pytest.mark.parametrize(
    ("across_hz", "drawn", "doubted"),
    [
        ((0.0, 0.0, 0.0, 0.0), {}, False),
        ((0.0, 60.0, 60.0, 60.0), {}, True),  # little would be left
        ((0.0, 0.0, 0.0, 60.0), {"automatic": False}, False),  # what a person drew
    ],
)
def test_nothing_else_leaves_a_region_for_a_field(tmp_path, across_hz, drawn, doubted):
    kept, one = with_a_field(tmp_path, across_hz, **drawn)
    assert kept.mask.all()
    assert "field-left-out" not in codes(one)
    assert ("field" in codes(one, Grade.LOW_CONFIDENCE)) is doubted


def test_beyond_the_range_there_is_a_bound_below_the_truth_and_advice(tmp_path):
    one = measured(tmp_path, np.zeros((1, SIZE, SIZE)), signal=decays(np.full((1, SIZE, SIZE), 1200.0), floor=6.3))
    assert one.r2star_per_s is None
    assert one.lic_mg_per_g is None
    assert 300.0 < one.at_least.r2star_per_s < 1200.0
    assert one.at_least.lic_mg_per_g == pytest.approx(-0.16 + 0.02603 * one.at_least.r2star_per_s, abs=0.06)
    assert "0.9 ms" in one.advice


def test_ranges_have_probabilities_where_iron_is_given_and_only_there(tmp_path):
    one = measured(tmp_path, 270.0)
    assert sum(stage.probability for stage in one.stages) == pytest.approx(1)
    best = max(one.stages, key=lambda stage: stage.probability)
    assert (best.name, one.lic_mg_per_g) == ("mild", pytest.approx(6.9))
    assert 0.5 < best.probability < 0.9  # the limit of 7 is near
    assert measured(tmp_path, 270.0, roi=Roi("drawn", np.ones((1, SIZE, SIZE), bool), finding="tissue")).stages == ()


def test_beyond_the_range_the_bound_excludes_ranges_and_splits_nothing(tmp_path):
    one = measured(tmp_path, np.zeros((1, SIZE, SIZE)), signal=decays(np.full((1, SIZE, SIZE), 1200.0), floor=6.3))
    least = one.at_least.lic_mg_per_g
    assert least > 7.0
    for stage in one.stages:
        ends_below = stage.high_mg_per_g is not None and stage.high_mg_per_g <= least
        assert stage.probability == (0.0 if ends_below else None)


def test_a_rate_beyond_the_calibration_is_given_and_its_iron_is_not(tmp_path):
    times = (0.3, 0.5, 0.7, 0.9, 1.1)
    rates = np.full((1, SIZE, SIZE), 1500.0)
    roi = Roi("liver", np.ones((1, SIZE, SIZE), bool))
    _, (one,), _ = analyse.measure_regions(
        (roi,), stack(tmp_path, times=times), decays(rates, times=times), maps_of(rates),
        MeasureSettings(calibration="wood-2005"),
    )  # fmt: skip
    assert one.r2star.value == 1500.0
    assert one.lic_mg_per_g is None
    assert one.at_least.lic_mg_per_g == 32.9
    assert "over-range" in codes(one)


@pytest.mark.parametrize("organ", ["spleen", "heart", "tissue"])
def test_only_a_liver_has_iron(tmp_path, organ):
    one = measured(tmp_path, 100.0, roi=Roi("drawn", np.ones((1, SIZE, SIZE), bool), finding=organ, automatic=False))
    assert one.r2star_per_s.median == 100.0
    assert one.lic_mg_per_g is None
    assert codes(one) == {"no-calibration"}


@pytest.mark.parametrize("name", ["liver vessel", "liver edge"])
def test_circles_that_hold_more_than_parenchyma_have_no_iron(tmp_path, name):
    one = measured(tmp_path, 100.0, roi=Roi(name, np.ones((1, SIZE, SIZE), bool)))
    assert one.r2star_per_s is not None
    assert one.lic_mg_per_g is None


@pytest.mark.parametrize("field_t", [None, 0.55, 7.0])
def test_no_field_borrows_anothers_calibration(tmp_path, field_t):
    one = measured(tmp_path, 100.0, field_t=field_t)
    assert one.lic_mg_per_g is None
    assert one.calibration is None
    assert "no-calibration" in codes(one, Grade.INFO)


def test_hardly_any_iron_is_said_as_less_than(tmp_path):
    one = measured(tmp_path, 20.0)
    assert one.lic_mg_per_g is None
    assert codes(one) == {"under-range"}
    assert one.calibration is not None


def test_a_doubt_that_forbids_leaves_no_number_anywhere(tmp_path):
    doubt = Flag("mirrored", Grade.NOT_MEASURABLE, "the images are mirrored")
    one = measured(tmp_path, 100.0, roi=Roi("liver", np.ones((1, SIZE, SIZE), bool), doubts=(doubt,)))
    assert one.r2star_per_s is one.r2star is one.lic is one.lic_mg_per_g is None
    assert all(slice_.r2star_per_s is None for slice_ in one.slices)


def test_a_region_without_voxels_says_why(tmp_path):
    nothing = np.zeros((1, SIZE, SIZE), bool)
    doubt = Flag("no-liver", Grade.NOT_MEASURABLE, "no reliable liver region")
    assert codes(measured(tmp_path, 100.0, roi=Roi("liver", nothing, doubts=(doubt,)))) == {"no-liver"}
    assert codes(measured(tmp_path, 100.0, roi=Roi("liver", nothing))) == {"empty-region"}


def test_a_result_without_a_number_says_why_and_one_with_a_number_does_not(tmp_path):
    good = measured(tmp_path, 100.0)
    bad = replace(good, r2star_per_s=None, flags=(Flag("mixed", Grade.NOT_MEASURABLE, "two tissues"),))
    assert analyse.why_no_number((good, bad)) is None
    assert analyse.why_no_number((bad,)).code == "mixed"
    assert analyse.why_no_number(()).code == "no-region"


def test_what_is_black_in_a_region_beyond_the_range_is_beyond_the_range(tmp_path):
    rates = np.full((1, SIZE, SIZE), 100.0)
    rates[0, :8] = 0.0  # no fit
    maps = maps_of(rates)
    roi = Roi("liver", np.arange(SIZE)[None, :, None] < np.full((1, 1, SIZE), 4))
    too_fast = replace(measured(tmp_path, 100.0), flags=(Flag("beyond-range", Grade.NOT_MEASURABLE, "too fast"),))
    marked = analyse.with_what_is_beyond(maps, (roi,), (too_fast,))
    assert (marked.beyond == roi.mask).all()
    assert not analyse.with_what_is_beyond(maps, (roi,), (measured(tmp_path, 100.0),)).beyond.any()
