import numpy as np
import pytest
from scipy.special import ndtr

from solver.mixture import Mixture

RNG = np.random.default_rng(4)
WEIGHT = RNG.dirichlet([1, 1, 1], 200).T
MIXTURE = Mixture(WEIGHT, RNG.normal(0, 0.5, (3, 200)), RNG.uniform(0.01, 0.6, (3, 200)))


@pytest.mark.parametrize("q", [1e-4, 0.025, 0.5, 0.9, 0.999])
def test_a_quantile_has_its_share_of_the_mixture_below(q):
    x = MIXTURE.quantile(q)
    below = np.sum(MIXTURE.weight * ndtr((x - MIXTURE.mean) / MIXTURE.sd), axis=0)
    np.testing.assert_allclose(below, q, rtol=1e-3)


def test_the_distance_from_the_median_is_that_of_many_draws():
    one = Mixture(np.array([[0.3], [0.7]]), np.array([[1.0], [1.4]]), np.array([[0.1], [0.3]]))
    median = one.quantile(0.5)
    first = np.random.default_rng(0).random(400_000) < 0.3
    x = np.where(first, 1.0, 1.4) + np.where(first, 0.1, 0.3) * np.random.default_rng(1).standard_normal(400_000)
    drawn = np.sqrt(np.mean((np.exp(x) - np.exp(median)) ** 2))
    assert one.rms_about(median)[0] == pytest.approx(drawn, rel=0.01)


def test_an_independent_error_adds_its_square():
    wider = MIXTURE.widened(np.full(200, 0.3))
    np.testing.assert_allclose(wider.sd**2, MIXTURE.sd**2 + 0.09)
