"""Reads Segmentations: binary, fractional and label maps (PS3.3 A.51, A.86.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.errors import UndecodablePixels
from dicomnode.measure.rois.canvas import WHERE_TO_DRAW, drawn_on_source
from dicomnode.measure.rois.naming import drawn, finding
from dicomnode.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicomnode.measure.rois.canvas import Canvas
    from dicomnode.model import Roi

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
BACKGROUND = 0  # only a label map describes it as a segment
HALF = 0.5  # of the maximum of a fractional segmentation


def regions(dataset: Dataset, canvas: Canvas) -> Iterator[Roi | Reason]:
    """Give each segment as a region, exactly its pixels, or why it cannot be placed on the maps."""
    pixels = _pixels(dataset)
    frames = [_Frame(dataset, index) for index in range(len(pixels))]
    for segment in dataset.SegmentSequence:
        number = int(segment.SegmentNumber)
        if number == BACKGROUND:
            continue
        mask = _mask(canvas, number, [(frame, frame.of_segment(number, pixels[frame.index])) for frame in frames])
        yield mask if isinstance(mask, Reason) else _region(segment, number, mask)


def _region(segment: Dataset, number: int, mask: NDArray[np.bool_]) -> Roi | Reason:
    label = str(segment.get("SegmentLabel") or "")
    return drawn(label, number, finding(label, segment.get("SegmentedPropertyTypeCodeSequence") or ()), mask)


def _pixels(dataset: Dataset) -> NDArray[Any]:
    """Return the stored values, (frames, K, L)."""
    try:
        stored = dataset.pixel_array
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, ValueError) as fault:
        raise UndecodablePixels(f"the segmentation's pixels cannot be decoded: {type(fault).__name__}") from fault
    return stored.reshape(-1, *stored.shape[-2:])


class _Frame:
    """One frame of a segmentation; viewers leave out any functional group but these."""

    def __init__(self, dataset: Dataset, index: int) -> None:
        self.index = index
        self.dataset = dataset
        self._group = dataset.PerFrameFunctionalGroupsSequence[index]

    def macro(self, keyword: str) -> Dataset | None:
        """Return the item of a functional group, of this frame or shared by all."""
        shared = self.dataset.get("SharedFunctionalGroupsSequence") or ()
        for holder in (self._group, *shared):
            if holder.get(keyword):
                item: Dataset = holder[keyword].value[0]
                return item
        return None

    def sources(self) -> frozenset[str]:
        """Return the UIDs of the images this frame says it was drawn on."""
        derivation = self.macro("DerivationImageSequence")
        images = derivation.get("SourceImageSequence") or () if derivation is not None else ()
        return frozenset(str(image.get("ReferencedSOPInstanceUID")) for image in images)

    def of_segment(self, number: int, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Return the pixels (K, L) of a segment in this frame."""
        if str(self.dataset.SOPClassUID) == LABEL_MAP or self.dataset.get("SegmentationType") == "LABELMAP":
            return np.asarray(stored == number)
        identification = self.macro("SegmentIdentificationSequence")
        if identification is None or int(identification.ReferencedSegmentNumber) != number:
            return np.zeros(stored.shape, dtype=bool)
        if self.dataset.SegmentationType == "FRACTIONAL":
            return np.asarray(stored >= HALF * float(self.dataset.MaximumFractionalValue))
        return np.asarray(stored > 0)


def _mask(canvas: Canvas, number: int, frames: list[tuple[_Frame, NDArray[np.bool_]]]) -> NDArray[np.bool_] | Reason:
    mask = canvas.empty()
    for frame, pixels in frames:
        if pixels.any():
            if frame.sources() & canvas.sources:
                return drawn_on_source(f"region {number}")
            index = _slice(canvas, frame, pixels.shape)
            if index is None:
                return Reason(
                    "other-geometry",
                    f"region {number} does not lie on the slices and pixels of the map; {WHERE_TO_DRAW}",
                )
            mask[index] |= pixels
    return mask


def _slice(canvas: Canvas, frame: _Frame, shape: tuple[int, ...]) -> int | None:
    """Return the slice of a frame; None where its geometry is missing or another."""
    position, orientation, measures = (
        frame.macro(keyword)
        for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    )
    reference = frame.dataset.get("FrameOfReferenceUID")
    if position is None or orientation is None or measures is None:
        return None
    if reference is not None and str(reference) != canvas.planes[0].frame_of_reference_uid:
        return None
    if not canvas.same_grid(orientation.ImageOrientationPatient, measures.PixelSpacing, shape):
        return None
    return canvas.slice_at(position.ImagePositionPatient)
