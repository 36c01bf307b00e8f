"""Reads the regions that a person drew in a viewer."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)

from dicomnode.errors import DamagedHeader, InputError, NodeError, NotDicom
from dicomnode.measure.rois import presentation_state, segmentation, structure_set, structured_report
from dicomnode.measure.rois.canvas import WHERE_TO_DRAW, Canvas, drawn_on_source
from dicomnode.model import Reason, Roi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Reader = Callable[[Dataset, Canvas], Iterator[Roi | Reason]]

__all__ = ["READERS", "Canvas", "Drawing", "read", "referenced_uids"]

UNDEFINED_LENGTH = 0xFFFFFFFF
READERS: Mapping[str, Reader] = {
    SegmentationStorage: segmentation.regions,
    "1.2.840.10008.5.1.4.1.1.66.7": segmentation.regions,  # Label Map
    RTStructureSetStorage: structure_set.regions,
    EnhancedSRStorage: structured_report.regions,
    ComprehensiveSRStorage: structured_report.regions,
    Comprehensive3DSRStorage: structured_report.regions,
    GrayscaleSoftcopyPresentationStateStorage: presentation_state.regions,
    ColorSoftcopyPresentationStateStorage: presentation_state.regions,
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """What one object holds: regions on the slices of the maps, and a reason for each that cannot be used."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    author: str | None  # the person as the object names them; never for a log
    made_with: str  # manufacturer and model of the software
    rois: tuple[Roi, ...]
    refused: tuple[Reason, ...]


def read(path: Path, canvas: Canvas) -> Drawing:
    """Read the regions of a drawing as masks (slices, K, L) on the geometry of ``canvas``.

    Raises NotDicom, DamagedHeader or UndecodablePixels where the object itself is at fault, InputError for an object
    of a class that holds no drawing (see ``READERS``), and OSError where the file cannot be read.
    """
    with _faults_named():
        return _drawing(_open(path), canvas)


def _drawing(dataset: Dataset, canvas: Canvas) -> Drawing:
    reader = READERS.get(str(dataset.get("SOPClassUID")))
    if reader is None:
        raise InputError("an object of this class holds no drawing")
    found = tuple(reader(dataset, canvas)) or (Reason("no-region", f"the object holds no region; {WHERE_TO_DRAW}"),)
    if _only_on_sources(frozenset(_references(dataset)), canvas):
        found = tuple(drawn_on_source(f"region {n}") if isinstance(one, Roi) else one for n, one in enumerate(found, 1))
    return Drawing(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.get("SOPInstanceUID", "")),
        study_instance_uid=str(dataset.get("StudyInstanceUID", "")),
        author=_author(dataset),
        made_with=" ".join(str(dataset.get(k) or "") for k in ("Manufacturer", "ManufacturerModelName")).strip(),
        rois=tuple(_told_apart([one for one in found if isinstance(one, Roi)])),
        refused=tuple(one for one in found if isinstance(one, Reason)),
    )


def _only_on_sources(referenced: frozenset[str], canvas: Canvas) -> bool:
    """Tell whether the drawing knows the multi-echo images and not the maps.

    Viewers join the echoes to a volume in four dimensions and count its images as slices, so that even positions
    that look right may belong to another slice.
    """
    return bool(referenced & canvas.sources) and not referenced & canvas.slices.keys()


def referenced_uids(path: Path) -> frozenset[str]:
    """Every SOP Instance UID that a drawing refers to: by these the node finds the result it was drawn on.

    Raises as ``read`` does.
    """
    with _faults_named():
        return frozenset(_references(_open(path)))


def _open(path: Path) -> Dataset:
    dataset = dcmread(BytesIO(path.read_bytes()))
    if any(_cut_short(dataset.get_item(tag)) for tag in list(dataset.keys())):
        raise DamagedHeader("the drawing is cut short: some of its regions may be missing")
    return dataset


def _cut_short(element: Any) -> bool:
    """Tell whether the file ended inside this element; pydicom reads what is there and says nothing."""
    stated = element.length if isinstance(element, RawDataElement) else UNDEFINED_LENGTH
    return stated not in (0, UNDEFINED_LENGTH) and len(element.value or b"") < stated


@contextmanager
def _faults_named() -> Iterator[None]:
    """Let only errors of the node, or of the disk, leave this module."""
    try:
        yield
    except InvalidDicomError as fault:
        raise NotDicom from fault
    except NodeError:
        raise
    except Exception as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            raise  # the disk's own fault; pydicom's complaints carry no number
        raise DamagedHeader(f"the drawing cannot be understood: {type(fault).__name__}") from fault


def _references(dataset: Dataset) -> Iterator[str]:
    """Look into public sequences only, and decode nothing else: what is malformed elsewhere does not matter here."""
    for tag in list(dataset.keys()):
        if dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ":
            for item in dataset[tag].value:
                yield from _references(item)
    if "ReferencedSOPInstanceUID" in dataset:
        yield str(dataset.ReferencedSOPInstanceUID)


def _told_apart(rois: list[Roi]) -> Iterator[Roi]:
    """Number the regions of equal names."""
    total = Counter(roi.name for roi in rois)
    so_far: Counter[str] = Counter()
    for roi in rois:
        so_far[roi.name] += 1
        yield roi if total[roi.name] == 1 else replace(roi, name=f"{roi.name} {so_far[roi.name]}")


def _author(dataset: Dataset) -> str | None:
    """Who drew, wherever this kind of object says so; None where it does not."""
    candidates: list[Any] = [dataset.get("ContentCreatorName")]
    candidates += [item.get("PersonName") for item in dataset.get("AuthorObserverSequence", [])]
    candidates += [item.get("ROIInterpreter") for item in dataset.get("RTROIObservationsSequence", [])]
    candidates += structured_report.observers(dataset)
    candidates += [dataset.get("OperatorsName")] if "StructureSetROISequence" in dataset else []
    named = (name[0] if isinstance(name, MultiValue) else name for name in candidates if name)
    return next((str(name) for name in named), None)
