import json

import numpy as np
import pytest
from scipy.optimize import least_squares

from solver import fit_t2star
from solver.phantom import PAPER_ECHO_TIMES_MS, Receiver, acquire, add_gaussian, paper_images, signal

T = np.array(PAPER_ECHO_TIMES_MS)
MAPS = ("s0", "t2star_ms", "r2star_per_s", "r2star_sd_per_s", "at_least_r2star_per_s")


def decay(shape=(12, 10), *, t2star_ms=8.0, s0=300.0, sigma=3.0, t=T, seed=0):
    rng = np.random.default_rng(seed)
    clean = s0 * np.exp(-t / t2star_ms) * np.ones((*shape, 1))
    return np.hypot(clean + sigma * rng.standard_normal(clean.shape), sigma * rng.standard_normal(clean.shape))


@pytest.mark.parametrize("method", ["admm", "nls", "lm-published"])
def test_noise_free_maps_are_recovered_to_a_millionth(method):
    truth = paper_images()
    fit = fit_t2star(signal(truth, PAPER_ECHO_TIMES_MS), PAPER_ECHO_TIMES_MS, method=method)
    assert fit.valid.all()
    np.testing.assert_allclose(fit.t2star_ms, truth.t2star_ms, rtol=1e-6)
    np.testing.assert_allclose(fit.s0, truth.s0, rtol=1e-6)


@pytest.mark.parametrize("variance", [10, 100])
def test_gaussian_phantoms_of_the_paper_are_fitted_though_they_hold_negatives(variance):
    truth = paper_images()
    noisy = add_gaussian(signal(truth, PAPER_ECHO_TIMES_MS), variance**0.5, np.random.default_rng(0))
    fit = fit_t2star(noisy, PAPER_ECHO_TIMES_MS)
    mean = np.nanmean(fit.t2star_ms, axis=(1, 2))
    np.testing.assert_allclose(mean, [5, 10, 15, 20], rtol=0.03)


@pytest.mark.parametrize("factor", [1e-12, 0.25, 3.7, 1e9])
def test_multiplying_the_signal_changes_nothing_but_s0(factor):
    image = decay()
    one, other = fit_t2star(image, T), fit_t2star(factor * image, T)
    np.testing.assert_allclose(other.r2star_per_s, one.r2star_per_s, rtol=1e-6)
    np.testing.assert_allclose(other.r2star_sd_per_s, one.r2star_sd_per_s, rtol=1e-4)
    np.testing.assert_allclose(other.s0, factor * one.s0, rtol=1e-6)
    assert other.sigma == pytest.approx(factor * one.sigma)


def test_another_unit_of_time_changes_nothing_but_the_unit():
    image = decay()
    one, other = fit_t2star(image, T), fit_t2star(image, T / 16)
    np.testing.assert_allclose(16 * other.t2star_ms, one.t2star_ms, rtol=1e-6)


def test_slices_do_not_know_of_each_other_and_threads_change_nothing():
    stack = np.stack([decay(t2star_ms=t, seed=k) for k, t in enumerate((4.0, 8.0, 16.0))]).astype(np.float32)
    settings = {"sigma": 3.0, "n_coils": 1.0}
    together = fit_t2star(stack, T, threads=3, **settings)
    for k, one in enumerate(stack):
        alone = fit_t2star(one, T, threads=1, **settings)
        for name in MAPS:
            np.testing.assert_array_equal(getattr(together, name)[k], getattr(alone, name))


def test_flipping_the_image_of_single_voxels_flips_the_answer():
    image = decay()
    one, flipped = (fit_t2star(i, T, method="nls", sigma=3.0, n_coils=1) for i in (image, image[::-1, ::-1]))
    np.testing.assert_allclose(flipped.r2star_per_s[::-1, ::-1], one.r2star_per_s, rtol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 4, 5), (2, 1, 3, 4)])
@pytest.mark.parametrize("method", ["admm", "nls", "bayesian", "learned"])
def test_any_shape_is_fitted(shape, method):
    fit = fit_t2star(decay(shape), T, method=method)
    assert all(getattr(fit, name).shape == shape for name in MAPS)
    assert fit.valid.all()
    assert np.all(np.abs(fit.t2star_ms - 8) < 1.5)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (np.int16, np.float32),
        (np.uint16, np.float32),
        (np.int64, np.float32),
    ],
)
def test_any_real_type_is_fitted_and_floats_keep_theirs(dtype, result):
    fit = fit_t2star(np.round(decay()).astype(dtype), T)
    assert fit.t2star_ms.dtype == result
    np.testing.assert_allclose(np.nanmedian(fit.t2star_ms), 8, rtol=0.05)


