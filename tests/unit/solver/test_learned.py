from dataclasses import replace

import numpy as np
import pytest

from solver import fit_t2star, learned
from solver.learned import Outside
from solver.phantom import PAPER_ECHO_TIMES_MS

T = np.array(PAPER_ECHO_TIMES_MS)
SHORT = np.array([1.2, 3.4, 5.6, 7.8])


def decays(t=T, *, t2star_ms=6.0, snr=60.0, coils=1, count=4000, seed=0):
    """Magnitudes (count, M) in units of sigma; ``t2star_ms`` and ``snr`` are one or (count,)."""
    rng = np.random.default_rng(seed)
    clean = np.asarray(snr).reshape(-1, 1) * np.exp(-t / np.asarray(t2star_ms).reshape(-1, 1)) * np.ones((count, 1))
    return np.sqrt((clean + rng.standard_normal(clean.shape)) ** 2 + rng.chisquare(2 * coils - 1, clean.shape))


def fitted(signal, t=T, **options):
    return fit_t2star(signal, t, method="learned", **{"sigma": 1.0, "n_coils": 1.0} | options)


@pytest.mark.parametrize("factor", [0.25, 3.7, 1e9])
def test_another_scale_changes_nothing_but_s0(factor):
    s = decays()
    one, other = fitted(s), fitted(factor * s, sigma=factor)
    np.testing.assert_allclose(other.r2star_per_s, one.r2star_per_s, rtol=1e-4)
    np.testing.assert_allclose(other.r2star_sd_per_s, one.r2star_sd_per_s, rtol=1e-3)
    np.testing.assert_allclose(other.s0, factor * one.s0, rtol=1e-4)


def test_another_unit_of_time_changes_nothing_but_the_unit():
    s = decays()
    one, other = fitted(s), fitted(s, T / 4)
    np.testing.assert_allclose(other.r2star_per_s, 4 * one.r2star_per_s, rtol=1e-6)
    np.testing.assert_allclose(other.r2star_sd_per_s, 4 * one.r2star_sd_per_s, rtol=1e-6)


@pytest.mark.parametrize(("t", "coils"), [(T, 1), (T, 6), (SHORT, 1), (SHORT, 12)])
@pytest.mark.parametrize("band", [(15, 50), (50, 200), (200, 2000)])
def test_intervals_hold_the_truth_as_often_as_they_say(t, coils, band):
    rng = np.random.default_rng(3)
    t2star_ms = t[-1] / np.exp(rng.uniform(*learned.TRAINED.log_rates(t / t[-1]), 4000))
    s = decays(t, t2star_ms=t2star_ms, snr=np.exp(rng.uniform(*np.log(band), 4000)), coils=coils)
    found = learned.posterior(s, fitted(s, t, n_coils=coils))
    low, high = found.quantile(0.025), found.quantile(0.975)
    true = 1000 / t2star_ms
    assert np.mean(((low < true) & (true < high))[found.valid]) == pytest.approx(0.95, abs=0.02)


def test_at_high_signal_the_posterior_is_the_likelihood_s():
    s = decays(snr=1500.0)
    exact = fit_t2star(s, T, method="nls", noise="rician", sigma=1.0, n_coils=1)
    found = learned.posterior(s, fitted(s))
    for q, z in ((0.025, -1.96), (0.5, 0), (0.975, 1.96)):
        off = (found.quantile(q) - exact.r2star_per_s) / exact.r2star_sd_per_s - z
        assert np.abs(off).max() < 0.15


def test_where_little_is_told_the_interval_reaches_further_up_and_the_median_lies_in_it():
    s = decays(SHORT, t2star_ms=2.5, snr=12.0)
    fit = fitted(s, SHORT)
    found = learned.posterior(s, fit)
    low, median, high = (found.quantile(q)[found.valid] for q in (0.025, 0.5, 0.975))
    np.testing.assert_allclose(median, fit.r2star_per_s[found.valid], rtol=1e-5)
    assert np.all((low < median) & (median < high))
    assert np.median((high - median) / (median - low)) > 1.2


