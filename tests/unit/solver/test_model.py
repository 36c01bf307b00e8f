import numpy as np
import pytest

from solver.model import check_fat_water, signal_model

T = np.array([0.05, 0.2, 0.33, 0.5, 0.71, 0.9, 1.0])
CASES = {"mono-exponential": [], "offset": [0.1], "bi-exponential": [0.3, 0.25], "fat-water": [0.2], "truncation": []}


@pytest.mark.parametrize("name", CASES)
def test_jacobian_agrees_with_finite_differences(name):
    model = signal_model(name, 3.0, 14.0)
    parameters = np.array([120.0, 3.0, *CASES[name]])[:, None] * np.array([[1.0, 0.9, 1.3]])

    def value(p):
        return model.evaluate(p[0], p[1], p[2:], T)[0]

    jacobian = model.evaluate(parameters[0], parameters[1], parameters[2:], T)[1]
    for k, row in enumerate(jacobian):
        step = np.zeros_like(parameters)
        step[k] = 1e-6 * np.abs(parameters[k])
        numeric = (value(parameters + step) - value(parameters - step)) / (2 * step[k])
        np.testing.assert_allclose(row, numeric, rtol=1e-6, atol=1e-6)


def test_without_fat_and_without_a_second_decay_there_is_one_exponential():
    a, r = np.array([100.0]), np.array([2.0])
    plain = signal_model("mono-exponential", None, 1.0).evaluate(a, r, np.empty((0, 1)), T)[0]
    for name, none in (("fat-water", [[0.0]]), ("bi-exponential", [[0.0], [0.3]]), ("offset", [[0.0]])):
        np.testing.assert_allclose(signal_model(name, 3.0, 14.0).evaluate(a, r, np.array(none), T)[0], plain)


@pytest.mark.parametrize(
    ("times", "field", "argument"),
    [
        (np.linspace(1, 12, 12), None, "field_strength_t"),
        (np.linspace(1, 5, 5), 3.0, "echo_times_ms"),
        (2.3 * np.arange(1, 9), 3.0, "echo_times_ms"),
        (4.61 * np.arange(1, 9), 1.5, "echo_times_ms"),
    ],
)
def test_fat_that_cannot_be_told_apart_is_refused_by_name(times, field, argument):
    with pytest.raises(ValueError, match=argument):
        check_fat_water(times, field)