@pytest.mark.parametrize("echoes", [2, 3, 8, 32])
def test_two_to_thirty_two_unequally_spaced_echoes_are_fitted(echoes):
    t = 1.2 + np.cumsum(np.random.default_rng(echoes).uniform(0.6, 1.4, echoes))
    fit = fit_t2star(decay(t=t), t)
    assert fit.sigma > 0
    np.testing.assert_allclose(np.nanmedian(fit.t2star_ms), 8, rtol=0.1)


def test_voxels_that_cannot_be_used_are_invalid_and_the_others_are_not():
    image = decay()
    image[0, 0] = np.nan
    image[1, 1, 3] = np.inf
    image[2, 2] = 0
    image[3, 3, 2] = -5
    mask = np.ones(image.shape[:2], bool)
    mask[4, 4] = False
    fit = fit_t2star(image, T, mask=mask)
    bad = np.zeros_like(mask)
    bad[[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]] = True
    np.testing.assert_array_equal(fit.valid, ~bad)
    assert np.isnan(fit.r2star_per_s[bad]).all()
    assert np.isfinite(fit.r2star_per_s[~bad]).all()


@pytest.mark.parametrize("value", [0.0, 7.0, -7.0, np.nan])
@pytest.mark.parametrize("method", ["admm", "nls", "bayesian", "learned"])
def test_an_image_without_decay_has_no_valid_voxel(value, method):
    fit = fit_t2star(np.full((6, 5, 8), value), T, method=method)
    assert not fit.valid.any()
    assert np.isnan(fit.t2star_ms).all()
    assert np.isfinite(fit.sigma)
    assert fit.sigma > 0


def test_a_saturated_image_is_fitted_without_a_number_that_is_not_finite():
    fit = fit_t2star(np.minimum(decay(), 150), T)
    assert np.isfinite(fit.t2star_ms[fit.valid]).all()


def test_beyond_the_range_there_is_a_lower_bound_and_no_number():
    image = decay((40, 40), t2star_ms=0.9, s0=300, sigma=5.0)
    fit = fit_t2star(image, T)
    assert fit.valid.mean() < 0.02
    told = np.isfinite(fit.at_least_r2star_per_s)
    assert told.mean() > 0.5
    assert fit.at_least_r2star_per_s[told].max() <= 1000 / 0.9


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("echo_times_ms", {"echo_times_ms": T[::-1]}),
        ("echo_times_ms", {"echo_times_ms": np.r_[T[:7], T[6]]}),
        ("echo_times_ms", {"echo_times_ms": T - T[0]}),
        ("echo_times_ms", {"echo_times_ms": T[:5]}),
        ("echo_times_ms", {"echo_times_ms": np.r_[T[:7], np.nan]}),
        ("echo_times_ms", {"signal": np.ones((4, 4, 1)), "echo_times_ms": [3.0]}),
        ("signal", {"signal": np.float64(8.0)}),
        ("signal", {"signal": np.ones((0, 4, 8))}),
        ("signal", {"signal": np.ones((4, 4, 8), complex)}),
        ("mask", {"mask": np.ones((3, 3))}),
        ("method", {"method": "guess"}),
        ("noise", {"noise": "pink"}),
        ("model", {"model": "linear"}),
        ("regulariser", {"regulariser": "none"}),
        ("sigma", {"sigma": 0.0}),
        ("sigma", {"sigma": np.nan}),
        ("n_coils", {"n_coils": -1}),
        ("weights", {"weights": (1.0,)}),
        ("weights", {"weights": (-1.0, 1.0)}),
        ("weights", {"weights": "some"}),
        ("spacing", {"spacing": (1.0, 0.0)}),
        ("field_strength_t", {"model": "fat-water"}),
        ("eta", {"eta": 1.0}),
        ("nu", {"method": "lm-published", "nu": 1.0}),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(argument, arguments):
    given = {"signal": decay((4, 4)), "echo_times_ms": T} | arguments
    with pytest.raises(ValueError, match=argument):
        fit_t2star(**given)


def test_the_parameters_that_made_the_numbers_are_json():
    fit = fit_t2star(decay(), T, weights=(10, 1e4), noise="gaussian")
    told = json.loads(json.dumps(fit.parameters))
    assert told["weights"] == [10, 1e4]
    assert told["sigma"] == fit.sigma
    assert told["noise"] == "gaussian"