@pytest.mark.parametrize(
    ("code", "t", "options"),
    [
        (Outside.ECHOES, np.array([2.0, 4.0]), {}),
        (Outside.ECHOES, 1 + np.arange(24.0), {}),
        (Outside.FIRST, 8 + np.arange(6.0), {}),
        (Outside.UNEVEN, np.array([1, 1.5, 2, 8, 14.0]), {}),
        (Outside.COILS, T, {"n_coils": 32.0}),
        (Outside.NOISE, T, {"noise": "gaussian"}),
    ],
)
def test_a_train_or_noise_that_was_not_trained_on_has_no_answer_but_a_reason(code, t, options):
    fit = fitted(decays(t, count=50), t, **options)
    assert not fit.valid.any()
    assert not fit.converged
    assert learned.WORDS[code].format(**learned.limits()) in fit.verdict


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (Outside.WEAK, {"snr": 3.5, "t2star_ms": 20.0}),
        (Outside.STRONG, {"snr": 9000.0}),
        (Outside.SLOW, {"t2star_ms": 1000.0}),
        (Outside.FAST, {"t2star_ms": 0.62, "snr": 2000.0}),
        (Outside.UNCERTAIN, {"t2star_ms": 60.0, "snr": 7.0}),
    ],
)
def test_a_voxel_that_was_not_trained_on_has_no_answer_and_its_neighbours_have_theirs(code, change):
    s = np.concatenate([decays(count=50), decays(count=50, **change)])
    fit = fitted(s)
    assert fit.valid[:50].all()
    assert fit.converged
    found = learned.posterior(s, replace(fit, valid=np.ones(100, bool)))
    assert np.mean(found.outside[50:] == code) > 0.2
    assert not found.outside[:50].any()
    assert not np.any(fit.valid & (found.outside > 0))
    assert learned.WORDS[code].format(**learned.limits()) in fit.verdict


def test_near_the_end_of_the_range_noise_does_not_choose_whose_rate_is_told():
    s = decays(t2star_ms=2.2, snr=20.0, count=3600)
    alone, among = (fitted(image).valid for image in (s, s.reshape(60, 60, 8)))
    assert alone.mean() > 0.2
    assert among.mean() < 0.1


def test_a_decay_that_is_not_one_exponential_has_no_answer():
    s = decays(snr=200.0, count=50)
    s[:, ::2] *= 1.3
    assert not fitted(s).valid.any()
    assert learned.WORDS[Outside.MISFIT] in fitted(s).verdict


def test_what_is_not_known_of_the_noise_makes_the_posterior_as_much_wider():
    s = decays(t2star_ms=3.0, snr=40.0)
    fit = fitted(s)
    doubtful = replace(fit, parameters=fit.parameters | {"sigma_rel_sd": 0.5})
    sure, wide = (learned.posterior(s, one) for one in (fit, doubtful))
    widths = [one.quantile(0.975) - one.quantile(0.025) for one in (sure, wide)]
    assert np.nanmedian(widths[1] / widths[0]) > 1.1


def test_any_fit_tells_what_the_posterior_needs():
    s = np.abs(decays(count=900)).reshape(30, 30, 8)
    fit = fit_t2star(s, T, sigma=1.0, n_coils=1.0)
    found = learned.posterior(s, fit)
    assert found.quantile(0.5).shape == (30, 30)
    assert np.nanmean(found.quantile(0.5)) == pytest.approx(1000 / 6, rel=0.02)
    with pytest.raises(ValueError, match="signal must be what was fitted"):
        learned.posterior(s[:10], fit)
    with pytest.raises(ValueError, match="q must lie between"):
        found.quantile(1.0)


def test_parameters_repeat_the_fit_unless_other_weights_would_answer():
    s = decays(count=100).astype(np.float32)
    fit = fitted(s)
    again = fit_t2star(s, **fit.parameters)
    np.testing.assert_array_equal(again.r2star_per_s, fit.r2star_per_s)
    with pytest.raises(ValueError, match="network"):
        fit_t2star(s, **fit.parameters | {"network": "another"})


def test_the_noise_is_estimated_where_it_is_not_given():
    s = decays(count=64 * 64).reshape(64, 64, 8)
    fit = fit_t2star(s, T, method="learned")
    assert fit.parameters["noise"] == "rician"
    assert np.nanmedian(fit.r2star_per_s) == pytest.approx(1000 / 6, rel=0.02)


def test_another_model_is_refused_by_name():
    with pytest.raises(ValueError, match="mono-exponential"):
        fitted(decays(count=4), model="offset")
