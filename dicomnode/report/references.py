"""How a result points at the images it was made from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from dicomnode.report.codes import SOURCE_FOR_PROCESSING, concept

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydicom.sr.coding import Code


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance, or some of its frames (numbered from 1; none: the instance has a single frame)."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frames: tuple[int, ...] = ()


def to(instance: Dataset) -> Reference:
    """Point at a single-frame result, or at all of a multi-frame one."""
    return Reference(str(instance.SOPClassUID), str(instance.SOPInstanceUID), str(instance.SeriesInstanceUID))


def merged(references: Iterable[Reference]) -> tuple[Reference, ...]:
    """Name each instance once, with all its frames, in the order of first mention."""
    frames: dict[str, set[int]] = defaultdict(set)
    first: dict[str, Reference] = {}
    for reference in references:
        first.setdefault(reference.sop_instance_uid, reference)
        frames[reference.sop_instance_uid].update(reference.frames)
    return tuple(
        Reference(r.sop_class_uid, uid, r.series_instance_uid, tuple(sorted(frames[uid]))) for uid, r in first.items()
    )


def sop_item(reference: Reference) -> Dataset:
    """Return the SOP Instance Reference Macro (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item


def image_item(reference: Reference, purpose: Code | None = None) -> Dataset:
    """Return the Image SOP Instance Reference Macro (PS3.3 10.3)."""
    item = sop_item(reference)
    if reference.frames:
        item.ReferencedFrameNumber = list(reference.frames)
    if purpose is not None:
        item.PurposeOfReferenceCodeSequence = [concept(purpose)]
    return item


def series_items(references: Iterable[Reference]) -> list[Dataset]:
    """Return the Referenced Series Sequence (PS3.3 C.12.4): each series once, in the order of first mention."""
    by_series: dict[str, list[Reference]] = defaultdict(list)
    for reference in merged(references):
        by_series[reference.series_instance_uid].append(reference)
    return [_series_item(uid, members) for uid, members in by_series.items()]


def _series_item(series_instance_uid: str, members: Sequence[Reference]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series_instance_uid
    item.ReferencedInstanceSequence = [sop_item(member) for member in members]
    return item


def source_items(references: Iterable[Reference]) -> list[Dataset]:
    """Return a Source Image Sequence for one frame, whose result lies exactly on its source images.

    Each source frame has an item of its own: highdicom cannot read several frame numbers in one.
    """
    items = [image_item(reference, SOURCE_FOR_PROCESSING) for reference in references]
    for item in items:
        item.SpatialLocationsPreserved = "YES"
    return items


def rewire(image: Dataset, stand_ins: Sequence[Dataset], per_slice: Sequence[Sequence[Reference]], how: Code) -> None:
    """Replace the stand-ins a multi-frame ``image`` was built on by the images that each frame really comes from.

    highdicom re-orders frames and drops empty ones, so each frame's stand-in says which slice it shows.
    """
    slice_of = {str(stand_in.SOPInstanceUID): k for k, stand_in in enumerate(stand_ins)}
    for frame in image.PerFrameFunctionalGroupsSequence:
        known_as = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        derivation = Dataset()
        derivation.SourceImageSequence = source_items(per_slice[slice_of[str(known_as)]])
        derivation.DerivationCodeSequence = [concept(how)]
        frame.DerivationImageSequence = [derivation]
    image.ReferencedSeriesSequence = series_items(reference for slice_ in per_slice for reference in slice_)
    if "SourceImageSequence" in image:
        del image.SourceImageSequence
