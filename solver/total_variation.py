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

from solver.vector_math import kernel, row_kernel

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


@row_kernel
def _adjoint(px: Any, above: Any, py: Any, fall: Any, down: Any, right: Any, out: Any) -> None:
    """One row of D' p; ``above`` is p_x of the row above, ``fall`` is ``down`` but 0 for the first row."""
    out[0] = fall * above[0] - down * px[0] - right * py[0]
    for j in range(1, out.size):
        out[j] = fall * above[j] - down * px[j] + right * (py[j - 1] - py[j])


@row_kernel
def _dual_step(x: Any, below: Any, w: Any, size: Any, scale: Any, down: Any, right: Any, px: Any, py: Any) -> None:
    """One row of p+ = project(p + scale size D x); x has the last column twice, so that nothing differs there."""
    one, tiny = x.dtype.type(1), x.dtype.type(1e-30)
    for j in range(w.size):
        step = scale * size[j]
        a = px[j] + step * down * (below[j] - x[j])
        b = py[j] + step * right * (x[j + 1] - x[j])
        shrink = min(one, w[j] * (one / np.sqrt(max(a * a + b * b, tiny))))
        px[j] = a * shrink
        py[j] = b * shrink


@row_kernel
def _primal_step(goal: Any, tau: Any, theta: Any, x: Any, ahead: Any) -> None:
    """One row of x+ = (x + tau goal) / (1 + tau), ahead = x+ + theta (x+ - x)."""
    share = x.dtype.type(1) / (x.dtype.type(1) + tau)
    for j in range(x.size):
        new = (x[j] + tau * goal[j]) * share
        ahead[j] = new + theta * (new - x[j])
        x[j] = new
    ahead[x.size] = ahead[x.size - 1]


@row_kernel
def _primal_steps(
    u0: Any,
    u1: Any,
    c00: Any,
    c01: Any,
    c11: Any,
    lean: Any,
    d0: Any,
    d1: Any,
    bounds: Any,
    tau: Any,
    theta: Any,
    x0: Any,
    x1: Any,
    ahead0: Any,
    ahead1: Any,
) -> None:
    """The same for two maps and the goal u - C d.

    Where the second map would leave its bounds, it takes the nearest point in C^-1 that has it there: ``lean`` is
    C_01 / C_11. C is 0 where a voxel is held.
    """
    share = x0.dtype.type(1) / (x0.dtype.type(1) + tau)
    least, most, zero = bounds[0], bounds[1], x0.dtype.type(0)
    for j in range(x0.size):
        goal0 = u0[j] - c00[j] * d0[j] - c01[j] * d1[j]
        goal1 = u1[j] - c01[j] * d0[j] - c11[j] * d1[j]
        free1 = (x1[j] + tau * goal1) * share
        new1 = min(max(free1, least), most) if c11[j] > zero else free1
        new0 = (x0[j] + tau * goal0) * share + lean[j] * (new1 - free1)
        ahead0[j] = new0 + theta * (new0 - x0[j])
        ahead1[j] = new1 + theta * (new1 - x1[j])
        x0[j] = new0
        x1[j] = new1
    ahead0[x0.size] = ahead0[x0.size - 1]
    ahead1[x1.size] = ahead1[x1.size - 1]


@kernel
def _adjoint_row(px: Any, py: Any, i: int, steps: Any, out: Any) -> None:
    """Row i of D' p."""
    fall = steps[0] if i > 0 else out.dtype.type(0)
    _adjoint(px[i], px[max(i - 1, 0)], py[i], fall, steps[0], steps[1], out)


@kernel
def _dual_row(x: Any, w: Any, size: Any, scale: Any, px: Any, py: Any, i: int, steps: Any) -> None:
    """Row i of p+; the last row has none below to differ from."""
    below = min(i + 1, w.shape[0] - 1)
    _dual_step(x[i], x[below], w[i], size[i], scale, steps[0], steps[1], px[i], py[i])


@kernel
def _passes_two(
    u: Any, c: Any, w: Any, size: Any, p: Any, x: Any, ahead: Any, pace: Any, steps: Any, bounds: Any, d: Any
) -> None:
    """Primal-dual passes over two maps that C couples: p first, then x towards u - C D' p; d (2, L) is scratch.

    ``pace`` (n, 2) holds the primal step and the extrapolation of each pass. A pass follows the one before at the
    distance of a row, which is all it needs, so that rows are used n times while they are in the cache.
    """
    one = u.dtype.type(1)
    p0, p1, p2, p3, w0, w1, size0, size1 = p[0], p[1], p[2], p[3], w[0], w[1], size[0], size[1]
    x0, x1, ahead0, ahead1, d0, d1 = x[0], x[1], ahead[0], ahead[1], d[0], d[1]
    u0, u1, c00, c01, c11, lean = u[0], u[1], c[0], c[1], c[2], c[3]
    rows, passes = u.shape[1], pace.shape[0]
    for front in range(rows + passes - 1):
        for k in range(max(0, front - rows + 1), min(passes, front + 1)):
            i, tau, theta = front - k, pace[k, 0], pace[k, 1]
            _dual_row(ahead0, w0, size0, one / tau, p0, p1, i, steps)
            _dual_row(ahead1, w1, size1, one / tau, p2, p3, i, steps)
            _adjoint_row(p0, p1, i, steps, d0)
            _adjoint_row(p2, p3, i, steps, d1)
            _primal_steps(
                u0[i],
                u1[i],
                c00[i],
                c01[i],
                c11[i],
                lean[i],
                d0,
                d1,
                bounds,
                tau,
                theta,
                x0[i],
                x1[i],
                ahead0[i],
                ahead1[i],
            )


