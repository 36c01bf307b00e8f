"""A Key Object Selection that says of a replaced result that it is rejected (IHE RAD TF-3 4.66, IOCM; TID 2010)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom import sr
from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, EncapsulatedPDFStorage, KeyObjectSelectionDocumentStorage

from dicomnode.report import codes
from dicomnode.report.identity import uid
from dicomnode.report.instance import KINDS, file_meta
from dicomnode.report.source import ALWAYS, IDENTITY, UTF8

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicomnode.report.references import Reference

SOP_CLASS_UID = str(KeyObjectSelectionDocumentStorage)
_PLACE = 90  # the last two digits of its series number, as in KINDS
_NO_IMAGES = (ComprehensiveSRStorage, EncapsulatedPDFStorage)
_EQUIPMENT = (
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
    *("ContributingEquipmentSequence", "CodingSchemeIdentificationSequence"),
)
_TIMES = ("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "SeriesDate", "SeriesTime")


def sop_instance_uid(key: str, rejected: Sequence[Reference]) -> str:
    """The UID of the note: the same where the same objects are rejected because of the same result ``key``."""
    return uid(key, f"{_role(rejected)}/1")


def build(like: Dataset, kind: str, key: str, rejected: Sequence[Reference]) -> Dataset:
    """Return the note that rejects objects of the same study in favour of the result ``key``.

    Patient, study, equipment and times are those of ``like``, an object of that result and of that kind; the same
    arguments give the same bytes.
    """
    evidence = [_evidence_item(like, one) for one in rejected]
    content = KeyObjectSelection(
        codes.concept(codes.REJECTED),
        evidence,
        observer_device_context=_observer(like),
        description=f"Replaced by result {key}, which was made from more images or from other settings.",
    )
    note = KeyObjectSelectionDocument(
        evidence,
        content,
        series_instance_uid=uid(key, f"{_role(rejected)}/series"),
        series_number=int(like.SeriesNumber) - KINDS[kind].place + _PLACE,
        sop_instance_uid=sop_instance_uid(key, rejected),
        instance_number=1,
        manufacturer=str(like.Manufacturer),
        specific_character_set=UTF8,
    )
    for keyword in (*IDENTITY, *_EQUIPMENT, *_TIMES):
        if keyword in like:
            note[keyword] = like[keyword]
    note.SeriesDescription = f"Replaced result | {like.ManufacturerModelName} {like.SoftwareVersions}"[:64]
    file_meta(note, str(like.ManufacturerModelName))
    return note


def _role(rejected: Sequence[Reference]) -> str:
    return "rejection_note/" + ",".join(sorted(one.sop_instance_uid for one in rejected))


def _observer(like: Dataset) -> sr.ObserverContext:
    """This device, as the report names it (TID 1004)."""
    maker, serial = str(like.Manufacturer), str(like.DeviceSerialNumber)
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid("observer", f"{maker}/{serial}"),
        name=str(like.ManufacturerModelName),
        manufacturer_name=maker,
        model_name=str(like.ManufacturerModelName),
        serial_number=serial,
    )
    return sr.ObserverContext(codes.concept(codes.DEVICE), device)


def _evidence_item(like: Dataset, rejected: Reference) -> Dataset:
    """Return what highdicom asks of an object to name it."""
    item = Dataset()
    for keyword in ALWAYS:
        setattr(item, keyword, None)
    item.StudyInstanceUID = like.StudyInstanceUID
    item.SeriesInstanceUID = rejected.series_instance_uid
    item.SOPClassUID, item.SOPInstanceUID = rejected.sop_class_uid, rejected.sop_instance_uid
    if rejected.sop_class_uid not in _NO_IMAGES:
        item.Rows = item.Columns = 1
    return item
