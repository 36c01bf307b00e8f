"""The colours of R2* and T2*, the same for every exam."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.model import Maps

# Each T2* is 1000 over an R2*: one colour stands for both, so that severe never looks like mild in either.
SLOWEST, FASTEST = 20.0, 2000.0  # 1/s, that is 50 to 0.5 ms: from little iron at 1.5 T to severe at 3 T
R2STAR_TICKS = (20, 50, 100, 200, 500, 1000, 2000)  # 1/s
T2STAR_TICKS = ("50", "20", "10", "5", "2", "1", "0.5")  # ms, of the same colours
NOT_FITTED = (0, 0, 0)
# Faster than the scan can measure: stripes that no value has, and bright, so that grey copies read "more" too.
BEYOND = ((255, 255, 255), (230, 0, 120))
STRIPE = 3  # pixels
# viridis (van der Walt and Smith, CC0): equal steps look equal, brightness rises with the rate.
_ANCHORS = (
    "440154 470d60 48186a 482374 472d7b 453681 424086 3f4989 3b528b 375a8d 33638d 2f6a8e 2c728e 297a8e 26818e 23898e "
    "21908c 1f988b 1f9f88 21a685 28ae80 31b57b 3ebc74 4cc26c 5dc963 6ece58 82d34c 96d83f abdc32 c0df24 d5e21a eae51a "
    "fde725"
)


@cache
def table() -> NDArray[np.uint8]:
    """Return 256 colours from slow to fast, (256, 3)."""
    anchors = np.array([[int(word[i : i + 2], 16) for i in (0, 2, 4)] for word in _ANCHORS.split()])
    places = np.linspace(0, len(anchors) - 1, 256)
    mixed = [np.interp(places, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    found: NDArray[np.uint8] = np.rint(np.stack(mixed, axis=-1)).astype(np.uint8)
    return found


def position(r2star_per_s: NDArray[np.float32] | float) -> NDArray[np.float64]:
    """Return where a rate lies between the ends of the colours, 0 to 1, on a logarithmic scale."""
    inside = np.clip(np.asarray(r2star_per_s, np.float64), SLOWEST, FASTEST)
    found: NDArray[np.float64] = np.log(inside / SLOWEST) / np.log(FASTEST / SLOWEST)
    return found


def coloured(maps: Maps, k: int) -> NDArray[np.uint8]:
    """Return the colours of the voxels of a slice, (K, L, 3); those beyond the range get theirs by ``striped``."""
    index = np.rint(position(maps.r2star_per_s[k]) * 255).astype(np.uint8)
    image: NDArray[np.uint8] = table()[index]
    image[~maps.valid[k]] = NOT_FITTED
    return image


def stripes(height: int, width: int) -> NDArray[np.uint8]:
    """Return the oblique stripes of what is beyond the range, (height, width, 3)."""
    phase = (np.arange(height)[:, None] + np.arange(width)[None, :]) // STRIPE % 2
    found: NDArray[np.uint8] = np.array(BEYOND, np.uint8)[phase]
    return found
