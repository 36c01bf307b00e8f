"""Values that cannot be those of a decay are refused by name before anything is fitted to them."""

import pickle

import numpy as np
import pytest

from dicomnode import plausible
from dicomnode.errors import Implausible

TIMES = (1.2, 2.6, 4.0, 5.4, 6.8, 8.2)


def decay(rate=80.0, *, fat=0.0, seed=0):
    """A bright rim that hardly decays around tissue that does, in noise; ``fat`` beats in the tissue."""
    size, noise, slices = 48, 4.0, 2
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((size, size))
    inside = np.hypot(rows - size / 2, columns - size / 2)
    s0 = np.where(inside < size / 3, 600.0, np.where(inside < size / 2.2, 1000.0, 0.0))
    rates = np.where(inside < size / 3, rate, 25.0)
    beat = 1 - np.where(inside < size / 3, fat, 0.0)[..., None] * (1 - np.cos(2 * np.pi * np.array(TIMES) / 4.6))
    clean = s0[..., None] * np.exp(-rates[..., None] * np.array(TIMES) / 1000) * beat
    clean = np.stack([clean] * slices)
    values = np.hypot(clean + rng.normal(0, noise, clean.shape), rng.normal(0, noise, clean.shape))
    return np.rint(values).astype(np.float32)


def code_of(signal, times=TIMES):
    with pytest.raises(Implausible) as caught:
        plausible.check(signal, times)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("rate", [20.0, 80.0, 400.0, 1500.0])
@pytest.mark.parametrize("fat", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_a_decay_is_one_however_fast_and_fat(rate, fat, seed):
    plausible.check(decay(rate, fat=fat, seed=seed), TIMES)


@pytest.mark.parametrize("swing", [-0.06, 0.06])
def test_a_read_out_to_and_fro_is_a_decay(swing):
    plausible.check(decay(20.0) * (1 + swing * np.where(np.arange(len(TIMES)) % 2, -1, 1)).astype(np.float32), TIMES)


def test_a_body_that_is_mostly_fat_may_brighten_from_opposed_to_in_phase():
    signal = decay(20.0)
    signal[..., 0] /= 1.1
    plausible.check(signal, TIMES)


def test_a_scan_clipped_at_full_scale_is_still_a_decay():
    plausible.check(np.minimum(decay(20.0) * 3, 2047.0), TIMES)


def test_a_real_part_is_no_magnitude():
    signal = decay()
    turned = signal * np.cos(np.linspace(0, 3 * np.pi, signal.shape[2]))[None, None, :, None]
    code, sentence = code_of(turned.astype(np.float32))
    assert code == "not-magnitude"
    assert "below zero" in sentence


@pytest.mark.parametrize("percentile", [100.0, 99.0])
@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_images_that_were_each_stretched_do_not_compare(percentile, top):
    signal = decay()
    highest = np.percentile(signal, percentile, axis=(1, 2), keepdims=True)
    code, sentence = code_of(np.rint(np.minimum(signal / highest, 1.0) * top).astype(np.float32))
    assert code == "stretched"
    assert str(top) in sentence


@pytest.mark.parametrize("place", [1, 3, 5])
def test_a_root_of_squares_among_the_echoes_is_no_echo(place):
    signal = decay()
    combined = np.sqrt(np.mean(signal**2, axis=-1)) * 1.4
    combined = np.maximum(combined, 1.2 * signal[..., place - 1])
    times = tuple(sorted((*TIMES, TIMES[place] - 0.3)))
    code, sentence = code_of(np.insert(signal, place, combined, axis=-1), times)
    assert code == "brighter-echo"
    assert f"echo {place + 1}" in sentence


def test_an_echo_that_holds_the_pixels_of_the_one_before_is_none():
    signal = decay()
    signal[..., 3] = signal[..., 2]
    code, sentence = code_of(signal)
    assert code == "same-pixels"
    assert "echo 4 of slice 1 (5.4 ms) holds the same pixels as echo 3" in sentence


@pytest.mark.parametrize("of", [lambda image: np.percentile(image, 95), np.mean])
@pytest.mark.parametrize("rate", [40.0, 120.0])
def test_images_that_were_each_scaled_do_not_compare_whatever_their_maxima(of, rate):
    signal = decay(rate)
    scale = np.array([[of(echo) for echo in np.moveaxis(one, -1, 0)] for one in signal])
    code, sentence = code_of((signal / scale[:, None, None] * 500).astype(np.float32))
    assert code == "stretched"
    assert "noise of air" in sentence


def test_air_that_was_zeroed_says_nothing_of_how_images_were_scaled():
    signal = decay()
    signal[signal.mean(axis=-1) < 20.0] = 0.0
    plausible.check(signal, TIMES)


@pytest.mark.parametrize("echo", [0, 2, 5])
def test_a_blank_image_among_others_is_none(echo):
    signal = decay()
    signal[1, ..., echo] = 0.0
    code, sentence = code_of(signal)
    assert code == "blank"
    assert f"echo {echo + 1}" in sentence
    assert "slice 2" in sentence


def test_images_of_nothing_are_blank():
    assert code_of(np.zeros((1, 48, 48, 6), np.float32))[0] == "blank"


def test_tissue_that_brightens_from_echo_to_echo_has_other_times():
    code, sentence = code_of(decay(40.0)[..., ::-1].copy())
    assert code in {"rising", "brighter-echo"}, sentence


def test_an_echo_may_be_copied_from_further_before():
    signal = decay()
    signal[1, ..., 4] = signal[1, ..., 1]
    assert "echo 5 of slice 2 (6.8 ms) holds the same pixels as echo 2" in code_of(signal)[1]


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_echo_times_in_another_unit_are_none_of_a_train(unit):
    code, _ = code_of(decay(), tuple(t * unit for t in TIMES))
    assert code == "echo-times"


def test_a_code_outlives_the_process_that_found_it():
    fault = pickle.loads(pickle.dumps(Implausible("said", "stretched")))
    assert (str(fault), fault.code) == ("said", "stretched")
