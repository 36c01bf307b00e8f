"""Where sigma and N come from, and which of several witnesses is believed."""

import numpy as np
import pytest
from scipy import ndimage

from solver import fit_t2star
from solver.phantom import PAPER_ECHO_TIMES_MS, Abdomen, Receiver, abdomen, acquire

T = np.array(PAPER_ECHO_TIMES_MS)
AXIAL = np.linspace(1.1, 13.2, 12)
WATER_FAT_MS = 4.6


def image(t2star_ms=6.0, snr=50.0, times=T, coils=1, seed=2, **receiver):
    rng = np.random.default_rng(seed)
    truth = abdomen(Abdomen(shape=(96, 128), liver_t2star_ms=t2star_ms), rng)
    return truth, acquire(truth, times.tolist(), Receiver(300 / snr, coils=coils, **receiver), rng).astype(np.float32)


def outside(truth):
    return truth.s0[0] == 0


@pytest.mark.parametrize("quieter", [0.3, 0.6])
@pytest.mark.parametrize("t2star_ms", [1.0, 1.5, 2.2])
def test_air_that_was_made_quiet_does_not_make_severe_iron_look_mild(t2star_ms, quieter):
    truth, s = image(t2star_ms, 60)
    s[0][outside(truth)] *= quieter
    fit = fit_t2star(s, T)
    liver = truth.regions["liver"]
    assert fit.sigma == pytest.approx(5.0, rel=0.05)
    assert not np.any(fit.valid & liver & (fit.r2star_per_s < 0.5 * truth.r2star_per_s))


def test_clipped_fat_does_not_hide_the_noise():
    truth, s = image(1.2, 60)
    body = ~outside(truth)
    ring = body & ~ndimage.binary_erosion(body, iterations=4)
    s[0][ring] *= 4
    s = np.minimum(np.round(s), 600).astype(np.uint16)
    fit = fit_t2star(s, T)
    liver = truth.regions["liver"]
    assert fit.sigma == pytest.approx(5.0, rel=0.05)
    assert not np.any(fit.valid & liver & (fit.r2star_per_s < 0.5 * truth.r2star_per_s))


