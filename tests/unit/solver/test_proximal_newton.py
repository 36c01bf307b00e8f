from dataclasses import dataclass, replace

import numpy as np

from solver.likelihood import MonoExponential
from solver.noise import GAUSSIAN
from solver.proximal_newton import Problem, Schedule, minimise

T = np.linspace(0.15, 1.0, 8)
SHAPE = (14, 12)


def problem(weight=0.5, order=0.0, seed=0):
    rng = np.random.default_rng(seed)
    clean = 40 * np.exp(-np.where(np.arange(SHAPE[1]) < 6, 2.0, 4.0) * T[:, None, None]) * np.ones((1, *SHAPE))
    s = np.hypot(clean + rng.standard_normal(clean.shape), rng.standard_normal(clean.shape))
    likelihood = MonoExponential(s.reshape(8, -1), T, order)
    return Problem(likelihood, np.full((2, *SHAPE), weight), np.ones(SHAPE, bool), 1e-4, 60.0, thorough=True)


def start():
    return np.stack([np.full(SHAPE, 30.0), np.full(SHAPE, 3.0)])


def value(given, x):
    return given.likelihood.terms(x.reshape(2, -1))[0].sum() + given.penalty(x)


def test_the_objective_never_rises_and_the_loop_says_why_it_ends():
    found = minimise(problem(), start())
    assert np.all(np.diff(found.objective) <= 1e-3)
    assert found.converged
    assert found.verdict == "converged"


def test_nothing_near_the_answer_is_better():
    given = problem()
    found = minimise(given, start(), schedule=Schedule(tolerance=1e-9, most=200))
    rng = np.random.default_rng(1)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(10):
            other = found.x + size * rng.standard_normal(found.x.shape) * np.array([10.0, 1.0])[:, None, None]
            assert value(given, other) > value(given, found.x) - 1e-3


def test_different_starts_end_at_one_answer():
    given = problem(order=GAUSSIAN)
    other = np.stack([np.full(SHAPE, 60.0), np.full(SHAPE, 1.0)])
    a, b = (minimise(given, x, schedule=Schedule(tolerance=1e-8, most=200)).objective[-1] for x in (start(), other))
    assert abs(a - b) < 1e-4 * a


def test_held_voxels_do_not_move():
    given = problem()
    given.free[3, 3] = False
    given.weights[:, 3, 3] = 0
    np.testing.assert_allclose(minimise(given, start()).x[:, 3, 3], start()[:, 3, 3], rtol=1e-12)


@dataclass(frozen=True)
class Broken:
    """A likelihood that gives what is not a number."""

    samples: int = 8
    brightest: float = 1.0

    def terms(self, x):
        return np.full((6, x.shape[1]), np.nan)

    def redrawn(self, x, rng):
        return self


def test_iterates_that_are_not_finite_stop_with_a_verdict():
    given = Problem(Broken(), np.ones((2, *SHAPE)), np.ones(SHAPE, bool), 1e-4, 60.0, thorough=True)
    found = minimise(given, start())
    assert not found.converged
    assert "finite" in found.verdict
    assert np.isfinite(found.x).all()


def test_a_loop_whose_problems_stay_unsolved_does_not_say_it_converged():
    """Steps that gain nothing because they hardly try are no sign of an end."""
    hasty = Schedule(inner=1, doublings=0, left=1e-9, most=20)
    wide = replace(problem(weight=50.0), thorough=False)
    assert not minimise(wide, start(), schedule=hasty).converged


def test_steps_across_a_smooth_penalty_never_raise_the_objective():
    given = replace(problem(weight=20.0), regulariser="laplacian", thorough=False)
    found = minimise(given, start())
    assert found.converged
    assert np.all(np.diff(found.objective) <= 1e-3)
