"""A digital heart is what it says it is."""

import numpy as np
import pytest

from solver.heart import WESTWOOD_ECHO_TIMES_MS, Heart, complex_signal, heart


def made(**how):
    anatomy = Heart(**{"shape": (96, 128), "spacing_mm": (3.1, 3.1), **how})
    return anatomy, heart(anatomy, np.random.default_rng(1))


def test_the_septum_decays_with_the_time_it_was_given():
    _, phantom = made(t2star_ms=12.0, texture=0.0)
    assert np.allclose(phantom.t2star_ms[phantom.regions["septum"]], 12.0)


def test_the_free_wall_decays_faster_beside_the_lung_and_the_septum_does_not():
    _, phantom = made(texture=0.0)
    assert phantom.r2star_per_s[phantom.regions["wall"]].max() > 55.0
    assert np.ptp(phantom.r2star_per_s[phantom.regions["septum"]]) == 0.0


@pytest.mark.parametrize(("blood", "brighter"), [("bright", True), ("black", False)])
def test_blood_is_brighter_than_muscle_or_darkened(blood, brighter):
    _, phantom = made(blood=blood)
    pool, septum = (np.median(phantom.s0[phantom.regions[name]]) for name in ("pool", "septum"))
    assert bool(pool > septum) is brighter
    assert bool(phantom.regions["slow"].any()) is not brighter


def test_every_voxel_is_of_one_tissue():
    _, phantom = made(slices=3)
    whole = sum(mask.astype(int) for name, mask in phantom.regions.items() if name != "body")
    assert (whole == 1).all()


def test_ghosts_of_blood_add_what_does_not_decay():
    anatomy, phantom = made(flow=0.1, texture=0.0)
    still, _ = made(texture=0.0)
    added = np.abs(complex_signal(anatomy, phantom, WESTWOOD_ECHO_TIMES_MS)) - np.abs(
        complex_signal(still, phantom, WESTWOOD_ECHO_TIMES_MS)
    )
    inside = added[phantom.regions["septum"]]
    assert inside.min() > 0
    assert np.allclose(inside[:, 0], inside[:, -1], rtol=1e-4)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        made(wall_mm=0.0)