@pytest.mark.parametrize("coils", [4, 16])
def test_fat_elsewhere_does_not_hide_the_coils(coils):
    truth, s = image(4.0, 60, AXIAL, coils, zeroed_air=True)
    body = s[0, ..., 0] > 0
    ring = body & ~ndimage.binary_erosion(body, iterations=5)
    s[0][ring] *= np.abs(0.5 + 0.5 * np.exp(2j * np.pi * AXIAL / WATER_FAT_MS)).astype(np.float32)
    fit = fit_t2star(s, AXIAL)
    liver = truth.regions["liver"] & fit.valid
    assert fit.parameters["n_coils_source"] == "decays"
    assert np.mean((fit.r2star_per_s / truth.r2star_per_s)[liver]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("coils", [4, 16])
def test_where_there_is_only_noise_nothing_is_valid(coils):
    rng = np.random.default_rng(3)
    s = np.sqrt(rng.chisquare(2 * coils, (48, 64, 8)))
    fit = fit_t2star(s, T)
    assert not fit.valid.any()
    assert fit.sigma == pytest.approx(1.0, rel=0.03)


def test_many_coils_are_told_by_air():
    truth, s = image(4.0, 60, coils=64)
    fit = fit_t2star(s, T)
    liver = truth.regions["liver"] & fit.valid
    assert fit.n_coils == pytest.approx(64, rel=0.1)
    assert np.mean((fit.r2star_per_s / truth.r2star_per_s)[liver]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("factor", [2.5, 3, 4])
def test_interpolation_to_many_more_voxels_does_not_make_the_noise_small(factor):
    rng = np.random.default_rng(4)
    truth = abdomen(Abdomen(shape=(96, 128), liver_t2star_ms=8.0, air=False, vessels=False, fat_mm=0.0), rng)
    clean = truth.s0[0][..., None] * np.exp(-T * truth.r2star_per_s[0][..., None] / 1000)
    noisy = clean + 5 * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    wide = tuple(round(factor * n) for n in truth.s0.shape[1:])
    spectrum = np.fft.fftshift(np.fft.fft2(noisy, axes=(0, 1)), axes=(0, 1))
    more = [(w - n) // 2 for w, n in zip(wide, truth.s0.shape[1:], strict=True)]
    padded = np.pad(
        spectrum, [(m, w - n - m) for m, w, n in zip(more, wide, truth.s0.shape[1:], strict=True)] + [(0, 0)]
    )
    scale = np.prod(wide) / np.prod(truth.s0.shape[1:])
    s = np.abs(np.fft.ifft2(np.fft.ifftshift(padded, axes=(0, 1)), axes=(0, 1))) * scale
    assert fit_t2star(s[None].astype(np.float32), T).sigma == pytest.approx(5.0, rel=0.2)


def test_rounded_noise_tells_no_coils():
    truth, s = image(4.0, 40)
    s = np.round(s * (0.3 / 7.5))
    fit = fit_t2star(s, T)
    liver = truth.regions["liver"] & fit.valid
    assert fit.n_coils == 1
    inside = np.abs(fit.r2star_per_s - truth.r2star_per_s)[liver] < 2 * fit.r2star_sd_per_s[liver]
    assert inside.mean() > 0.9


def test_real_channels_have_the_noise_of_one_channel():
    rng = np.random.default_rng(5)
    truth = abdomen(Abdomen(shape=(96, 128)), rng)
    clean = truth.s0[0][..., None] * np.exp(-T * truth.r2star_per_s[0][..., None] / 1000)
    fit = fit_t2star(clean + 5 * rng.standard_normal(clean.shape), T)
    assert fit.sigma == pytest.approx(5.0, rel=0.05)


def test_an_offset_of_the_signal_is_not_taken_for_coils():
    _, s = image(5.0, 60, zeroed_air=True)
    s[s > 0] += 0.12 * 300
    fit = fit_t2star(s, T, model="offset")
    assert fit.n_coils == 1


@pytest.mark.parametrize("times", [(4.6, 9.2, 18.4), (2.0, 4.0, 6.0, 8.0)])
def test_what_unknown_coils_may_do_is_counted_as_uncertainty(times):
    truth, s = image(4.0, 60, np.array(times), coils=8, zeroed_air=True)
    fit = fit_t2star(s, times)
    liver = truth.regions["liver"] & fit.valid
    error = np.abs(fit.r2star_per_s - truth.r2star_per_s)[liver]
    assert fit.parameters["n_coils_source"] == "unknown"
    assert np.mean(error < 1.96 * fit.r2star_sd_per_s[liver]) > 0.9


@pytest.mark.parametrize("coils", [1, 4, 16])
@pytest.mark.parametrize(
    ("times", "t2star_ms", "snr"), [((4, 8), 6, 20), ((2.3, 4.6, 6.9, 9.2), 10, 12), (tuple(T), 2, 30)]
)
def test_a_lower_bound_is_never_above_the_truth(times, t2star_ms, snr, coils):
    rng = np.random.default_rng(6)
    clean = 100 * np.exp(-np.array(times) / t2star_ms) * np.ones((48, 48, 1))
    s = np.sqrt((clean + 100 / snr * rng.standard_normal(clean.shape)) ** 2
                + (100 / snr) ** 2 * rng.chisquare(2 * coils - 1, clean.shape))  # fmt: skip
    fit = fit_t2star(s, times)
    bound = fit.at_least_r2star_per_s[np.isfinite(fit.at_least_r2star_per_s)]
    assert np.count_nonzero(bound > 1000 / t2star_ms) <= 0.01 * bound.size


@pytest.mark.parametrize("noise", ["gaussian", "rician"])
def test_least_squares_of_two_echoes_needs_no_coils(noise):
    rng = np.random.default_rng(7)
    clean = 100 * np.exp(-np.array([4.0, 8.0]) / 6) * np.ones((48, 48, 1))
    s = np.hypot(clean + 5 * rng.standard_normal(clean.shape), 5 * rng.standard_normal(clean.shape))
    assert fit_t2star(s, (4.0, 8.0), noise=noise).valid.mean() == (1.0 if noise == "gaussian" else 0.0)


def test_air_outside_the_mask_tells_the_noise():
    truth, s = image(3.0, 40, coils=4)
    fit = fit_t2star(s, T, mask=truth.regions["liver"])
    assert fit.parameters["noise_source"] == "air"
    assert fit.n_coils == pytest.approx(4, rel=0.1)
    assert fit.sigma == pytest.approx(7.5, rel=0.03)


@pytest.mark.parametrize("method", ["admm", "nls", "bayesian", "learned"])
def test_a_map_of_sigma_that_is_one_number_everywhere_changes_nothing(method):
    _, s = image(3.0, 40)
    one, mapped = (
        fit_t2star(s, T, method=method, noise="rician", sigma=sigma, n_coils=1)
        for sigma in (7.5, np.full((1, 96, 128), 7.5))
    )
    np.testing.assert_allclose(mapped.r2star_per_s, one.r2star_per_s, rtol=1e-4)
    np.testing.assert_allclose(mapped.s0, one.s0, rtol=1e-4)
    assert one.sigma_map is None
    assert mapped.sigma == one.sigma


def test_every_voxel_has_its_own_sigma():
    rng = np.random.default_rng(8)
    sigma = np.linspace(4, 16, 64)[None, :] * np.ones((64, 1))
    clean = 150 * np.exp(-T / 4) * np.ones((64, 64, 1))
    s = np.abs(clean + sigma[..., None] * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)))
    own, common = (fit_t2star(s, T, method="nls", noise="rician", sigma=k, n_coils=1) for k in (sigma, 10.0))
    error = [abs(np.nanmedian(fit.r2star_per_s[:, 48:]) / 250 - 1) for fit in (own, common)]
    assert error[0] < 0.03 < error[1]
    assert fit_t2star(s, T, weights=(1.0, 10.0), sigma=sigma, n_coils=1).sigma == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize("wrong", [[1, 2], np.full((96, 128), -1.0), np.full((96, 128), np.nan)])
def test_a_map_of_sigma_that_cannot_be_one_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match="sigma"):
        fit_t2star(image()[1], T, sigma=wrong)