@kernel
def _passes_one(u: Any, w: Any, size: Any, p: Any, x: Any, ahead: Any, pace: Any, steps: Any, d: Any) -> None:
    """Primal-dual passes over a single map with C = 1, staggered likewise; d (1, L) is scratch."""
    px, py, goal = p[0], p[1], d[0]
    rows, passes = u.shape[0], pace.shape[0]
    for front in range(rows + passes - 1):
        for k in range(max(0, front - rows + 1), min(passes, front + 1)):
            i, tau, theta = front - k, pace[k, 0], pace[k, 1]
            _dual_row(ahead, w, size, u.dtype.type(1) / tau, px, py, i, steps)
            _adjoint_row(px, py, i, steps, goal)
            for j in range(goal.size):
                goal[j] = u[i, j] - goal[j]
            _primal_step(goal, tau, theta, x[i], ahead[i])


@kernel
def _set_pace(pace: Any, tau: float) -> float:
    """Write the primal steps and extrapolations of the next passes from the step ``tau`` on; return the one after."""
    for k in range(pace.shape[0]):
        theta = 1.0 / np.sqrt(1.0 + 2.0 * CONVEXITY * tau)
        pace[k, 0], pace[k, 1] = tau, theta
        tau *= theta
    return tau


@row_kernel
def _slope_row(x: Any, below: Any, w: Any, px: Any, py: Any, down: Any, right: Any) -> Any:
    """Sum of w |D x| and of w |D x| - <p, D x> over one row."""
    value, gap = x.dtype.type(0), x.dtype.type(0)
    last = x.size - 1
    for j in range(last):
        a, b = down * (below[j] - x[j]), right * (x[j + 1] - x[j])
        term = w[j] * np.sqrt(a * a + b * b)
        value += term
        gap += term - px[j] * a - py[j] * b
    a = down * (below[last] - x[last])
    term = w[last] * abs(a)
    return value + term, gap + term - px[last] * a


@kernel
def _slopes(x: Any, w: Any, px: Any, py: Any, steps: Any) -> Any:
    """Sum of w |D x| and of w |D x| - <p, D x>."""
    value, gap = 0.0, 0.0
    for i in range(x.shape[0]):
        below = min(i + 1, x.shape[0] - 1)
        row_value, row_gap = _slope_row(x[i], x[below], w[i], px[i], py[i], steps[0], steps[1])
        value += row_value
        gap += row_gap
    return value, gap


@row_kernel
def _distance_row(
    u0: Any, u1: Any, c00: Any, c01: Any, c11: Any, d0: Any, d1: Any, x0: Any, x1: Any, bounds: Any
) -> Any:
    """1/2 |x - g|^2 in C^-1 over one row, less what the bounds keep g = u - C d from; 0 where C is singular."""
    zero, tiny = u0.dtype.type(0), u0.dtype.type(1e-30)
    total, least, most = zero, bounds[0], bounds[1]
    for j in range(u0.size):
        g0 = u0[j] - c00[j] * d0[j] - c01[j] * d1[j]
        g1 = u1[j] - c01[j] * d0[j] - c11[j] * d1[j]
        a, b, beyond = x0[j] - g0, x1[j] - g1, g1 - min(max(g1, least), most)
        determinant = c00[j] * c11[j] - c01[j] * c01[j]
        square = c11[j] * a * a - (c01[j] + c01[j]) * a * b + c00[j] * b * b
        inside = square / max(determinant, tiny) - beyond * beyond / max(c11[j], tiny)
        total += max(inside, zero) if determinant > tiny else zero
    return total * u0.dtype.type(0.5)


@kernel
def _gap_two(u: Any, c: Any, w: Any, p: Any, x: Any, steps: Any, bounds: Any, d: Any) -> Any:
    """The gap 1/2 |x - g|^2 in C^-1 + sum w |D x| - <p, D x> with g = u - C D' p.

    Where g lies beyond the bounds, its own distance from them, 1/2 (g - bound)^2 / C_11, is taken off.
    """
    gap = _slopes(x[0], w[0], p[0], p[1], steps)[1] + _slopes(x[1], w[1], p[2], p[3], steps)[1]
    d0, d1 = d[0], d[1]
    for i in range(u.shape[1]):
        _adjoint_row(p[0], p[1], i, steps, d0)
        _adjoint_row(p[2], p[3], i, steps, d1)
        gap += _distance_row(u[0, i], u[1, i], c[0, i], c[1, i], c[2, i], d0, d1, x[0, i], x[1, i], bounds)
    return gap


