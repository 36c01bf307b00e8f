import numpy as np
import pytest

from solver.decay import Magnitudes, Model, fit_decay
from solver.noise import median_magnitude

SIGMA = 2.0
TRAINS = {"1.5 T": (1.5, 1.1 + 1.2 * np.arange(12)), "3 T": (3.0, 1.0 + 1.35 * np.arange(8))}


def signs(times):
    return (-1.0) ** np.arange(len(times))


def magnitudes(times, rate, model, further, n_coils=1.0):
    clean = 200.0 * np.exp(-rate * times / 1000) * model.shape(times, np.array(further))[0]
    return SIGMA * median_magnitude(clean / SIGMA, n_coils)[0]


@pytest.mark.parametrize("train", TRAINS)
@pytest.mark.parametrize("rate", [30.0, 120.0, 400.0])
@pytest.mark.parametrize("n_coils", [1.0, 4.0])
def test_fat_and_alternation_are_both_told_down_into_the_floor(train, rate, n_coils):
    field, times = TRAINS[train]
    model = Model(field, signs(times))
    found = fit_decay(
        Magnitudes(magnitudes(times, rate, model, (0.1, 0.04), n_coils), times, SIGMA, n_coils), model, (150.0, 80.0)
    )
    assert found.rate_per_s == pytest.approx(rate, rel=1e-3)
    assert found.further == pytest.approx((0.1, 0.04), abs=1e-3)
    assert found.cost < 1e-6


@pytest.mark.parametrize("swing", [0.02, 0.06])
def test_one_exponential_is_wrong_where_echoes_alternate(swing):
    times = 1.2 + 1.5 * np.arange(6)
    measured = Magnitudes(magnitudes(times, 60.0, Model(None, signs(times)), (swing,)), times, SIGMA, 1.0)
    plain = fit_decay(measured, Model(), (150.0, 80.0))
    told = fit_decay(measured, Model(None, signs(times)), (150.0, 80.0))
    assert abs(plain.rate_per_s / 60.0 - 1) > 0.1 * swing
    assert told.rate_per_s == pytest.approx(60.0, rel=1e-3)
    assert told.cost < 0.01 * plain.cost


def test_a_model_that_knows_more_is_never_the_worse_one():
    times = TRAINS["1.5 T"][1]
    noisy = np.abs(magnitudes(times, 90.0, Model(), ()) + np.random.default_rng(3).normal(0, 1, len(times)))
    measured = Magnitudes(noisy, times, SIGMA, 1.0)
    costs = [
        fit_decay(measured, model, (150.0, 80.0)).cost for model in (Model(), Model(1.5), Model(1.5, signs(times)))
    ]
    assert costs[0] >= costs[1] - 1e-6 >= costs[2] - 2e-6


def test_what_rises_has_no_rate_to_speak_of():
    times = TRAINS["1.5 T"][1]
    found = fit_decay(Magnitudes(np.linspace(100, 200, 12), times, SIGMA, 1.0), Model(), (100.0, 10.0))
    assert found is None or found.rate_per_s < 1e-3


def test_too_few_echoes_for_the_parameters_have_no_fit():
    times = TRAINS["1.5 T"][1][:3]
    assert fit_decay(Magnitudes(np.ones(3), times, SIGMA, 1.0), Model(1.5, signs(times)), (100.0, 10.0)) is None


def test_a_swing_of_fat_that_is_none_is_not_seen():
    field, times = TRAINS["3 T"]
    found = fit_decay(
        Magnitudes(magnitudes(times, 100.0, Model(), ()), times, SIGMA, 1.0), Model(field), (180.0, 100.0)
    )
    assert found.rate_per_s == pytest.approx(100)
    assert found.further == pytest.approx((0.0,), abs=1e-3)
