"""The paper's methods as printed fail where its errata say so; as corrected they find the truth."""

import numpy as np
import pytest

from solver import phantom, published
from solver.phantom import PAPER_ECHO_TIMES_MS, PAPER_S0, PAPER_T2STAR_MS
from solver.published import fit_admm, fit_levenberg_marquardt

T = np.array(PAPER_ECHO_TIMES_MS)
# B, Table 1: absolute error of a and of T2* in ms
TABLE_1 = [(0.1994, 0.0113), (0.0051, 0.0004), (0.0071, 0.0007), (0.0027, 0.0003)]


def uniform(s0, t2star_ms, shape=(4, 4)):
    return np.broadcast_to(s0 * np.exp(-T / t2star_ms), (*shape, T.size)).copy()


def noisy(s0=300.0, t2star_ms=10.0, sigma=5.0, shape=(12, 12), seed=1):
    rng = np.random.default_rng(seed)
    return phantom.add_gaussian(uniform(s0, t2star_ms, shape), sigma, rng)


def problem(s, lambda_=10.0, mu=1.0, eta=1e-8):
    return published.Problem(s, T, lambda_, lambda_, eta, mu, gradient_steps=10)


def printed_dual(d, a, g):
    return d - (g - a)


@pytest.mark.parametrize("mu", [0.1, 1.0, 10.0])
def test_erratum_1_the_printed_dual_diverges_and_the_corrected_one_does_not(mu):
    given = problem(noisy(), mu=mu)
    start = published.admm_start(given, published.START)
    printed = published.run_admm(given, start, 1e-6, 120, printed_dual)
    corrected = published.run_admm(given, start, 1e-6, 120)
    truth = published.objective_of(given, np.full((12, 12), 300.0), np.full((12, 12), 0.1))
    assert not printed.converged
    assert printed.objective[-1] > 10 * truth or not np.isfinite(printed.objective[-1])
    assert corrected.objective[-1] < 1.2 * truth


def test_erratum_2_the_problem_is_not_convex():
    given = problem(uniform(455.0, 20.0), lambda_=0.0)
    loss = [published.objective_of(given, np.full((4, 4), 455.0), np.full((4, 4), r)) for r in (0.05, 5.0, 2.525)]
    assert loss[2] > 1.9 * (loss[0] + loss[1]) / 2


@pytest.mark.parametrize("fit", [fit_admm, fit_levenberg_marquardt])
def test_erratum_3_there_is_one_estimate_per_voxel_not_per_measurement(fit):
    found = fit(uniform(155.0, 5.0, (3, 5)), T, maximum_iterations=2)
    assert found.s0.shape == found.r2star_per_ms.shape == (3, 5)


def test_erratum_4_twelve_channels_do_not_fit_the_eight_echo_times():
    with pytest.raises(ValueError, match=r"echo_times_ms.*12"):
        fit_admm(np.ones((32, 32, 12)), T)
    assert phantom.signal(phantom.paper_images(), T).shape == (4, 32, 32, 8)


def test_erratum_4_the_echo_times_are_not_evenly_spaced():
    steps = np.diff(T)
    assert steps.max() > 1.2 * steps.min()


def test_erratum_5_eta_diverges_when_intensities_are_four_times_as_large():
    s = uniform(455.0, 20.0)
    assert fit_admm(s, T, maximum_iterations=30).r2star_per_ms == pytest.approx(0.05, rel=1e-3)
    printed = fit_admm(4 * s, T, maximum_iterations=30)
    rescaled = fit_admm(4 * s, T, eta=1e-8 / 16, mu=1.6, start=(400.0, 0.2), maximum_iterations=30)
    assert not np.allclose(printed.r2star_per_ms, 0.05, rtol=0.1)
    assert rescaled.r2star_per_ms == pytest.approx(0.05, rel=1e-3)


def test_erratum_5_a_voxel_of_3_ms_needs_thousands_of_gradient_steps():
    fast = {"lambda1": 0.0, "lambda2": 0.0, "mu": 1e-3, "tolerance": 1e-12}
    after = [
        fit_admm(uniform(300.0, 3.0), T, maximum_iterations=n, **fast).r2star_per_ms[0, 0] * 3 for n in (200, 2500)
    ]
    assert after[0] < 0.99
    assert after[1] == pytest.approx(1, abs=1e-3)


def test_erratum_5_the_printed_lambda_regularises_nothing():
    with_printed = fit_admm(noisy(), T, maximum_iterations=60)
    without = fit_admm(noisy(), T, lambda1=0, lambda2=0, maximum_iterations=60)
    np.testing.assert_allclose(with_printed.r2star_per_ms, without.r2star_per_ms, rtol=1e-4)


@pytest.mark.parametrize("start", [published.START, published.OTHER_START])
@pytest.mark.parametrize("eta", [1e-3, 1.0, 1e4])
def test_erratum_6_fixed_damping_fails_and_adaptive_damping_converges(start, eta):
    s = phantom.signal(phantom.paper_images((1, 1)), T)
    a, r = (np.full(s.shape[:-1], x) for x in start)
    with np.errstate(all="ignore"):
        for _ in range(500):
            a, r = published.lm_update(s, T, published.LmState(a, r, np.full_like(a, eta), a))
    adaptive = fit_levenberg_marquardt(s, T, start=start, eta=eta)
    truth = np.array(PAPER_S0)[:, None, None]
    assert not np.allclose(a, truth, rtol=0.01)
    assert adaptive.converged
    np.testing.assert_allclose(adaptive.s0, truth, rtol=1e-5)


