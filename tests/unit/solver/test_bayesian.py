"""Posterior mean and deviation under a prior of edges and trends, and the linear systems behind them."""

import json

import numpy as np
import pytest

from solver import fit_t2star
from solver.bayesian import OPEN, Field, Quadratic, Where, posterior
from solver.fields import Grid, Precisions, System, bends
from solver.likelihood import MonoExponential
from solver.phantom import PAPER_ECHO_TIMES_MS, Abdomen, Receiver, abdomen, acquire
from solver.uncertainty import cramer_rao

T = np.array(PAPER_ECHO_TIMES_MS)


def system(shape=(7, 9), seed=0):
    rng = np.random.default_rng(seed)
    grid = Grid.of(shape, np.float64)
    root = rng.standard_normal((*shape, 2, 2))
    h = 50 * root @ np.swapaxes(root, 2, 3)
    links = rng.gamma(1, 1, (2, *shape))
    links[0, -1] = links[1, :, -1] = 0
    curvature = np.stack([h[..., 0, 0], h[..., 0, 1], h[..., 1, 1]])
    knots = rng.gamma(2, 1, grid.knots)
    scales = np.array([0.02, 0.03]), np.array([0.05, 0.02])
    return System.of(grid, Precisions(curvature, links, knots, *scales))


def dense(one):
    size = one.drawn(np.random.default_rng(0)).size
    return np.stack([one.times(unit) for unit in np.eye(size)])


def test_a_system_is_the_sum_of_what_voxels_links_and_knots_say():
    one = system()
    x = np.random.default_rng(1).standard_normal(dense(one).shape[0])
    p, (alpha, c) = one.precisions, one.grid.split(x)
    theta = one.grid.maps(x, p.scale, p.trend)
    h = p.curvature
    value = np.sum(h[0] * theta[0] ** 2 + 2 * h[1] * theta[0] * theta[1] + h[2] * theta[1] ** 2)
    value += np.sum(p.links[0, :-1] * np.diff(alpha, axis=1) ** 2)
    value += np.sum(p.links[1, :, :-1] * np.diff(alpha, axis=2) ** 2)
    value += np.sum(p.knots * bends(c) ** 2) + 1e-4 * np.sum(c**2)
    assert x @ one.times(x) == pytest.approx(value, rel=1e-10)


def test_conjugate_gradients_solve_the_system():
    one = system()
    b = np.random.default_rng(2).standard_normal(dense(one).shape[0])
    np.testing.assert_allclose(one.times(one.solve(b, np.zeros_like(b), 1e-12, 5000)), b, atol=1e-8)


def test_draws_have_the_precision_as_their_covariance():
    one, rng = system((4, 5)), np.random.default_rng(3)
    draws = np.stack([one.drawn(rng) for _ in range(20000)])
    matrix = dense(one)
    np.testing.assert_allclose(np.cov(draws.T), matrix, atol=0.05 * np.abs(matrix).max())


def test_trends_of_splines_hold_straight_lines_which_do_not_bend():
    grid = Grid.of((20, 30), np.float64)
    down, across = np.indices(grid.knots)
    c = np.stack([1.0 + 2.0 * down, 3.0 - across])
    assert np.abs(bends(c)).max() < 1e-12
    x = np.concatenate([np.zeros(2 * 600), c.ravel()])
    maps = grid.maps(x, np.ones(2), np.ones(2))
    np.testing.assert_allclose(np.diff(maps[0], axis=0), 2 / 6, atol=1e-12)
    np.testing.assert_allclose(np.diff(maps[1], axis=1), -1 / 6, atol=1e-12)


def test_the_quadratic_model_is_that_of_the_likelihood_by_logarithms():
    rng = np.random.default_rng(4)
    likelihood = MonoExponential(rng.uniform(5, 40, (8, 6)), T / T[-1], 0.0)
    free, theta = np.ones((2, 3), bool), np.stack([np.full((2, 3), 3.5), np.full((2, 3), 0.6)])
    here = Quadratic.at(likelihood, theta, free)
    for k in range(12):
        step = np.zeros(12)
        step[k] = 1e-5
        up, down = (Quadratic.at(likelihood, theta + s * step.reshape(2, 2, 3), free).value for s in (1, -1))
        assert here.gradient.ravel()[k] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-4)
    assert np.all(here.held(free, OPEN).curvature[0] > here.curvature[0])


def exam(t2star_ms=4.0, snr=40.0, seed=0, coils=1):
    rng = np.random.default_rng(seed)
    truth = abdomen(Abdomen(shape=(96, 128), liver_t2star_ms=t2star_ms, lesion_diameter_mm=12.0), rng)
    return truth, acquire(truth, PAPER_ECHO_TIMES_MS, Receiver(300 / snr, coils), rng).astype(np.float32)


