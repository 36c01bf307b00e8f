"""The measured regions as a binary Segmentation."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.report import codes
from dicomnode.report.identity import uid
from dicomnode.report.instance import KINDS, stamp
from dicomnode.report.parametric_map import settle
from dicomnode.report.provenance import algorithm
from dicomnode.report.references import rewire
from dicomnode.report.regions import anchors
from dicomnode.report.source import UTF8, stand_ins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom.dataset import Dataset

    from dicomnode.model import Roi
    from dicomnode.report.instance import Draft
    from dicomnode.report.references import Reference

KIND = "segmentation"
# Okabe and Ito, told apart by colour-blind readers: vermilion, sky blue, yellow, bluish green.
COLOURS = ((213, 94, 0), (86, 180, 233), (240, 228, 66), (0, 158, 115))


def build(draft: Draft, written: Mapping[str, tuple[Reference, ...]]) -> tuple[Dataset, ...]:
    """Return one Segmentation with a segment per region that has voxels, or nothing where none has."""
    if not any(roi.mask.any() for roi in draft.result.rois):
        return ()
    sources = stand_ins(draft.source, draft.key)
    image = _image(draft, sources)
    _name_segment_per_frame(image)
    rewire(image, sources, [[reference] for reference in anchors(draft, written)], codes.SEGMENTATION)
    stamp(image, draft, KIND)
    image.BodyPartExamined = draft.organ.body_part
    settle(image, draft, KIND)
    return (image,)


def tracking_uid(key: str, index: int) -> str:
    """Return the UID by which segmentation and report of a result name the same region."""
    return uid(key, f"region/{index + 1}")


def _image(draft: Draft, sources: list[Dataset]) -> hd.seg.Segmentation:
    drawn = [(index, roi) for index, roi in enumerate(draft.result.rois) if roi.mask.any()]
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.stack([roi.mask for _, roi in drawn], axis=-1).astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[_segment(draft, number, *region) for number, region in enumerate(drawn, 1)],
        series_instance_uid=draft.series_uid(KIND),
        series_number=KINDS[KIND].place,
        sop_instance_uid=draft.instance_uid(KIND),
        instance_number=1,
        manufacturer=draft.manufacturer,
        manufacturer_model_name=draft.device,
        software_versions=draft.software_version,
        device_serial_number=draft.settings.device_serial_number,
        content_label=f"{draft.organ.name.upper()}{'_IRON' if draft.organ.has_iron else ''}_ROI"[:16],
        content_description=_content(draft),
        content_creator_name=draft.author or f"{draft.device}^",
        specific_character_set=UTF8,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def _content(draft: Draft) -> str:
    superseded = draft.result.identity.supersedes
    what = f"for {draft.organ.name} iron" if draft.organ.has_iron else f"of a {draft.organ.name}"
    return f"Regions measured {what}" + (f", replaces {superseded[:12]}" if superseded else "")


def _segment(draft: Draft, number: int, index: int, roi: Roi) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=roi.name[:64],
        segmented_property_category=codes.category(roi.finding),
        segmented_property_type=codes.finding(roi.finding, roi.name),
        algorithm_type="AUTOMATIC" if roi.automatic else "MANUAL",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm(draft),
            family=codes.AUTOMATIC_FAMILY if roi.automatic else codes.MANUAL_FAMILY,
            version=draft.software_version,
        ),
        tracking_uid=tracking_uid(draft.key, index),
        tracking_id=roi.name[:64],
        display_color=hd.color.CIELabColor.from_rgb(*COLOURS[(number - 1) % len(COLOURS)]),
    )


def _name_segment_per_frame(image: Dataset) -> None:
    """Where there is one segment, highdicom names it once for all frames; dwv looks for it in each of them.

    Both are allowed (PS3.3 C.7.6.16.1).
    """
    shared = image.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" not in shared:
        return
    segment = shared.pop("SegmentIdentificationSequence")
    for frame in image.PerFrameFunctionalGroupsSequence:
        frame.SegmentIdentificationSequence = deepcopy(segment.value)
