"""Fat is found where it is, nowhere else, and the rate is freed of it."""

import numpy as np
import pytest

from solver import fit_t2star, phantom
from solver.fat import Floor, beat, factors, fat_map, posterior, rate_by_fraction
from solver.model import fat_water
from solver.uncertainty import cramer_rao

SHORT = 1.1 + 1.1 * np.arange(12)
PAPER = np.array(phantom.PAPER_ECHO_TIMES_MS)
IN_PHASE = 4.6 * np.arange(1, 7)
S0, SHAPE = 300.0, (48, 48)


def images(fraction, rate_per_s, times=SHORT, *, field=1.5, snr=50.0, seed=1):
    """Magnitudes (K, L, M) of those maps in Rician noise."""
    fraction, rate = (np.broadcast_to(np.asarray(one, float), SHAPE) for one in (fraction, rate_per_s))
    clean = S0 * np.exp(-rate[..., None] * times / 1000)
    clean = clean * np.moveaxis(factors(fraction, beat(times, field)), 0, -1)
    return phantom.add_rician(clean, S0 / snr, np.random.default_rng(seed))


def fitted(signal, times=SHORT, field=1.5, snr=50.0, **how):
    how = {"model": "automatic", "sigma": S0 / snr, "n_coils": 1} | how
    return fit_t2star(signal.astype(np.float32), times, field_strength_t=field, **how)


def test_the_factor_is_that_of_the_model_of_fat_and_water():
    fraction = np.array([-0.05, 0.0, 0.1, 0.4, 0.9])
    expected = fat_water(3.0, 1.0)(np.ones(5), np.zeros(5), fraction[None], PAPER)[0]
    np.testing.assert_allclose(factors(fraction, beat(PAPER, 3.0)), expected, rtol=1e-9)


@pytest.mark.parametrize("field", [1.5, 3.0])
@pytest.mark.parametrize(("fraction", "rate"), [(0.05, 60.0), (0.2, 300.0), (0.4, 600.0), (0.92, 30.0)])
def test_fat_is_found_and_the_rate_freed_of_it(fraction, rate, field):
    found = fitted(images(fraction, rate, field=field, snr=100.0), field=field, snr=100.0)
    assert np.median(found.fat_fraction[found.valid]) == pytest.approx(fraction, abs=0.015)
    assert np.median(found.r2star_per_s[found.valid]) == pytest.approx(rate, rel=0.015)


@pytest.mark.parametrize("noise", ["rician", "gaussian"])
def test_voxels_fitted_for_themselves_are_freed_of_fat_as_well(noise):
    found = fitted(images(0.2, 200.0, snr=100.0), snr=100.0, method="nls", noise=noise)
    assert np.median(found.fat_fraction[found.valid]) == pytest.approx(0.2, abs=0.015)
    assert np.median(found.r2star_per_s[found.valid]) == pytest.approx(200.0, rel=0.015)


@pytest.mark.parametrize("field", [1.5, 3.0])
@pytest.mark.parametrize("rate", [30.0, 300.0, 800.0])
def test_without_fat_the_rate_is_that_of_one_exponential(rate, field):
    signal = images(0.0, rate, field=field, seed=int(rate))
    found, plain = fitted(signal, field=field), fitted(signal, field=field, model="mono-exponential")
    np.testing.assert_array_equal(found.plain_r2star_per_s, plain.r2star_per_s)
    both = found.valid & plain.valid
    assert np.median(np.abs(found.r2star_per_s[both] / plain.r2star_per_s[both] - 1)) < 0.005
    assert np.mean(np.abs(found.fat_fraction[both]) > 0.02) < 0.01


def test_an_edge_between_fat_and_water_stays_sharp():
    left = np.arange(SHAPE[1]) < SHAPE[1] // 2
    found = fitted(images(np.where(left, 0.3, 0.0), np.where(left, 80.0, 200.0)))
    assert np.all(found.fat_fraction[:, 2:22] > 0.2)
    assert np.all(found.fat_fraction[:, 26:-2] < 0.05)


def test_echoes_that_alternate_are_not_taken_for_fat():
    signal = images(0.0, np.linspace(30, 200, SHAPE[1]), field=3.0) * (1 + 0.04 * (-1.0) ** np.arange(len(SHORT)))
    found = fitted(signal, field=3.0)
    assert np.median(np.abs(found.fat_fraction[found.valid])) < 0.01


@pytest.mark.parametrize(
    ("times", "field", "why"),
    [(SHORT, None, "no field"), (SHORT[:5], 1.5, "few echoes"), (IN_PHASE, 1.5, "whole turns")],
)
def test_where_echoes_cannot_tell_nothing_is_looked_for_and_the_reason_is_kept(times, field, why):
    found = fitted(images(0.2, 100.0, times), times, field)
    assert found.fat_fraction is None
    assert found.plain_r2star_per_s is None
    assert found.parameters["fat_untold"] == why


