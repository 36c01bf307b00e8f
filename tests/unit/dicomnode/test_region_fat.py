"""A region's number is freed of fat, says so, or is withheld where fat cannot be excluded."""

from pathlib import Path

import numpy as np
import pytest

from dicomnode import analyse, region
from dicomnode.config import FitSettings, MeasureSettings
from dicomnode.model import Component, EchoImage, EchoStack, Encoding, Grade, Plane, Roi, SequenceKind
from solver import phantom
from solver.decay import Model

SHORT = tuple(1.1 + 1.1 * k for k in range(12))
PAPER = phantom.PAPER_ECHO_TIMES_MS
IN_PHASE = tuple(4.6 * k for k in range(1, 7))
SHAPE, S0 = (48, 48), 300.0
AUTOMATIC, PLAIN = FitSettings(model="automatic"), FitSettings(model="mono-exponential")


def measured(fraction, rate, times=SHORT, *, field_t=1.5, snr=60.0, settings=AUTOMATIC):
    """What is said of tissue with so much fat, the decay that is shown, and the maps."""
    plane = Plane(*SHAPE, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (3.0, 3.0), "1.2")
    echoes = tuple(
        EchoImage(
            Path("-"), None, "1", f"1.{n}", "1.1", "1.2", Encoding.CLASSIC, Component.MAGNITUDE,
            SequenceKind.GRADIENT_ECHO, time, plane, field_strength_t=field_t,
        )
        for n, time in enumerate(times)
    )  # fmt: skip
    stack = EchoStack("1.2", ("1.1",), times, (echoes,))
    t, body, liver = np.array(times), np.zeros((1, *SHAPE), bool), np.zeros((1, *SHAPE), bool)
    body[:, 4:-4, 4:-4] = True
    liver[:, 4:-4, 20:-4] = True
    fatty = S0 * np.exp(-rate * t / 1000) * Model(field_t).shape(t, np.array([fraction]))[0]
    clean = np.where(liver[..., None], fatty, body[..., None] * S0 * np.exp(-35 * t / 1000))
    signal = phantom.add_rician(clean, S0 / snr, np.random.default_rng(3)).astype(np.float32)
    maps = analyse.fit_signal(stack, signal, settings)
    roi = Roi("liver", liver, automatic=False)
    one, decay = region.measure(roi, region.Images.of(stack, signal, maps), MeasureSettings())
    return one, decay, maps


def grades(one):
    return {flag.code: flag.grade for flag in one.flags}


@pytest.mark.parametrize("field_t", [1.5, 3.0])
def test_the_number_is_freed_of_fat_and_both_values_stand(field_t):
    one, _, _ = measured(0.25, 300.0, field_t=field_t)
    assert one.r2star.value == pytest.approx(300.0, rel=0.01)
    assert one.r2star.ci95[0] < 300.0 < one.r2star.ci95[1]
    assert abs(one.plain_r2star_per_s / 300.0 - 1) > 0.015
    (said,) = [flag for flag in one.flags if flag.code == "fat-corrected"]
    assert said.grade is Grade.INFO
    assert "one exponential gives" in said.sentence


def test_the_decay_that_is_shown_beats_as_the_signal_does():
    _, decay, _ = measured(0.25, 100.0)
    at, factor = zip(*decay.beat, strict=True)
    shown = decay.s0 * np.exp(-decay.r2star_per_s * np.array(SHORT) / 1000) * np.interp(SHORT, at, factor)
    assert shown == pytest.approx(np.array(decay.signal), rel=0.02, abs=S0 / 60)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3])
def test_the_signal_fat_fraction_has_an_interval_that_holds_it(fraction):
    one, _, _ = measured(fraction, 80.0)
    low, high = one.fat_fraction.ci95
    assert low <= fraction <= high
    assert high - low < 0.10


def test_without_fat_nothing_is_corrected_and_nothing_is_said():
    one, decay, maps = measured(0.0, 300.0)
    assert one.flags == ()
    assert decay.beat == ()
    assert one.r2star.value == pytest.approx(one.plain_r2star_per_s, rel=1e-3)
    assert np.abs(maps.values["fat_fraction"]).max() < 0.03


def test_where_fat_cannot_be_excluded_and_would_matter_there_is_no_number():
    one, _, _ = measured(0.2, 550.0, PAPER, snr=50.0)
    assert grades(one)["fat-not-excluded"] is Grade.NOT_MEASURABLE
    assert one.r2star_per_s is None
    assert one.fat_fraction is None
    assert "fat cannot be excluded" in str(analyse.why_no_number((one,)).sentence)


def test_echoes_in_phase_are_asked_nothing_and_what_fat_would_do_is_said():
    one, _, maps = measured(0.2, 60.0, IN_PHASE)
    assert not maps.looked_for_fat
    assert grades(one)["fat-untold"] is Grade.INFO
    assert one.r2star.value == pytest.approx(60.0, rel=0.05)
    assert one.fat_fraction is None


def test_a_site_that_wants_one_exponential_gets_its_maps():
    one, _, maps = measured(0.25, 300.0, settings=PLAIN)
    assert not maps.looked_for_fat
    assert maps.record.model == "mono-exponential"
    assert one.plain_r2star_per_s is None


def test_finders_see_the_rates_of_one_exponential():
    _, _, maps = measured(0.25, 300.0)
    assert np.array_equal(maps.plain.r2star_per_s, maps.values["plain_r2star_per_s"])
    assert not np.array_equal(maps.plain.r2star_per_s, maps.r2star_per_s)
