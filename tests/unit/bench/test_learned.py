import numpy as np
import pytest
from scipy.stats import ncx2

from bench import learned
from bench.training_voxel import samples
from solver.learned import TRAINED

T = np.array([1.2, 3.4, 5.6, 7.8])


@pytest.mark.parametrize(("coils", "band"), [(1.0, (15.0, 50.0)), (8.0, (50.0, 100.0))])
def test_the_quadrature_is_what_a_fine_grid_over_everything_says(coils, band):
    truth = learned.drawn(np.random.default_rng(0), T, coils, band, 3)
    found = learned.by_quadrature(truth).quantiles
    log_r = np.linspace(*TRAINED.log_rates(T / T[-1]), 601)
    log_a = np.linspace(*np.log(TRAINED.snr), 601)
    clean = np.exp(log_a[:, None, None] - np.exp(log_r)[:, None] * T / T[-1])
    for k, signal in enumerate(truth.signal):
        log_p = np.sum(ncx2.logpdf(signal**2, 2 * coils, clean**2 + 1e-12), axis=-1)
        p = np.exp(log_p - log_p.max()).sum(axis=0)
        at = np.interp(learned.QUANTILES, (np.cumsum(p) - p / 2) / p.sum(), log_r)
        np.testing.assert_allclose(np.log(found[:, k] * T[-1] / 1000), at, atol=0.01)


def test_the_network_says_what_the_quadrature_says():
    one = learned.judged(np.random.default_rng(1), T, 1.0, (5.0, 15.0))
    assert one["answered"] > 0.15
    assert one["rms"] < 1.05
    assert one["coverage"] == pytest.approx(0.95, abs=0.02)
    assert one["pinball"] < -0.1  # that of the likelihood is so much larger where little is told
    assert one["pinball"] == pytest.approx(one["exact pinball"], abs=0.02)


def test_pinball_loss_is_least_for_the_quantiles_of_what_is_drawn():
    rng = np.random.default_rng(2)
    true = 100 + 10 * rng.standard_normal(20_000)
    right = np.quantile(true, learned.QUANTILES)[:, None] * np.ones(true.size)
    losses = [learned.Answer(100 + (right - 100) * width).pinball(true) for width in (0.7, 1.0, 1.4)]
    assert losses[1] < min(losses[0], losses[2])


def test_decays_of_training_are_of_what_is_said_to_be_trained_on():
    rng = np.random.default_rng(3)
    for count in samples.COUNTS:
        t = samples.train(rng, count)
        spacings = np.diff(t)
        assert t[-1] == 1
        assert TRAINED.first[0] <= t[0] / spacings.mean() * 1.000001
        assert t[0] / spacings.mean() <= TRAINED.first[1] * 1.000001
        assert spacings.max() <= TRAINED.uneven * spacings.min() * 1.000001
    drawn = samples.batch(rng, 4, 100)
    assert np.isfinite(drawn.of_echo).all()
    assert len(drawn.z) == len(drawn.sd) == len(drawn.of_echo) > 200
