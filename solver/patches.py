"""Noise deviation of tissue: what is left of small patches when every decay in them is taken out."""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.tiles import TILE, Tiles, quantile
from solver.vector_math import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 6  # samples a side of a patch
SAMPLES = SIDE * SIDE
PLANE = 3  # a patch's mean and two slopes, which hold how the rate varies
MOST_ECHOES = 10  # of a patch: more would be slower than they tell
SWEEPS = 30  # of the QL iteration for one eigenvalue, as usual
NOTHING, DIGITS = 1e-30, 1e-14  # of a row, and of an eigenvalue, that count as none
QUANTILE, DEVIATE = 0.35, -0.385  # of the patches, and of a normal deviate: what is no noise only raises
FEWEST = 8  # patches
NEIGHBOURS = 8  # of a tile
ENOUGH = 24  # patches away from edges, so that none at edges are needed
ORDINARY = 1.4  # times the lowest third: patches within it tell how far chance scatters


@dataclass(frozen=True, slots=True)
class Patches:
    """Noise deviation of patches of tissue."""

    sigma: float  # of all; 0 where there are too few
    scatter: float  # standard deviation of ln sigma between patches
    each: NDArray[np.float64]  # (n,) deviation of each
    freedom: NDArray[np.float64]  # (n,) degrees of freedom of each
    tiles: NDArray[np.int64]  # (n,) tile at the centre of each
    stride: int

    @property
    def found(self) -> bool:
        """Whether tissue told anything."""
        return self.sigma > 0


@kernel
def _reflect(c: Any, i: int, h: float, d: Any, e: Any) -> None:
    """Apply to the leading i rows and columns of c the reflection that leaves row i with its last entry, sqrt(h)."""
    last = c[i, i - 1]
    e[i] = -math.copysign(math.sqrt(h), last)
    c[i, i - 1] = last - e[i]
    h -= last * e[i]
    f = 0.0
    for j in range(i):
        t = 0.0
        for k in range(i):
            t += c[max(j, k), min(j, k)] * c[i, k]
        d[j] = t / h
        f += d[j] * c[i, j]
    f /= 2 * h
    for j in range(i):
        d[j] -= f * c[i, j]
        for k in range(j + 1):
            c[j, k] -= c[i, j] * d[k] + d[j] * c[i, k]


@kernel
def _chase(d: Any, e: Any, first: int, last: int) -> None:
    """One implicit QL step on the rows from first to last of a matrix of three diagonals d, e."""
    g = (d[first + 1] - d[first]) / (2 * e[first])
    g = d[last] - d[first] + e[first] / (g + math.copysign(math.hypot(g, 1.0), g))
    s, o, p = 1.0, 1.0, 0.0
    for i in range(last - 1, first - 1, -1):
        f, b = s * e[i], o * e[i]
        r = math.hypot(f, g)
        e[i + 1] = r
        if r == 0.0:
            d[i + 1] -= p
            e[last] = 0.0
            return
        s, o = f / r, g / r
        g = d[i + 1] - p
        r = (d[i] - g) * s + 2 * o * b
        p = s * r
        d[i + 1] = g + p
        g = o * r - b
    d[first] -= p
    e[first] = g
    e[last] = 0.0


@kernel
def _eigenvalues(c: Any, d: Any, e: Any) -> None:
    """Write the eigenvalues of a symmetric matrix to d, descending; c is destroyed, e is scratch.

    Householder's reduction to three diagonals, then implicit QL steps (Golub and Van Loan, 8.3).
    """
    n = c.shape[0]
    for i in range(n - 1, 0, -1):
        h = 0.0
        for k in range(i):
            h += c[i, k] * c[i, k]
        e[i] = c[i, i - 1]
        if h - e[i] * e[i] > NOTHING * h:
            _reflect(c, i, h, d, e)
    for i in range(n):
        d[i] = c[i, i]
        e[i] = e[i + 1] if i < n - 1 else 0.0
    for first in range(n):
        for _ in range(SWEEPS):
            last = first
            while last < n - 1 and abs(e[last]) > DIGITS * (abs(d[last]) + abs(d[last + 1])):
                last += 1
            if last == first:
                break
            _chase(d, e, first, last)
    d[:] = np.sort(d)[::-1]


@kernel
def _without_planes(s: Any, y0: int, x0: int, stride: int, x: Any, mean: Any) -> None:
    """Copy a patch (m, SAMPLES) without the plane through each echo, whose mean is kept apart."""
    middle = (SIDE - 1) / 2
    square = SIDE * SIDE * (SIDE * SIDE - 1) / 12
    for e in range(x.shape[0]):
        total, down, across = 0.0, 0.0, 0.0
        for a in range(SIDE):
            for b in range(SIDE):
                v = float(s[e, y0 + a * stride, x0 + b * stride])
                x[e, a * SIDE + b] = v
                total += v
                down += (a - middle) * v
                across += (b - middle) * v
        mean[e] = total / SAMPLES
        down, across = down / square, across / square
        for a in range(SIDE):
            for b in range(SIDE):
                x[e, a * SIDE + b] -= mean[e] + (a - middle) * down + (b - middle) * across


