"""Isotropic total variation of maps: its value, its proximal map, its duality gap.

D x are forward differences, zero across the last row and column. All problems here are
min_x 1/2 (x - u)' C^-1 (x - u) + sum_i w_i |D x|_i with a block-diagonal C, solved in the dual
min_p 1/2 |D' p|_C^2 - <D' p, u> over |p_i| <= w_i with x = u - C D' p (Chambolle 2004; Beck and Teboulle 2009).
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


@dataclass(frozen=True, slots=True)
class Prox:
    """A proximal point and how well it is known."""

    x: NDArray[Any]
    p: NDArray[Any]  # dual variable, the next call's warm start
    gap: float  # primal minus dual objective, never negative
    iterations: int


@kernel
def _adjoint_row(qx: Any, qy: Any, i: int, out: Any) -> None:
    """Row i of D' q."""
    here, across = qx[i], qy[i]
    last = i == qx.shape[0] - 1
    zero = out.dtype.type(0)
    if last:
        out[:] = zero
    else:
        for j in range(out.size):
            out[j] = -here[j]
    if i > 0:
        above = qx[i - 1]
        for j in range(out.size):
            out[j] += above[j]
    for j in range(out.size - 1):
        out[j] -= across[j]
    for j in range(1, out.size):
        out[j] += across[j - 1]


@kernel
def _primal_row(u: Any, c: Any, q: Any, i: int, d: Any, x: Any) -> None:
    """Row i of x = u - C D' q for the coupled maps; c holds C_00, C_01, C_11."""
    _adjoint_row(q[0], q[1], i, d[0])
    _adjoint_row(q[2], q[3], i, d[1])
    d0, d1, x0, x1 = d[0], d[1], x[0], x[1]
    u0, u1, c00, c01, c11 = u[0, i], u[1, i], c[0, i], c[1, i], c[2, i]
    for j in range(x0.size):
        x0[j] = u0[j] - c00[j] * d0[j] - c01[j] * d1[j]
    for j in range(x1.size):
        x1[j] = u1[j] - c01[j] * d0[j] - c11[j] * d1[j]


@kernel
def _ascend_row(x: Any, below: Any, last: bool, w: Any, tau: Any, px: Any, py: Any, qx: Any, qy: Any, beta: Any) -> Any:
    """p+ = project(q + tau D x), q = p+ + beta (p+ - p); returns <q - p+, p+ - p>, positive when it overshoots."""
    one, zero, tiny = x.dtype.type(1), x.dtype.type(0), x.dtype.type(1e-30)
    down = zero if last else one
    overshoot = zero
    n = x.size
    for j in range(n - 1):
        a = qx[j] + tau[j] * down * (below[j] - x[j])
        b = qy[j] + tau[j] * (x[j + 1] - x[j])
        shrink = min(one, w[j] / max(np.sqrt(a * a + b * b), tiny))
        a, b = a * shrink, b * shrink
        da, db = a - px[j], b - py[j]
        overshoot += (qx[j] - a) * da + (qy[j] - b) * db
        px[j], py[j] = a, b
        qx[j], qy[j] = a + beta * da, b + beta * db
    j = n - 1
    a = qx[j] + tau[j] * down * (below[j] - x[j])
    a = min(max(a, -w[j]), w[j])
    overshoot += (qx[j] - a) * (a - px[j])
    qx[j] = a + beta * (a - px[j])
    px[j] = a
    return overshoot


@kernel
def _ascend(u: Any, c: Any, w: Any, tau: Any, p: Any, q: Any, beta: Any, d: Any, x: Any) -> Any:
    """One pass over the coupled maps; x has two rows for either map, the row above and this one."""
    rows = u.shape[1]
    overshoot = u.dtype.type(0)
    _primal_row(u, c, q, 0, d, x[0])
    for i in range(rows):
        now, then = x[i % 2], x[(i + 1) % 2]
        last = i == rows - 1
        if not last:
            _primal_row(u, c, q, i + 1, d, then)
        for k in range(2):
            overshoot += _ascend_row(
                now[k], then[k], last, w[k, i], tau[k, i],
                p[2 * k, i], p[2 * k + 1, i], q[2 * k, i], q[2 * k + 1, i], beta,
            )  # fmt: skip
    return overshoot