def test_errors_are_a_fifth_of_single_voxels_and_deviations_hold_the_truth():
    truth, image = exam()
    fit = fit_t2star(image, T, method="bayesian")
    bound = cramer_rao(truth.s0 * 40 / 300, truth.r2star_per_s, T / 1000, 1)[1]
    for region, most in (("liver", 0.2), ("vessels", 0.5), ("lesion", 0.6)):
        use = truth.regions[region] & fit.valid
        error = (fit.r2star_per_s - truth.r2star_per_s)[use]
        assert np.sqrt(np.mean(error**2) / np.mean(bound[use] ** 2)) < most
        assert np.mean(np.abs(error) < 1.96 * fit.r2star_sd_per_s[use]) > 0.9


def test_edges_are_kept_where_total_variation_takes_contrast():
    truth, image = exam()
    vessels = truth.regions["vessels"]
    errors = [
        np.sqrt(np.nanmean((fit_t2star(image, T, method=method).r2star_per_s - truth.r2star_per_s)[vessels] ** 2))
        for method in ("bayesian", "admm")
    ]
    assert errors[0] < 0.9 * errors[1]


def test_it_says_what_made_the_numbers_and_repeats_them_to_the_last_bit():
    _, image = exam(seed=1)
    stack = np.concatenate([image, image[:, ::-1]])
    fit = fit_t2star(stack, T, method="bayesian", seed=3, threads=2)
    assert fit.parameters["seed"] == 3
    again = fit_t2star(stack, **json.loads(json.dumps(fit.parameters)), threads=1)
    for name in ("s0", "r2star_per_s", "r2star_sd_per_s"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fit, name))


def test_another_seed_moves_deviations_and_no_rate():
    _, image = exam(seed=2)
    one, other = (fit_t2star(image, T, method="bayesian", seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(one.r2star_per_s, other.r2star_per_s)
    ratio = (one.r2star_sd_per_s / other.r2star_sd_per_s)[one.valid]
    assert 0.9 < np.median(ratio) < 1.1
    assert ratio.std() > 0


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True])
def test_a_seed_of_the_wrong_kind_is_named(seed):
    with pytest.raises(ValueError, match="seed"):
        fit_t2star(exam()[1], T, method="bayesian", seed=seed)


def test_only_the_bayesian_method_has_a_seed():
    with pytest.raises(ValueError, match="bayesian"):
        fit_t2star(exam()[1], T, seed=1)


def test_lone_decays_have_no_neighbours_and_can_be_fitted_again():
    decays = np.stack([100 * np.exp(-T / t) for t in (4.0, 8.0)])
    fit = fit_t2star(decays, T, method="bayesian")
    assert fit.parameters["method"] == "nls"
    np.testing.assert_array_equal(fit_t2star(decays, **fit.parameters).r2star_per_s, fit.r2star_per_s)


def test_the_scale_of_the_signal_and_the_unit_of_time_divide_out():
    _, image = exam(seed=5)
    one = fit_t2star(image, T, method="bayesian")
    other = fit_t2star(4 * image, T / 16, method="bayesian")
    np.testing.assert_allclose(other.r2star_per_s / 16, one.r2star_per_s, rtol=1e-4)
    np.testing.assert_allclose(other.s0, 4 * one.s0, rtol=1e-4)


def test_distance_between_voxels_counts():
    field = Field.of(np.ones((4, 4), bool), (2.0, 0.5), np.float64)
    assert field.steps.ravel().tolist() == [4.0, 0.25]


def test_a_flat_image_becomes_flatter_than_its_noise():
    rng = np.random.default_rng(6)
    clean = (40 * np.exp(-2.0 * T / T[-1]))[:, None] * np.ones(24 * 24)
    likelihood = MonoExponential(
        np.hypot(clean + rng.standard_normal(clean.shape), rng.standard_normal(clean.shape)), T / T[-1], 0.0
    )
    start = np.stack([np.full((24, 24), 30.0), np.full((24, 24), 1.5)])
    found = posterior(likelihood, start, Where(np.ones((24, 24), bool), (1.0, 1.0), (1e-4, 60.0)))
    single = cramer_rao(np.full(1, 40.0), np.full(1, 2.0), T / T[-1], 1)[1][0]
    assert found.converged, found.verdict
    assert found.x[1].mean() == pytest.approx(2.0, abs=0.02)
    assert found.x[1].std() < 0.15 * single
