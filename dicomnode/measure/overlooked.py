"""Looks for iron that a found region left out: a thick organ on the patient's right that decays far faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomnode.model import Flag, Grade

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.model import Maps, Plane

FASTER = 3.0  # times the region's median rate
THICK_MM = 8.0  # radius of what fits into it: more than walls, marrow and the zones around gas
LARGEST_MM2 = 2000.0  # of such tissue in a slice, where the region is as large
SHARE = 0.5  # of the region's own size, where that is larger
CLEAR = 5.0  # sigma of the first echo: lungs and gas have less
SENTENCE = f"an organ on the patient's right decays over {FASTER:g} times as fast: it may be the liver"
INSIDE = 0.1  # of the organ: more of it that decays far faster than the region is no lesion
MIXED = f"over {INSIDE:.0%} of what was found decays over {FASTER:g} times as fast as the rest: it may be the liver"
LEAST_RIGHT = 0.5  # of a direction in the plane that points to the patient's left


def flags(
    signal: NDArray[np.float32],
    maps: Maps,
    planes: tuple[Plane, ...],
    region: NDArray[np.bool_],
    organ: NDArray[np.bool_],
) -> tuple[Flag, ...]:
    """Forbid the number of a region beside which such an organ lies, or in whose ``organ`` much decays so fast.

    ``signal`` is (slices, K, L, M), the masks (slices, K, L). Where severe iron breaks the liver up, some milder tissue
    may look more like one than the liver itself.
    """
    inside = region & maps.valid
    if not inside.any():
        return ()
    median = float(np.median(maps.r2star_per_s[inside]))
    beyond = np.zeros_like(region) if maps.beyond is None else maps.beyond
    fast = (maps.valid & (maps.r2star_per_s > FASTER * median)) | beyond
    fast &= (signal[..., 0] > CLEAR * float(np.median(maps.sigma))) & ~region
    if (fast & organ).sum() > INSIDE * organ.sum():
        return (Flag("overlooked", Grade.NOT_MEASURABLE, MIXED),)
    for k in np.flatnonzero(region.any(axis=(1, 2))):
        plane = planes[k]
        voxel = plane.pixel_spacing_mm[0] * plane.pixel_spacing_mm[1]
        allowed = max(LARGEST_MM2, SHARE * region[k].sum() * voxel)
        if _thickest_mm2(fast[k] & _right(plane, signal[k, ..., 0]), plane) > allowed:
            sentence = (
                f"a larger organ on the patient's right decays over {FASTER:g} times as fast: it may be the liver"
            )
            return (Flag("overlooked", Grade.NOT_MEASURABLE, sentence),)
    return ()


def _thickest_mm2(fast: NDArray[np.bool_], plane: Plane) -> float:
    """Area of the largest piece of what a ball of ``THICK_MM`` can roll in."""
    step = plane.pixel_spacing_mm
    cores = ndimage.distance_transform_edt(np.pad(fast, 1), sampling=step)[1:-1, 1:-1] > THICK_MM
    if not cores.any():
        return 0.0
    rolled = ndimage.distance_transform_edt(~cores, sampling=step) <= THICK_MM
    pieces, _ = ndimage.label(rolled & fast)
    return float(np.bincount(pieces.ravel())[1:].max() * step[0] * step[1])


def _right(plane: Plane, first: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The patient's right half of what gives signal; all of a plane that does not tell right from left."""
    along_row, along_column = plane.orientation[0], plane.orientation[3]
    if max(abs(along_row), abs(along_column)) < LEAST_RIGHT:
        return np.ones(first.shape, bool)
    rows, columns = np.indices(first.shape)
    left = along_row * plane.pixel_spacing_mm[1] * columns + along_column * plane.pixel_spacing_mm[0] * rows
    weight = np.maximum(first.astype(np.float64), 0.0)
    middle = float((left * weight).sum() / max(weight.sum(), 1e-9))
    return np.asarray(left < middle)
