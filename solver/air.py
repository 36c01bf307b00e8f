"""Tiles that hold nothing but noise: the lowest crowd of tiles whose power is the same at every echo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.coils import coils_of_ratio
from solver.tiles import VOXELS, mean_echoes
from solver.vector_math import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST, SHARE = 12, 400  # tiles of a crowd, and the share of all that they must be at least, as its inverse
FLAT = 3.0  # deviations by which early and late echoes may differ in power
WIDTHS = (2.5, 5.0)  # of a crowd, in deviations of the power of a tile: white noise, and noise that neighbours share
STANDS_OUT = 1.5  # times as many tiles as in the same width just above and just below
NARROW, WIDE = 0.3, 3.0  # deviations by which the power of the tiles of a crowd may scatter
LOOSEST = 6.0  # of the variance of their power over that of white noise of that N
WITHIN = 2.5  # deviations of the crowd that its tiles lie within
REMAINS = 0.02  # of the power: with more in early echoes than in late ones, some signal is left, and the late ones tell
MOST_REMAINS = 0.25  # with more, it is weak tissue
LEAST_SHAPE, MOST_COILS = 0.35, 128.0  # N by the shape of noise: beyond these it is none


@dataclass(frozen=True, slots=True)
class Crowd:
    """Tiles of noise alone."""

    power: float  # mean of m^2, 2 N sigma^2
    n_coils: float  # by the shape E[m]^2 / E[m^2]
    slope: float  # power of the early echoes less that of the late ones, over their mean
    scatter: float  # variance of the power of its tiles over that of white noise
    tiles: NDArray[np.int64]


@kernel
def _mode(x: Any, width: float, start: int) -> int:
    """First place in ascending x from which the most values lie within ``width``, climbing from ``start``."""
    top = start
    while True:
        best, most, end = top, -1, top
        limit = x[top] + width
        i = top
        while i < x.size and x[i] <= limit:
            end = max(end, i)
            while end < x.size and x[end] < x[i] + width:
                end += 1
            if end - i > most:
                best, most = i, end - i
            i += 1
        if best == top:
            return top
        top = best


@kernel
def _between(x: Any, low: float, high: float) -> tuple[int, int]:
    return int(np.searchsorted(x, low)), int(np.searchsorted(x, high))


@kernel
def _settle(x: Any, centre: float, one: float) -> tuple[float, float]:
    """Centre and deviation of a crowd of ascending x: the median of what lies within -3 and +2 deviations.

    The deviation is that of what lies below the centre; what lies above may hold signal. (0, 0) where nothing is near.
    """
    width = one
    for _ in range(20):
        a, b = _between(x, centre - 3 * width, centre + 2 * width)
        if b - a < 4:
            return 0.0, 0.0
        new = 0.5 * (x[a + (b - a - 1) // 2] + x[a + (b - a) // 2]) + 0.02 * width
        c, d = _between(x, new - 6 * width, new)
        if d - c > 8:
            square = 0.0
            for i in range(c, d):
                square += (x[i] - new) ** 2
            width = min(max(math.sqrt(square / (d - c)), NARROW * one), WIDE * one)
        if abs(new - centre) < 1e-4:
            break
        centre = new
    return centre, width


@kernel
def _lowest(x: Any, one: float, fewest: int) -> tuple[float, float]:
    """Centre and deviation of the lowest crowd among ascending x, (0, 0) if there is none; ``one`` of white noise."""
    for factor in WIDTHS:
        width = factor * one
        i = 0
        while i < x.size:
            if np.searchsorted(x, x[i] + width) - i < fewest:
                i += 1
                continue
            t = _mode(x, width, i)
            below = t - np.searchsorted(x, x[t] - width)
            a, b = _between(x, x[t] + width, x[t] + 2 * width)
            count = a - t
            if count > STANDS_OUT * (b - a) and count >= STANDS_OUT * below:
                centre, spread = _settle(x, x[t] + width / 2, one)
                c, d = _between(x, centre - WITHIN * spread, centre + WITHIN * spread)
                if spread > 0 and d - c >= fewest:
                    return centre, spread
            i = np.searchsorted(x, x[t] + width)
    return 0.0, 0.0


def lowest_crowd(magnitude: NDArray[Any], power: NDArray[Any], among: NDArray[Any]) -> Crowd | None:
    """Find the lowest crowd of tiles whose power does not change over the echoes given, (M, n), ``among`` some tiles.

    Signals decay, noise does not; weak tissue and ghosts have many powers, noise has one.
    """
    echoes = len(power)
    fewest = max(FEWEST, power.shape[1] // SHARE)
    level = mean_echoes(power, 0, echoes)[among]
    some = level > 0
    if echoes > 1:
        half = echoes // 2
        chance = math.sqrt(1 / (VOXELS * half) + 1 / (VOXELS * (echoes - half)))
        early, last = (mean_echoes(power, *part)[among] for part in ((0, half), (half, echoes)))
        some &= np.abs(early - last) < FLAT * chance * level
    among, x = among[some], np.log(level[some])
    if among.size < fewest:
        return None
    order = np.argsort(x)
    x = x[order].astype(np.float64)
    one = 1 / math.sqrt(VOXELS * echoes)
    centre, spread = _lowest(x, one, fewest)
    if spread == 0:
        return None
    a, b = np.searchsorted(x, [centre - WITHIN * spread, centre + WITHIN * spread])
    found = _crowd(magnitude, power, among[order[a:b]], (spread / one) ** 2)
    noise = LEAST_SHAPE < found.n_coils < MOST_COILS and found.slope < MOST_REMAINS
    return found if noise and found.scatter < LOOSEST else None


def _crowd(magnitude: NDArray[Any], power: NDArray[Any], tiles: NDArray[Any], scatter: float) -> Crowd:
    first, second = (of[:, tiles].mean(axis=1, dtype=np.float64) for of in (magnitude, power))
    echoes = len(power)
    half = max(1, echoes // 2)
    slope = float((second[:half].mean() - second[half:].mean()) / second.mean()) if echoes > 1 else 0.0
    if echoes > 2 and slope > REMAINS:
        late = max(2, echoes // 3)
        first, second = first[-late:], second[-late:]
    n = coils_of_ratio(float(np.mean(first**2 / second)))
    return Crowd(float(second.mean()), n, slope, scatter * n, tiles)
