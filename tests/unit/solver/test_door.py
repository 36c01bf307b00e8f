"""What may be handed to the solver, and what comes back: shapes, names, an earlier result's parameters."""

import json
import re

import numpy as np
import pytest
import xarray

from solver import arguments, fit_t2star
from solver.phantom import PAPER_ECHO_TIMES_MS, Receiver, acquire, paper_images

T = np.array(PAPER_ECHO_TIMES_MS)
MAPS = ("s0", "t2star_ms", "r2star_per_s", "r2star_sd_per_s", "at_least_r2star_per_s", "valid", "beyond")


def decays(t2star_ms, *, s0=300.0, sigma=3.0, seed=0):
    rng = np.random.default_rng(seed)
    clean = s0 * np.exp(-T / np.asarray(t2star_ms)[..., None])
    return np.hypot(clean + sigma * rng.standard_normal(clean.shape), sigma * rng.standard_normal(clean.shape))


def abdomen(seed=3):
    return acquire(paper_images((48, 48)), PAPER_ECHO_TIMES_MS, Receiver(5.0), np.random.default_rng(seed))[:2]


def assert_same(one, other):
    for name in MAPS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.parameters == other.parameters


def test_one_decay_has_one_answer():
    fit = fit_t2star(decays(8.0), T)
    assert fit.t2star_ms.shape == ()
    assert fit.valid
    assert float(fit.t2star_ms) == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("method", ["admm", "nls", "bayesian", "learned", "lm-published"])
def test_decays_in_a_list_do_not_know_of_each_other(method):
    truth = np.array([2.0, 25.0, 4.0, 12.0, 8.0])
    signal = decays(truth)
    together = fit_t2star(signal, T, method=method, sigma=3.0, n_coils=1)
    alone = [fit_t2star(one, T, method=method, sigma=3.0, n_coils=1) for one in signal]
    for name in MAPS:  # all stop together, so the last digits differ
        np.testing.assert_allclose(getattr(together, name), [getattr(one, name) for one in alone], rtol=1e-3)


def test_a_decay_beyond_the_range_is_so_by_itself():
    fit = fit_t2star(decays([2.0, 25.0, 4.0, 0.9, 12.0, 8.0]), T, sigma=3.0, n_coils=1)
    assert fit.valid.tolist() == [True, True, True, False, True, True]
    assert fit.beyond.tolist() == (~fit.valid).tolist()
    assert 0 < fit.at_least_r2star_per_s[3] < 1000 / 0.9


def test_a_list_of_decays_is_masked_and_weighted_one_by_one():
    signal = decays([8.0, 8.0, 8.0])
    fit = fit_t2star(signal, T, mask=[True, False, True], sigma=[3.0, 3.0, 30.0], n_coils=1)
    assert fit.valid.tolist() == [True, False, True]
    assert fit.r2star_sd_per_s[2] > 5 * fit.r2star_sd_per_s[0]
    assert fit.sigma_map.tolist() == [3.0, 3.0, 30.0]


def test_many_decays_tell_their_noise():
    fit = fit_t2star(decays(np.linspace(3, 20, 500)), T)
    assert fit.sigma == pytest.approx(3.0, rel=0.15)


def test_two_echoes_of_a_decay_do_not_tell_the_noise():
    with pytest.raises(ValueError, match="sigma must be given"):
        fit_t2star(decays(8.0)[:2], T[:2])
    assert fit_t2star(decays(8.0)[:2], T[:2], sigma=3.0, n_coils=1).valid


def test_what_makes_neighbours_alike_needs_neighbours():
    with pytest.raises(ValueError, match="admm-published"):
        fit_t2star(decays([8.0, 9.0]), T, method="admm-published")


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"method": "nls", "noise": "first-moment"},
        {"method": "nls", "noise": "second-moment"},
        {"weights": (10, 1e4), "spacing": (1.2, 1.7)},
        {"method": "learned"},
        {"sigma": 5.0},
        {"n_coils": 2},
        {"sigma": 5.0, "n_coils": 1, "model": "offset"},
        {"method": "lm-published", "start": (50.0, 0.05), "maximum_iterations": np.int64(40)},
        {"method": "admm-published", "maximum_iterations": 3, "weights": (1e-5, 1e-5)},
    ],
)
def test_the_parameters_of_a_result_make_it_again(how):
    image = abdomen()
    fit = fit_t2star(image, T, **how)
    assert_same(fit_t2star(image, **json.loads(json.dumps(fit.parameters))), fit)