def test_equation_8_is_right_as_printed():
    rng = np.random.default_rng(3)
    given = problem(noisy(shape=(3, 3)), mu=50.0)
    size = (3, 3)
    a, r, f, d = 300 + rng.normal(size=size), 0.1 + 0.01 * rng.normal(size=size), rng.normal(size=size), np.ones(size)
    state = published.AdmmState(a, r, a, f, d, d)

    def loss(rate):  # eq. 7 voxel by voxel
        misfit = given.s - a[..., None] * np.exp(-rate[..., None] * T)
        return 0.5 * (misfit**2).sum(-1) + given.mu / 2 * (rate - f - d) ** 2

    numeric = (loss(r + 1e-6) - loss(r - 1e-6)) / 2e-6
    np.testing.assert_allclose(published.r_gradient(given, state, r), numeric, rtol=1e-5)


def test_equation_6_minimises_over_the_intercept():
    given = problem(noisy(shape=(3, 3)), mu=2.0)
    start = published.admm_start(given, (200.0, 0.12))
    best = published.a_step(given, start)

    def loss(a):  # eq. 5 voxel by voxel
        misfit = given.s - a[..., None] * np.exp(-start.r[..., None] * T)
        return 0.5 * (misfit**2).sum(-1) + given.mu / 2 * (a - start.g - start.d1) ** 2

    assert (loss(best) <= np.minimum(loss(best + 1e-3), loss(best - 1e-3))).all()


def test_equations_15_and_16_step_along_the_derivatives():
    s = noisy(shape=(2, 2))
    a, r, eta, h = np.full((2, 2), 250.0), np.full((2, 2), 0.12), np.full((2, 2), 10.0), 1e-4

    def loss(a, r):
        return published.lm_loss(s, T, a, r)

    new_a, new_r = published.lm_update(s, T, published.LmState(a, r, eta, loss(a, r)))
    first = (loss(a, r + h) - loss(a, r - h)) / (2 * h)
    second = (loss(a, r + h) - 2 * loss(a, r) + loss(a, r - h)) / h**2
    np.testing.assert_allclose(new_r - r, -first / (second + eta), rtol=1e-4)
    first = (loss(a + 1, r) - loss(a - 1, r)) / 2
    second = loss(a + 1, r) - 2 * loss(a, r) + loss(a - 1, r)
    np.testing.assert_allclose(new_a - a, -first / (second + eta), rtol=1e-6)


@pytest.mark.parametrize("image", range(4))
def test_noise_free_estimates_are_closer_to_the_truth_than_table_1(image):
    s0, t2star_ms = PAPER_S0[image], PAPER_T2STAR_MS[image]
    found = fit_admm(uniform(s0, t2star_ms, (2, 2)), T)
    error_s0, error_t2star = TABLE_1[image]
    assert found.converged
    assert abs(found.s0.mean() - s0) < error_s0 / 3
    assert abs((1 / found.r2star_per_ms).mean() - t2star_ms) < error_t2star / 3


def test_regularisation_lowers_the_spread_that_least_squares_leaves():
    s = noisy(455.0, 20.0, 10.0)
    smooth = fit_admm(s, T, lambda1=100, lambda2=100, mu=1.0, maximum_iterations=100)
    plain = fit_levenberg_marquardt(s, T)
    assert (1 / smooth.r2star_per_ms).std() < 0.7 * (1 / plain.r2star_per_ms).std()


def test_both_starts_of_levenberg_marquardt_reach_the_same_minimum():
    first, second = (fit_levenberg_marquardt(noisy(), T, start=s) for s in (published.START, published.OTHER_START))
    np.testing.assert_allclose(first.r2star_per_ms, second.r2star_per_ms, rtol=1e-3)


def test_levenberg_marquardt_never_raises_its_objective():
    assert (np.diff(fit_levenberg_marquardt(noisy(), T).objective) <= 1e-9).all()


@pytest.mark.parametrize("fit", [fit_admm, fit_levenberg_marquardt])
def test_a_non_finite_iterate_stops_with_a_verdict(fit):
    found = fit(1e200 * uniform(455.0, 20.0), T)
    assert "not finite" in found.verdict
    assert not found.converged
    assert found.iterations == len(found.objective) < 100


def test_slices_are_fitted_as_if_alone():
    s = np.stack([noisy(seed=1), noisy(seed=2)])
    together = fit_admm(s, T, lambda1=10, lambda2=10, maximum_iterations=20, tolerance=1e-12)
    alone = fit_admm(s[1], T, lambda1=10, lambda2=10, maximum_iterations=20, tolerance=1e-12)
    np.testing.assert_allclose(together.r2star_per_ms[1], alone.r2star_per_ms)


def test_a_voxel_without_signal_gets_no_intercept_and_stops_nothing():
    s = uniform(155.0, 5.0)
    s[0, 0] = 0
    found = fit_levenberg_marquardt(s, T)
    assert found.s0[0, 0] == pytest.approx(0, abs=1e-6)
    assert found.s0[1, 1] == pytest.approx(155, rel=1e-5)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ({"signal": np.ones((4, 4))}, "signal"),
        ({"signal": np.full((4, 4, 8), np.nan)}, "signal"),
        ({"echo_times_ms": T[:7]}, "echo_times_ms"),
        ({"eta": 0.0}, "eta"),
        ({"mu": -1.0}, "mu"),
        ({"lambda1": -1.0}, "lambda1"),
    ],
)
def test_what_cannot_be_fitted_is_named(fault, name):
    arguments = {"signal": uniform(155.0, 5.0), "echo_times_ms": T} | fault
    with pytest.raises(ValueError, match=name):
        fit_admm(**arguments)