@kernel
def _scatter_matrix(x: Any, mean: Any, c: Any, work: Any) -> None:
    """Sums of products of echoes, c = Q x x' Q with Q across the mean decay: what is only brighter is gone."""
    m = c.shape[0]
    length = 0.0
    for e in range(m):
        length += mean[e] * mean[e]
        for f in range(e + 1):
            t = 0.0
            for k in range(SAMPLES):
                t += x[e, k] * x[f, k]
            c[e, f] = c[f, e] = t
    if length == 0.0:
        return
    both = 0.0
    for e in range(m):
        t = 0.0
        for f in range(m):
            t += c[e, f] * mean[f]
        work[e] = t / length
        both += work[e] * mean[e]
    both /= length
    for e in range(m):
        for f in range(m):
            c[e, f] += both * mean[e] * mean[f] - work[e] * mean[f] - mean[e] * work[f]


@kernel
def _marchenko_pastur(values: Any, m: int, n: int) -> tuple[float, float]:
    """Noise variance and its degrees of freedom from m eigenvalues of sums over n samples, descending.

    The smallest number p of components is given to the signal for which the rest is no wider than the spectrum of noise
    (Veraart et al. 2016): largest less smallest = 4 sigma^2 sqrt((m - p)(n - p)), sum = sigma^2 (m - p)(n - p).
    """
    for p in range(m):
        rest = 0.0
        for j in range(p, m):
            rest += max(values[j], 0.0)
        size = float((m - p) * (n - p))
        if p == m - 1 or values[p] - values[m - 1] < 4 * rest / math.sqrt(size):
            return rest / size, size
    return 0.0, 0.0


@kernel
def _variances(s: Any, ys: Any, xs: Any, used: Any, stride: int, out: Any, freedom: Any) -> None:
    for i in range(ys.size):
        m = used[i]
        x, c = np.empty((m, SAMPLES)), np.empty((m, m))
        mean, d, e = np.empty(m), np.empty(m), np.empty(m)
        _without_planes(s, ys[i], xs[i], stride, x, mean)
        _scatter_matrix(x, mean, c, d)
        _eigenvalues(c, d, e)
        out[i], freedom[i] = _marchenko_pastur(d, m - 1, SAMPLES - PLANE)


def _inner(bright: NDArray[np.bool_], tiles: Tiles) -> NDArray[np.bool_]:
    """Tiles whose neighbours are bright too: at an edge, half a patch may be air, which may have been changed."""
    inner: NDArray[np.bool_] = bright & (tiles.around(bright) >= NEIGHBOURS)
    return inner


def tissue_noise(
    stacks: list[NDArray[Any]],
    tiles: Tiles,
    clear_of: float,
    most: int,
    fewest_echoes: int,
    stride: int,
    rounding: float,
) -> Patches:
    """Noise deviation of at most ``most`` patches centred on tiles of slices (M, K, L).

    Only the leading echoes whose mean is above ``clear_of`` count, where a magnitude scatters by sigma: at least
    ``fewest_echoes``. In a patch of ``SIDE`` by ``SIDE`` samples ``stride`` apart the amplitude may vary as it likes
    and the rate as a plane; fat, ghosts, edges and alternating read-outs add few components, which leave with the
    signal; the rest is noise, not less than the variance that ``rounding`` makes.
    """
    used = np.minimum(tiles.leading(clear_of), MOST_ECHOES)
    need = (SIDE - 1) * stride + 1
    bright = tiles.sound & (tiles.zeros == 0) & (used >= fewest_echoes)
    inner = _inner(bright, tiles)
    which = np.flatnonzero(inner if np.count_nonzero(inner) >= ENOUGH else bright)
    slices, rows, columns = tiles.corners(which)
    ys, xs = rows + TILE // 2 - need // 2, columns + TILE // 2 - need // 2
    inside = (ys >= 0) & (xs >= 0) & (ys + need <= stacks[0].shape[1]) & (xs + need <= stacks[0].shape[2])
    chosen = np.flatnonzero(inside)
    chosen = chosen[np.linspace(0, chosen.size - 1, min(most, chosen.size)).astype(int)] if chosen.size else chosen
    variance, freedom = np.zeros(chosen.size), np.zeros(chosen.size)
    for k in range(len(stacks)):
        mine = np.flatnonzero(slices[chosen] == k)
        if mine.size:
            at, v, f = chosen[mine], np.empty(mine.size), np.empty(mine.size)
            _variances(stacks[k], ys[at], xs[at], used[which[at]], stride, v, f)
            variance[mine], freedom[mine] = v, f
    good = variance > 0
    each, freedom, where = np.sqrt(np.maximum(variance[good], rounding)), freedom[good], which[chosen[good]]
    if each.size < FEWEST:
        return Patches(0.0, 0.0, each, freedom, where, stride)
    sigma = quantile(each / (1 + DEVIATE * np.sqrt(0.5 / freedom)), QUANTILE)
    ordinary = each[each < ORDINARY * quantile(each, 0.3)]
    return Patches(sigma, float(np.std(np.log(ordinary))), each, freedom, where, stride)