def test_a_sigma_that_was_found_to_vary_is_found_again():
    rng = np.random.default_rng(4)
    sigma = np.linspace(4, 12, 96)[:, None, None]
    clean = 400 * np.exp(-T / 6) * np.ones((96, 96, 1))
    image = np.hypot(*(part + sigma * rng.standard_normal(clean.shape) for part in (clean, 0)))
    fit = fit_t2star(image, T)
    assert fit.parameters["sigma_varies"]
    assert_same(fit_t2star(image, **fit.parameters), fit)
    with pytest.raises(ValueError, match="sigma varied over the image"):
        fit_t2star(image[:, :64], **fit.parameters)


def test_a_sigma_that_was_given_for_each_voxel_is_asked_for_again():
    image, sigma = abdomen(), np.full((48, 48), 5.0)
    sigma[:24] = 6.0
    fit = fit_t2star(image, T, sigma=sigma)
    with pytest.raises(ValueError, match="sigma was given for each voxel"):
        fit_t2star(image, **fit.parameters)
    assert_same(fit_t2star(image, **(fit.parameters | {"sigma": sigma})), fit)


def test_findings_without_their_sigma_are_refused():
    with pytest.raises(ValueError, match="noise_source"):
        fit_t2star(abdomen(), T, noise_source="air")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("regularizer", "regulariser"),
        ("metod", "method"),
        ("field_strength", "field_strength_t"),
        ("B0", "field_strength_t"),
        ("lambdas", "weights"),
        ("voxel_size", "spacing"),
        ("coils", "n_coils"),
        ("n_jobs", "threads"),
        ("TE", "echo_times_ms"),
    ],
)
def test_a_wrong_keyword_is_answered_with_the_right_one(wrong, right):
    with pytest.raises(ValueError, match=f"^{wrong}: .* did you mean '{right}'\\?"):
        fit_t2star(decays(8.0), T, **{wrong: 1.0})


def test_a_keyword_that_resembles_none_gets_no_suggestion():
    with pytest.raises(ValueError, match=r"^bananas: fit_t2star has no such argument$"):
        fit_t2star(decays(8.0), T, bananas=1.0)


def test_a_hyperparameter_of_another_method_names_whose_it_is():
    with pytest.raises(
        ValueError, match=re.escape("gradient_steps: only method=\"admm-published\" has it, not 'admm'")
    ):
        fit_t2star(abdomen(), T, gradient_steps=3)


def test_a_wrong_value_is_answered_with_the_right_one():
    with pytest.raises(ValueError, match="did you mean 'rician'"):
        fit_t2star(decays(8.0), T, noise="Ricean")


def test_every_suggestion_is_an_argument():
    assert set(arguments.ALSO_CALLED.values()) <= {*fit_t2star.__kwdefaults__, "echo_times_ms"}


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "s: multiply"), (1e3, "µs: divide")])
def test_echo_times_that_cannot_be_ms_are_refused_with_their_unit(factor, unit):
    with pytest.raises(ValueError, match=f"echo_times_ms must be in ms.*look like {unit}"):
        fit_t2star(decays(8.0), T * factor)


def named(image, dims=("slice", "row", "column", "echo")):
    coordinates = {"slice": [4.0, 9.0], "echo": T, "patient": "nobody"}
    return xarray.DataArray(image, dims=("slice", "row", "column", "echo"), coords=coordinates).transpose(*dims)


@pytest.mark.parametrize("dims", [("slice", "row", "column", "echo"), ("echo", "slice", "row", "column")])
def test_named_dimensions_go_in_and_come_out(dims):
    image = named(abdomen(), dims)
    fit = fit_t2star(image, image.echo)
    assert fit.t2star_ms.dims == ("slice", "row", "column")
    assert fit.t2star_ms.coords["slice"].values.tolist() == [4.0, 9.0]
    assert "echo" not in fit.t2star_ms.coords
    assert (fit.t2star_ms.name, fit.t2star_ms.attrs["units"]) == ("t2star_ms", "ms")
    np.testing.assert_array_equal(fit.t2star_ms.values, fit_t2star(abdomen(), T).t2star_ms)
    assert xarray.Dataset({name: getattr(fit, name) for name in MAPS}).sizes == {"slice": 2, "row": 48, "column": 48}


def test_a_mask_and_a_sigma_are_matched_by_their_names():
    image, columns = named(abdomen()), np.arange(48)
    mask = xarray.DataArray(columns < 20, dims="column")
    sigma = xarray.DataArray(np.full((48, 2), 5.0), dims=("row", "slice"))
    fit = fit_t2star(image, T, mask=mask, sigma=sigma, n_coils=1)
    assert fit.valid.isel(column=slice(0, 20)).mean() > 0.9
    assert not fit.valid.isel(column=slice(20, None)).any()
    assert fit.sigma_map.dims == image.dims[:3]


def test_a_named_decay_has_a_named_answer():
    fit = fit_t2star(named(abdomen()).isel(slice=0, row=3, column=4), T)
    assert fit.t2star_ms.dims == ()
    assert float(fit.t2star_ms) > 0
