"""The goals of the default fit on phantoms with known truth."""

import numpy as np
import pytest

from solver import fit_t2star
from solver.phantom import PAPER_ECHO_TIMES_MS, Abdomen, Receiver, abdomen, acquire
from solver.uncertainty import cramer_rao

AXIAL = tuple(np.linspace(1.1, 13.2, 12))
LOW_FIELD = tuple(0.95 + 1.2 * np.arange(12))


def study(t2star_ms, snr, times, receiver=None, seed=5, **anatomy):
    rng = np.random.default_rng(seed)
    anatomy = {"shape": (96, 128), "lesion_diameter_mm": 7.0} | anatomy
    truth = abdomen(Abdomen(liver_t2star_ms=t2star_ms, **anatomy), rng)
    sigma = 300 / snr
    image = acquire(truth, times, Receiver(sigma, **(receiver or {})), rng).astype(np.float32)
    return truth, sigma, fit_t2star(image, times)


def errors(truth, fit, region):
    use = truth.regions[region] & fit.valid
    return (fit.r2star_per_s - truth.r2star_per_s)[use], truth.r2star_per_s[truth.regions[region]]


def bound(truth, sigma, times):
    liver = truth.regions["liver"]
    t = np.array(times) / 1000
    deviation = cramer_rao(truth.s0[liver] / sigma, truth.r2star_per_s[liver], t, 1)[1]
    return np.sqrt(np.mean(deviation**2))


CASES = [
    (1.5, 100, PAPER_ECHO_TIMES_MS),
    (2.2, 50, PAPER_ECHO_TIMES_MS),
    (3, 30, PAPER_ECHO_TIMES_MS),
    (6, 20, PAPER_ECHO_TIMES_MS),
    (12, 100, PAPER_ECHO_TIMES_MS),
    (25, 40, PAPER_ECHO_TIMES_MS),
    (1.5, 50, AXIAL),
    (4, 20, AXIAL),
    (10, 70, AXIAL),
    (3, 40, LOW_FIELD),
    (20, 60, LOW_FIELD),
]


@pytest.mark.parametrize(("t2star_ms", "snr", "times"), CASES)
def test_parenchyma_is_twice_as_good_as_the_single_voxel_bound_and_unbiased(t2star_ms, snr, times):
    truth, sigma, fit = study(t2star_ms, snr, times)
    error, rate = errors(truth, fit, "liver")
    assert fit.sigma == pytest.approx(sigma, rel=0.05)
    assert fit.valid[truth.regions["liver"]].mean() > 0.95
    assert np.sqrt(np.mean(error**2)) <= 0.5 * bound(truth, sigma, times)
    assert abs(error.mean()) <= 0.03 * rate.mean()


def test_severe_iron_at_a_late_first_echo_is_within_six_percent():
    truth, _, fit = study(2.2, 32, PAPER_ECHO_TIMES_MS)
    error, rate = errors(truth, fit, "liver")
    assert abs(error.mean()) <= 0.06 * rate.mean()


@pytest.mark.parametrize(("t2star_ms", "snr", "times"), [(5, 60, PAPER_ECHO_TIMES_MS), (4, 50, AXIAL), (15, 40, AXIAL)])
@pytest.mark.parametrize("diameter", [6.0, 8.0])
def test_a_small_lesion_keeps_its_contrast(t2star_ms, snr, times, diameter):
    found = []
    for seed in (1, 2, 3):
        truth, _, fit = study(t2star_ms, snr, times, seed=seed, lesion_diameter_mm=diameter)
        error, rate = errors(truth, fit, "lesion")
        found.append(error.mean() / rate.mean())
    assert abs(np.mean(found)) < 0.10


@pytest.mark.parametrize(
    "receiver", [{"coils": 8}, {"zeroed_air": True}, {"coils": 4, "zeroed_air": False}, {"zero_filled": True}]
)
def test_the_noise_is_known_whatever_the_receiver_does(receiver):
    _, sigma, fit = study(8, 30, PAPER_ECHO_TIMES_MS, receiver)
    assert fit.sigma == pytest.approx(sigma, rel=0.15)
    assert fit.n_coils == pytest.approx(receiver.get("coils", 1), rel=0.15)


def test_the_noise_is_known_without_any_air():
    _, sigma, fit = study(8, 30, PAPER_ECHO_TIMES_MS, air=False)
    assert fit.sigma == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize(("t2star_ms", "coils", "times"), [(5, 8, AXIAL), (4, 16, AXIAL), (6, 4, PAPER_ECHO_TIMES_MS)])
def test_coils_show_in_the_decays_where_nothing_is_noise_alone(t2star_ms, coils, times):
    truth, sigma, fit = study(t2star_ms, 60, times, {"coils": coils, "zeroed_air": True})
    error, rate = errors(truth, fit, "liver")
    assert fit.parameters["n_coils_source"] in {"decays", "late echoes"}  # what has decayed tells it before decays do
    assert fit.n_coils == pytest.approx(coils, rel=0.5)
    assert fit.sigma == pytest.approx(sigma, rel=0.1)
    assert abs(error.mean()) <= 0.03 * rate.mean()


@pytest.mark.parametrize(("t2star_ms", "snr"), [(3, 30), (6, 80), (20, 40)])
def test_one_coil_is_not_taken_for_several(t2star_ms, snr):
    _, _, fit = study(t2star_ms, snr, AXIAL, {"zeroed_air": True})
    assert fit.n_coils == 1
    assert fit.parameters["n_coils_source"] in {"assumed", "late echoes"}


@pytest.mark.parametrize("t2star_ms", [4.0, 12.0])
def test_decays_that_oscillate_do_not_count_as_noise(t2star_ms):
    """Fat everywhere and no air: one exponential leaves far more than the noise."""
    rng = np.random.default_rng(1)
    times = np.array(AXIAL)
    turning = np.abs(0.75 + 0.25 * np.exp(-2j * np.pi * times / 4.6))
    clean = 300 * np.linspace(0.8, 1.2, 64)[:, None, None] * turning * np.exp(-times / t2star_ms) * np.ones((64, 64, 1))
    image = np.hypot(clean + 5 * rng.standard_normal(clean.shape), 5 * rng.standard_normal(clean.shape))
    fit = fit_t2star(image[None].astype(np.float32), times)
    assert fit.sigma == pytest.approx(5, rel=0.15)


def test_the_fit_stops_because_it_is_done():
    _, _, fit = study(8, 30, PAPER_ECHO_TIMES_MS)
    assert fit.converged
    assert fit.verdict == "converged"
    assert np.all(np.diff(fit.objective) < 1)