def test_what_is_known_of_the_noise_is_told():
    _, s = image(6.0, 50)
    told = fit_t2star(s, T).parameters
    assert told["noise_confidence"] == "high"
    assert told["n_coils_range"][0] <= 1 <= told["n_coils_range"][1]
    assert told["sigma_rel_sd"] < 0.05
    assert fit_t2star(s, T, sigma=6.0, n_coils=1).parameters["noise_confidence"] == "given"


def test_a_sigma_that_is_little_known_claims_less_and_doubts_more():
    image_of_few = np.random.default_rng(9).normal(0, 1, (6, 7, 8))
    s = np.abs(60 * np.exp(-T / 3) + 4 * image_of_few)
    fit = fit_t2star(s, T)
    sure = fit_t2star(s, T, sigma=fit.sigma, n_coils=1)
    both = fit.valid & sure.valid
    assert fit.parameters["noise_confidence"] in {"low", "unknown"}
    assert np.isnan(fit.at_least_r2star_per_s).all()
    assert np.count_nonzero(fit.valid) <= np.count_nonzero(sure.valid)
    assert np.all(fit.r2star_sd_per_s[both] >= sure.r2star_sd_per_s[both])


def test_noise_under_one_grey_level_is_found():
    _, s = image(6.0, 50)
    for sigma in (0.3, 0.7):
        assert fit_t2star(np.rint(s * sigma / 6), T).sigma == pytest.approx(np.hypot(sigma, 12**-0.5), rel=0.1)


@pytest.mark.parametrize(("coils", "seed"), [(2, 1), (4, 0), (4, 1)])
def test_slow_remains_of_tissue_are_not_taken_for_noise_that_varies(coils, seed):
    rng, times = np.random.default_rng(seed), np.array(PAPER_ECHO_TIMES_MS)
    y, x = np.mgrid[-64:64, -64:64]
    body, fading = (np.abs(y) < 48) & (np.abs(x) < 54), (np.abs(y + 14) < 34) & (np.abs(x) < 48)
    rate = np.where(fading, 700.0, 140.0)[..., None]
    clean = np.where(body, np.where(fading, 60.0, 25.0), 0.0)[..., None] * np.exp(-rate * times / 1000)
    remains = fading * np.hypot(*rng.normal(0, 2.5, (2, *body.shape)))
    channels = rng.normal(0, 1, (2 * coils, *clean.shape))
    channels[0] += clean + remains[..., None]
    fit = fit_t2star(30 * np.sqrt(np.square(channels).sum(axis=0)), times)
    assert fit.sigma == pytest.approx(30.0, rel=0.1)
