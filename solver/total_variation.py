"""Isotropic total variation of maps: its value, its proximal map, its duality gap.

D x are forward differences, zero across the last row and column, scaled down across wide pixels. All problems here are
min_x 1/2 (x - u)' C^-1 (x - u) + sum_i w_i |D x|_i with a block-diagonal C. They are solved together with their duals
min_p 1/2 |D' p|_C^2 - <D' p, u> over |p_i| <= w_i, at whose solution x = u - C D' p, by accelerated primal-dual passes
(Chambolle and Pock 2011, algorithm 2) in the metric of C, with dual steps of each pixel's own. Maps are (K, L), dual
variables two of these: down the rows, along the columns.
"""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.vector_math import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHECK_EVERY = 10  # iterations between two looks at the gap
SQUARE = (1.0, 1.0)
CONVEXITY = 0.7  # share of the strong convexity that the acceleration counts on


@dataclass(frozen=True, slots=True)
class Prox:
    """A proximal point and how well it is known."""

    x: NDArray[Any]  # (K, L)
    p: NDArray[Any]  # (2, K, L) dual variable, the next call's start
    gap: float  # primal minus dual objective, never negative
    iterations: int


@dataclass(frozen=True, slots=True)
class Coupled:
    """Two maps, how well they are known, and the primal step to go on with."""

    x: NDArray[Any]  # (2, K, L)
    gap: float
    tau: float
    iterations: int


@kernel
def _adjoint_row(qx: Any, qy: Any, i: int, down: Any, right: Any, out: Any) -> None:
    """Row i of D' q."""
    n = out.size
    below = out.dtype.type(0) if i == qx.shape[0] - 1 else -down
    above = i - 1 if i > 0 else 0
    from_above = down if i > 0 else out.dtype.type(0)
    for j in range(n):
        out[j] = from_above * qx[above, j] + below * qx[i, j]
    for j in range(n - 1):
        out[j] -= right * qy[i, j]
    for j in range(1, n):
        out[j] += right * qy[i, j - 1]


@kernel
def _dual_row(x: Any, w: Any, size: Any, scale: Any, px: Any, py: Any, i: int, steps: Any) -> None:
    """Row i of p+ = project(p + scale size D x); the last row and column have no neighbour to differ from."""
    one, zero, tiny = x.dtype.type(1), x.dtype.type(0), x.dtype.type(1e-30)
    bottom = i == w.shape[0] - 1
    below = i if bottom else i + 1
    down, right = (zero if bottom else steps[0]), steps[1]
    last = x.shape[1] - 1
    for j in range(last):
        step = scale * size[i, j]
        a = px[i, j] + step * down * (x[below, j] - x[i, j])
        b = py[i, j] + step * right * (x[i, j + 1] - x[i, j])
        shrink = min(one, w[i, j] * (one / np.sqrt(max(a * a + b * b, tiny))))
        px[i, j] = a * shrink
        py[i, j] = b * shrink
    a = px[i, last] + scale * size[i, last] * down * (x[below, last] - x[i, last])
    px[i, last] = min(max(a, -w[i, last]), w[i, last])


@kernel
def _relax_row(goal: Any, x: Any, ahead: Any, tau: Any, theta: Any, i: int) -> None:
    """Row i of x+ = (x + tau goal) / (1 + tau), ahead = x+ + theta (x+ - x)."""
    share = x.dtype.type(1) / (x.dtype.type(1) + tau)
    for j in range(goal.size):
        new = (x[i, j] + tau * goal[j]) * share
        ahead[i, j] = new + theta * (new - x[i, j])
        x[i, j] = new


@kernel
def _relax_two(
    goal0: Any,
    goal1: Any,
    c: Any,
    bounds: Any,
    x0: Any,
    x1: Any,
    ahead0: Any,
    ahead1: Any,
    tau: Any,
    theta: Any,
    i: int,
) -> None:
    """The same for two maps; where the second would leave its bounds, the nearest point in C^-1 that has it there."""
    zero, tiny = x0.dtype.type(0), x0.dtype.type(1e-30)
    share = x0.dtype.type(1) / (x0.dtype.type(1) + tau)
    least, most = bounds[0], bounds[1]
    for j in range(goal0.size):
        free1 = (x1[i, j] + tau * goal1[j]) * share
        new1 = min(max(free1, least), most)
        new1 = new1 if c[2, i, j] > zero else free1
        new0 = (x0[i, j] + tau * goal0[j]) * share + c[1, i, j] / max(c[2, i, j], tiny) * (new1 - free1)
        ahead0[i, j] = new0 + theta * (new0 - x0[i, j])
        ahead1[i, j] = new1 + theta * (new1 - x1[i, j])
        x0[i, j] = new0
        x1[i, j] = new1