@kernel
def _gap_one(u: Any, w: Any, p: Any, x: Any, steps: Any, d: Any) -> Any:
    """Objective at x and its duality gap."""
    half = u.dtype.type(0.5)
    value, gap = _slopes(x, w, p[0], p[1], steps)
    for i in range(u.shape[0]):
        _adjoint_row(p[0], p[1], i, steps, d[0])
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
                # Where nothing can move the dual has no effect: any step but an overflowing one would do.
                size[k, i, j] = one / (four * widest * coupling * largest) if largest > tiny else largest


@kernel
def _prepare(u: Any, c: Any, bounds: Any, metric: Any, x: Any) -> None:
    """Metric: C and C_01 / C_11. x: within the bounds, and u where C is 0."""
    zero, tiny = u.dtype.type(0), u.dtype.type(1e-30)
    for i in range(u.shape[1]):
        for j in range(u.shape[2]):
            free = c[2, i, j] > zero
            metric[0, i, j], metric[1, i, j], metric[2, i, j] = c[0, i, j], c[1, i, j], c[2, i, j]
            metric[3, i, j] = c[1, i, j] / max(c[2, i, j], tiny)
            x[0, i, j] = x[0, i, j] if free else u[0, i, j]
            x[1, i, j] = min(max(x[1, i, j], bounds[0]), bounds[1]) if free else u[1, i, j]


@kernel
def _solve_two(
    u: Any, c: Any, w: Any, p: Any, steps: Any, bounds: Any, x: Any, tau: Any, tolerance: Any, most: int, check: int
) -> Any:
    """Accelerated primal-dual passes until the gap is below ``tolerance``; x and p are start and result."""
    size = np.empty_like(w)
    _dual_sizes(c, steps, size)
    ahead = np.concatenate((x, x[:, :, -1:]), axis=2)
    d = np.empty((2, u.shape[2]), u.dtype)
    pace = np.empty((check, 2), u.dtype)
    gap = _gap_two(u, c, w, p, x, steps, bounds, d)
    done = 0
    while gap > tolerance and done < most:
        tau = _set_pace(pace, tau)
        _passes_two(u, c, w, size, p, x, ahead, pace, steps, bounds, d)
        done += check
        gap = _gap_two(u, c, w, p, x, steps, bounds, d)
    return gap, tau, done


@kernel
def _solve_one(u: Any, w: Any, p: Any, steps: Any, x: Any, relative: Any, most: int, check: int) -> Any:
    """Accelerated primal-dual passes until the gap is below ``relative`` times the objective."""
    size = np.full_like(u, u.dtype.type(0.25) / (steps[0] * steps[0] + steps[1] * steps[1]))
    ahead = np.concatenate((x, x[:, -1:]), axis=1)
    d = np.empty((1, u.shape[1]), u.dtype)
    pace = np.empty((check, 2), u.dtype)
    tau = 1.0
    value, gap = _gap_one(u, w, p, x, steps, d)
    done = 0
    while gap > relative * value and done < most:
        tau = _set_pace(pace, tau)
        _passes_one(u, w, size, p, x, ahead, pace, steps, d)
        done += check
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
    _clear_ends(p)
    x = u.copy()
    gap, done = _solve_one(u, w, p, _steps(spacing, u.dtype), x, relative_gap, most, CHECK_EVERY)
    return Prox(x, p, max(float(gap), 0.0), int(done))


def _clear_ends(p: NDArray[Any]) -> None:
    """Set to 0 the dual variables of differences across the last row and column, which there are not."""
    p[0::2, -1] = 0
    p[1::2, :, -1] = 0


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
    x = (u if start is None else start).copy()
    limits = np.array(bounds, u.dtype)
    metric = np.empty((4, *u.shape[1:]), u.dtype)
    _prepare(u, c, limits, metric, x)
    _clear_ends(p)
    steps = _steps(spacing, u.dtype)
    gap, tau, done = _solve_two(u, metric, w, p, steps, limits, x, tau, tolerance, most, CHECK_EVERY)
    return Coupled(x, max(float(gap), 0.0), float(tau), int(done))


def weighted_variation(x: NDArray[Any], w: NDArray[Any], spacing: tuple[float, float] = SQUARE) -> float:
    """Sum over the maps and all voxels of w |D x|; x and w (n, K, L)."""
    steps = _steps(spacing, x.dtype)
    zero = np.zeros(x.shape[1:], x.dtype)
    return float(sum(_slopes(one, weight, zero, zero, steps)[0] for one, weight in zip(x, w, strict=True)))


def total_variation(x: NDArray[Any]) -> float:
    """Sum over all voxels of |D x|; x (K, L)."""
    return weighted_variation(x[None], np.ones_like(x)[None])
