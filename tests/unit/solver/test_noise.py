import numpy as np
import pytest
from scipy import special

from solver.likelihood import _each_sample
from solver.noise import (
    GAUSSIAN,
    difference_sigma,
    expected_magnitude,
    information_table,
    magnitude_variance,
    mean_of_noise,
    median_magnitude,
    tabled_magnitude,
)


def chi(signal, n_coils, rng):
    along = signal + rng.standard_normal(np.shape(signal))
    return np.sqrt(along**2 + rng.chisquare(2 * n_coils - 1, np.shape(signal)))


def terms(s, mean, order):
    out = np.empty((3, s.size))
    _each_sample(s, mean, float(order), out)
    return out


@pytest.mark.parametrize("order", [0, 0.5, 1, 3, 7, 31])
def test_likelihood_follows_the_bessel_function(order):
    rng = np.random.default_rng(0)
    s, mean = rng.uniform(0.1, 60, 400), rng.uniform(0.1, 60, 400)
    exact = 0.5 * (mean - s) ** 2 + order * np.log(mean) - np.log(special.ive(order, s * mean))
    value = terms(s, mean, order)[0]
    reference = terms(s, np.full_like(s, 5.0), order)[0]
    exact_reference = 0.5 * (5 - s) ** 2 + order * np.log(5) - np.log(special.ive(order, 5 * s))
    np.testing.assert_allclose(value - reference, exact - exact_reference, atol=2e-5)


@pytest.mark.parametrize("order", [GAUSSIAN, 0, 1, 7])
def test_slope_is_the_derivative_of_the_value(order):
    rng = np.random.default_rng(1)
    s, mean, h = rng.uniform(0.1, 20, 300), rng.uniform(0.5, 20, 300), 1e-4
    numeric = (terms(s, mean + h, order)[0] - terms(s, mean - h, order)[0]) / (2 * h)
    np.testing.assert_allclose(terms(s, mean, order)[1], numeric, atol=2e-5)


@pytest.mark.parametrize("order", [GAUSSIAN, 0, 7])
def test_curvature_is_positive(order):
    s, mean = np.meshgrid(np.linspace(0, 30, 40), np.linspace(0.01, 30, 40))
    assert terms(s.ravel(), mean.ravel(), order)[2].min() > 0


@pytest.mark.parametrize("n_coils", [1, 2, 8])
def test_expected_magnitude_agrees_with_a_simulation(n_coils):
    rng = np.random.default_rng(2)
    signal = np.array([0.0, 1.0, 3.0, 40.0])
    sample = chi(np.repeat(signal, 40_000).reshape(4, -1), n_coils, rng).mean(axis=1)
    value, _ = expected_magnitude(signal, n_coils)
    np.testing.assert_allclose(value, sample, atol=0.02)
    assert mean_of_noise(n_coils) == pytest.approx(value[0])


@pytest.mark.parametrize("n_coils", [1, 4])
def test_information_is_the_variance_of_the_score(n_coils):
    rng = np.random.default_rng(3)
    signal = np.array([0.5, 2.0, 6.0, 12.0])
    for a in signal:
        score = terms(chi(np.full(60_000, a), n_coils, rng), np.full(60_000, a), n_coils - 1)[1]
        assert information_table(float(n_coils))[int(8 * a)] == pytest.approx(np.var(score), rel=0.05)


@pytest.mark.parametrize("n_coils", [0, 1, 4])
def test_the_variance_of_a_magnitude_agrees_with_a_simulation(n_coils):
    rng = np.random.default_rng(9)
    signal = np.array([0.0, 1.0, 3.0, 29.0, 31.0, 1e6])
    wide = np.repeat(signal, 60_000).reshape(signal.size, -1)
    sample = chi(wide, n_coils, rng) if n_coils else wide + rng.standard_normal(wide.shape)
    np.testing.assert_allclose(magnitude_variance(signal, n_coils), sample.var(axis=1), rtol=0.03)


def test_differences_tell_the_noise_of_a_smooth_image():
    image = (
        100 + np.add.outer(np.arange(60.0), np.arange(60.0)) + 3 * np.random.default_rng(7).standard_normal((60, 60))
    )
    assert difference_sigma(image[None], np.ones(image.shape, bool)) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("sigma", [0.4, 0.8, 3.0])
def test_differences_of_whole_numbers_follow_the_noise(sigma):
    rng = np.random.default_rng(8)
    image = np.round(100 + np.arange(80.0) * 0.3 + sigma * rng.standard_normal((80, 80)))
    expected = np.hypot(sigma, 12**-0.5)
    assert difference_sigma(image[None], np.ones(image.shape, bool), 2) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("n_coils", [1, 2, 8])
@pytest.mark.parametrize("signal", [0.0, 0.7, 3.0, 12.0, 40.0])
def test_the_median_magnitude_is_that_of_many_draws_and_its_slope_is_its_own(n_coils, signal):
    draws = np.random.default_rng(2).standard_normal((100_000, 2 * n_coils))
    draws[:, 0] += signal
    value, slope = (part[0] for part in median_magnitude(np.array([signal]), n_coils))
    assert value == pytest.approx(np.median(np.linalg.norm(draws, axis=1)), abs=0.01)
    ahead, _ = median_magnitude(np.array([signal + 0.1]), n_coils)
    assert ahead[0] - value == pytest.approx(0.1 * slope, abs=0.005)


@pytest.mark.parametrize("n_coils", [0.0, 1.0, 2.0, 5.5])
def test_the_table_of_magnitudes_is_what_it_tables(n_coils):
    signal = np.linspace(0.0, 60.0, 4001)
    expected, variance = tabled_magnitude(signal, n_coils)
    np.testing.assert_allclose(expected, expected_magnitude(signal, n_coils)[0], atol=5e-5)
    np.testing.assert_allclose(variance, magnitude_variance(signal, n_coils), atol=3e-4)
