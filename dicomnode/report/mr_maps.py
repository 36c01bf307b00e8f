"""R2* and T2* maps as plain MR images that every viewer shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from dicomnode.report import codes
from dicomnode.report.instance import stamp
from dicomnode.report.provenance import derivation
from dicomnode.report.references import image_item, merged
from dicomnode.report.regions import beyond
from dicomnode.report.source import decimal, place

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.sr.coding import Code

    from dicomnode.model import Maps
    from dicomnode.report.instance import Draft
    from dicomnode.report.source import Slice


LARGEST = 65535


@dataclass(frozen=True, slots=True)
class MapStyle:
    """How one quantity is stored in 16 bits and first shown."""

    kind: str
    stored_per_unit: float
    beyond: int  # stored where the decay is too fast to be measured: the severe end, never 0
    quantity: Code
    unit: Code
    label: str
    explanation: str
    windows: tuple[int, int]  # upper ends in units, a viewer starts with the first; fixed, so that two exams compare


R2STAR = MapStyle(
    "mr_map_r2star", 1.0, LARGEST, codes.R2STAR, codes.PER_SECOND, "R2* 1/s", "R2* relaxation rate in 1/s", (300, 1000)
)
T2STAR = MapStyle(
    "mr_map_t2star", 1000.0, 1, codes.T2STAR, codes.MILLISECOND, "T2* ms", "T2* relaxation time in ms", (30, 60)
)


def stored(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    style: MapStyle,
    too_fast: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint16]:
    """Return the stored values of a map: 0 where invalid, the style's own value where beyond the measurable range.

    Others lie from 1 to 65535, where the last means "or more".
    """
    scaled = np.rint(values.astype(np.float64) * style.stored_per_unit)
    pixels = np.where(valid, np.clip(scaled, 1, LARGEST), 0)
    return (pixels if too_fast is None else np.where(too_fast & ~valid, style.beyond, pixels)).astype(np.uint16)


def build(draft: Draft, style: MapStyle) -> tuple[Dataset, ...]:
    """Return one MR image per slice, in the order of the slices."""
    maps = draft.result.maps
    pixels = stored(_values(maps, style), maps.valid, style, beyond(draft.result))
    return tuple(_image(draft, style, k, pixels[k]) for k in range(len(pixels)))


def _values(maps: Maps, style: MapStyle) -> NDArray[np.float32]:
    return maps.r2star_per_s if style is R2STAR else maps.t2star_ms


def _image(draft: Draft, style: MapStyle, k: int, pixels: NDArray[np.uint16]) -> Dataset:
    slice_ = draft.source.slices[k]
    image = Dataset()
    _acquisition(image, slice_)
    stamp(image, draft, style.kind, k + 1)
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


def _general(image: Dataset, draft: Draft, style: MapStyle, slice_: Slice) -> None:
    image.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    image.BodyPartExamined = "LIVER"
    image.BurnedInAnnotation = "NO"
    image.update(draft.source.compression)
    image.SourceImageSequence = [image_item(r, codes.SOURCE_FOR_PROCESSING) for r in merged(slice_.echoes)]
    image.DerivationDescription = derivation(draft, f"{style.explanation}.", _beyond(style))
    image.DerivationCodeSequence = [codes.concept(codes.R2STAR_FIT)]
    said = f"{style.explanation}; stored value x {1 / style.stored_per_unit:g}; 0 = no valid fit"
    image.ImageComments = f"{said}; {_beyond(style)}"


def _beyond(style: MapStyle) -> str:
    return f"stored {style.beyond} = decay beyond the measurable range, severe or unknown"


def _pixels(image: Dataset, pixels: NDArray[np.uint16]) -> None:
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 0
    image.PixelPaddingValue = 0
    image.PixelData = pixels.astype("<u2").tobytes()


def _display(image: Dataset, style: MapStyle) -> None:
    """Give the unit by real world value mapping, and by Rescale where stored values are not in it.

    Rescale is no part of the MR IOD, but scanners write it and viewers apply it, to the window too (docs/why.md).
    """
    per_unit = style.stored_per_unit
    if per_unit != 1:
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, decimal(1 / per_unit), style.unit.value
    image.WindowCenter = [decimal(upper / 2) for upper in style.windows]
    image.WindowWidth = [decimal(upper) for upper in style.windows]
    quantity, unit = style.label.split(" ")
    image.WindowCenterWidthExplanation = [f"{quantity} 0-{upper} {unit}" for upper in style.windows]
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=style.label,
        lut_explanation=f"{style.explanation}; {style.beyond} = beyond the range"[:64],
        unit=style.unit,
        value_range=(1, LARGEST),
        slope=1 / style.stored_per_unit,
        intercept=0,
    )
    mapping.QuantityDefinitionSequence = codes.quantity(style.quantity, codes.R2STAR_FIT)
    image.RealWorldValueMappingSequence = [mapping]
