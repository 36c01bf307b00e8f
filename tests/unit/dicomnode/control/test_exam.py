"""What an exam says of its scanner."""

import numpy as np
import pytest

from dicomnode.control import exam
from dicomnode.model import DecayCurve

TIMES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def image(ghost=0.0):
    made = np.full((1, 64, 64), 2.0, np.float32)
    made[0, 20:44, 20:44] = 100.0
    made[0, :20, 20:44] += ghost
    made[0, 44:, 20:44] += ghost
    return made


def test_ghosts_are_what_the_air_along_one_direction_has_more():
    assert exam.ghosting(image()) == pytest.approx(0.0, abs=1e-6)
    assert exam.ghosting(image(ghost=4.0)) == pytest.approx(0.02, rel=0.01)


def test_a_body_that_fills_the_image_tells_nothing_of_ghosts():
    assert exam.ghosting(np.full((1, 32, 32), 100.0, np.float32)) is None


def test_echoes_that_alternate_do_not_agree():
    clean = 1000.0 * np.exp(-0.05 * np.array(TIMES))
    even = clean * np.where(np.arange(6) % 2, 1.03, 0.97)
    agreed, apart = (
        exam.consistency(DecayCurve(TIMES, tuple(signal), 1.0, s0=1000.0, r2star_per_s=50.0))
        for signal in (clean, even)
    )
    assert agreed < 1e-5
    assert apart == pytest.approx(0.03, rel=0.01)


def test_a_decay_lost_in_noise_says_nothing():
    assert exam.consistency(DecayCurve(TIMES, (9.0, 2.0, 2.0, 2.0, 2.0, 2.0), 2.0, s0=20.0, r2star_per_s=900.0)) is None
