"""Exact least-squares fit of one exponential to every voxel by bracketed variable projection."""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solver.vector_math import fast_exp, fast_log, kernel, row_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 512  # voxels whose scratch stays in the first-level cache
FIRST_STEPS = 4  # enough for tissue
MOST_STEPS = 60  # a bisection alone needs fewer


@row_kernel
def _add_logarithms(row: Any, tm: Any, w: Any, wt: Any, wtt: Any, wy: Any, wty: Any) -> None:
    zero, tiny = row.dtype.type(0), row.dtype.type(1e-30)
    for j in range(row.size):
        v = max(row[j], zero)
        weight = v * v
        y = fast_log(max(v, tiny))
        w[j] += weight
        wt[j] += weight * tm
        wtt[j] += weight * tm * tm
        wy[j] += weight * y
        wty[j] += weight * y * tm


@kernel
def _log_linear(s: Any, t: Any, start: int, r: Any, scratch: Any) -> None:
    """Start: straight line through ln s with weights s^2; what is not positive has no weight."""
    zero, tiny = r.dtype.type(0), r.dtype.type(1e-30)
    scratch[:5] = zero
    w, wt, wtt, wy, wty = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    for m in range(t.size):
        _add_logarithms(s[m][start : start + r.size], t[m], w, wt, wtt, wy, wty)
    for j in range(r.size):
        denominator = w[j] * wtt[j] - wt[j] * wt[j]
        r[j] = -(w[j] * wty[j] - wt[j] * wy[j]) / max(denominator, tiny)


@row_kernel
def _add_moments(row: Any, r: Any, tm: Any, a0: Any, a1: Any, a2: Any, b0: Any, b1: Any, b2: Any) -> None:
    for j in range(r.size):
        e = fast_exp(-r[j] * tm)
        se, ee = row[j] * e, e * e
        a0[j] += se
        a1[j] += tm * se
        a2[j] += tm * tm * se
        b0[j] += ee
        b1[j] += tm * ee
        b2[j] += tm * tm * ee


@kernel
def _moments(s: Any, t: Any, start: int, r: Any, scratch: Any) -> None:
    """A_k = sum s t^k e, B_k = sum t^k e^2 with e = exp(-r t), k = 0, 1, 2."""
    scratch[:6] = s.dtype.type(0)
    a0, a1, a2, b0, b1, b2 = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4], scratch[5]
    for m in range(t.size):
        _add_moments(s[m][start : start + r.size], r, t[m], a0, a1, a2, b0, b1, b2)


@kernel
def _newton(r: Any, low: Any, high: Any, tolerance: Any, scratch: Any, flags: Any) -> Any:
    """One bracketed Newton step on phi(r) = A1/A0 - B1/B0; returns how many voxels still move, flags tell which."""
    one, half, zero = r.dtype.type(1), r.dtype.type(0.5), r.dtype.type(0)
    two, tiny = r.dtype.type(2), r.dtype.type(1e-30)
    a0, a1, a2, b0, b1, b2 = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4], scratch[5]
    moving = zero
    for j in range(r.size):
        x = r[j]
        positive = a0[j] > tiny
        ia, ib = one / (a0[j] if positive else one), one / max(b0[j], tiny)
        mean_s, mean_e = a1[j] * ia, b1[j] * ib
        phi = mean_s - mean_e
        slope = two * (b2[j] * ib - mean_e * mean_e) - (a2[j] * ia - mean_s * mean_s)
        # phi > 0: what is left decays more slowly than e, so r comes down.
        high[j] = x if phi > zero else high[j]
        low[j] = low[j] if phi > zero else x
        step = x - phi / (max(tiny, slope))
        inside = (step >= low[j]) & (step <= high[j]) & (slope > tiny)
        new = step if inside else half * (low[j] + high[j])
        new = new if positive else x
        flags[j] = one if abs(new - x) > tolerance * (one + x) else zero
        moving += flags[j]
        r[j] = new
    return moving


@kernel
def _finish(s: Any, t: Any, start: int, a: Any, r: Any, rss: Any, scratch: Any) -> None:
    """A = A0/B0 and the residual sum of squares."""
    zero, tiny = r.dtype.type(0), r.dtype.type(1e-30)
    scratch[:3] = zero
    a0, b0, left = scratch[0], scratch[1], scratch[2]
    for m in range(t.size):
        row = s[m][start : start + r.size]
        for j in range(r.size):
            e = fast_exp(-r[j] * t[m])
            a0[j] += row[j] * e
            b0[j] += e * e
    for j in range(r.size):
        a[j] = max(a0[j], zero) / max(b0[j], tiny)
    for m in range(t.size):
        row = s[m][start : start + r.size]
        for j in range(r.size):
            d = row[j] - a[j] * fast_exp(-r[j] * t[m])
            left[j] += d * d
    for j in range(r.size):
        rss[j] = left[j]


@kernel
def _rest(s: Any, t: Any, tolerance: Any, most: int, r: Any, low: Any, high: Any, moving: Any, scratch: Any) -> None:
    """Bracketed Newton steps block by block, until a block rests or has made ``most``; says which voxels still move."""
    for start in range(0, s.shape[1], BLOCK):
        part = slice(start, min(start + BLOCK, s.shape[1]))
        rate, below, above, flags = r[part], low[part], high[part], moving[part]
        for _ in range(most):
            _moments(s, t, start, rate, scratch)
            if _newton(rate, below, above, tolerance, scratch, flags) == 0:
                break


@kernel
def _project(s: Any, t: Any, least: Any, most: Any, tolerance: Any, a: Any, r: Any, rss: Any) -> None:
    """Start, Newton steps, amplitude and residual; voxels that need many steps, few of them, are joined for these."""
    scratch = np.empty((6, BLOCK), s.dtype)
    low, high = np.full_like(r, least), np.full_like(r, most)
    moving = np.empty(r.size, s.dtype)
    for start in range(0, s.shape[1], BLOCK):
        rate = r[start : min(start + BLOCK, s.shape[1])]
        _log_linear(s, t, start, rate, scratch)
        for j in range(rate.size):
            rate[j] = min(max(rate[j], least), most)
    _rest(s, t, tolerance, FIRST_STEPS, r, low, high, moving, scratch)
    left = np.flatnonzero(moving)
    rates, signals = r[left], np.empty((t.size, left.size), s.dtype)
    for m in range(t.size):
        signals[m] = s[m][left]
    _rest(signals, t, tolerance, MOST_STEPS, rates, low[left], high[left], moving, scratch)
    r[left] = rates
    for start in range(0, s.shape[1], BLOCK):
        part = slice(start, min(start + BLOCK, s.shape[1]))
        _finish(s, t, start, a[part], r[part], rss[part], scratch)


def variable_projection(
    s: NDArray[Any], t: NDArray[Any], least: float, most: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Minimise sum_m (s_m - a exp(-r t_m))^2 over a >= 0 and least <= r <= most, every voxel for itself.

    ``s`` is (M, n), float32 or float64, finite; ``t`` is (M,) of the same type, best of order 1. Eliminating a leaves
    one equation, phi(r) = A1/A0 - B1/B0 = 0 (Golub and Pereyra 1973), solved by Newton steps that fall back to
    bisection. Returns a, r in 1/unit of t, and the residual sum of squares, each (n,).
    """
    of = s.dtype.type
    a, r, rss = (np.empty(s.shape[1], s.dtype) for _ in range(3))
    tolerance = of(3e-5) if s.dtype == np.float32 else of(1e-10)  # the step after it is quadratically smaller
    _project(s, t, of(least), of(most), tolerance, a, r, rss)
    return a, r, rss
