"""The complex fit beside magnitudes: right where phase is sound, refused by name where it is not."""

import numpy as np
import pytest

from solver.companion import GATES, fit_complex
from solver.readout import alternation, take_out
from solver.water_fat import fat_signal

SHORT = 1.1 + 1.1 * np.arange(12)
SHAPE = (64, 80)
LIVER_FAT, LIVER_RATE, ADIPOSE = 0.05, 90.0, 0.95


def drawn(t_ms=SHORT, field_t=1.5, *, stretched=1.0, seed=1, snr=60.0, swing=0.0):
    """A disc of liver in a thick ring of adipose tissue; complex (1, K, L, M) and where the liver is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    radius = np.hypot(x, y)
    liver, body = radius < 0.55, radius < 0.85
    fraction = np.where(liver, LIVER_FAT, ADIPOSE)[..., None]
    rate = np.where(liver, LIVER_RATE, 35.0)[..., None]
    t = t_ms / 1000
    mix = 1 - fraction + fraction * fat_signal(t, field_t, stretched)
    turn = (0.7 * x)[..., None] + 2 * np.pi * (60 * y + 30 * x * y)[..., None] * t
    alternating = swing * (1 + 0.5 * x)[..., None] * (1 - 2 * (np.arange(len(t)) % 2))
    clean = body[..., None] * mix * np.exp(-rate * t + 1j * (turn + alternating))
    noise = rng.standard_normal((2, *clean.shape)) / snr
    return (clean + noise[0] + 1j * noise[1]).astype(np.complex64)[None], liver


def layered(shift_ppm, field_t, *, fine=4, layer=3):
    """The same disc in a layer of fat of some voxels and one of skin, whose fat lies in a field of its own."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * fine * 1j, -1 : 1 : SHAPE[1] * fine * 1j]
    radius, voxel = np.hypot(x, y), 2 / SHAPE[0]
    liver = radius < 0.85 - (layer + 1) * voxel
    fatty = ~liver & (radius < 0.85 - voxel)
    t = SHORT / 1000
    fraction = np.where(fatty, ADIPOSE, LIVER_FAT)[..., None]
    mix = 1 - fraction + fraction * fat_signal(t, field_t)
    hertz = 60 * y + 42.577 * field_t * shift_ppm * fatty
    decay = np.exp(-np.where(fatty, 35.0, LIVER_RATE)[..., None] * t + 2j * np.pi * hertz[..., None] * t)
    clean = np.where(radius < 0.85, 1, 0)[..., None] * mix * decay
    clean = clean.reshape(SHAPE[0], fine, SHAPE[1], fine, t.size).mean((1, 3))  # voxels at its rim hold both
    noise = rng.standard_normal((2, *clean.shape)) / 60
    known = liver.reshape(SHAPE[0], fine, SHAPE[1], fine).all((1, 3))
    return (clean + noise[0] + 1j * noise[1]).astype(np.complex64)[None], known


def rates(liver):
    return np.where(liver, LIVER_RATE, np.nan)[None]


def judged(s, t_ms=SHORT, field_t=1.5):
    return fit_complex(s, t_ms, field_t, rates(drawn()[1]))


@pytest.mark.parametrize("field_t", [1.5, 3.0])
@pytest.mark.parametrize("swing", [0.0, 0.6])
def test_fat_rate_and_field_come_out_whatever_read_outs_alternate(field_t, swing):
    s, liver = drawn(field_t=field_t, swing=swing)
    found = fit_complex(s, SHORT, field_t, np.full((1, *SHAPE), np.nan))
    assert np.nanmedian(found.fat_fraction[0][liver]) == pytest.approx(LIVER_FAT, abs=0.02)
    assert np.nanmedian(found.r2star_per_s[0][liver]) == pytest.approx(LIVER_RATE, rel=0.02)
    assert found.refused == "rates-differ"  # nothing to compare with


def test_sound_phase_passes_every_gate_whichever_way_its_vendor_turns_it():
    s, _ = drawn()
    for one in (s, np.conj(s)):
        found = judged(one)
        assert found.refused == ""
        assert set(found.measured) == set(GATES)


def spoilt(kind):
    s, _ = drawn(swing=0.3)
    size, phase = np.abs(s), np.angle(s)
    rng = np.random.default_rng(5)
    order = np.array([0, 1, 4, 3, 2, 5, 6, 7, 8, 9, 10, 11])
    phases = {
        "swapped": phase[..., order],
        "zero": np.zeros_like(phase),
        "halved": phase / 2,
        "of nothing": rng.uniform(-np.pi, np.pi, phase.shape),
    }
    return size * np.exp(1j * phases[kind])


@pytest.mark.parametrize(
    ("kind", "gate"),
    [
        ("swapped", "incoherent"),
        ("zero", "one-channel"),
        ("halved", "incoherent"),
        ("of nothing", "incoherent"),
    ],
)
def test_spoilt_phase_is_refused_by_the_gate_that_sees_it(kind, gate):
    assert judged(spoilt(kind)).refused == gate


def test_fat_that_turns_at_another_speed_is_not_believed():
    s, _ = drawn(stretched=0.93)
    found = judged(s)
    assert found.measured["fat-frequency"] == pytest.approx(0.93, abs=0.02)
    assert found.refused == "fat-frequency"


@pytest.mark.parametrize("field_t", [1.5, 3.0])
@pytest.mark.parametrize("shift_ppm", [0.0, 0.2])
def test_a_layer_of_fat_confirms_a_phase_whatever_field_its_susceptibility_makes(shift_ppm, field_t):
    s, liver = layered(shift_ppm, field_t)
    found = fit_complex(s, SHORT, field_t, rates(liver))
    assert found.refused == ""
    assert found.measured["fat-frequency"] == pytest.approx(1, abs=0.01)


def test_without_adipose_tissue_nothing_confirms_it():
    s, liver = drawn()
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((2, *s.shape)) / 60
    alone = np.where(liver[None, ..., None], s, noise[0] + 1j * noise[1]).astype(np.complex64)
    assert judged(alone).refused == "no-adipose"


@pytest.mark.parametrize(
    ("t_ms", "field_t", "why"),
    [
        (SHORT, None, "no-field"),
        (SHORT[:5], 1.5, "few-echoes"),
        (4.6 * np.arange(1, 13), 1.494, "whole-turns"),
    ],
)
def test_what_a_train_cannot_tell_is_refused_before_a_slice_is_asked_for(t_ms, field_t, why):
    def never():
        raise AssertionError
        yield

    assert fit_complex(never(), t_ms, field_t, np.empty((0, 1, 1))).refused == why


def test_an_image_of_nothing_is_refused():
    assert fit_complex(np.zeros((1, 32, 32, 12), np.complex64), SHORT, 1.5, np.full((1, 32, 32), np.nan)).refused


def test_what_alternates_between_echoes_is_taken_out():
    s, _ = drawn(swing=0.6)
    before = alternation(s[0], SHORT)
    after = alternation(take_out(s[0], before.theta_rad), SHORT)
    assert before.coherence > 0.95
    assert np.abs(after.theta_rad).max() < 0.02


def test_how_far_the_field_changes_from_slice_to_slice_is_told():
    s, liver = drawn()
    other = s[0] * np.exp(2j * np.pi * 35.0 * SHORT / 1000)
    found = fit_complex(np.stack([s[0], other.astype(np.complex64)]), SHORT, 1.5, np.repeat(rates(liver), 2, 0))
    assert found.across_hz(SHORT) == pytest.approx(35, abs=2)
    assert judged(s).across_hz(SHORT) is None
