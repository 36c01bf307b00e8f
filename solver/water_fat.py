"""Water, fat, R2* and field of single voxels of a complex slice.

s_m = (w + f c_m) exp(iφ) exp((2πiψ - r) t_m), w and f real and signed, c_m the signal of six peaks of fat: five
unknowns by Levenberg-Marquardt from a field that is nearly right, to which ψ is drawn a little.
"""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solver.model import FAT_PEAKS, GYROMAGNETIC_RATIO_MHZ_PER_T
from solver.vector_math import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

WATER, FAT, RATE, PHASE, FIELD = range(5)
STARTS_PER_S = (15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0)
FIELD_SD_HZ = 40.0  # how far the field of a voxel may lie from that of its surroundings
FASTEST_PER_S = 3000.0
STEPS = 20
SETTLED = 1e-4  # of the cost, absolute: ln of the likelihood
MOST_DAMPING = 1e8


def fat_signal(t_s: NDArray[np.float64], field_strength_t: float, stretched: float = 1.0) -> NDArray[np.complex128]:
    """Complex signal (M,) of fat beside water, without its decay; all its frequencies times ``stretched``."""
    ppm, amplitude = np.array(FAT_PEAKS).T
    hertz = stretched * GYROMAGNETIC_RATIO_MHZ_PER_T * field_strength_t * ppm
    turning: NDArray[np.complex128] = np.exp(2j * np.pi * np.outer(t_s, hertz)) @ (amplitude / amplitude.sum())
    return turning


def fit_voxels(
    s: NDArray[Any], t_s: NDArray[np.float64], fat: NDArray[np.complex128], field_hz: NDArray[np.float64], sigma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unknowns (n, 5), and the reduced chi-square (n,), of voxels ``s`` (n, M) that start at a field (n,)."""
    x = _start(s, t_s, fat, field_hz)
    cost = np.empty(len(s))
    _refine(np.ascontiguousarray(s, np.complex128), t_s, fat, field_hz, 1.0 / sigma, x, cost)
    return x, cost / max(2 * len(t_s) - x.shape[1], 1)


def _start(
    s: NDArray[Any], t_s: NDArray[np.float64], fat: NDArray[np.complex128], field_hz: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The best of some rates at that field; water and fat by least squares, their common phase by their squares."""
    still = s * np.exp(-2j * np.pi * field_hz[:, None] * t_s)
    x, best = np.zeros((len(s), 5)), np.full(len(s), -1.0)
    for rate in STARTS_PER_S:
        basis = np.exp(-rate * t_s)[:, None] * np.stack([np.ones_like(fat), fat], 1)
        both = still @ np.linalg.pinv(basis).T
        explained = (np.abs(both @ basis.T) ** 2).sum(1)
        phase = np.angle((both**2).sum(1)) / 2
        phase += np.pi * ((both * np.exp(-1j * phase)[:, None]).real.sum(1) < 0)
        parts = (both * np.exp(-1j * phase)[:, None]).real
        found = np.stack([parts[:, 0], parts[:, 1], np.full(len(s), rate), phase, field_hz], 1)
        better = explained > best
        x[better], best[better] = found[better], explained[better]
    return x


@kernel
def _normal(s: Any, t: Any, fat: Any, scale: Any, x: Any, h: Any, g: Any) -> Any:
    """Half the curvature (5, 5) and gradient (5,) of the cost of one voxel, its lower half; return the cost."""
    h[:] = 0.0
    g[:] = 0.0
    cost = 0.0
    d = np.empty(5, np.complex128)
    for m in range(t.size):
        turn = x[3] + 2.0 * np.pi * x[4] * t[m]
        e = scale * np.exp(-x[2] * t[m]) * complex(np.cos(turn), np.sin(turn))
        y = (x[0] + x[1] * fat[m]) * e
        left = scale * s[m] - y
        d[0], d[1], d[2], d[3], d[4] = e, fat[m] * e, -t[m] * y, 1j * y, 2j * np.pi * t[m] * y
        cost += left.real**2 + left.imag**2
        for a in range(5):
            g[a] += d[a].real * left.real + d[a].imag * left.imag
            for b in range(a + 1):
                h[a, b] += d[a].real * d[b].real + d[a].imag * d[b].imag
    return cost


@kernel
def _solve(a: Any, b: Any) -> bool:
    """Solve a x = b by Cholesky in place, from the lower half of a; False where a is not positive definite."""
    n = b.size
    for i in range(n):
        for j in range(i + 1):
            v = a[i, j]
            for k in range(j):
                v -= a[i, k] * a[j, k]
            if i > j:
                a[i, j] = v / a[j, j]
            elif v <= 1e-30:
                return False
            else:
                a[i, i] = np.sqrt(v)
    for i in range(n):
        for k in range(i):
            b[i] -= a[i, k] * b[k]
        b[i] /= a[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            b[i] -= a[k, i] * b[k]
        b[i] /= a[i, i]
    return True


@kernel
def _refine(s: Any, t: Any, fat: Any, field: Any, scale: Any, x: Any, costs: Any) -> None:
    """Fit every voxel, in place."""
    prior = 1.0 / FIELD_SD_HZ**2
    h, g, a, step, y = np.empty((5, 5)), np.empty(5), np.empty((5, 5)), np.empty(5), np.empty(5)
    for i in range(s.shape[0]):
        damping = 1e-3
        best = _normal(s[i], t, fat, scale, x[i], h, g) + prior * (x[i, 4] - field[i]) ** 2
        for _ in range(STEPS):
            h[4, 4] += prior
            g[4] -= prior * (x[i, 4] - field[i])
            accepted, gain = False, 0.0
            while damping < MOST_DAMPING:
                a[:] = h
                for k in range(5):
                    a[k, k] = h[k, k] * (1.0 + damping) + 1e-20
                step[:] = g
                if _solve(a, step):
                    y[:] = x[i] + step
                    y[2] = min(max(y[2], 0.0), FASTEST_PER_S)
                    cost = _cost(s[i], t, fat, scale, y) + prior * (y[4] - field[i]) ** 2
                    if cost < best:
                        accepted, gain, best = True, best - cost, cost
                        x[i] = y
                        damping = max(0.2 * damping, 1e-9)
                        break
                damping *= 8.0
            if not accepted or gain < SETTLED:
                break
            _normal(s[i], t, fat, scale, x[i], h, g)
        costs[i] = best


@kernel
def _cost(s: Any, t: Any, fat: Any, scale: Any, x: Any) -> Any:
    """Squares that are left of one voxel, in units of the noise."""
    cost = 0.0
    for m in range(t.size):
        turn = x[3] + 2.0 * np.pi * x[4] * t[m]
        y = (x[0] + x[1] * fat[m]) * np.exp(-x[2] * t[m]) * complex(np.cos(turn), np.sin(turn))
        left = scale * (s[m] - y)
        cost += left.real**2 + left.imag**2
    return cost
