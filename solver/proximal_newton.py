"""Penalised likelihood of the amplitude and rate maps of one slice, by damped proximal Newton steps.

Voxels are split from neighbours: a quadratic model of each voxel's likelihood, then one problem that couples them.
"""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.smoothness import roughness, solve_smooth
from solver.total_variation import SQUARE, solve_coupled, weighted_variation
from solver.vector_math import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solver.likelihood import Likelihood


@dataclass(frozen=True, slots=True)
class Schedule:
    """How far each step is solved, and when the steps end; shares of the objective's natural size."""

    tolerance: float = 1e-4  # the last step gains less than that
    most: int = 120  # steps
    inner: int = 50  # TV passes of the first steps; later they grow, because acceleration needs long runs
    doublings: int = 4  # of them where nothing changes any more
    rounds: int = 3  # steps before they grow where the problem asks for thoroughness
    forcing: float = 0.03  # a step's TV problem is solved to this share of what the last step gained
    onward: float = 0.1  # and to that of the gap of the last step, so that no step does nothing
    left: float = 5.0  # times the tolerance: the gap that the TV problem of the last step may have
    carry: float = 2.0  # how much longer the primal step of the next part is than where the last one ended
    refused: float = 1e-4  # voxels that may still be refused at the end
    misfit: float = (
        0.1  # of the objective; of a good fit it is about 8 times its natural size, of a bad one 30 and more
    )
    active: int = 5  # times that voxels may be put at their bounds in a step across a smooth penalty
    halvings: int = 6  # of a step across a smooth penalty, which couples voxels: damping each does not shorten it


DEFAULT = Schedule()
ROUGH = replace(DEFAULT, tolerance=1e-3)


@dataclass(frozen=True, slots=True)
class Problem:
    """One slice in noise units: minimise -ln p(s | a, r) + sum w_0 |D a| + sum w_1 |D r|.

    With ``regulariser`` "laplacian" the penalty is 1/2 sum (w_0 L a)^2 + 1/2 sum (w_1 L r)^2 instead.
    """

    likelihood: Likelihood  # of n = K L voxels
    weights: NDArray[Any]  # (2, K, L), 0 where a voxel does not take part
    free: NDArray[np.bool_]  # (K, L), False where a and r are held
    least: float  # bounds of r
    most: float
    regulariser: str = "tv"
    spacing: tuple[float, float] = SQUARE  # between rows, between columns; geometric mean 1
    thorough: bool = False  # TV passes grow from step to step, which strong weights over wide regions need

    @property
    def floor(self) -> NDArray[Any]:
        """Curvature of a and r that every voxel is given for one step, so that what nothing decides moves slowly."""
        brightest = max(self.likelihood.brightest, 1.0)
        return np.array([brightest**-2, (0.2 * self.most) ** -2], self.weights.dtype)

    def penalty(self, x: NDArray[Any]) -> float:
        """Value of the regulariser at the maps x (2, K, L)."""
        if self.regulariser == "laplacian":
            return roughness(x, self.weights, self.free)
        return weighted_variation(x, self.weights, self.spacing)


@dataclass(frozen=True, slots=True)
class Solution:
    """Maps, and what is known of their quality."""

    x: NDArray[Any]  # (2, K, L): a, r
    p: NDArray[Any]  # (4, K, L): dual variables of the TV terms, a start for a problem nearby
    objective: tuple[float, ...]
    iterations: int
    converged: bool
    verdict: str


