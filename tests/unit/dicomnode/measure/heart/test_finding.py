"""The septum is found in hearts of bright and of black blood, and nowhere else."""

from types import SimpleNamespace

import numpy as np
import pytest

from dicomnode.measure import heart
from dicomnode.measure.heart import flow
from dicomnode.measure.regions import TRUSTED
from dicomnode.model import Grade, Plane
from dicomnode.simulate import ORIENTATIONS
from solver.heart import WESTWOOD_ECHO_TIMES_MS, Heart, complex_signal
from solver.heart import heart as drawn
from solver.phantom import Abdomen, abdomen
from solver.phantom import complex_signal as of_abdomen

TIMES = WESTWOOD_ECHO_TIMES_MS


def planes(anatomy, slices=1, orientation=ORIENTATIONS["short-axis"]):
    normal = np.cross(orientation[:3], orientation[3:])
    positions = (tuple(float(x) for x in 8.0 * k * normal) for k in range(slices))
    return tuple(Plane(*anatomy.shape, position, orientation, anatomy.spacing_mm, "1") for position in positions)


def noisy(clean, sigma, rng):
    noise = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
    return np.abs(clean + sigma * noise).astype(np.float32)


def found(signal, sigma, where):
    nowhere = np.zeros(signal.shape[:3], bool)
    maps = SimpleNamespace(sigma=(sigma,) * len(signal), valid=nowhere, r2star_per_s=nowhere * 1.0)
    return heart.find(signal, TIMES, maps, where, 1.0)


def a_heart(seed=1, sigma=5.0, **how):
    rng, anatomy = np.random.default_rng(seed), Heart(**how)
    phantom = drawn(anatomy, rng)
    signal = noisy(complex_signal(anatomy, phantom, TIMES), sigma, rng)
    return phantom, found(signal, sigma, planes(anatomy, anatomy.slices))


@pytest.mark.parametrize("blood", ["bright", "black"])
@pytest.mark.parametrize("t2star_ms", [5.0, 12.0, 35.0])
def test_the_septum_is_found_and_little_else(blood, t2star_ms):
    phantom, one = a_heart(blood=blood, t2star_ms=t2star_ms)
    septum, ring = one.rois
    assert (septum.name, ring.name) == ("septum", "left ventricle")
    assert septum.confidence >= TRUSTED
    assert (septum.mask & phantom.regions["septum"]).sum() >= 0.9 * septum.mask.sum() > 40
    assert one.scene == {"heart": septum.confidence}


def test_only_of_bright_blood_it_is_said_that_faint_ghosts_stay_unseen():
    said = [[flag.code for flag in a_heart(blood=blood)[1].rois[0].doubts] for blood in ("bright", "black")]
    assert said == [["bright-blood"], []]


@pytest.mark.parametrize(("amount", "grade"), [(0.04, "low confidence"), (0.25, "not measurable")])
def test_ghosts_of_blood_that_are_seen_beside_the_heart_are_said(amount, grade):
    _, one = a_heart(flow=amount, t2star_ms=14.0, sigma=4.0)
    codes = {flag.code: flag.grade.value for flag in one.rois[0].doubts}
    assert codes["blood-ghosts"] == grade


def test_the_interval_of_bright_blood_leaves_room_for_ghosts_and_that_of_black_blood_needs_none():
    room = {blood: a_heart(blood=blood)[1].rois[0].moved for blood in ("bright", "black")}
    assert 0 < room["bright"] < flow.MUCH
    assert room["black"] == 0


def test_where_a_scanner_wrote_zeros_into_the_dark_ghosts_may_be_there():
    phantom = drawn(Heart(), np.random.default_rng(1))
    signal = noisy(complex_signal(Heart(), phantom, TIMES), 5.0, np.random.default_rng(1))
    signal[phantom.regions["air"] | phantom.regions["lung"]] = 0
    assert found(signal, 5.0, planes(Heart())).rois[0].moved > 0.02


def test_a_turned_image_shows_the_same_septum():
    """The plane tells where the patient's right is, not the image's left."""
    anatomy, rng = Heart(), np.random.default_rng(2)
    phantom = drawn(anatomy, rng)
    signal = noisy(complex_signal(anatomy, phantom, TIMES), 5.0, rng)
    row, column = ORIENTATIONS["short-axis"][:3], ORIENTATIONS["short-axis"][3:]
    turned = tuple(-x for x in row) + column
    one = found(np.ascontiguousarray(signal[:, :, ::-1]), 5.0, planes(anatomy, 1, turned))
    mask = one.rois[0].mask[:, :, ::-1]
    assert (mask & phantom.regions["septum"]).sum() >= 0.9 * mask.sum() > 40


def test_slices_that_show_it_are_measured_together():
    phantom, one = a_heart(slices=3)
    septum = one.rois[0]
    assert septum.mask.any(axis=(1, 2)).sum() >= 2
    assert (septum.mask & phantom.regions["septum"]).sum() >= 0.9 * septum.mask.sum()
    assert len(septum.slice_confidence) == 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_abdomen_shows_no_septum_and_the_reason_is_said(seed):
    rng = np.random.default_rng(seed)
    anatomy = Abdomen(liver_t2star_ms=8.0, lesion_diameter_mm=30.0)
    signal = noisy(of_abdomen(abdomen(anatomy, rng), TIMES), 5.0, rng)
    one = found(signal, 5.0, planes(anatomy))
    (septum,) = one.rois
    assert not septum.mask.any()
    assert not one.organ.any()
    (doubt,) = septum.doubts
    assert (doubt.code, doubt.grade) == ("no-septum", Grade.NOT_MEASURABLE)
    assert doubt.sentence.startswith("no reliable septum: ")


def test_noise_alone_shows_nothing():
    rng = np.random.default_rng(1)
    one = found(noisy(np.zeros((1, 96, 128, 8)), 5.0, rng), 5.0, planes(Heart(shape=(96, 128))))
    assert one.rois[0].confidence < 1 - TRUSTED


def bent(offset, sigma=2.0, rate_per_s=100.0):
    """What is said of a region whose signal keeps ``offset`` of its amplitude."""
    rng = np.random.default_rng(3)
    decay = 300 * (np.exp(-rate_per_s * np.array(TIMES) / 1000) + offset)
    signal = noisy(np.broadcast_to(decay, (1, 12, 12, 8)), sigma, rng)
    everywhere = np.ones((1, 12, 12), bool)
    times = np.array(TIMES)
    seen = np.polyfit(times, np.log(decay), 1, w=decay)[0] * -1000  # as one exponential has it
    maps = SimpleNamespace(sigma=(sigma,), valid=everywhere, r2star_per_s=np.full((1, 12, 12), seen))
    return flow.flags(signal, TIMES, maps, everywhere, 1.0)


def test_blood_that_does_not_decay_with_the_muscle_is_flagged_and_much_of_it_forbids_the_number():
    assert bent(0.0) == ()
    assert [flag.grade for flag in bent(0.06)] == [Grade.LOW_CONFIDENCE]
    assert [flag.grade for flag in bent(0.25)] == [Grade.NOT_MEASURABLE]


@pytest.mark.parametrize("rate_per_s", [25.0, 50.0, 100.0, 200.0])
@pytest.mark.parametrize("sigma", [4.0, 12.0])
def test_the_floor_of_noise_is_not_taken_for_blood(rate_per_s, sigma):
    assert bent(0.0, sigma, rate_per_s) == ()
