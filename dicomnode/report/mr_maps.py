"""R2* and T2* maps as plain MR images that every viewer shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import highdicom as hd
from pydicom.dataset import Dataset

from dicomnode.report import codes, regions
from dicomnode.report.instance import stamp
from dicomnode.report.provenance import derivation
from dicomnode.report.quantities import LARGEST, stored
from dicomnode.report.references import image_item, merged
from dicomnode.report.source import decimal, place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dicomnode.report.instance import Draft
    from dicomnode.report.quantities import Quantity, Storage
    from dicomnode.report.source import Slice


def build(draft: Draft, quantity: Quantity) -> tuple[Dataset, ...]:
    """Return one MR image per slice, in the order of the slices; none of a quantity that is not stored or not known."""
    maps = draft.result.maps
    if quantity.storage is None or not quantity.is_in(maps):
        return ()
    style = _Style(quantity, quantity.storage)
    pixels = stored(quantity, quantity.of(maps), quantity.told(maps), regions.beyond(draft.result))
    return tuple(_image(draft, style, k, pixels[k]) for k in range(len(pixels)))


@dataclass(frozen=True, slots=True)
class _Style:
    """A quantity that is stored."""

    quantity: Quantity
    storage: Storage


def _image(draft: Draft, style: _Style, k: int, pixels: NDArray[np.uint16]) -> Dataset:
    slice_ = draft.source.slices[k]
    image = Dataset()
    _acquisition(image, slice_)
    stamp(image, draft, style.quantity.mr_kind, k + 1)
    place(image, slice_.plane)
    image.FrameOfReferenceUID = draft.source.frame_of_reference_uid
    image.PositionReferenceIndicator = None
    if draft.source.spacing_mm is not None:
        image.SpacingBetweenSlices = decimal(draft.source.spacing_mm)
    image.SliceLocation = decimal(slice_.plane.location_mm)
    _general(image, draft, style, slice_)
    _pixels(image, pixels)
    _display(image, style)
    return image


def _acquisition(image: Dataset, slice_: Slice) -> None:
    """Fill the MR Image module (PS3.3 C.8.3.1); EchoTime stays empty, for no single echo made the map."""
    for keyword in ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"):
        setattr(image, keyword, None)
    image.ScanningSequence, image.SequenceVariant = "GR", "NONE"
    image.PatientPosition = image.SliceThickness = None
    image.update(slice_.protocol)


def _general(image: Dataset, draft: Draft, style: _Style, slice_: Slice) -> None:
    image.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    image.BodyPartExamined = draft.organ.body_part
    image.BurnedInAnnotation = "NO"
    image.update(draft.source.compression)
    image.SourceImageSequence = [image_item(r, codes.SOURCE_FOR_PROCESSING) for r in merged(slice_.echoes)]
    image.DerivationDescription = derivation(draft, f"{style.quantity.explanation}.", _beyond(style))
    image.DerivationCodeSequence = [codes.concept(style.quantity.method)]
    none = "not told" if style.quantity.spread else "no valid fit"
    said = f"{style.quantity.explanation}; stored value x {1 / style.storage.per_unit:g}; 0 = {none}"
    image.ImageComments = "; ".join(part for part in (said, _beyond(style)) if part)


def _beyond(style: _Style) -> str:
    if style.storage.beyond is None:
        return ""
    return f"stored {style.storage.beyond} = decay beyond the measurable range, severe or unknown"


def _pixels(image: Dataset, pixels: NDArray[np.uint16]) -> None:
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 0
    image.PixelPaddingValue = 0
    image.PixelData = pixels.astype("<u2").tobytes()


def _display(image: Dataset, style: _Style) -> None:
    """Give the unit by real world value mapping, and by Rescale where stored values are not in it.

    Rescale is no part of the MR IOD, but scanners write it and viewers apply it, to the window too (docs/why.md).
    """
    per_unit = style.storage.per_unit
    if per_unit != 1:
        image.RescaleIntercept, image.RescaleSlope = 0, decimal(1 / per_unit)
        image.RescaleType = style.quantity.unit.value
    image.WindowCenter = [decimal(upper / 2) for upper in style.storage.windows]
    image.WindowWidth = [decimal(upper) for upper in style.storage.windows]
    symbol, unit = style.quantity.symbol, style.quantity.unit_symbol
    beyond = "" if style.storage.beyond is None else f"; {style.storage.beyond} = beyond the range"
    image.WindowCenterWidthExplanation = [f"{symbol} 0-{upper} {unit}" for upper in style.storage.windows]
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=style.quantity.label,
        lut_explanation=f"{style.quantity.explanation}{beyond}"[:64],
        unit=style.quantity.unit,
        value_range=(1, LARGEST),
        slope=1 / style.storage.per_unit,
        intercept=0,
    )
    mapping.QuantityDefinitionSequence = codes.quantity(style.quantity.code, style.quantity.method)
    image.RealWorldValueMappingSequence = [mapping]