@kernel
def _newton_point(terms: Any, damping: Any, free: Any, x: Any, floor: Any, u: Any, c: Any) -> None:
    """C = (H + damping diag H)^-1 and u = x - C g; voxels that are not free get C = 0, u = x."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for j in range(free.size):
        up = one + damping[j]
        haa, har, hrr = terms[3, j] * up + floor[0], terms[4, j], terms[5, j] * up + floor[1]
        inverse = one / (haa * hrr - har * har) if free[j] else zero
        c[0, j], c[1, j], c[2, j] = hrr * inverse, -har * inverse, haa * inverse
        u[0, j] = x[0, j] - c[0, j] * terms[1, j] - c[1, j] * terms[2, j]
        u[1, j] = x[1, j] - c[1, j] * terms[1, j] - c[2, j] * terms[2, j]


@kernel
def _judge(old: Any, new: Any, x: Any, y: Any, damping: Any) -> Any:
    """Raise a voxel's damping where its quadratic model promised more than the likelihood gave, else lower it.

    A voxel whose likelihood is far worse than promised stays where it was: y and its new terms become the old ones.
    Returns how many there are.
    """
    f = x.dtype.type
    half, slack = f(0.5), f(1e-3)
    refused = 0
    for j in range(damping.size):
        d0, d1 = y[0, j] - x[0, j], y[1, j] - x[1, j]
        up = f(1) + damping[j]
        square = old[3, j] * up * d0 * d0 + f(2) * old[4, j] * d0 * d1 + old[5, j] * up * d1 * d1
        promised = old[1, j] * d0 + old[2, j] * d1 + half * square
        excess = new[0, j] - old[0, j] - promised
        damping[j] = f(4) * damping[j] + f(0.1) if excess > slack else damping[j] * f(0.3)
        if not excess < f(0.5):
            y[0, j], y[1, j] = x[0, j], x[1, j]
            new[:, j] = old[:, j]
            refused += 1
    return refused


@kernel
def _keep_inside(x: Any, y: Any, c: Any, least: Any, most: Any) -> None:
    """Bring r back to its bounds, and a to the value that goes with that r; a keeps a tenth of itself at least."""
    f = x.dtype.type
    tenth, tiny = f(0.1), f(1e-30)
    for j in range(x.shape[1]):
        r = min(max(y[1, j], least), most)
        a = y[0, j] - c[1, j] / max(c[2, j], tiny) * (y[1, j] - r)
        y[0, j], y[1, j] = max(a, tenth * x[0, j]), r


def _smooth_within(
    problem: Problem, x: NDArray[Any], u: NDArray[Any], c: NDArray[Any], effort: Effort
) -> tuple[NDArray[Any], float]:
    """Solve for the smooth penalty; conjugate gradients know no bounds, so what leaves them is put there and held."""
    least = np.stack([0.1 * x[0], np.full_like(x[1], problem.least)])
    most = np.stack([np.full_like(x[0], np.inf), np.full_like(x[1], problem.most)])
    start, moves = x, problem.free
    for _ in range(effort.active):
        y, gap = solve_smooth(u, c, problem.weights, problem.free, moves, start, effort.gap, effort.passes)
        inside = np.clip(y, least, most)
        left = moves & np.any(inside != y, axis=0)
        if not left.any():
            break
        start, moves = np.where(left, inside, start), moves & ~left
    return y, gap


@dataclass(frozen=True, slots=True)
class Step:
    """Where an outer step leads, the duality gap its problem was left with, the primal step size to go on with."""

    x: NDArray[Any]  # (2, K, L), not yet within the bounds
    c: NDArray[Any]  # (3, K, L)
    gap: float
    tau: float


@dataclass(frozen=True, slots=True)
class Effort:
    """How far the TV problem of one step is solved, and with which primal step size it begins."""

    gap: float
    passes: int
    tau: float | None  # None: begin anew from the quadratic models' own minima
    active: int  # as of the schedule


def step(
    problem: Problem, x: NDArray[Any], terms: NDArray[Any], damping: NDArray[Any], p: NDArray[Any], effort: Effort
) -> Step:
    """One outer step: quadratic models of all voxels, then the coupled TV problem they make as far as ``effort`` says.

    ``p`` is overwritten.
    """
    shape, n = x.shape, x[0].size
    u, c = np.empty((2, n), x.dtype), np.empty((3, n), x.dtype)
    _newton_point(terms, damping, problem.free.reshape(n), x.reshape(2, n), problem.floor, u, c)
    u, c = u.reshape(shape), c.reshape(3, *shape[1:])
    bounds = (problem.least, problem.most)
    tau = effort.tau or 1.0
    begin = None if effort.tau is None else x
    if problem.regulariser == "laplacian":
        y, gap = _smooth_within(problem, x, u, c, effort)
    else:
        solved = solve_coupled(u, c, problem.weights, p, effort.gap, effort.passes, problem.spacing, bounds, begin, tau)
        y, gap, tau = solved.x, solved.gap, solved.tau
    return Step(y, c, gap, tau)


def _along(problem: Problem, x: NDArray[Any], made: Step, share: float) -> NDArray[Any]:
    """Go a share of the way of a step, within the bounds."""
    y, n = x + x.dtype.type(share) * (made.x - x) if share < 1 else made.x.copy(), x[0].size
    of = x.dtype.type
    _keep_inside(x.reshape(2, n), y.reshape(2, n), made.c.reshape(3, n), of(problem.least), of(problem.most))
    return y


def _evaluate(problem: Problem, x: NDArray[Any]) -> NDArray[Any]:
    """Likelihood, gradient and curvature of every voxel at x."""
    return problem.likelihood.terms(x.reshape(2, -1)).astype(x.dtype, copy=False)


def _objective(problem: Problem, x: NDArray[Any], terms: NDArray[Any]) -> float:
    return float(np.sum(terms[0], where=problem.free.ravel(), dtype=np.float64)) + problem.penalty(x)


def _rounding(problem: Problem, x: NDArray[Any]) -> float:
    """How far the precision of the maps lets a gap be told from none."""
    return float(np.finfo(x.dtype).eps * np.sum(problem.weights * np.abs(x), dtype=np.float64))


def minimise(
    problem: Problem,
    start: NDArray[Any],
    dual: NDArray[Any] | None = None,
    schedule: Schedule = DEFAULT,
) -> Solution:
    """Repeat ``step`` until it gains less than the tolerance of the objective's natural size and leaves little to gain.

    Each step solves its TV problem to a duality gap of a tenth of that, in parts when it takes long: the quadratic
    models are renewed meanwhile. Where they no longer change, the parts grow. ``dual`` is overwritten.
    """
    x = start
    damping = np.zeros(x[0].size, x.dtype)
    p = np.zeros((4, *x.shape[1:]), x.dtype) if dual is None else dual
    terms = _evaluate(problem, x)
    value = _objective(problem, x, terms)
    history = [value]
    tau, gain, left, stalled = 1.0, 0.0, 0.0, 0
    natural = max(0.5 * problem.likelihood.samples * float(problem.free.sum()), 1.0)
    regularised = bool(problem.weights.any())
    for iteration in range(1, schedule.most + 1):
        # Where a regularised model does not describe the data, last digits mean nothing.
        size = max(natural, schedule.misfit * value) if regularised else natural
        passes = schedule.inner * 2 ** min(stalled, schedule.doublings)
        passes *= max(1, iteration - schedule.rounds) if problem.thorough else 1
        gap = max(0.1 * schedule.tolerance * size, min(schedule.forcing * gain, schedule.onward * left))
        on = problem.thorough or stalled > 0
        effort = Effort(gap, passes, min(1.0, schedule.carry * tau) if on else None, schedule.active)
        made = step(problem, x, terms, damping, p, effort)
        y, tau, left = _along(problem, x, made, 1.0), made.tau, made.gap
        if not np.isfinite(y).all():
            return Solution(x, p, tuple(history), iteration, False, "stopped: an iterate was not finite")
        new_terms = _evaluate(problem, y)
        refused = _judge(terms, new_terms, x.reshape(2, -1), y.reshape(2, -1), damping)
        new_value = _objective(problem, y, new_terms)
        for halving in range(1, schedule.halvings + 1 if problem.regulariser == "laplacian" else 1):
            if new_value <= value:
                break
            y = _along(problem, x, made, 0.5**halving)
            new_terms = _evaluate(problem, y)
            new_value = _objective(problem, y, new_terms)
        gain = value - new_value
        if gain > -1e-6 * natural:
            x, terms, value = y, new_terms, new_value
            history.append(value)
        rounding = _rounding(problem, x)
        if abs(gain) < schedule.tolerance * size + rounding and refused <= schedule.refused * natural:
            if made.gap <= schedule.left * schedule.tolerance * size + rounding:
                return Solution(x, p, tuple(history), iteration, True, "converged")
            stalled += 1
    return Solution(x, p, tuple(history), schedule.most, False, "stopped: the largest number of iterations was reached")
