"""Noise deviation as it varies over the image, where parallel imaging or an intensity correction made it vary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEARBY = 0.15  # of half the image: places that share a sigma; g-factors are as smooth as coils are wide
SLICES_NEARBY = 1.0  # slices of those looked at, likewise
WIDER = 3.0  # times as far: what holds where nothing is near
PRIOR = 0.5  # places of that, and of the common sigma where nothing is near that either
FEWEST = 40  # places
GAIN = 0.75  # scatter about the map over that about the mean, each place left out in turn: more is chance
ROUGHEST = 0.16  # of ln sigma about the map: more, and the places tell structure, not noise
OUTLYING = 3.0  # deviations above the map: structure
LEAST_RANGE = 1.15  # between the tenths of the map: less is not worth a map
GRID = 24  # places each way at which the map is computed; between them it is interpolated


@dataclass(frozen=True, slots=True)
class Places:
    """Where in the stack sigma was told: slice, row and column from -1 to 1, and ln sigma there."""

    where: NDArray[np.float64]  # (n, 3)
    value: NDArray[np.float64]  # (n,)

    def only(self, kept: NDArray[np.bool_]) -> Places:
        """Some of them."""
        return Places(self.where[kept], self.value[kept])


@dataclass(frozen=True, slots=True)
class Surface:
    """ln sigma over the image: the mean of what was told nearby, drawn to that of further away."""

    places: Places
    base: float

    def at(self, where: NDArray[np.float64], *, leave_out: bool = False) -> NDArray[np.float64]:
        """Ln sigma at places (n, 3); ``leave_out``: these are the places themselves, each told by the others."""
        unit = np.array([SLICES_NEARBY, NEARBY, NEARBY])
        a, b = where / unit, self.places.where / unit
        square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        far = np.exp(-0.5 / WIDER**2 * np.maximum(square, 0))
        if leave_out:
            np.fill_diagonal(far, 0)
        near = far ** (WIDER**2)
        wide = (far @ self.places.value + PRIOR * self.base) / (far.sum(1) + PRIOR)
        value: NDArray[np.float64] = (near @ self.places.value + PRIOR * wide) / (near.sum(1) + PRIOR)
        return value

    def map(self, position: float, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Sigma (K, L) of the slice at a position."""
        side = np.linspace(-1, 1, GRID)
        y, x = np.meshgrid(side, side, indexing="ij")
        coarse = self.at(np.stack([np.full(y.size, position), y.ravel(), x.ravel()], axis=1)).reshape(GRID, GRID)
        rows, columns = ((np.arange(n) + 0.5) / n * (GRID - 1) for n in shape)
        at = np.stack(np.meshgrid(rows, columns, indexing="ij"))
        sigma: NDArray[np.float64] = np.exp(ndimage.map_coordinates(coarse, at, order=1, mode="nearest"))
        return sigma


def surface_of(places: Places) -> Surface | None:
    """Map of sigma, where places differ by more than chance and as their neighbours do; else None."""
    if places.value.size < FEWEST:
        return None
    spread = deviation(places.value)
    places = places.only(places.value < np.median(places.value) + OUTLYING * spread)
    found = Surface(places, float(np.median(places.value)))
    rest = places.value - found.at(places.where, leave_out=True)
    rough = deviation(rest)
    if rough > GAIN * max(spread, 1e-9) or rough > ROUGHEST:
        return None
    kept = places.only(rest < OUTLYING * rough)
    found = Surface(kept, float(np.median(kept.value)))
    low, high = np.quantile(found.at(kept.where), [0.1, 0.9])
    return found if high - low > np.log(LEAST_RANGE) else None


def deviation(values: NDArray[Any]) -> float:
    """Standard deviation of the middle of the values."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
