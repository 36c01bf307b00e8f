"""One slice through the network, from four places, put together at the image's resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from dicomnode.measure.liver import network as nn
from dicomnode.measure.liver.features import GRID_MM, SHAPE, Grid, Noise, Seen, body_of, grid_over, see

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.measure.liver.network import Network
    from dicomnode.measure.liver.views import View

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]

HALF_STEP_MM = GRID_MM / 4  # four grids, this far up, down, left, right of the middle, make one of twice the density
SMOOTHING = 0.8  # of the dense grid's cells: averages what the four views say
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a turned slice: class probabilities (8, 96, 128) averaged over views, and at its pixels.

    ``liver``, ``inside`` and ``gas`` (K, L) are the probabilities of whole liver, of vessels or lesions in it, and of
    lungs or gas; ``agreement``
    is the smallest Dice of a view with the average; ``scene`` the probabilities of ``network.SCENES``.
    """

    classes: NDArray[np.float32]
    liver: NDArray[np.float32]
    inside: NDArray[np.float32]
    gas: NDArray[np.float32]
    agreement: float
    seen: Seen
    scene: NDArray[np.float32]
    body: Mask


def look(network: Network, signal: Array, echo_times_ms: Array, noise: Noise, view: View) -> Look:
    """Look at a turned slice (K, L, M) through four grids."""
    body = body_of(signal[..., 0], noise.typical, view.spacing_mm)
    middle = grid_over(body, view.kind, view.spacing_mm)
    grids = [middle.shifted((2 * i - 1) * HALF_STEP_MM, (2 * j - 1) * HALF_STEP_MM) for i, j in _CORNERS]
    views = see(signal, echo_times_ms, noise, grids)
    found = [nn.predict(network, one.channels) for one in views]
    each, scenes = (np.stack(every) for every in zip(*found, strict=True))
    mean = each.mean(0)
    whole = each[:, nn.LIVER] + each[:, nn.INSIDE]
    upsampled = _Upsampling(middle, signal.shape[:2])
    return Look(
        classes=mean,
        liver=upsampled(whole),
        inside=upsampled(each[:, nn.INSIDE]),
        gas=upsampled(each[:, nn.GAS]),
        agreement=min(dice(one > 0.5, whole.mean(0) > 0.5) for one in whole),
        seen=views[-1],
        scene=scenes.mean(0),
        body=body,
    )


class _Upsampling:
    """From the four grids to the pixels of an image."""

    def __init__(self, middle: Grid, shape: tuple[int, ...]) -> None:
        self._rows = _between(middle.rows, shape[0])
        self._columns = _between(middle.columns, shape[1]).T

    def __call__(self, views: Array) -> NDArray[np.float32]:
        dense: NDArray[np.float32] = np.empty((2 * SHAPE[0], 2 * SHAPE[1]), np.float32)
        for (i, j), values in zip(_CORNERS, views, strict=True):
            dense[i::2, j::2] = values
        smooth = ndi.gaussian_filter(dense, SMOOTHING, truncate=2.5)
        at_pixels: NDArray[np.float32] = self._rows @ smooth @ self._columns
        return at_pixels


def _between(places: Array, size: int) -> NDArray[np.float32]:
    """Weights (size, 2 n) of linear interpolation from the dense grid to pixels; 0 outside the grid."""
    step = (places[1] - places[0]) / 2
    index = (np.arange(size) - (places[0] - step / 2)) / step
    weights = np.maximum(0, 1 - np.abs(index[:, None] - np.arange(2 * len(places))[None, :]))
    between: NDArray[np.float32] = weights.astype(np.float32)
    return between


def dice(a: Mask, b: Mask) -> float:
    """Overlap of two masks over their mean size; 1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