def test_fat_that_noise_hides_is_not_claimed_but_doubted():
    hidden = fitted(images(0.1, 400.0, PAPER, field=3.0, snr=30.0), PAPER, 3.0, 30.0)
    clear = fitted(images(0.2, 100.0, PAPER, field=3.0, snr=100.0), PAPER, 3.0, 100.0)
    assert np.nanmedian(hidden.fat_fraction) < 0.05
    assert np.nanmedian(hidden.fat_fraction_sd) > 0.04
    assert np.nanmedian(clear.fat_fraction_sd) < 0.025


def test_the_interval_of_the_fraction_holds_it():
    """Over seeds, of tissue with and without fat: one place each, as neighbours share their estimate."""
    held = []
    for seed in range(24):
        fraction = (0.0, 0.03, 0.1)[seed % 3]
        found = fitted(images(fraction, 300.0, field=3.0, snr=30.0, seed=seed), field=3.0, snr=30.0)
        place = found.fat_fraction[24, 24], found.fat_fraction_sd[24, 24]
        held.append(abs(place[0] - fraction) <= 2 * place[1] + 0.002)
    assert np.mean(held) > 0.85


def test_the_posterior_is_zero_without_evidence_and_the_estimate_with_much():
    estimate, variance = np.array([0.01, 0.2, 0.2, -0.1]), np.array([0.01, 1e-5, 0.5, 1e-5]) ** 1.0
    mean, left = posterior(estimate, variance)
    assert abs(mean[0]) < 0.003
    assert mean[1] == pytest.approx(0.2, rel=1e-3)
    assert mean[2] < 0.02
    assert mean[3] == 0.0
    assert left[2] == pytest.approx(0.25 * 0.15**2, rel=0.2)


def test_scaling_the_signal_changes_nothing():
    signal = images(0.15, 200.0)
    one, other = fitted(signal), fitted(signal * 1000, sigma=1000 * S0 / 50.0)
    np.testing.assert_allclose(one.fat_fraction, other.fat_fraction, atol=1e-4)
    np.testing.assert_allclose(one.r2star_per_s, other.r2star_per_s, rtol=1e-3)


def test_how_far_the_rate_moves_with_the_fraction_agrees_with_fits():
    t = SHORT / SHORT[-1]
    x, step = np.array([[[200.0]], [[2.0]]]), 0.02
    beating = beat(SHORT, 1.5)
    expected = rate_by_fraction(x, np.full((1, 1), 0.1), t, beating, 0.0)[0, 0]
    signal = images(0.1 + step, 1000 * 2.0 / SHORT[-1], snr=1e9)[:1, :1]
    held = signal / np.moveaxis(factors(np.full((1, 1), 0.1), beating), 0, -1)
    moved = fit_t2star(held, SHORT, method="nls", sigma=1.0, n_coils=1).r2star_per_s[0, 0] * SHORT[-1] / 1000 - 2.0
    assert moved == pytest.approx(-step * expected, rel=0.25)


def test_a_factor_changes_the_bound_of_cramer_and_rao_as_it_changes_the_signal():
    a, r, t = np.array([50.0]), np.array([2.0]), SHORT / SHORT[-1]
    twice = np.full((len(t), 1), 2.0)
    np.testing.assert_allclose(cramer_rao(a, r, t, 1, twice)[1], cramer_rao(2 * a, r, t, 1)[1], rtol=1e-9)


@pytest.mark.parametrize("noise", ["first-moment", "second-moment"])
def test_moments_of_noise_are_refused_by_name(noise):
    with pytest.raises(ValueError, match=noise):
        fitted(images(0.1, 100.0), noise=noise)


@pytest.mark.parametrize("louder", [0.9, 1.06])
@pytest.mark.parametrize("rate", [250.0, 400.0, 700.0])
def test_a_floor_that_is_not_as_supposed_is_not_taken_for_fat(rate, louder):
    times, sigma = np.array([2.1, 4.15, 6.2, 8.25, 10.3, 12.35]), S0 / 23
    clean = np.broadcast_to(S0 * np.exp(-rate * times / 1000), (*SHAPE, times.size))
    told = phantom.add_rician(clean, louder * sigma, np.random.default_rng(3)) / sigma
    train = np.stack([times, *beat(times, 2.89)])
    maps = np.broadcast_to(np.array([S0 / sigma, rate / 1000])[:, None, None], (2, *SHAPE)).copy()
    found = fat_map(np.moveaxis(told, -1, 0).copy(), train, maps, np.ones(SHAPE, bool), Floor(1.0, 0.24))
    assert np.mean(np.abs(found.fraction) > 3 * found.sd) < 0.1
    assert np.median(np.abs(found.fraction)) < 0.05
