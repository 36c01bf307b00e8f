import numpy as np
import pytest

from solver.likelihood import MonoExponential, Profiled
from solver.model import signal_model
from solver.noise import GAUSSIAN, expected_magnitude

T = np.linspace(0.1, 1.0, 10)
RNG = np.random.default_rng(0)
X = np.stack([RNG.uniform(20, 80, 50), RNG.uniform(0.5, 6, 50)])
S = np.abs(X[0] * np.exp(-X[1] * T[:, None]) + RNG.standard_normal((10, 50)))


def numeric_gradient(likelihood, x, h=1e-4):
    steps = np.eye(2)[:, :, None] * h
    return np.stack([(likelihood.terms(x + d)[0] - likelihood.terms(x - d)[0]) / (2 * h) for d in steps])


@pytest.mark.parametrize("order", [GAUSSIAN, 0.0, 7.0])
def test_gradient_of_the_fast_likelihood_is_its_derivative(order):
    likelihood = MonoExponential(S, T, order)
    np.testing.assert_allclose(likelihood.terms(X * 1.02)[1:3], numeric_gradient(likelihood, X * 1.02), atol=2e-3)


@pytest.mark.parametrize(("name", "share"), [("mono-exponential", 1.0), ("offset", 0.9), ("fat-water", 0.9)])
def test_gradient_of_a_profiled_model_is_its_derivative(name, share):
    likelihood = Profiled(S, T, 0.0, signal_model(name, 3.0, 12.0), np.ones(S.shape, bool))
    gradient, numeric = likelihood.terms(X * 1.01)[1:3], numeric_gradient(likelihood, X * 1.01)
    # Further parameters stop where they are good enough, not where they are exact: most voxels, not all.
    assert np.isclose(gradient, numeric, rtol=0.05, atol=0.05).mean() >= share


def test_the_fast_and_the_general_likelihood_are_one():
    fast = MonoExponential(S, T, 0.0)
    general = Profiled(S, T, 0.0, signal_model("mono-exponential", None, 1.0), np.ones(S.shape, bool))
    np.testing.assert_allclose(fast.terms(X), general.terms(X), rtol=1e-9)


def test_samples_that_are_not_used_say_nothing():
    use = np.ones(S.shape, bool)
    use[6:] = False
    model = signal_model("truncation", None, 1.0)
    cut = Profiled(S, T, 0.0, model, use).terms(X)
    short = Profiled(S[:6], T[:6], 0.0, model, use[:6]).terms(X)
    np.testing.assert_allclose(cut, short)


@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize("name", ["mono-exponential", "truncation"])
def test_least_squares_on_a_moment_has_a_true_gradient(moment, name):
    model = signal_model(name, None, 1.0)
    likelihood = Profiled(S, T, 0.0, model, np.ones(S.shape, bool), moment)
    np.testing.assert_allclose(likelihood.terms(X)[1:3], numeric_gradient(likelihood, X), atol=2e-4)


@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize("order", [0.0, 7.0])
def test_a_moment_that_is_met_leaves_nothing(moment, order):
    clean = X[0] * np.exp(-X[1] * T[:, None])
    met = expected_magnitude(clean, order + 1)[0] if moment == 1 else np.sqrt(clean**2 + 2 * (order + 1))
    model = signal_model("mono-exponential", None, 1.0)
    terms = Profiled(met, T, order, model, np.ones(S.shape, bool), moment).terms(X)
    np.testing.assert_allclose(terms[:3], 0, atol=1e-9)