@kernel
def _slope_row(x: Any, below: Any, last: bool, w: Any, px: Any, py: Any) -> Any:
    """Sum over a row of w |D x| and of w |D x| - <p, D x>."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    down = zero if last else one
    value, gap = zero, zero
    for j in range(x.size - 1):
        a, b = down * (below[j] - x[j]), x[j + 1] - x[j]
        term = w[j] * np.sqrt(a * a + b * b)
        value += term
        gap += term - px[j] * a - py[j] * b
    j = x.size - 1
    a = down * (below[j] - x[j])
    return value + w[j] * abs(a), gap + w[j] * abs(a) - px[j] * a


@kernel
def _primal(u: Any, c: Any, w: Any, p: Any, x: Any, d: Any) -> Any:
    """Write x = u - C D' p; returns its weighted total variation and the duality gap."""
    rows = u.shape[1]
    for i in range(rows):
        _primal_row(u, c, p, i, d, x[:, i])
    value, gap = 0.0, 0.0
    for i in range(rows):
        last = i == rows - 1
        for k in range(2):
            below = x[k, i] if last else x[k, i + 1]
            v, g = _slope_row(x[k, i], below, last, w[k, i], p[2 * k, i], p[2 * k + 1, i])
            value += v
            gap += g
    return value, gap


@kernel
def _steps(c: Any, tau: Any) -> None:
    """Dual step sizes: tau^-1 bounds the row sums of D C D', a pixel and its neighbours at a time."""
    four, one, tiny = c.dtype.type(4), c.dtype.type(1), c.dtype.type(1e-30)
    _, rows, columns = c.shape
    for k in range(2):
        own = c[2 * k]
        for i in range(rows):
            below = i if i == rows - 1 else i + 1
            for j in range(columns):
                right = j if j == columns - 1 else j + 1
                coupling = one + abs(c[1, i, j]) / np.sqrt(max(c[0, i, j] * c[2, i, j], tiny))
                largest = own[i, j] + max(own[below, j], own[i, right])
                tau[k, i, j] = one / max(four * coupling * largest, tiny)


@kernel
def _solve(u: Any, c: Any, w: Any, p: Any, x: Any, tolerance: Any, most: int, check: int) -> Any:
    """Accelerated dual ascent with restarts until the gap is below ``tolerance``; p is start and result."""
    tau = np.empty_like(w)
    _steps(c, tau)
    q = p.copy()
    d = np.empty((2, u.shape[2]), u.dtype)
    pair = np.empty((2, 2, u.shape[2]), u.dtype)
    momentum = 1.0
    value, gap = _primal(u, c, w, p, x, d)
    done = 0
    while gap > tolerance and done < most:
        for _ in range(check):
            following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum * momentum))
            beta = (momentum - 1.0) / following
            momentum = following
            if _ascend(u, c, w, tau, p, q, u.dtype.type(beta), d, pair) > 0:
                momentum = 1.0
            done += 1
        value, gap = _primal(u, c, w, p, x, d)
    return value, gap, done


def solve_coupled(
    u: NDArray[Any], c: NDArray[Any], w: NDArray[Any], p: NDArray[Any], tolerance: float, most: int
) -> tuple[NDArray[Any], float, float, int]:
    """Minimise 1/2 (x-u)' C^-1 (x-u) + sum w |D x| over two maps that C couples.

    ``u`` (2, K, L); ``c`` (3, K, L) holds C_00, C_01, C_11 of each voxel, 0 where x is held at u; ``w`` (2, K, L);
    ``p`` (4, K, L) is the dual start and is overwritten with the result. Returns x, sum w |D x|, gap, iterations.
    """
    x = np.empty_like(u)
    value, gap, done = _solve(u, c, w, p, x, tolerance, most, CHECK_EVERY)
    return x, float(value), max(float(gap), 0.0), int(done)


@kernel
def _variation(x: Any, w: Any, zero: Any) -> Any:
    rows = x.shape[1]
    value = 0.0
    for i in range(rows):
        last = i == rows - 1
        for k in range(2):
            below = x[k, i] if last else x[k, i + 1]
            value += _slope_row(x[k, i], below, last, w[k, i], zero, zero)[0]
    return value


def weighted_variation(x: NDArray[Any], w: NDArray[Any]) -> float:
    """Sum over both maps and all voxels of w |D x|; x and w (2, K, L)."""
    return float(_variation(x, w, np.zeros(x.shape[2], x.dtype)))
