"""What the two sides of storage commitment say to each other (PS3.4 annex J, Push Model)."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from dicomnode.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # well known: of the service, not of a request
REQUEST = 1  # action type
ALL_COMMITTED, SOME_FAILED = 1, 2  # event types
NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0112, 0x0119
_REASONS: Mapping[int, str] = {  # PS3.3 C.14.1.1
    0x0110: "processing failure",
    0x0112: "no such object",
    0x0119: "its SOP class is another",
    0x0122: "its SOP class is not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}


def reason(code: int) -> str:
    """What a Failure Reason says, for people."""
    return f"0x{code:04X} {_REASONS.get(code, '')}".rstrip()


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asks whether objects are kept for good."""

    transaction_uid: str
    objects: Mapping[str, str]  # SOP Instance UID -> SOP Class UID

    def as_data_set(self) -> Dataset:
        """The action information (PS3.4 table J.3-1)."""
        data_set = Dataset()
        data_set.TransactionUID = self.transaction_uid
        data_set.ReferencedSOPSequence = [_item(*one) for one in self.objects.items()]
        return data_set

    @classmethod
    def read(cls, data_set: Dataset) -> Request:
        """Read the action information; raises InputError that names what is missing."""
        found = dict(_items(data_set, "ReferencedSOPSequence"))
        if not found:
            raise InputError("ReferencedSOPSequence names no object")
        return cls(_transaction(data_set), found)


@dataclass(frozen=True, slots=True)
class Report:
    """What becomes of the objects of a request."""

    transaction_uid: str
    committed: Mapping[str, str] = field(default_factory=dict)  # SOP Instance UID -> SOP Class UID
    failed: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # ... -> SOP Class UID, Failure Reason

    @property
    def event_type(self) -> int:
        """Whether all is well."""
        return SOME_FAILED if self.failed else ALL_COMMITTED

    def as_data_set(self) -> Dataset:
        """The event information (PS3.4 table J.3-2)."""
        data_set = Dataset()
        data_set.TransactionUID = self.transaction_uid
        if self.committed:
            data_set.ReferencedSOPSequence = [_item(*one) for one in self.committed.items()]
        if self.failed:
            data_set.FailedSOPSequence = [_failed_item(uid, *why) for uid, why in self.failed.items()]
        return data_set

    @classmethod
    def read(cls, data_set: Dataset) -> Report:
        """Read the event information; what stands in both lists has failed. Raises InputError."""
        failed = {}
        for item in _sequence(data_set, "FailedSOPSequence"):
            uid = str(item.get("ReferencedSOPInstanceUID", ""))
            failed[uid] = (str(item.get("ReferencedSOPClassUID", "")), _code(item))
        committed = {uid: of for uid, of in _items(data_set, "ReferencedSOPSequence") if uid not in failed}
        return cls(_transaction(data_set), committed, failed)


def decoded(content: bytes, transfer_syntax: str) -> Dataset:
    """A data set from the bytes that came over a network; raises InputError."""
    implicit = transfer_syntax == ImplicitVRLittleEndian
    try:
        data_set = read_dataset(io.BytesIO(content), implicit, is_little_endian=True)
        for _ in data_set.iterall():  # pydicom reads an element when it is looked at
            pass
    except Exception as fault:  # any bytes may arrive: the parser's every complaint is the same answer
        raise InputError(f"the data set cannot be read: {type(fault).__name__}") from fault
    return data_set


def encoded(data_set: Dataset, transfer_syntax: str) -> bytes:
    """A data set as bytes for a network."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, transfer_syntax == ImplicitVRLittleEndian
    write_dataset(file, data_set)
    return file.getvalue()


def _transaction(data_set: Dataset) -> str:
    uid = str(data_set.get("TransactionUID") or "")
    if not uid:
        raise InputError("TransactionUID is missing")
    return uid


def _items(data_set: Dataset, keyword: str) -> list[tuple[str, str]]:
    return [
        (str(item.get("ReferencedSOPInstanceUID", "")), str(item.get("ReferencedSOPClassUID", "")))
        for item in _sequence(data_set, keyword)
    ]


def _sequence(data_set: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, none where it is absent; raises InputError for what calls itself one and is none."""
    found = data_set.get(keyword) or ()
    if not all(isinstance(item, Dataset) for item in found):
        raise InputError(f"{keyword} is no sequence")
    return list(found)


def _code(item: Dataset) -> int:
    """The Failure Reason of an item; 0 where it says none that is a number."""
    value = item.get("FailureReason")
    return value if isinstance(value, int) else 0


def _item(sop_instance_uid: str, sop_class_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def _failed_item(sop_instance_uid: str, sop_class_uid: str, failure: int) -> Dataset:
    item = _item(sop_instance_uid, sop_class_uid)
    item.FailureReason = failure
    return item
