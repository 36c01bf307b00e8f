"""Reads the graphics of softcopy presentation states (PS3.3 C.10.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomnode.measure.rois import shapes
from dicomnode.measure.rois.naming import drawn, finding
from dicomnode.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicomnode.measure.rois.canvas import Canvas
    from dicomnode.model import Roi


def regions(dataset: Dataset, canvas: Canvas) -> Iterator[Roi | Reason]:
    """Give each closed graphic as a region, or why it cannot be measured."""
    number = 0
    for annotation in dataset.get("GraphicAnnotationSequence", []):
        images = annotation.get("ReferencedImageSequence") or _all_images(dataset)
        label = " ".join(str(text.get("UnformattedTextValue", "")) for text in annotation.get("TextObjectSequence", []))
        for graphic in annotation.get("GraphicObjectSequence", []):
            number += 1
            mask = _mask(graphic, images, canvas, f"region {number}")
            yield mask if isinstance(mask, Reason) else drawn(label, number, finding(label), mask)
        for _ in annotation.get("CompoundGraphicSequence", []):
            number += 1
            yield Reason("compound-graphic", f"region {number} is a compound graphic; draw a polygon or an ellipse")


def _all_images(dataset: Dataset) -> list[Dataset]:
    """Without a reference of its own a graphic is on every image of the presentation state."""
    series = dataset.get("ReferencedSeriesSequence") or ()
    return [image for item in series for image in item.get("ReferencedImageSequence", [])]


def _mask(graphic: Dataset, images: Sequence[Dataset], canvas: Canvas, region: str) -> NDArray[np.bool_] | Reason:
    if graphic.GraphicAnnotationUnits != "PIXEL":
        return Reason("other-geometry", f"{region} is tied to the screen and not to the image; draw it on the image")
    points = shapes.from_corner(graphic.GraphicData)
    covered = shapes.cover(graphic.GraphicType, points, canvas.shape[1:], region)
    mask = canvas.empty()
    for image in images:
        index = canvas.slice_of(image, region)
        if isinstance(index, Reason):
            return index
        if isinstance(covered, Reason):
            return covered
        mask[index] |= covered
    return mask
