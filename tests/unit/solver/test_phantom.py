"""Digital phantoms have the truth they say they have."""

import numpy as np
import pytest
from scipy.special import eval_genlaguerre

from solver import phantom
from solver.phantom import Abdomen, Receiver, abdomen, acquire, acquire_channels, paper_images

ECHOES_MS = phantom.PAPER_ECHO_TIMES_MS


def draw(**parameters):
    return abdomen(Abdomen(**parameters), np.random.default_rng(1))


def test_paper_images_decay_with_the_printed_parameters():
    clean = phantom.signal(paper_images(), ECHOES_MS)
    assert clean.shape == (4, 32, 32, 8)
    np.testing.assert_allclose(clean[2], np.broadcast_to(355 * np.exp(-np.array(ECHOES_MS) / 15), (32, 32, 8)))


def test_regions_tile_every_slice_once():
    truth = draw(slices=3, lesion_diameter_mm=8)
    names = set(truth.regions) - {"body"}
    covered = sum(truth.regions[name].astype(int) for name in names)
    assert (covered == 1).all()
    assert (truth.regions["body"] == ~truth.regions["air"]).all()


@pytest.mark.parametrize("shape", [(192, 256), (32, 32), (64, 48)])
def test_every_region_is_drawn_at_any_matrix_size(shape):
    truth = draw(shape=shape, spacing_mm=(320 / shape[0], 400 / shape[1]), lesion_diameter_mm=6)
    assert all(mask.any() for mask in truth.regions.values())


def test_liver_and_lesion_have_the_rates_asked_for():
    truth = draw(liver_t2star_ms=4, lesion_diameter_mm=8, lesion_factor=1.5, texture=0)
    assert np.unique(truth.r2star_per_s[truth.regions["liver"]]) == pytest.approx([250])
    assert np.unique(truth.r2star_per_s[truth.regions["lesion"]]) == pytest.approx([375])


def test_lesion_has_the_area_of_its_diameter():
    truth = draw(lesion_diameter_mm=20, spacing_mm=(1.0, 1.5))
    assert truth.regions["lesion"].sum() * 1.5 == pytest.approx(np.pi * 100, rel=0.05)


def test_texture_stays_within_its_fraction_and_uses_it():
    truth = draw(liver_t2star_ms=10, texture=0.08)
    relative = truth.r2star_per_s[truth.regions["liver"]] / 100 - 1
    assert np.abs(relative).max() <= 0.08 + 1e-12
    assert relative.std() > 0.02


def test_slices_differ_slowly():
    liver = draw(slices=5).regions["liver"]
    changed = [(liver[k] != liver[k + 1]).sum() / liver[k].sum() for k in range(4)]
    assert 0 < max(changed) < 0.2


def test_without_air_the_body_fills_the_image():
    assert not draw(air=False).regions["air"].any()


def test_air_has_no_signal_and_no_decay():
    truth = draw()
    assert (phantom.signal(truth, ECHOES_MS)[truth.regions["air"]] == 0).all()
    assert np.isnan(truth.t2star_ms[truth.regions["air"]]).all()


def test_the_same_seed_draws_the_same_phantom():
    np.testing.assert_array_equal(draw().r2star_per_s, draw().r2star_per_s)


@pytest.mark.parametrize("fault", [{"texture": 1.0}, {"slices": 0}, {"liver_t2star_ms": 0}, {"spacing_mm": (1.0, 0.0)}])
def test_what_cannot_be_drawn_is_refused(fault):
    with pytest.raises(ValueError, match=next(iter(fault))):
        draw(**fault)


def test_complex_signal_has_the_magnitude_and_a_turning_phase():
    truth = draw()
    turning = phantom.complex_signal(truth, ECHOES_MS)
    np.testing.assert_allclose(np.abs(turning), phantom.signal(truth, ECHOES_MS), atol=1e-9)
    body = truth.regions["body"]
    turned = np.angle(turning[body][:, 1] / turning[body][:, 0])
    expected = 2 * np.pi * truth.off_resonance_hz[body] * (ECHOES_MS[1] - ECHOES_MS[0]) / 1000
    np.testing.assert_allclose(np.exp(1j * turned), np.exp(1j * expected), atol=1e-9)


@pytest.mark.parametrize("coils", [1, 4])
def test_noise_has_the_moments_of_its_distribution(coils):
    clean, sigma = np.full(200_000, 30.0), 10.0
    noisy = phantom.add_noncentral_chi(clean, sigma, coils, np.random.default_rng(2))
    assert (noisy**2).mean() == pytest.approx(30**2 + 2 * coils * sigma**2, rel=0.01)
    if coils == 1:
        mean = sigma * np.sqrt(np.pi / 2) * eval_genlaguerre(0.5, 0, -(30**2) / (2 * sigma**2))
        assert noisy.mean() == pytest.approx(mean, rel=0.005)


def test_gaussian_noise_has_no_floor():
    noisy = phantom.add_gaussian(np.zeros(100_000), 10**0.5, np.random.default_rng(3))
    assert noisy.mean() == pytest.approx(0, abs=0.05)
    assert noisy.var() == pytest.approx(10, rel=0.02)


def test_zero_filling_correlates_neighbours_and_keeps_sigma():
    noise = acquire_channels(draw(liver_s0=1e-9), ECHOES_MS, Receiver(5.0, zero_filled=True), np.random.default_rng(4))
    real = noise.real
    assert real.std() == pytest.approx(5.0, rel=0.02)
    neighbours = np.corrcoef(real[..., :-1, :].ravel(), real[..., 1:, :].ravel())[0, 1]
    assert neighbours == pytest.approx(2 / np.pi, abs=0.03)


def test_zeroed_air_is_exactly_zero():
    truth = draw()
    image = acquire(truth, ECHOES_MS, Receiver(5.0, zeroed_air=True), np.random.default_rng(5))
    assert (image[truth.regions["air"]] == 0).all()
    assert (image[truth.regions["body"]] > 0).all()


def test_coils_join_to_the_noise_free_magnitude():
    truth = draw()
    image = acquire(truth, ECHOES_MS, Receiver(0.0, coils=8), np.random.default_rng(6))
    np.testing.assert_allclose(image, phantom.signal(truth, ECHOES_MS))


def test_no_coils_is_refused():
    with pytest.raises(ValueError, match="coils"):
        phantom.add_noncentral_chi(np.ones(3), 1.0, 0, np.random.default_rng(7))


def test_fat_in_the_liver_beats_against_its_water_and_leaves_all_else():
    """At 1.5 T the main peak is opposed after 2.3 ms and in phase after 4.6 ms."""
    times = (0.0, 2.3, 4.6)
    lean, fatty = (draw(liver_fat=fraction, field_strength_t=1.5, air=False) for fraction in (0.0, 0.3))
    beat = phantom.signal(fatty, times) / phantom.signal(lean, times)
    liver = beat[lean.regions["liver"]]
    np.testing.assert_allclose(liver[:, 0], 1.0)
    assert (liver[:, 1] < 0.55).all()
    assert (liver[:, 2] > 0.9).all()
    np.testing.assert_allclose(beat[lean.regions["spleen"]], 1.0)
    np.testing.assert_allclose(np.abs(phantom.complex_signal(fatty, times)), phantom.signal(fatty, times))
