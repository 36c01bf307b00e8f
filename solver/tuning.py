"""Automatic regularisation weights in noise-normalised units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from solver.uncertainty import cramer_rao
from solver.voxelwise import variable_projection

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRENGTH = 1.0  # weight of |D x| where x is in units of its Cramér-Rao standard deviation
WINDOW = 5  # pixels over which signals are averaged before that deviation is computed


def local_mean(s: NDArray[Any], free: NDArray[np.bool_], window: int = WINDOW) -> NDArray[Any]:
    """Mean of each image of ``s`` (M, K, L) over the free voxels of a square window, 0 where there is none."""
    size = (0, window, window)
    count = ndimage.uniform_filter(free.astype(s.dtype), size[1:], mode="constant")
    total = ndimage.uniform_filter(s * free, (1, *size[1:]), mode="constant")
    return np.where(free, total / np.maximum(count, 1e-6), 0).astype(s.dtype)


def automatic_weights(
    s: NDArray[Any], t: NDArray[Any], n_coils: float, free: NDArray[np.bool_], bounds: tuple[float, float]
) -> NDArray[Any]:
    """TV weights (2, K, L) of amplitude and rate: STRENGTH over the local Cramér-Rao deviation of each.

    ``s`` (M, K, L) in units of sigma. Constant maps cost nothing whatever the deviation does, and multiplying the
    signal or the time unit by a factor divides out.
    """
    smooth = local_mean(s, free)
    a, r, _ = variable_projection(smooth.reshape(t.size, -1), t, *bounds)
    deviation = cramer_rao(a, r, t, n_coils).reshape(2, *free.shape)
    usable = free & np.all(np.isfinite(deviation) & (deviation > 0), axis=0)
    return np.where(usable, STRENGTH / np.where(usable, deviation, 1), 0).astype(s.dtype)
