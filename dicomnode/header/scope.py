"""Where the attributes of a frame are found, in classic and enhanced objects alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicomnode.header.elements import Elements, Private

# Where an enhanced object keeps what a classic one has at the top (PS3.3 C.7.6.16, C.8.13.5).
_FUNCTIONAL_GROUP = {
    "EffectiveEchoTime": "MREchoSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "FrameType": "MRImageFrameTypeSequence",
    "ComplexImageComponent": "MRImageFrameTypeSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "FrameAcquisitionDateTime": "FrameContentSequence",
    "TransmitterFrequency": "MRImagingModifierSequence",
    "RepetitionTime": "MRTimingAndRelatedParametersSequence",
    "FlipAngle": "MRTimingAndRelatedParametersSequence",
    "RFEchoTrainLength": "MRTimingAndRelatedParametersSequence",
    "SpectrallySelectedSuppression": "MRModifierSequence",
    "InversionRecovery": "MRModifierSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "AnatomicRegionSequence": "FrameAnatomySequence",
}
# A legacy converted object keeps unmoved attributes here (PS3.3 C.7.6.16.2.24).
_UNASSIGNED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")


class Scope:
    """One frame's view of an object: its own functional groups, then the shared ones, then the top."""

    def __init__(self, top: Elements, layers: tuple[Elements, ...] = ()) -> None:
        self.top = top
        self._layers = layers

    def of(self, keyword: str) -> Elements:
        """Return the data set or item that holds the attribute for this frame; the top where none does."""
        group = _FUNCTIONAL_GROUP.get(keyword)
        for layer in self._layers if group else ():
            item = next(iter(layer.items(group or "")), None)
            if item is not None and item.has(keyword):
                return item
        return self.top if self.top.has(keyword) else self._unassigned(keyword)

    def private(self, place: Private | None, sequence: Private | None) -> float | None:
        """Return a vendor's own number for this frame, None where there is none or it cannot be read."""
        items = [item for layer in self._layers if sequence for item in layer.private_items(sequence)]
        numbers = (item.lenient(place) for item in (*items, self.top) if place)
        return next((number for number in numbers if number is not None), None)

    def _unassigned(self, keyword: str) -> Elements:
        items = (item for layer in self._layers for name in _UNASSIGNED for item in layer.items(name))
        return next((item for item in items if item.has(keyword)), self.top)


def words_of(elements: Elements, keyword: str) -> tuple[str, ...]:
    """Return the values of a code string, in capitals."""
    return tuple(word.upper() for word in elements.texts(keyword))
