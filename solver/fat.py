"""Signal fraction of fat, voxel by voxel, decided by evidence and never by habit.

Each window of a slice (``fat_windows``) has an estimate of its own, and one of all alike tissue around it. What is used
is the expectation where tissue holds no fat at all or some, N(0, ``SOME``²): the estimate, drawn a little to zero,
times the probability that there is fat (spike and slab; Mitchell and Beauchamp 1988). Without fat it is 0 for all that
matters; where fat cannot be told it is 0 as well, and the deviation says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from solver import fat_windows as windows
from solver.fat_windows import FASTER, FRACTION, LOUDER, MISFIT, STRIDE, SWING, SWING_VARIANCE, VARIANCE, WEAKLY
from solver.model import fat_turning
from solver.uncertainty import flat, table_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIKELY_SWING = 0.03  # of odd and even echoes, relative: a deviation, before anything is measured
_BEFORE = np.array([0.0, LIKELY_SWING])
MANY, SPARSELY = 2000, 3  # windows of a slice; of more, every so-manieth in both directions is asked about the swing
OWN_SWING = 0.005  # how far that of one place lies from that of the image
OVERLAP = 12.0  # windows around every STRIDE-th voxel that hold one
UNEVEN = 0.1  # of a fraction: how far it may lie from that of the tissue around, relative
SOME = 0.15  # deviation of the fraction of tissue that holds fat
ODDS = 0.25  # that a voxel holds fat, before anything is measured
NEGATIVE = 3.0  # deviations below zero: that is no fat, whatever it is
SMALLEST = 2e-3  # a fraction below is none
EXACT = 1e-3  # of sigma squared: better is no floor known


@dataclass(frozen=True, slots=True)
class Floor:
    """The noise floor of magnitudes, in units of sigma."""

    n_coils: float  # its power is twice that
    sd: float = 0.0  # how far that power may be off


@dataclass(frozen=True, slots=True)
class FatMap:
    """Fat of a slice, (K, L)."""

    fraction: NDArray[Any]  # that is allowed for, 0 where none is seen
    sd: NDArray[Any]  # its standard deviation, NaN where nothing is known
    start: NDArray[Any]  # (2, K, L): amplitude and rate beside it, near enough to begin with


def beat(t_ms: NDArray[np.float64], field_strength_t: float) -> NDArray[np.float64]:
    """(2, M): b and g of the squared factor 1 + 2 f b + f² g of each echo."""
    off = fat_turning(t_ms, field_strength_t) - 1
    return np.stack([off.real, np.abs(off) ** 2])


def factors(fraction: NDArray[Any], beating: NDArray[np.float64]) -> NDArray[Any]:
    """Factor (M, ...) of fat of that fraction (...) on a decay of water."""
    b, g = (one.reshape(-1, *[1] * fraction.ndim).astype(fraction.dtype) for one in beating)
    squared = 1 + fraction * (2 * b + fraction * g)
    root: NDArray[Any] = np.sqrt(np.maximum(squared, squared.dtype.type(1e-8)))
    return root


def posterior(estimate: NDArray[Any], variance: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Expectation and variance of a fraction that was measured as ``estimate``, by spike and slab."""
    share = SOME**2 / (SOME**2 + variance)
    mean, own = share * estimate, share * variance
    odds = np.log(ODDS / (1 - ODDS)) + 0.5 * (np.log1p(-share) + share * estimate**2 / variance)
    chance = np.where(estimate > -NEGATIVE * np.sqrt(variance), special.expit(odds), 0.0)
    return chance * mean, chance * own + chance * (1 - chance) * mean**2


