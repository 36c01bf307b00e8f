"""What bends the decay of a region is told, allowed for, or feared."""

import numpy as np
import pytest

from dicomnode import fit
from dicomnode.measure import quality
from dicomnode.model import DecayCurve, Grade
from solver.decay import Magnitudes, Model, fit_decay
from solver.noise import median_magnitude

SIGMA, VOXELS = 5.0, 4000
TIMES = tuple(1.1 + 1.2 * k for k in range(12))
PAPER = (2.58, 4.81, 7.59, 9.89, 12.12, 14.35, 16.58, 18.88)
OUT_AND_IN = (2.3, 4.6, 6.9, 9.2)  # of fat against water at 1.5 T
WHOLE_TURNS = tuple(2.3 * k for k in range(1, 9))  # likewise at 3 T


def evidence(rate, times=TIMES, field_t=1.5, fat=0.0, swing=0.0, *, across_hz=0.0):
    t = np.array(times)
    signs = np.where(np.arange(len(t)) % 2, -1.0, 1.0)
    shape, _ = Model(field_t, signs).shape(t, np.array([fat, swing]))
    shape *= np.sinc(across_hz * t / 1000)
    clean, rng = 400.0 * np.exp(-rate / 1000 * t) * shape, np.random.default_rng(7)
    noise = SIGMA * rng.standard_normal((2, VOXELS, len(t)))
    signal = np.median(np.hypot(clean + noise[0], noise[1]), axis=0)  # in the floor less than what is expected
    noise = fit.Noise(SIGMA, 1.0, "air", "high", 0.02)
    curve = DecayCurve(times, tuple(map(float, signal)), noise.floor, None, rate)
    moved = fit.sensitivity(curve, noise, field_t, VOXELS)
    known = {"coils_source": "air", "noise_confidence": "high", "converged": True, "verdict": "converged"}
    regular = {"invalid": 0.0, "beyond": 0.0, "clipped": 0.0, "mixed": 0.0, "classes": 0.0, "disagreeing": 0.0}
    return quality.Evidence(
        dephasing=moved.dephasing,
        decay=curve, sigma=SIGMA, plain_r2star_per_s=rate, unexplained=1.0, moved_by_noise=moved.noise,
        moved_by_echoes=moved.echoes, richer=moved.richer, hidden_fat=moved.hidden_fat,
        mostly_fat=moved.mostly_fat, fat_judged=False, unsure_fat=moved.fat, freed=moved.freed,
        fat_fraction=None, fat_fraction_sd=0.0, fat_fraction_by_echoes=0.0, **known, **regular,
    )  # fmt: skip


@pytest.mark.parametrize("rate", [40.0, 200.0])
@pytest.mark.parametrize(
    ("fat", "swing", "said"),
    [(0.15, 0.0, (True, False)), (0.0, 0.05, (False, True)), (0.15, 0.05, (True, True))],
)
def test_what_bends_a_decay_is_told_by_its_name_and_allowed_for(rate, fat, swing, said):
    found = evidence(rate, fat=fat, swing=swing)
    assert (found.seen.fat, found.seen.alternation) == said
    plain = fit_of(rate, fat, swing)
    assert plain * found.correction == pytest.approx(rate, rel=0.005)


def fit_of(rate, fat, swing):
    """What one exponential makes of it."""
    t = np.array(TIMES)
    signs = np.where(np.arange(len(t)) % 2, -1.0, 1.0)
    shape, _ = Model(1.5, signs).shape(t, np.array([fat, swing]))
    signal = SIGMA * median_magnitude(400.0 * np.exp(-rate / 1000 * t) * shape / SIGMA, 1.0)[0]
    return fit_decay(Magnitudes(signal, t, SIGMA, 1.0), Model(), (400.0, rate)).rate_per_s


@pytest.mark.parametrize("rate", [500.0, 620.0, 714.0])
def test_a_severe_decay_of_two_clear_echoes_does_not_hang_on_single_ones(rate):
    found = evidence(rate, PAPER)
    assert found.above == 2
    assert found.moved_by_model < quality.MUCH_MODEL
    assert not any(flag.grade is Grade.NOT_MEASURABLE for flag in quality.judge(found))


def test_one_exponential_is_left_alone():
    found = evidence(100.0)
    assert found.seen is None
    assert found.correction == 1.0
    assert quality.judge(found) == ()


@pytest.mark.parametrize("rate", [30.0, 60.0])
@pytest.mark.parametrize(("fat", "tissue"), [(0.0, False), (0.2, False), (0.4, False), (0.75, True), (0.92, True)])
def test_fat_tissue_is_told_from_a_fatty_liver(rate, fat, tissue):
    codes = {flag.code for flag in quality.judge(evidence(rate, fat=fat))}
    assert ("fat-tissue" in codes) is tissue


