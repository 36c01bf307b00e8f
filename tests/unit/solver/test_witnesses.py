"""What each witness of the noise says of images whose noise is known."""

import numpy as np
import pytest

from solver import fit_t2star
from solver.air import lowest_crowd
from solver.patches import _eigenvalues, tissue_noise
from solver.phantom import Abdomen, abdomen, zero_fill
from solver.sigma_map import Places, surface_of
from solver.tiles import tiles_of

T = np.linspace(1.2, 12, 8)


def chi(signal, n_coils, rng):
    along = signal + rng.standard_normal(np.shape(signal))
    return np.sqrt(along**2 + rng.chisquare(2 * n_coils - 1, np.shape(signal))).astype(np.float32)


def decay(shape=(96, 128), a=60.0, rng=None):
    """A plane of rates under an amplitude that varies as it likes."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    mottle = a * (1 + 0.1 * (rng or np.random.default_rng(9)).standard_normal(shape))
    return mottle * np.exp(-(0.08 + 0.03 * x + 0.02 * y) * T[:, None, None])


def all_of(s):
    return tiles_of([s], [np.ones(s.shape[1:], bool)])


@pytest.mark.parametrize("n", [1, 2, 3, 8, 10])
def test_eigenvalues_are_those_of_the_library(n):
    m = np.random.default_rng(n).standard_normal((n, n + 2))
    values = np.empty(n)
    _eigenvalues(m @ m.T, values, np.empty(n))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(m @ m.T)[::-1], rtol=1e-10)


@pytest.mark.parametrize("n_coils", [1, 2, 8, 32])
def test_the_lowest_crowd_is_the_air(n_coils):
    rng = np.random.default_rng(1)
    clean = decay()
    clean[:, :, :40] = 0
    clean[:, :, 40:60] *= 0.05  # weak tissue, above the air
    tiles = all_of(chi(clean, n_coils, rng))
    found = lowest_crowd(tiles.magnitude, tiles.power, np.flatnonzero(tiles.sound))
    assert found.power == pytest.approx(2 * n_coils, rel=0.03)
    assert found.n_coils == pytest.approx(n_coils, rel=0.1)


def test_tissue_alone_has_no_air():
    tiles = all_of(chi(decay(), 1, np.random.default_rng(2)))
    assert lowest_crowd(tiles.magnitude, tiles.power, np.flatnonzero(tiles.sound)) is None


@pytest.mark.parametrize("echoes", [2, 3, 4, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_patches_tell_sigma_under_any_amplitude_and_a_slope_of_rates(echoes, dtype):
    rng = np.random.default_rng(3)
    s = (decay()[:echoes] + rng.standard_normal((echoes, 96, 128))).astype(dtype)
    assert tissue_noise([s], all_of(s), 4.0, 200, 2, 1, 0.0).sigma == pytest.approx(1.0, rel=0.04)


def test_fat_ghosts_and_alternating_readouts_are_no_noise():
    rng = np.random.default_rng(4)
    clean = decay()
    clean[:, 20:40] *= np.abs(1 + 0.6 * np.exp(1j * T))[:, None, None]
    clean += 0.05 * np.roll(clean, 30, axis=1) * rng.standard_normal(8)[:, None, None]
    clean[1::2] *= 1.02
    s = chi(clean, 1, rng)
    assert tissue_noise([s], all_of(s), 5.0, 200, 3, 1, 0.0).sigma == pytest.approx(1.0, rel=0.05)


def test_noise_that_neighbours_share_shows_two_samples_apart():
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((96, 128, 8)) + 1j * rng.standard_normal((96, 128, 8))
    shared = np.moveaxis(2 * zero_fill(noise).real, -1, 0)
    s = (decay() + shared).astype(np.float32)
    near, far = (tissue_noise([s], all_of(s), 4.0, 200, 3, stride, 0.0).sigma for stride in (1, 2))
    assert near < 0.8
    assert far == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(("hill", "mapped"), [(0.0, False), (0.6, True)])
def test_a_map_of_sigma_is_drawn_only_where_sigma_varies(hill, mapped):
    rng = np.random.default_rng(6)
    where = np.column_stack([np.zeros(240), rng.uniform(-1, 1, (240, 2))])
    truth = hill * np.exp(-(where[:, 1] ** 2 + where[:, 2] ** 2))
    found = surface_of(Places(where, truth + 0.06 * rng.standard_normal(240)))
    assert (found is not None) == mapped
    if found is not None:
        assert np.abs(found.at(where) - truth).mean() < 0.05


def test_the_middle_of_a_body_that_has_lost_its_signal_tells_the_map_too():
    rng = np.random.default_rng(7)
    truth = abdomen(Abdomen(shape=(128, 160), liver_t2star_ms=1.5), rng)
    y, x = np.mgrid[-1:1:128j, -1:1:160j]
    sigma = 6 * (1 + np.exp(-(x**2 + y**2) / 0.3))
    clean = truth.s0[0][..., None] * np.exp(-truth.r2star_per_s[0][..., None] * T / 1000)
    noise = sigma[..., None] * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    fit = fit_t2star(np.abs(clean + noise).astype(np.float32), T, method="nls", noise="rician")
    liver = truth.regions["liver"][0]
    assert fit.sigma_map.shape == (128, 160)
    assert np.median((fit.sigma_map / sigma)[liver]) == pytest.approx(1.0, abs=0.05)