@kernel
def _pass_two(
    u: Any, c: Any, w: Any, size: Any, p: Any, x: Any, ahead: Any, tau: Any, theta: Any, steps: Any, bounds: Any, d: Any
) -> None:
    """One primal-dual pass over two maps that C couples: p first, then x towards u - C D' p; d (4, L) is scratch."""
    one = u.dtype.type(1)
    p0, p1, p2, p3, w0, w1, size0, size1 = p[0], p[1], p[2], p[3], w[0], w[1], size[0], size[1]
    x0, x1, ahead0, ahead1, d0, d1, goal0, goal1 = x[0], x[1], ahead[0], ahead[1], d[0], d[1], d[2], d[3]
    for i in range(u.shape[1]):
        _dual_row(ahead0, w0, size0, one / tau, p0, p1, i, steps)
        _dual_row(ahead1, w1, size1, one / tau, p2, p3, i, steps)
        _adjoint_row(p0, p1, i, steps[0], steps[1], d0)
        _adjoint_row(p2, p3, i, steps[0], steps[1], d1)
        _goal_row(u, c, i, d0, d1, goal0, goal1)
        _relax_two(goal0, goal1, c, bounds, x0, x1, ahead0, ahead1, tau, theta, i)


@kernel
def _goal_row(u: Any, c: Any, i: int, d0: Any, d1: Any, goal0: Any, goal1: Any) -> None:
    """Row i of u - C D' p of both maps; c holds C_00, C_01, C_11."""
    for j in range(d0.size):
        goal0[j] = u[0, i, j] - c[0, i, j] * d0[j] - c[1, i, j] * d1[j]
    for j in range(d0.size):
        goal1[j] = u[1, i, j] - c[1, i, j] * d0[j] - c[2, i, j] * d1[j]


@kernel
def _pass_one(u: Any, w: Any, size: Any, p: Any, x: Any, ahead: Any, tau: Any, theta: Any, steps: Any, d: Any) -> None:
    """One primal-dual pass over a single map with C = 1."""
    px, py, d0 = p[0], p[1], d[0]
    for i in range(u.shape[0]):
        _dual_row(ahead, w, size, u.dtype.type(1) / tau, px, py, i, steps)
        _adjoint_row(px, py, i, steps[0], steps[1], d0)
        for j in range(d0.size):
            d0[j] = u[i, j] - d0[j]
        _relax_row(d0, x, ahead, tau, theta, i)


@kernel
def _slopes(x: Any, w: Any, px: Any, py: Any, steps: Any) -> Any:
    """Sum of w |D x| and of w |D x| - <p, D x>."""
    rows, columns = x.shape
    value, gap = 0.0, 0.0
    last = columns - 1
    for i in range(rows):
        below = i if i == rows - 1 else i + 1
        down, right = steps[0], steps[1]
        row_value, row_gap = x.dtype.type(0), x.dtype.type(0)
        for j in range(last):
            a, b = down * (x[below, j] - x[i, j]), right * (x[i, j + 1] - x[i, j])
            term = w[i, j] * np.sqrt(a * a + b * b)
            row_value += term
            row_gap += term - px[i, j] * a - py[i, j] * b
        a = down * (x[below, last] - x[i, last])
        value += row_value + w[i, last] * abs(a)
        gap += row_gap + w[i, last] * abs(a) - px[i, last] * a
    return value, gap