def test_published_methods_take_their_hyperparameters():
    image = signal(paper_images((6, 6)), PAPER_ECHO_TIMES_MS)
    fit = fit_t2star(image, T, method="admm-published", maximum_iterations=5, lambda1=1e-5)
    assert fit.iterations == 5
    assert not fit.converged


@pytest.mark.parametrize("model", ["offset", "truncation", "bi-exponential", "fat-water"])
@pytest.mark.parametrize("method", ["admm", "nls", "bayesian"])
def test_richer_models_fit_one_exponential_too(model, method):
    t = np.array([1.2, 2.3, 3.5, 4.6, 5.9, 7.1, 8.4, 9.6, 11.0, 12.3, 14.0, 16.0])
    fit = fit_t2star(decay((8, 8), t=t, sigma=1.0), t, model=model, method=method, field_strength_t=3.0)
    assert np.nanmedian(fit.t2star_ms) == pytest.approx(8, rel=0.12)


def test_an_offset_is_told_from_the_decay():
    fit = fit_t2star(decay(sigma=0) + 30, T, model="offset", method="nls")
    np.testing.assert_allclose(fit.t2star_ms, 8, rtol=1e-4)


def test_laplacian_smooths_too():
    image = decay((24, 24), sigma=8.0)
    plain, smooth = (fit_t2star(image, T, **k) for k in ({"method": "nls"}, {"regulariser": "laplacian"}))
    assert np.nanstd(smooth.t2star_ms) < 0.5 * np.nanstd(plain.t2star_ms)


@pytest.mark.parametrize("noise", ["first-moment", "second-moment"])
@pytest.mark.parametrize("coils", [1, 6])
def test_a_moment_of_the_noise_takes_its_floor_off_and_knows_how_sure_it_is(noise, coils):
    rng = np.random.default_rng(6)
    clean = 300 * np.exp(-T / 4.0) * np.ones((40, 60, 1))  # S0/sigma 30: the last echoes are floor
    image = np.sqrt(sum((clean * (k == 0) + 10 * rng.standard_normal(clean.shape)) ** 2 for k in range(2 * coils)))
    fit = fit_t2star(image, T, method="nls", noise=noise, sigma=10.0, n_coils=coils)
    plain = fit_t2star(image, T, method="nls", sigma=10.0, n_coils=coils)
    assert np.nanmedian(fit.r2star_per_s) == pytest.approx(250, rel=0.03)
    assert np.nanmedian(plain.r2star_per_s) < 0.94 * 250
    assert np.nanstd(fit.r2star_per_s) == pytest.approx(np.nanmedian(fit.r2star_sd_per_s), rel=0.25)


def test_the_second_moment_is_the_fit_of_squares():
    image = decay((3, 4), sigma=5.0).astype(np.float64)
    fit = fit_t2star(image, T, method="nls", noise="second-moment", sigma=5.0, n_coils=1)

    def squares(x, samples):
        return (x[0] * np.exp(-x[1] * T)) ** 2 + 2 * 5.0**2 - samples**2

    by_hand = [
        1000 * least_squares(squares, (300, 0.1), x_scale=(1, 1e-3), args=(s,)).x[1] for s in image.reshape(-1, T.size)
    ]
    np.testing.assert_allclose(fit.r2star_per_s.ravel(), by_hand, rtol=2e-4)


@pytest.mark.parametrize("noise", ["first-moment", "second-moment"])
def test_moments_are_regularised_too(noise):
    image = decay((24, 24), sigma=8.0)
    alone, together = (fit_t2star(image, T, method=m, noise=noise, sigma=8.0, n_coils=1) for m in ("nls", "admm"))
    assert together.converged
    assert np.nanstd(together.r2star_per_s) < 0.5 * np.nanstd(alone.r2star_per_s)
    assert np.nanmean(together.r2star_per_s) == pytest.approx(125, rel=0.03)


def test_coils_are_estimated_from_air():
    rng = np.random.default_rng(0)
    truth = paper_images((48, 48))
    image = acquire(truth, PAPER_ECHO_TIMES_MS, Receiver(6.0, coils=8), rng)
    image[:, :, :16] = np.sqrt(6.0**2 * rng.chisquare(16, image[:, :, :16].shape))
    fit = fit_t2star(image, T)
    assert fit.n_coils == pytest.approx(8, rel=0.15)
    assert fit.sigma == pytest.approx(6.0, rel=0.05)


