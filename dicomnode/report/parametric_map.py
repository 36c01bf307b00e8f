"""Quantities as float Parametric Maps: the archive of the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.report import codes
from dicomnode.report.instance import KINDS, stamp
from dicomnode.report.provenance import derivation
from dicomnode.report.references import image_item, rewire, series_items
from dicomnode.report.source import UTF8, stand_ins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicomnode.report.instance import Draft
    from dicomnode.report.quantities import Quantity
    from dicomnode.report.references import Reference


def build(draft: Draft, quantity: Quantity, shown_on: Sequence[Reference]) -> tuple[Dataset, ...]:
    """Return the map, or nothing where it was not looked for; ``shown_on`` is its MR map series, empty if not written.

    Invalid voxels hold 0, which is declared as padding: NaN makes viewers draw nothing.
    """
    maps = draft.result.maps
    if not quantity.is_in(maps):
        return ()
    sources = stand_ins(draft.source, draft.key)
    values = np.where(quantity.told(maps), quantity.of(maps), np.float32(0)).astype(np.float32)
    image = _map(draft, quantity, sources, np.ascontiguousarray(values))
    _order_frames(image, draft)
    rewire(image, sources, [slice_.echoes for slice_ in draft.source.slices], quantity.method)
    stamp(image, draft, quantity.float_kind)
    _describe(image, draft, quantity)
    if shown_on:
        _lay_over(image, shown_on)
    return (image,)


def _map(draft: Draft, quantity: Quantity, sources: list[Dataset], values: NDArray[np.float32]) -> Dataset:
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=quantity.label,
        lut_explanation=quantity.explanation,
        unit=quantity.unit,
        value_range=(0.0, float(np.ceil(values.max())) or 1.0),
    )
    mapping.QuantityDefinitionSequence = codes.quantity(quantity.code, quantity.method)
    windows = [] if quantity.storage is None else [_window(upper) for upper in quantity.storage.windows[:1]]
    return hd.pm.ParametricMap(
        source_images=sources,
        pixel_array=values,
        series_instance_uid=draft.series_uid(quantity.float_kind),
        series_number=KINDS[quantity.float_kind].place,
        sop_instance_uid=draft.instance_uid(quantity.float_kind),
        instance_number=1,
        manufacturer=draft.manufacturer,
        manufacturer_model_name=draft.device,
        software_versions=draft.software_version,
        device_serial_number=draft.settings.device_serial_number,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=windows or None,
        image_flavor=quantity.flavour,
        derived_pixel_contrast="QUANTITY",
        content_qualification="RESEARCH",
        content_creator_name=draft.author or f"{draft.device}^",  # type 2 (PS3.3 10.9)
        content_label=quantity.content_label,
        content_description=quantity.explanation,
        derivation=quantity.method,
        specific_character_set=UTF8,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def _window(upper: float) -> hd.VOILUTTransformation:
    return hd.VOILUTTransformation(window_center=upper / 2, window_width=float(upper))


def _order_frames(image: Dataset, draft: Draft) -> None:
    """Let the frames ascend along the normal as the slices do: OHIF lays them over the map in the order of the file."""
    normal = np.array(draft.source.slices[0].plane.normal)
    frames = list(image.PerFrameFunctionalGroupsSequence)
    heights = [np.dot(normal, np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)) for frame in frames]
    order = np.argsort(heights)
    pixels = np.frombuffer(image.FloatPixelData, np.float32).reshape(len(frames), -1)
    image.FloatPixelData = pixels[order].tobytes()
    image.PerFrameFunctionalGroupsSequence = [frames[index] for index in order]
    for number, frame in enumerate(image.PerFrameFunctionalGroupsSequence, 1):
        frame.FrameContentSequence[0].DimensionIndexValues = [number]


def _describe(image: Dataset, draft: Draft, quantity: Quantity) -> None:
    image.BodyPartExamined = draft.organ.body_part
    image.FloatPixelPaddingValue = image.FloatPixelPaddingRangeLimit = 0.0
    image.DerivationDescription = derivation(draft, f"{quantity.explanation}.")
    shared = image.SharedFunctionalGroupsSequence[0]
    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [codes.concept(codes.finding(draft.organ.name))]
    shared.FrameAnatomySequence = [anatomy]
    settle(image, draft, quantity.float_kind)


def settle(image: Dataset, draft: Draft, kind: str) -> None:
    """Write over what highdicom drew or guessed: the dimension UID, the compression, a lone slice's spacing."""
    dimension = draft.series_uid(f"{kind}/dimensions")
    image.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimension
    for index in image.DimensionIndexSequence:
        index.DimensionOrganizationUID = dimension
    image.update(draft.source.compression)
    measures = image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if draft.source.spacing_mm is None and "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices


def _lay_over(image: Dataset, maps: Sequence[Reference]) -> None:
    """Name the MR map series first: viewers overlay a Parametric Map on its first referenced series."""
    image.ReferencedSeriesSequence = [*series_items(maps), *image.ReferencedSeriesSequence]
    image.ReferencedImageSequence = [image_item(reference, codes.ALTERNATE_INSTANCE) for reference in maps]