@kernel
def _gap_two(u: Any, c: Any, w: Any, p: Any, x: Any, steps: Any, bounds: Any, d: Any) -> Any:
    """The gap 1/2 |x - g|^2 in C^-1 + sum w |D x| - <p, D x> with g = u - C D' p.

    Where g lies beyond the bounds, its own distance from them, 1/2 (g - bound)^2 / C_11, is taken off.
    """
    zero, half, tiny = u.dtype.type(0), u.dtype.type(0.5), u.dtype.type(1e-30)
    g0 = _slopes(x[0], w[0], p[0], p[1], steps)[1]
    g1 = _slopes(x[1], w[1], p[2], p[3], steps)[1]
    distance = 0.0
    for i in range(u.shape[1]):
        _adjoint_row(p[0], p[1], i, steps[0], steps[1], d[0])
        _adjoint_row(p[2], p[3], i, steps[0], steps[1], d[1])
        _goal_row(u, c, i, d[0], d[1], d[2], d[3])
        row = zero
        for j in range(u.shape[2]):
            a, b = x[0, i, j] - d[2, j], x[1, i, j] - d[3, j]
            c00, c01, c11 = c[0, i, j], c[1, i, j], c[2, i, j]
            determinant = c00 * c11 - c01 * c01
            inside = (c11 * a * a - (c01 + c01) * a * b + c00 * b * b) / max(determinant, tiny)
            beyond = d[3, j] - min(max(d[3, j], bounds[0]), bounds[1])
            inside -= beyond * beyond / max(c11, tiny)
            row += half * max(inside, zero) if determinant > tiny else zero
        distance += row
    return distance + g0 + g1


@kernel
def _gap_one(u: Any, w: Any, p: Any, x: Any, steps: Any, d: Any) -> Any:
    """Objective at x and its duality gap."""
    half = u.dtype.type(0.5)
    value, gap = _slopes(x, w, p[0], p[1], steps)
    for i in range(u.shape[0]):
        _adjoint_row(p[0], p[1], i, steps[0], steps[1], d[0])
        own, row = u.dtype.type(0), u.dtype.type(0)
        for j in range(u.shape[1]):
            misfit = x[i, j] - u[i, j]
            rest = misfit + d[0, j]
            own += half * misfit * misfit
            row += half * rest * rest
        value += own
        gap += row
    return value, gap


@kernel
def _dual_sizes(c: Any, steps: Any, size: Any) -> None:
    """Dual step sizes: their inverse bounds the row sums of D C D', a pixel and its neighbours at a time."""
    four, one, tiny = c.dtype.type(4), c.dtype.type(1), c.dtype.type(1e-30)
    widest = max(steps[0] * steps[0], steps[1] * steps[1])
    _, rows, columns = c.shape
    for k in range(2):
        for i in range(rows):
            below = i if i == rows - 1 else i + 1
            for j in range(columns):
                right = j if j == columns - 1 else j + 1
                coupling = one + abs(c[1, i, j]) / np.sqrt(max(c[0, i, j] * c[2, i, j], tiny))
                largest = c[2 * k, i, j] + max(c[2 * k, below, j], c[2 * k, i, right])
                size[k, i, j] = one / max(four * widest * coupling * largest, tiny)


@kernel
def _solve_two(
    u: Any, c: Any, w: Any, p: Any, steps: Any, bounds: Any, x: Any, tau: Any, tolerance: Any, most: int, check: int
) -> Any:
    """Accelerated primal-dual passes until the gap is below ``tolerance``; x and p are start and result."""
    size = np.empty_like(w)
    _dual_sizes(c, steps, size)
    ahead = x.copy()
    d = np.empty((4, u.shape[2]), u.dtype)
    gap = _gap_two(u, c, w, p, x, steps, bounds, d)
    done = 0
    while gap > tolerance and done < most:
        for _ in range(check):
            theta = 1.0 / np.sqrt(1.0 + 2.0 * CONVEXITY * tau)
            _pass_two(u, c, w, size, p, x, ahead, u.dtype.type(tau), u.dtype.type(theta), steps, bounds, d)
            tau *= theta
            done += 1
        gap = _gap_two(u, c, w, p, x, steps, bounds, d)
    return gap, tau, done


