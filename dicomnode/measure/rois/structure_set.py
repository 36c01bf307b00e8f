"""Reads RT Structure Sets (PS3.3 A.19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dicomnode.measure.rois import shapes
from dicomnode.measure.rois.canvas import WHERE_TO_DRAW, drawn_on_source
from dicomnode.measure.rois.naming import drawn, finding
from dicomnode.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicomnode.measure.rois.canvas import Canvas
    from dicomnode.model import Roi

AREAS = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "POINT")  # a point is a region of one voxel


def regions(dataset: Dataset, canvas: Canvas) -> Iterator[Roi | Reason]:
    """Give each structure as a region, or why it cannot be placed on the maps."""
    contours = {
        int(item.ReferencedROINumber): item.get("ContourSequence") or ()
        for item in dataset.get("ROIContourSequence", [])
    }
    for structure in dataset.StructureSetROISequence:
        yield _region(structure, contours.get(int(structure.ROINumber), ()), canvas)


def _region(structure: Dataset, contours: Sequence[Dataset], canvas: Canvas) -> Roi | Reason:
    number, label = int(structure.ROINumber), str(structure.get("ROIName") or "")
    frame_of_reference = str(structure.get("ReferencedFrameOfReferenceUID", ""))
    if frame_of_reference != canvas.planes[0].frame_of_reference_uid:
        return Reason("other-geometry", f"region {number} is in another frame of reference; {WHERE_TO_DRAW}")
    if any(contour.ContourGeometricType not in AREAS for contour in contours):
        return Reason("not-an-area", f"region {number} is a line and not an area; draw a closed outline")
    if any(_images(contour) & canvas.sources for contour in contours):
        return drawn_on_source(f"region {number}")
    mask = _filled(contours, canvas)
    if mask is None:
        return Reason("other-geometry", f"region {number} does not lie on the slices of the map; {WHERE_TO_DRAW}")
    return drawn(label, number, finding(label), mask)


def _images(contour: Dataset) -> frozenset[str]:
    """Return the UIDs of the images a contour says it was drawn on."""
    return frozenset(str(image.get("ReferencedSOPInstanceUID")) for image in contour.get("ContourImageSequence") or ())


def _filled(contours: Sequence[Dataset], canvas: Canvas) -> NDArray[np.bool_] | None:
    """Fill the contours of a structure; None where one lies on no slice.

    A contour runs through the centres of the region's outermost voxels, of a hole's too: those belong to the region.
    """
    inside, outline = canvas.empty(), canvas.empty()
    for contour in contours:
        placed = canvas.on_a_slice(_points(contour))
        if placed is None:
            return None
        index, points = placed
        inside[index] ^= shapes.polygon(points, canvas.shape[1:])
        outline[index] |= shapes.edge(points, canvas.shape[1:])
    return inside | outline


def _points(contour: Dataset) -> NDArray[np.float64]:
    """Return the points (n, 3) of a contour in mm; a ValueError where there are fewer than it says."""
    points = np.asarray(contour.ContourData, dtype=float).reshape(-1, 3)
    stated = contour.get("NumberOfContourPoints")
    if stated is not None and int(stated) != len(points):
        raise ValueError("a contour is not whole")
    return points
