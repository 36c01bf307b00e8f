"""One DICOM object -> its echo images, or the reason why it holds none."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.uid import UID

from dicomnode.errors import DamagedHeader
from dicomnode.header.elements import Elements, is_uid
from dicomnode.header.frames import Subject, images_of
from dicomnode.model import Encoding, Reason

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

    from dicomnode.model import EchoImage

__all__ = ["REASONS", "Header", "read"]

REASONS = {
    "not-dicom": "the file is not a DICOM object",
    "not-an-mr-image": "an object of another kind: presentation state, raw data, report, another modality",
    "private-sop-class": "an object of a vendor's own kind",
    "damaged": "an attribute that is needed is missing or unreadable, or the file is cut short",
    "unreadable": "the file cannot be opened or read; trying again may help",
}

_STANDARD_ROOT = "1.2.840.10008."
_CLASSIC = "1.2.840.10008.5.1.4.1.1.4"
_IMAGE_CLASSES = frozenset({
    _CLASSIC,
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
})  # fmt: skip
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_DEFER_BYTES = 65536  # larger values are left on disk until asked for


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of one object says; ``reason`` is given exactly when ``images`` is empty."""

    path: Path
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    accession_number: str = ""
    images: tuple[EchoImage, ...] = ()
    reason: Reason | None = None


def read(path: Path) -> Header:
    """Read the header of a file without its pixels; what it holds decides the answer, never an exception."""
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except InvalidDicomError:
        return Header(path, reason=Reason("not-dicom", "the file is not a DICOM object"))
    except DamagedHeader as fault:
        return Header(path, reason=_damaged(fault))
    except Exception as fault:  # noqa: BLE001  any bytes may arrive: the parser's every complaint is an answer
        if isinstance(fault, OSError) and fault.errno is not None:  # pydicom raises OSError for a cut sequence too
            return Header(path, reason=Reason("unreadable", f"the file cannot be read: {fault.strerror}"))
        return Header(path, reason=_unparsed("data set", fault))


def _read(path: Path, file: BinaryIO) -> Header:
    pixel_bytes: list[int] = []

    def at_pixel_data(tag: BaseTag, _vr: str | None, length: int) -> bool:
        if int(tag) in _PIXEL_DATA:
            pixel_bytes.append(length)
        return int(tag) in _PIXEL_DATA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks; what matters is judged value by value below
        dataset = read_partial(file, stop_when=at_pixel_data, defer_size=_DEFER_BYTES)
        top = Elements(dataset)
        header = _identified(path, top, dataset.file_meta.get("MediaStorageSOPClassUID", ""))
        if header.reason is None:
            header = _judged(header, top, _Pixels.after(file, pixel_bytes, dataset.file_meta))
    return header


def _identified(path: Path, top: Elements, stated_class: str) -> Header:
    """Fill in the UIDs, with a reason where the object is of another kind or has no usable UID."""
    keywords = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    sop_class = _uid(top, "SOPClassUID") or str(stated_class)
    instance, series, study = (_uid(top, keyword) for keyword in keywords)
    header = Header(path, sop_class, instance, series, study, _accession(top), reason=_other_kind(sop_class, top))
    unusable = next((k for k, uid in zip(keywords, (instance, series, study), strict=True) if not uid), None)
    if header.reason is None and unusable:
        header = replace(header, reason=_damaged(top.damage(unusable, "a UID was expected")))
    return header


def _uid(top: Elements, keyword: str) -> str:
    """Return a UID; empty where it is missing or anything else."""
    try:
        uid = top.text(keyword)
    except DamagedHeader:
        return ""
    return uid if is_uid(uid) else ""


def _accession(top: Elements) -> str:
    try:
        return top.words("AccessionNumber", top.character_sets())
    except DamagedHeader:
        return ""


def _other_kind(sop_class: str, top: Elements) -> Reason | None:
    if sop_class in _IMAGE_CLASSES:
        return None
    if not sop_class:
        return _damaged(top.damage("SOPClassUID", "a UID was expected"))
    if not sop_class.startswith(_STANDARD_ROOT):
        return Reason("private-sop-class", f"private SOP class {sop_class}: only its vendor can read it")
    return Reason("not-an-mr-image", f"{UID(sop_class).name} holds no echo images")


def _damaged(fault: DamagedHeader) -> Reason:
    return Reason("damaged", f"damaged: {fault}")


def _unparsed(what: str, fault: Exception) -> Reason:
    return Reason("damaged", f"damaged: the {what} cannot be parsed ({type(fault).__name__})")


@dataclass(frozen=True, slots=True)
class _Pixels:
    """The pixel data element as far as the header tells: ``length`` None where it is not there."""

    length: int | None
    left: int  # bytes of the file after the element began
    native: bool

    @classmethod
    def after(cls, file: BinaryIO, lengths: list[int], meta: Dataset) -> _Pixels:
        left = os.fstat(file.fileno()).st_size - file.tell()
        return cls(lengths[0] if lengths else None, left, meta.get("TransferSyntaxUID") in _NATIVE)

    def check(self, top: Elements) -> None:
        """Raise DamagedHeader when the pixels cannot all be there."""
        if self.length is None:
            raise DamagedHeader("(7fe0,0010) PixelData is missing")
        _check_bits(top)
        if not self.native or self.length == _UNDEFINED:
            return
        keywords = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated")
        wanted = math.prod(top.whole(keyword) or 1 for keyword in keywords) // 8
        here = min(self.length, self.left)
        if not wanted <= here <= wanted + 1:  # padded to an even length
            raise DamagedHeader(f"(7fe0,0010) PixelData has {here} bytes where Rows and Columns ask for {wanted}")


def _check_bits(top: Elements) -> None:
    """Raise DamagedHeader where the description of a pixel contradicts itself: it would decode to other values."""
    allocated, stored, high, signed = (
        top.whole(keyword) for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    )
    if allocated not in (8, 16, 32):
        raise top.damage("BitsAllocated")
    if stored is None or not 1 <= stored <= allocated:
        raise top.damage("BitsStored")
    if high != stored - 1:
        raise top.damage("HighBit", f"{stored - 1} was expected")
    if signed not in (0, 1):
        raise top.damage("PixelRepresentation")


def _judged(header: Header, top: Elements, pixels: _Pixels) -> Header:
    encoding = Encoding.CLASSIC if header.sop_class_uid == _CLASSIC else Encoding.ENHANCED
    uids = (header.sop_class_uid, header.sop_instance_uid, header.series_instance_uid, header.study_instance_uid)
    try:
        images = images_of(Subject(header.path, *uids, encoding), top)
        pixels.check(top)
        return replace(header, images=images)
    except DamagedHeader as fault:
        return replace(header, reason=_damaged(fault))
    except Exception as fault:  # noqa: BLE001  a nested sequence can be broken in any way; the UIDs are still good
        return replace(header, reason=_unparsed("attributes", fault))