@kernel
def _solve_one(u: Any, w: Any, p: Any, steps: Any, x: Any, relative: Any, most: int, check: int) -> Any:
    """Accelerated primal-dual passes until the gap is below ``relative`` times the objective."""
    size = np.full_like(u, u.dtype.type(0.25) / (steps[0] * steps[0] + steps[1] * steps[1]))
    ahead = x.copy()
    d = np.empty((1, u.shape[1]), u.dtype)
    tau = 1.0
    value, gap = _gap_one(u, w, p, x, steps, d)
    done = 0
    while gap > relative * value and done < most:
        for _ in range(check):
            theta = 1.0 / np.sqrt(1.0 + 2.0 * CONVEXITY * tau)
            _pass_one(u, w, size, p, x, ahead, u.dtype.type(tau), u.dtype.type(theta), steps, d)
            tau *= theta
            done += 1
        value, gap = _gap_one(u, w, p, x, steps, d)
    return gap, done


def _steps(spacing: tuple[float, float], dtype: Any) -> NDArray[Any]:
    """Factors of the differences: small across wide pixels."""
    return np.array([1 / spacing[0], 1 / spacing[1]], dtype)


def prox(
    u: NDArray[Any],
    weight: float | NDArray[Any],
    *,
    relative_gap: float = 1e-4,
    start: NDArray[Any] | None = None,
    spacing: tuple[float, float] = SQUARE,
    most: int = 10_000,
) -> Prox:
    """Minimise 1/2 |x - u|^2 + sum_i weight_i |D x|_i to a duality gap of ``relative_gap`` times the objective.

    ``u`` (K, L), float32 or float64; ``weight`` not negative, one number or (K, L); ``start`` is the dual variable of
    a problem nearby.
    """
    w = np.ascontiguousarray(np.broadcast_to(np.asarray(weight, u.dtype), u.shape))
    p = np.zeros((2, *u.shape), u.dtype) if start is None else _project(start, w)
    x = u.copy()
    gap, done = _solve_one(u, w, p, _steps(spacing, u.dtype), x, relative_gap, most, CHECK_EVERY)
    return Prox(x, p, max(float(gap), 0.0), int(done))


def _project(p: NDArray[Any], w: NDArray[Any]) -> NDArray[Any]:
    length = np.maximum(np.hypot(p[0], p[1]), np.finfo(w.dtype).tiny)
    projected: NDArray[Any] = np.ascontiguousarray(p * np.minimum(1, w / length), dtype=w.dtype)
    return projected


def solve_coupled(
    u: NDArray[Any],
    c: NDArray[Any],
    w: NDArray[Any],
    p: NDArray[Any],
    tolerance: float,
    most: int,
    spacing: tuple[float, float] = SQUARE,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    start: NDArray[Any] | None = None,
    tau: float = 1.0,
) -> Coupled:
    """Minimise 1/2 (x-u)' C^-1 (x-u) + sum w |D x| over two maps that C couples.

    ``u`` (2, K, L); ``c`` (3, K, L) holds C_00, C_01, C_11 of each voxel, 0 where x is held at u; ``w`` (2, K, L);
    ``p`` (4, K, L) is the dual start and is overwritten with the result, ``start`` that of x, ``tau`` the primal step;
    the second map stays within ``bounds``.
    """
    x = u.copy() if start is None else np.where(c[2] > 0, start, u)
    np.clip(x[1], *bounds, out=x[1], where=c[2] > 0)
    limits = np.array(bounds, u.dtype)
    steps = _steps(spacing, u.dtype)
    gap, tau, done = _solve_two(u, c, w, p, steps, limits, x, tau, tolerance, most, CHECK_EVERY)
    return Coupled(x, max(float(gap), 0.0), float(tau), int(done))


def weighted_variation(x: NDArray[Any], w: NDArray[Any], spacing: tuple[float, float] = SQUARE) -> float:
    """Sum over the maps and all voxels of w |D x|; x and w (n, K, L)."""
    steps = _steps(spacing, x.dtype)
    zero = np.zeros(x.shape[1:], x.dtype)
    return float(sum(_slopes(one, weight, zero, zero, steps)[0] for one, weight in zip(x, w, strict=True)))


def total_variation(x: NDArray[Any]) -> float:
    """Sum over all voxels of |D x|; x (K, L)."""
    return weighted_variation(x[None], np.ones_like(x)[None])