def fat_map(
    s: NDArray[Any], train: NDArray[np.float64], x: NDArray[Any], free: NDArray[np.bool_], floor: Floor
) -> FatMap:
    """Look for fat in a slice ``s`` (M, K, L) in units of sigma, where one exponential gave ``x`` (2, K, L).

    ``train`` (3, M) holds echo times in the unit of ``x`` over what ``beat`` says of them.
    """
    shape = tuple((n + STRIDE - 1) // STRIDE for n in free.shape)
    (power, wide), (count, total) = np.empty((2, *shape, train.shape[1])), np.empty((2, *shape))
    windows.pool(np.ascontiguousarray(np.moveaxis(s, 0, -1)), x, free, 2.0 * floor.n_coils, power, count)
    middle = np.ascontiguousarray(x[:, ::STRIDE, ::STRIDE])
    windows.join(power, count, middle, wide, total)
    own, around, scatter = np.empty((7, *shape)), np.empty((7, *shape)), np.empty((2, *shape))
    n_coils = float(floor.n_coils)
    expected = _expected(_swing((power, count, middle), train, floor), floor)
    windows.fit(power, count, train, middle, n_coils, expected, own)
    windows.fit(wide, total, train, middle, n_coils, expected, around)
    known = np.isfinite(own[VARIANCE]) & np.isfinite(around[VARIANCE])
    if not known.any():
        return FatMap(np.zeros(free.shape, s.dtype), np.full(free.shape, np.nan, s.dtype), x)
    windows.scatter(own, count, middle, around[FRACTION], scatter)
    mean, left = _weighed(own, around, scatter, known)
    share = np.clip(np.divide(mean, own[FRACTION], out=np.zeros_like(mean), where=own[FRACTION] != 0), 0, 1)
    nodes = np.stack([mean, left, share * own[LOUDER], share * own[FASTER]])
    voxels = np.empty((4, *free.shape))
    windows.spread_out(nodes, x, free, voxels)
    windows.sharpen(s, train, free, nodes, x, 2.0 * n_coils, voxels)
    fraction = np.where(np.abs(voxels[0]) < SMALLEST, 0.0, voxels[0])
    start = np.stack([x[0] * np.exp(voxels[2]), np.maximum(x[1] + voxels[3], 0.0)])
    return FatMap(fraction.astype(s.dtype), np.sqrt(voxels[1]).astype(s.dtype), start.astype(x.dtype))


def _weighed(
    own: NDArray[Any], around: NDArray[Any], scatter: NDArray[Any], known: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Expectation and variance of the fraction of each window, by itself and by the tissue around; 0, inf: unknown.

    What noise of its size does not explain (neighbours that share it, other models) makes everything less certain.
    """
    worse = np.maximum(scatter[1], np.median(own[MISFIT][known]))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        near = np.maximum(worse, own[MISFIT]) * own[VARIANCE]
        far = np.maximum(worse, around[MISFIT]) * around[VARIANCE] + scatter[0]
        far = far + (UNEVEN * around[FRACTION]) ** 2
        variance = 1 / (1 / near + 1 / far)
        mean, left = posterior(variance * (own[FRACTION] / near + around[FRACTION] / far), variance)
    return np.where(known, mean, 0.0), np.where(known, left, np.inf)


def _expected(swing: NDArray[np.float64], floor: Floor) -> NDArray[np.float64]:
    """What is expected of each parameter of a window before it is asked, and how precisely."""
    expected = np.zeros((2, windows.SIZE))
    expected[0, windows.SIDES] = swing[0]
    expected[1, [windows.RAISED, windows.FAT, windows.SIDES]] = (max(floor.sd, EXACT) ** -2, WEAKLY**-2, swing[1] ** -2)
    return expected


def _swing(
    of: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], train: NDArray[np.float64], floor: Floor
) -> NDArray[np.float64]:
    """What odd and even echoes differ by in the whole image, and how far it may be off: a read-out knows no tissue.

    ``of`` are power, count and middle of all windows, of which, where they are many, some are asked. The weighted
    median of what they say, undrawn: without what was expected of them.
    """
    power, count, middle = of
    every = SPARSELY if count.size > MANY else 1
    sparse = slice(None, None, every), slice(None, None, every)
    power, count, middle = (np.ascontiguousarray(part) for part in (power[sparse], count[sparse], middle[:, *sparse]))
    own = np.empty((7, *count.shape))
    windows.fit(power, count, train, middle, float(floor.n_coils), _expected(_BEFORE, floor), own)
    data = np.maximum(1 / own[SWING_VARIANCE] - LIKELY_SWING**-2, 0.0)
    telling = data > 0
    if not telling.any():
        return _BEFORE
    weight = data[telling] / np.maximum(own[MISFIT][telling], 1.0)
    undrawn = own[SWING][telling] / own[SWING_VARIANCE][telling] / data[telling]
    order = np.argsort(undrawn)
    sums = np.cumsum(weight[order])
    median = float(undrawn[order][np.searchsorted(sums, 0.5 * sums[-1])])
    told = float(sums[-1]) * every**2 / OVERLAP
    precision = told + LIKELY_SWING**-2
    return np.array([told / precision * median, np.hypot(precision**-0.5, OWN_SWING)])


def rate_by_fraction(
    x: NDArray[Any], fraction: NDArray[Any], t: NDArray[Any], beating: NDArray[np.float64], n_coils: float
) -> NDArray[Any]:
    """How far the rate of maps ``x`` (2, K, L) moves with the fraction (K, L), to first order; amplitude in sigma."""
    train = np.stack([t.astype(np.float64), *beating])
    moved = np.empty(fraction.size)
    windows.moves(flat(x[0]), flat(x[1]), np.ravel(fraction), train, table_of(n_coils), float(n_coils), moved)
    return moved.reshape(fraction.shape)