@pytest.mark.parametrize("rate", [300.0, 620.0, 714.0])
def test_severe_iron_is_not_taken_for_fat_tissue(rate):
    assert evidence(rate, PAPER).mostly_fat < quality.LIKELY_FAT


@pytest.mark.parametrize(
    "hides",
    [
        evidence(60.0, OUT_AND_IN, fat=0.2),  # it swings, as other things do
        evidence(700.0, PAPER, fat=0.2),  # one echo of fat out of phase, one in phase, and no more
        evidence(700.0, PAPER),
    ],
    ids=["swings", "fat in two echoes", "two echoes"],
)
def test_a_decay_that_fat_may_hide_in_says_how_far_it_may_move(hides):
    assert not any(one.fat and one.evidence > quality.SEEN for one in hides.richer)
    assert max(one.shift for one in hides.hidden_fat) > quality.MOST_HIDDEN
    said = {flag.code for flag in quality.judge(hides) if flag.grade is not Grade.INFO}
    assert said & {"fat-untold", "fat"}


def test_fat_that_echoes_cannot_tell_from_other_swings_but_is_likely_withholds_the_number():
    forbidding = {f.code for f in quality.judge(evidence(60.0, OUT_AND_IN, fat=0.2)) if f.grade is Grade.NOT_MEASURABLE}
    assert "fat" in forbidding


def test_a_decay_that_denies_fat_or_does_not_feel_it_hides_none():
    assert max(one.shift for one in evidence(60.0, WHOLE_TURNS, field_t=3.0).hidden_fat) < 0.02
    assert [one.shift for one in evidence(60.0).hidden_fat] == [0.0, 0.0]
    assert [one.shift for one in evidence(60.0, OUT_AND_IN).hidden_fat] == [0.0, 0.0]


def test_the_rate_that_so_much_fat_would_mean_is_the_true_one_where_there_is_so_much():
    t, shape = np.array(PAPER), Model(1.5).shape(np.array(PAPER), np.array([0.2]))[0]
    signal = SIGMA * median_magnitude(400.0 * np.exp(-550.0 / 1000 * t) * shape / SIGMA, 1.0)[0]
    held = fit_decay(Magnitudes(signal, t, SIGMA, 1.0), Model(1.5, held_fat=0.2), (400.0, 400.0))
    assert held.rate_per_s == pytest.approx(550.0, rel=0.005)


@pytest.mark.parametrize("rate", [40.0, 120.0])
@pytest.mark.parametrize(("fat", "swing"), [(0.0, 0.0), (0.15, 0.0), (0.0, 0.05)])
def test_a_field_across_the_slice_is_told_in_hertz_and_nothing_else_looks_like_one(rate, fat, swing):
    assert "field" not in {flag.code for flag in quality.judge(evidence(rate, fat=fat, swing=swing))}
    found = evidence(rate, fat=fat, swing=swing, across_hz=45.0)
    assert found.dephasing.hz == pytest.approx(45, rel=0.15)
    assert "field" in {flag.code for flag in quality.judge(found)}


def test_how_much_too_high_a_field_makes_the_rate_is_told():
    found = evidence(60.0, across_hz=40.0).dephasing
    t = np.array(TIMES)
    bent = 400.0 * np.exp(-0.06 * t) * np.sinc(0.04 * t)
    alone = fit_decay(Magnitudes(bent, t, SIGMA, 1.0), Model(), (400.0, 60.0)).rate_per_s
    assert found.shift == pytest.approx(alone / 60.0 - 1, rel=0.1)


@pytest.mark.parametrize("fat", [0.0, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("field_t", [1.5, 3.0])
@pytest.mark.parametrize("times", [(0.9, 1.7), (1.2, 2.3), (2.58, 4.81)])
def test_a_bound_is_below_the_truth_whatever_fat_the_liver_holds(times, field_t, fat):
    shape, _ = Model(field_t).shape(np.array(times), np.array([fat]))
    clean, rng = 400.0 * np.exp(-1.2 * np.array(times)) * np.abs(shape), np.random.default_rng(3)
    noise = SIGMA * rng.standard_normal((2, VOXELS, 2))
    signal = np.hypot(clean + noise[0], noise[1]).astype(np.float32)
    known = fit.Noise(SIGMA, 1.0, "air", "high", 0.02)
    inside = np.ones(VOXELS, bool)
    found = fit.fall(signal, times, inside, known, s0=0.7 * 400.0, field_strength_t=field_t)
    assert found is None or found < 1200.0
    if times[0] < 1.0:  # a train that is short enough says something all the same
        assert found > 300.0
