"""One DICOM object -> its echo images, or the reason why it holds none."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from dicomnode.errors import DamagedHeader, NotDicom
from dicomnode.header.dataset import parse
from dicomnode.header.envelope import is_uid
from dicomnode.header.frames import Subject, images_of
from dicomnode.model import Encoding, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dicomnode.header.dataset import Parsed
    from dicomnode.header.elements import Elements
    from dicomnode.model import EchoImage

__all__ = ["REASONS", "Header", "damaged", "read"]

REASONS = {
    "not-dicom": "the file is not a DICOM object",
    "not-an-mr-image": "an object of another kind: presentation state, raw data, report, another modality",
    "private-sop-class": "an object of a vendor's own kind",
    "damaged": "an attribute that is needed is missing or unreadable, or the file is cut short",
    "unreadable": "the file cannot be opened or read; trying again may help",
}

_LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})  # JPEG 2000 may be either
_STANDARD_ROOT = "1.2.840.10008."
_CLASSIC = MRImageStorage
_IMAGE_CLASSES = frozenset({
    _CLASSIC,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
})  # fmt: skip


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

    @property
    def damaged(self) -> str | None:
        """Why an image of a known series cannot be used; None where it can, or is of another kind."""
        if self.reason is None or self.reason.code != "damaged" or self.sop_class_uid not in _IMAGE_CLASSES:
            return None
        return self.reason.sentence if self.series_instance_uid else None


def damaged(headers: Iterable[Header], intact: Iterable[str] = ()) -> dict[str, list[str]]:
    """Why images cannot be used, by the series they are of; one that is ``intact`` elsewhere is not missed."""
    found: dict[str, list[str]] = defaultdict(list)
    here = {*intact}
    for one in headers:
        if one.damaged is not None and one.sop_instance_uid not in here:
            found[one.series_instance_uid].append(one.damaged)
    return dict(found)


def read(path: Path) -> Header:
    """Read the header of a file without its pixels; what it holds decides the answer, never an exception."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's remarks; what matters is judged value by value
            return _judged(path, parse(file))
    except NotDicom as fault:
        return Header(path, reason=Reason("not-dicom", str(fault)))
    except DamagedHeader as fault:
        return Header(path, reason=_damaged(fault))
    except Exception as fault:  # noqa: BLE001  any bytes may arrive: the parser's every complaint is an answer
        if isinstance(fault, OSError) and fault.errno is not None:  # pydicom raises OSError for a cut sequence too
            return Header(path, reason=Reason("unreadable", f"the file cannot be read: {fault.strerror}"))
        return Header(path, reason=_unparsed("data set", fault))


def _judged(path: Path, parsed: Parsed) -> Header:
    header = _identified(path, parsed.top, parsed.meta)
    if header.reason is not None:
        return header
    if parsed.broken is not None:
        return replace(header, reason=_unparsed("data set", parsed.broken))
    encoding = Encoding.CLASSIC if header.sop_class_uid == _CLASSIC else Encoding.ENHANCED
    uids = (header.sop_class_uid, header.sop_instance_uid, header.series_instance_uid, header.study_instance_uid)
    if parsed.pixels.length is None:
        cut = "(7fe0,0010) PixelData is missing: the file is cut short, or never held an image"
        return replace(header, reason=_damaged(DamagedHeader(cut)))
    try:
        lossy = parsed.meta.text("TransferSyntaxUID") in _LOSSY
        images = images_of(Subject(path, *uids, encoding, _sender(parsed.meta), lossy), parsed.top)
        parsed.pixels.check(parsed.top)
    except DamagedHeader as fault:
        return replace(header, reason=_damaged(fault))
    except Exception as fault:  # noqa: BLE001  a nested sequence can be broken in any way; the UIDs are still good
        return replace(header, reason=_unparsed("attributes", fault))
    return replace(header, images=images)


def _identified(path: Path, top: Elements, meta: Elements) -> Header:
    """Fill in the UIDs, with a reason where the object is of another kind or has no usable UID."""
    keywords = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    sop_class = _uid(top, "SOPClassUID") or _uid(meta, "MediaStorageSOPClassUID")
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


def _sender(meta: Elements) -> str:
    """Who sent it here (PS3.10 7.1): the receiver writes that down."""
    try:
        return meta.text("SendingApplicationEntityTitle")
    except DamagedHeader:
        return ""


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
    if isinstance(fault, DamagedHeader):
        return _damaged(fault)
    return Reason("damaged", f"damaged: the {what} cannot be parsed ({type(fault).__name__})")
