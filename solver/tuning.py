"""Maps to start from, and automatic regularisation weights in noise-normalised units."""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from solver.uncertainty import information
from solver.vector_math import fast_exp, kernel
from solver.voxelwise import variable_projection

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRENGTH = 1.4  # weight of |D x| where x is in units of its Cramér-Rao standard deviation
STEP = 1.4  # height of a step, in standard deviations of one voxel, that halves the weight
POWER = 3.0
SMALLEST = 0.01  # of a map, in sigma or per last echo time, where it is compared with its deviation
MISSED = 2.0  # half the mean square of what is left, where about 0.5 is expected
WINDOW = 5  # pixels over which signals are averaged before that deviation is computed


def smooth_start(
    s: NDArray[Any], t: NDArray[Any], n_coils: float, free: NDArray[np.bool_], bounds: tuple[float, float]
) -> NDArray[Any]:
    """Maps (2, K, L) fitted to root mean squares over a window with the floor taken off: E[m^2] = A^2 + 2 N sigma^2.

    ``s`` (M, K, L) in units of sigma. Near enough to the truth for a start and for the deviations of the weights.
    """
    size = (1, WINDOW, WINDOW)
    count = ndimage.uniform_filter(free.astype(s.dtype), size[1:], mode="constant")
    power = ndimage.uniform_filter(s * s * free, size, mode="constant") / np.maximum(count, 1e-6)
    signal = np.sqrt(np.maximum(power - 2 * n_coils, 0)) * free
    flat = signal.reshape(t.size, -1).astype(s.dtype)
    a, r, _ = variable_projection(flat, t, *bounds)
    # Where nothing is left at the second echo, start from half a sigma there: further out the likelihood is flat.
    fastest = np.log(np.maximum(2 * flat[0], 2)) / (t[1] - t[0])
    too_fast = r > fastest
    r = np.where(too_fast, fastest, r)
    a = np.where(too_fast, flat[0] * np.exp(r * t[0]), a)
    return np.stack([a, r]).reshape(2, *free.shape).astype(s.dtype)


@kernel
def _misfit(s: Any, t: Any, i: int, j: int, a: Any, r: Any, floor: Any) -> Any:
    """Half the sum of squares of what sqrt(A^2 + floor), A = a exp(-r t), leaves of the signals of a voxel."""
    total = s.dtype.type(0)
    for m in range(t.size):
        signal = a * fast_exp(-r * t[m])
        rest = s[m, i, j] - np.sqrt(signal * signal + floor)
        total += rest * rest
    return s.dtype.type(0.5) * total


@kernel
def _choose(s: Any, t: Any, free: Any, x: Any, floor: Any, limit: Any, reach: int, out: Any) -> None:
    rows, columns = free.shape
    for i in range(rows):
        for j in range(columns):
            out[0, i, j], out[1, i, j] = x[0, i, j], x[1, i, j]
            least = _misfit(s, t, i, j, x[0, i, j], x[1, i, j], floor) if free[i, j] else limit
            if least <= limit:
                continue
            for k in range(9):
                p, q = i + reach * (k // 3 - 1), j + reach * (k % 3 - 1)
                if 0 <= p < rows and 0 <= q < columns and free[p, q]:
                    misfit = _misfit(s, t, i, j, x[0, p, q], x[1, p, q], floor)
                    if misfit < least:
                        least = misfit
                        out[0, i, j], out[1, i, j] = x[0, p, q], x[1, p, q]


def sharpened(
    x: NDArray[Any], s: NDArray[Any], t: NDArray[Any], n_coils: float, free: NDArray[np.bool_]
) -> NDArray[Any]:
    """Where smooth maps (2, K, L) miss the signals by far, take them from the nearby window that fits best.

    At edges the average belongs to neither side (Kuwahara's filter); starting there costs many steps.
    """
    out = np.empty_like(x)
    of = x.dtype.type
    _choose(s, t, free, x, of(2 * n_coils), of(MISSED * t.size), WINDOW // 2, out)
    return out


def automatic_weights(
    x: NDArray[Any],
    t: NDArray[Any],
    n_coils: float,
    free: NDArray[np.bool_],
    *,
    edges: bool,
    factor: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """TV weights (2, K, L) of amplitude and rate: STRENGTH over the Cramér-Rao deviation of each at ``x``.

    ``x`` (2, K, L) are smooth maps, the amplitude in units of sigma: constant maps cost nothing whatever the deviation
    does, and multiplying the signal or the time unit by a factor divides out. With ``edges`` a step of ``x`` that
    stands out of the noise is taken as known and its weight is lowered, so that TV does not take its contrast.
    ``factor`` (M, K, L) is what multiplies each decay, None where that is 1.
    """
    aa, ar, rr = information(x[0], x[1], t, n_coils, factor)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.sqrt(np.maximum(aa * rr - ar * ar, 0) / np.stack([rr, aa]))
    # What data say nothing about is not let run free: a map is never less known than by its own size.
    precision = np.maximum(np.nan_to_num(precision, posinf=0), 1 / np.maximum(x, SMALLEST))
    weights = np.where(free, STRENGTH * precision, 0)
    if edges:
        weights *= 1 / (1 + (_step_heights(x, aa, ar, rr, free) / STEP) ** POWER)
    return weights.astype(x.dtype)


def _step_heights(x: NDArray[Any], aa: Any, ar: Any, rr: Any, free: NDArray[np.bool_]) -> NDArray[Any]:
    """Length of the forward difference of both maps in units of what noise makes of one voxel."""
    square = np.zeros(x.shape[1:])
    for axis in (0, 1):
        both = free & np.roll(free, -1, axis)
        d0, d1 = (np.where(both, np.roll(m, -1, axis) - m, 0.0) for m in x)
        edge = [slice(None), slice(None)]
        edge[axis] = slice(-1, None)
        d0[tuple(edge)] = d1[tuple(edge)] = 0
        # The voxel that knows less decides.
        h = [np.minimum(m, np.roll(m, -1, axis)) for m in (aa, rr)]
        square += _mahalanobis(d0, d1, h[0], ar, h[1])
    return np.sqrt(square)


def _mahalanobis(d0: Any, d1: Any, aa: Any, ar: Any, rr: Any) -> Any:
    limit = 0.999 * np.sqrt(aa * rr)
    return aa * d0 * d0 + 2 * np.clip(ar, -limit, limit) * d0 * d1 + rr * d1 * d1
