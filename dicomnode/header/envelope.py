"""What has to be known of an encoded object to keep it: whose it is, and whether it is all there."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.filereader import read_partial
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomnode.errors import InputError

if TYPE_CHECKING:
    from pydicom.tag import BaseTag

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_PREFIX, _META_GROUP_LENGTH = b"DICM", b"\x02\x00\x00\x00"
_FIRST_VRS = (b"UL", b"CS", b"DA", b"TM", b"UI", b"LO", b"SH", b"DT")  # of the first elements of group 8
_SHORTEST = 64  # bytes that a data set with its UIDs has at the least
_PIXEL_DATA = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF
_STUDY_INSTANCE_UID, _SOP_INSTANCE_UID = 0x0020000D, 0x00080018


def is_uid(text: str) -> bool:
    """PS3.5 9.1: at most 64 digits and points, so that it may stand in a path."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def enveloped(content: bytes) -> bytes:
    """Give a bare data set, as older software writes it, the preamble and file meta information of PS3.10 7.1.

    What has them, and what does not begin as a data set does, comes back as it is.
    """
    if content[128:132] == _PREFIX:
        return content
    if content[:4] == _META_GROUP_LENGTH:  # only the preamble is missing
        return bytes(128) + _PREFIX + content
    syntax = _bare_syntax(content)
    if syntax is None:
        return content
    uid = syntax.encode().ljust(len(syntax) + len(syntax) % 2, b"\0")
    element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid
    return (
        bytes(128) + _PREFIX + _META_GROUP_LENGTH + b"UL\x04\x00" + struct.pack("<I", len(element)) + element + content
    )


def _bare_syntax(content: bytes) -> str | None:
    """The encoding of bytes that begin with an element of group 8, as every image does; None of any others."""
    if len(content) < _SHORTEST or content[:2] not in (b"\x08\x00", b"\x00\x08"):
        return None
    if content[4:6] in _FIRST_VRS:
        return ExplicitVRLittleEndian if content[0] else ExplicitVRBigEndian
    length = struct.unpack_from("<I", content, 4)[0]
    return ImplicitVRLittleEndian if content[0] and content[3] == 0 and length < len(content) - 8 else None


@dataclass(frozen=True)
class Envelope:
    """What has to be known of an encoded object to keep it."""

    study_uid: str
    sop_uid: str
    cut_short: bool  # the bytes end before the pixel data does


def read_envelope(content: bytes) -> Envelope:
    """Look into a DICOM file as far as its pixel data, which stays untouched; raises InputError."""
    lengths: list[int] = []

    def at_pixel_data(tag: BaseTag, _vr: str | None, length: int) -> bool:
        if int(tag) == _PIXEL_DATA:
            lengths.append(length)
        return int(tag) == _PIXEL_DATA

    content = enveloped(content)
    file = io.BytesIO(content)
    try:
        header = read_partial(file, stop_when=at_pixel_data, specific_tags=[_STUDY_INSTANCE_UID, _SOP_INSTANCE_UID])
        study_uid, sop_uid = (str(header.get(keyword, "")) for keyword in ("StudyInstanceUID", "SOPInstanceUID"))
        syntax = header.file_meta.get("TransferSyntaxUID")
    except Exception as fault:  # any bytes may arrive: the parser's every complaint is the same answer
        raise InputError(f"the data set cannot be read: {type(fault).__name__}") from fault
    return Envelope(study_uid, sop_uid, _cut_short(content, syntax, file.tell(), lengths))


def _cut_short(content: bytes, syntax: str, at: int, pixel_lengths: list[int]) -> bool:
    """Whether the bytes end too early; ``at`` is where the pixel data element begins, or where reading ended."""
    if syntax == DeflatedExplicitVRLittleEndian:
        return False  # it could not have been inflated
    if pixel_lengths == [_UNDEFINED]:  # fragments, then a sequence delimitation item (PS3.5 A.4)
        return content.find(b"\xfe\xff\xdd\xe0", at) < 0
    tag_vr_length = 8 if syntax == ImplicitVRLittleEndian else 12
    return len(content) < at + sum(tag_vr_length + length for length in pixel_lengths)
