"""The speed bench measures what it says."""

import importlib.util

import numpy as np
import pytest

from bench import solver


def test_the_least_time_and_the_last_result_are_kept():
    results = iter([1, 2, 3])
    timing, last = solver.measure(lambda: next(results), 3)
    assert last == 3
    assert 0 <= timing.cpu < 1
    assert 0 < timing.wall < 1


def test_a_peer_that_is_absent_is_said_to_be_absent():
    task = solver.ProxTask(np.ones((2, 4, 4)), 1.0, 1.0)
    assert solver._peer_row("pyunlocbox", None, task, 1.0, quick=True)[1] == "not installed"
    named = solver._peers()
    absent = [name for name in ("pyunlocbox", "pyproximal") if importlib.util.find_spec(name) is None]
    assert all(named[name] is None for name in absent)


def test_the_named_peer_solves_the_same_problem():
    maps = np.random.default_rng(1).standard_normal((2, 16, 16)) + 5
    for u in maps:
        exact, peer = solver._accelerated(u, 0.5, 1e-10), solver._skimage(u, 0.5, 4000)
        assert solver._rof(peer, u, 0.5) == pytest.approx(solver._rof(exact, u, 0.5), rel=1e-4)
        assert solver._rof(exact, u, 0.5) <= solver._rof(peer, u, 0.5) + 1e-9


def test_a_slice_is_single_precision_and_positive():
    images, times = solver.slice_of_liver(2, (16, 24), 12)
    assert images.shape == (2, 16, 24, 12)
    assert images.dtype == np.float32
    assert (images > 0).all()
    assert times[0] == pytest.approx(1.1)
