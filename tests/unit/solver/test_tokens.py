import numpy as np
import pytest

from solver.phantom import PAPER_ECHO_TIMES_MS
from solver.tokens import tokens
from solver.uncertainty import cramer_rao

T = (np.array(PAPER_ECHO_TIMES_MS) / PAPER_ECHO_TIMES_MS[-1]).astype(np.float32)
BOUNDS = (np.log(0.05), np.log(8 / T[1]))


def decays(snr, rate, coils=1, count=4000, seed=0):
    rng = np.random.default_rng(seed)
    clean = snr * np.exp(-rate * T)[:, None] * np.ones(count)
    across = rng.chisquare(2 * coils - 1, clean.shape)
    return np.sqrt((clean + rng.standard_normal(clean.shape)) ** 2 + across).astype(np.float32)


@pytest.mark.parametrize("snr", [50, 200, 2000])
@pytest.mark.parametrize(("rate", "coils"), [(1.0, 1), (3.0, 1), (3.0, 8)])
def test_the_start_is_efficient_and_knows_its_deviation(snr, rate, coils):
    seen = tokens(decays(snr, rate, coils), T, coils, BOUNDS)
    z = (seen.log_r - np.log(rate)) / seen.sd
    assert abs(z.mean()) < 0.1
    assert z.std() == pytest.approx(1, abs=0.04)
    bound = cramer_rao(np.array([float(snr)]), np.array([rate]), T, coils)[1, 0] / rate
    assert np.median(seen.sd) == pytest.approx(bound, rel=0.06)


@pytest.mark.parametrize(("snr", "rate"), [(1e-3, 1.0), (5.0, 9.0), (1e7, 0.1), (1e7, 20.0)])
def test_no_decay_makes_a_token_that_is_not_finite(snr, rate):
    seen = tokens(decays(snr, rate, count=200), T, 1.0, BOUNDS)
    assert all(np.isfinite(part).all() for part in (seen.of_echo, seen.of_decay, seen.sd, seen.log_a, seen.log_r))


def test_the_residuals_of_one_exponential_are_noise_and_those_of_others_more():
    y = decays(100, 1.0)
    assert tokens(y, T, 1.0, BOUNDS).misfit.mean() == pytest.approx(6 / 8, rel=0.05)
    y[::2] *= 1.2
    assert np.median(tokens(y, T, 1.0, BOUNDS).misfit) > 5
