import numpy as np
import pytest
from scipy.optimize import least_squares

from solver.voxelwise import variable_projection

T = np.array([2.58, 4.81, 7.59, 9.89, 12.12, 14.35, 16.58, 18.88]) / 18.88


def decays(n, sigma, seed=0):
    rng = np.random.default_rng(seed)
    a, r = rng.uniform(0.5, 2, n), rng.uniform(0.5, 6, n)
    return a, r, a * np.exp(-r * T[:, None]) + sigma * rng.standard_normal((T.size, n))


def test_noise_free_decays_are_recovered_to_full_precision():
    a, r, s = decays(500, 0.0)
    found_a, found_r, rss = variable_projection(s, T, 1e-4, 60.0)
    np.testing.assert_allclose(found_r, r, rtol=1e-9)
    np.testing.assert_allclose(found_a, a, rtol=1e-9)
    assert rss.max() < 1e-18


def test_single_precision_recovers_what_it_can_hold():
    a, r, s = decays(500, 0.0)
    found_a, found_r, _ = variable_projection(s.astype(np.float32), T.astype(np.float32), 1e-4, 60.0)
    np.testing.assert_allclose(found_r, r, rtol=2e-4)
    np.testing.assert_allclose(found_a, a, rtol=2e-4)


def test_no_general_solver_finds_a_smaller_sum_of_squares():
    _, _, s = decays(60, 0.05, seed=1)
    a, r, rss = variable_projection(s, T, 1e-4, 60.0)
    for n in range(60):
        other = least_squares(lambda p, n=n: p[0] * np.exp(-p[1] * T) - s[:, n], [a[n], r[n]], xtol=1e-14, ftol=1e-14)
        assert rss[n] <= 2 * other.cost * (1 + 1e-9)


def test_the_gradient_vanishes_at_the_answer():
    _, _, s = decays(200, 0.02, seed=2)
    a, r, _ = variable_projection(s, T, 1e-4, 60.0)
    e = np.exp(-r * T[:, None])
    residual = s - a * e
    assert np.abs((e * residual).sum(0)).max() < 1e-12
    assert np.abs((a * T[:, None] * e * residual).sum(0)).max() < 1e-8


def test_the_order_of_voxels_does_not_matter():
    _, _, s = decays(1500, 0.05, seed=3)
    order = np.random.default_rng(0).permutation(1500)
    straight = variable_projection(s, T, 1e-4, 60.0)[1]
    shuffled = variable_projection(np.ascontiguousarray(s[:, order]), T, 1e-4, 60.0)[1]
    np.testing.assert_allclose(shuffled, straight[order], rtol=1e-8)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_does_not_decay_ends_at_a_bound(value):
    _, r, _ = variable_projection(np.full((8, 3), value), T, 1e-4, 60.0)
    assert np.all(np.isfinite(r))
    assert np.all((r >= 1e-4) & (r <= 60.0))