@pytest.mark.parametrize(("t2star_ms", "s0"), [(1.5, 60.0), (2.0, 40.0), (3.0, 40.0)])
def test_nothing_but_floor_is_never_a_sure_low_rate(t2star_ms, s0):
    image = decay((96, 96), t2star_ms=t2star_ms, s0=s0, sigma=5.0, seed=3)
    fit = fit_t2star(image, T)
    assert fit.sigma == pytest.approx(5.0, rel=0.05)
    low = fit.valid & (fit.r2star_per_s < 500 / t2star_ms)
    assert np.count_nonzero(low) < 0.001 * low.size


@pytest.mark.parametrize("coils", [1, 8])
def test_few_echoes_near_a_floor_of_unknown_coils_are_not_measured(coils):
    truth = paper_images((48, 48))
    times = (8.0, 16.0)
    image = acquire(truth, times, Receiver(20.0, coils=coils), np.random.default_rng(2))[:1]  # T2* 5 ms, S0/sigma 8
    fit = fit_t2star(image, times)
    assert not fit.valid.any()
    bright = acquire(truth, times, Receiver(1.0, coils=coils), np.random.default_rng(2))[3:]  # T2* 20 ms
    assert fit_t2star(bright, times).valid.all()


def test_noise_free_double_precision_is_not_smoothed():
    rates = np.random.default_rng(1).uniform(0.03, 0.5, (32, 32))
    fit = fit_t2star(100 * np.exp(-rates[..., None] * T), T)
    np.testing.assert_allclose(fit.r2star_per_s, 1000 * rates, rtol=1e-4)


@pytest.mark.parametrize("lambdas", [(10.0, 1e4), (1.0, 1e3)])
def test_given_weights_and_a_mask_go_together(lambdas):
    truth = paper_images((64, 64))
    image = acquire(truth, PAPER_ECHO_TIMES_MS, Receiver(5.0), np.random.default_rng(3))[1]
    rows, columns = np.indices((64, 64))
    disc = np.hypot(rows - 31, columns - 33) < 25
    fit = fit_t2star(image, T, weights=lambdas, mask=disc, sigma=5.0, n_coils=1)
    assert fit.converged
    assert fit.iterations < 30
    assert np.array_equal(fit.valid, disc)


@pytest.mark.parametrize("lambdas", [(10.0, 1e4), (10.0, 1e-2)])
def test_given_weights_converge_beside_air_which_has_no_answer(lambdas):
    image = np.zeros((64, 64, T.size))
    image[16:48, 16:48] = 300 * np.exp(-T / 8.0)
    rng = np.random.default_rng(5)
    noisy = np.hypot(image + 5 * rng.standard_normal(image.shape), 5 * rng.standard_normal(image.shape))
    fit = fit_t2star(noisy, T, weights=lambdas, sigma=5.0, n_coils=1)
    assert fit.converged, fit.verdict
    assert fit.valid[16:48, 16:48].mean() > 0.98
    assert fit.valid[:12].mean() < 0.02
    assert np.median(fit.t2star_ms[16:48, 16:48]) == pytest.approx(8.0, rel=0.03)


def test_what_a_masked_array_hides_is_not_fitted():
    hidden = np.zeros((12, 10, T.size), bool)
    hidden[3, 4] = True
    fit = fit_t2star(np.ma.array(decay(), mask=hidden), T)
    assert not fit.valid[3, 4]
    assert fit.valid.sum() == 119


def test_the_order_of_bytes_does_not_lower_the_precision():
    one, other = (fit_t2star(decay().astype(kind), T, method="nls").t2star_ms for kind in ("<f8", ">f8"))
    assert one.dtype == other.dtype == np.float64
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sigma", {"sigma": "a"}),
        ("sigma", {"sigma": [1, 2]}),
        ("n_coils", {"n_coils": "a"}),
        ("n_coils", {"n_coils": 0.1}),
        ("n_coils", {"n_coils": 1000}),
        ("threads", {"threads": 0}),
        ("threads", {"threads": 1.5}),
        ("field_strength_t", {"field_strength_t": "3", "model": "fat-water"}),
        ("field_strength_t", {"field_strength_t": -1}),
        ("weights", {"weights": ("a", "b")}),
        ("spacing", {"spacing": "ab"}),
        ("mask", {"mask": "abc"}),
        ("mask", {"mask": np.full((12, 10), np.nan)}),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(name, arguments):
    with pytest.raises(ValueError, match=name):
        fit_t2star(decay(), T, **arguments)


@pytest.mark.parametrize("times", [["a"] * 8, [1 + 1j] * 8, [[1, 2], [3]]])
def test_echo_times_of_the_wrong_kind_are_named(times):
    with pytest.raises(ValueError, match="echo_times_ms"):
        fit_t2star(decay(), times)
