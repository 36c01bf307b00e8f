import math

import pytest

from dicomnode.measure import quality
from dicomnode.model import DecayCurve

TIMES = (2.0, 4.0, 6.0, 8.0)
SIGMA = 10.0


def decay(r2star, s0=300.0, fitted=None):
    floor = math.sqrt(math.pi / 2) * SIGMA
    signal = tuple(math.hypot(s0 * math.exp(-r2star * t * 1e-3), floor) for t in TIMES)
    return DecayCurve(TIMES, signal, floor, s0, r2star if fitted is None else fitted)


def judge(curve, plain=None, invalid=0.0):
    return quality.judge(curve, sigma=SIGMA, plain_r2star_per_s=plain, invalid_fraction=invalid)


def test_a_good_decay_has_no_flag():
    assert judge(decay(100.0), plain=99.0) == quality.Trust((), True)


def test_a_decay_in_the_noise_gives_a_bound_and_no_number():
    trust = judge(decay(1500.0))
    assert not trust.measurable
    assert trust.flags == (f"not measurable: 0 of 4 echoes above the noise: R2* > {math.log(10) / 4e-3:.0f}/s",)


def test_two_echoes_above_the_noise_are_low_confidence():
    trust = judge(decay(550.0))
    assert trust.measurable
    assert trust.flags[0].startswith("low confidence: 2 echoes")


def test_a_weak_first_echo_is_low_confidence():
    assert any("first echo" in flag for flag in judge(decay(20.0, s0=48.0)).flags)


@pytest.mark.parametrize(("plain", "flagged"), [(95.0, False), (85.0, True), (115.0, True)])
def test_a_noise_correction_that_matters_is_said(plain, flagged):
    assert any("noise correction" in flag for flag in judge(decay(100.0), plain=plain).flags) is flagged


@pytest.mark.parametrize(("share", "measurable", "flags"), [(0.05, True, 0), (0.2, True, 1), (0.6, False, 1)])
def test_voxels_without_a_fit_cost_confidence_and_then_the_number(share, measurable, flags):
    trust = judge(decay(100.0), invalid=share)
    assert trust.measurable is measurable
    assert len(trust.flags) == flags
