"""Measured regions as outlines and the images they are drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_fill_holes
from skimage.measure import find_contours

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dicomnode.model import Result, Roi
    from dicomnode.report.instance import Draft
    from dicomnode.report.references import Reference


def beyond(result: Result) -> NDArray[np.bool_]:
    """Return where decays are too fast to be measured, (slices, K, L).

    In a region that is beyond the range as a whole, every voxel without a fit is: its signal is lost in the noise
    already in the first echo, which by itself looks like air.
    """
    maps = result.maps
    found = np.zeros_like(maps.valid) if maps.beyond is None else maps.beyond & ~maps.valid
    for roi, numbers in zip(result.rois, result.measurements, strict=True):
        if numbers.at_least is not None:
            found |= roi.mask & ~maps.valid
    return found


def has_holes(roi: Roi) -> bool:
    """Say whether an outer outline holds voxels that are not of the region, vessels for instance."""
    return any(bool((binary_fill_holes(mask) & ~mask).any()) for mask in roi.mask)


def anchors(draft: Draft, written: Mapping[str, tuple[Reference, ...]]) -> tuple[Reference, ...]:
    """Return the image each slice's regions are drawn on: the T2* map, or the first echo where none is written.

    Viewers take a multi-echo series for a four-dimensional volume and draw nothing on it.
    """
    if "mr_map_t2star" in written:
        return written["mr_map_t2star"]
    return tuple(slice_.echoes[0] for slice_ in draft.source.slices)


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """Return the closed outer outlines of a (K, L) mask, largest first, each (points, 2) as column, row.

    The corner of the first pixel is 0, 0 and its centre 0.5, 0.5 (PS3.3 C.18.6.1.2). Filling by pixel centres
    gives the mask back, except that what an outline encloses belongs to it: excluded vessels are the
    segmentation's to show.
    """
    if not mask.any():
        return []
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, left = rows[0], columns[0]  # the region alone is traced, which is quicker than the whole slice
    padded = np.pad(binary_fill_holes(mask[top : rows[-1] + 1, left : columns[-1] + 1]), 1).astype(np.float32)
    traced: list[NDArray[np.float64]] = find_contours(padded, 0.5)
    found = [_straightened(points - 0.5 + (top, left)) for points in traced]
    return sorted((points[:, ::-1].astype(np.float32) for points in found), key=area, reverse=True)


def _straightened(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drop the points in the middle of straight stretches; the first and last point stay and are the same."""
    before, after = np.diff(points[:-1], axis=0), np.diff(points[1:], axis=0)
    corner = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    kept: NDArray[np.float64] = points[np.concatenate(([True], corner, [True]))]
    return kept


def area(points: NDArray[np.float32]) -> float:
    """Return what a closed outline encloses, in pixels."""
    x, y = points[:, 0].astype(float), points[:, 1].astype(float)
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2
