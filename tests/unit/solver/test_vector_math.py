import numpy as np
import pytest

from solver.vector_math import exp_of, log_of


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_exponential_agrees_with_the_library(dtype, tolerance):
    x = np.linspace(-80, 80, 10_001).astype(dtype)
    out = np.empty_like(x)
    exp_of(x, out)
    np.testing.assert_allclose(out, np.exp(x.astype(np.float64)), rtol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_logarithm_agrees_with_the_library(dtype, tolerance):
    x = np.geomspace(1e-30, 1e30, 10_001).astype(dtype)
    out = np.empty_like(x)
    log_of(x, out)
    np.testing.assert_allclose(out, np.log(x.astype(np.float64)), rtol=tolerance, atol=tolerance)
