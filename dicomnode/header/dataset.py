"""A DICOM file -> its elements up to the pixels, and what the file says of the pixels."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING

from pydicom.filereader import data_element_generator
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomnode.errors import DamagedHeader, NotDicom
from dicomnode.header.elements import Elements
from dicomnode.header.envelope import LARGEST_INFLATED, enveloped

if TYPE_CHECKING:
    from typing import BinaryIO

    from pydicom.dataelem import DataElement, RawDataElement
    from pydicom.tag import BaseTag

_IMPLICIT, _BIG_ENDIAN, _DEFLATED = ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian
_NATIVE = (_IMPLICIT, ExplicitVRLittleEndian, _BIG_ENDIAN, _DEFLATED)
_STANDARD = "1.2.840.10008.1.2"  # PS3.6 table A-1: every transfer syntax of the standard
_PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_UNDEFINED = 0xFFFFFFFF
_LEFT_IN_FILE_BYTES = 65536  # larger values are read when asked for
_MOST_ELEMENTS = 20_000  # a header has hundreds; bytes that are none would be taken for millions


@dataclass(frozen=True, slots=True)
class Pixels:
    """The pixel data element as far as the header tells: ``length`` None where it is not there."""

    length: int | None
    left: int  # bytes of the file after the element began
    native: bool

    def check(self, top: Elements) -> None:
        """Raise DamagedHeader when the pixels cannot all be there, or would decode to other values."""
        if self.length is None:
            raise DamagedHeader("(7fe0,0010) PixelData is missing")
        _check_bits(top)
        if not self.native or self.length == _UNDEFINED:
            return
        keywords = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated")
        wanted = math.prod(top.whole(keyword) or 1 for keyword in keywords) // 8
        here = min(self.length, self.left)
        # Surplus bytes are to be accepted (PS3.5 8.1.1); a whole image more is another image than the header describes.
        if not wanted <= here < 2 * max(wanted, 1):
            raise DamagedHeader(f"(7fe0,0010) PixelData has {here} bytes where Rows and Columns ask for {wanted}")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What could be read of a file; ``broken`` is what ended the reading before the pixels, if anything did."""

    meta: Elements
    top: Elements
    pixels: Pixels
    broken: Exception | None


def parse(file: BinaryIO) -> Parsed:
    """Read the file meta information and the data set without decoding any value.

    Raises NotDicom, DamagedHeader where the transfer syntax is not said, and what pydicom raises for the file meta
    information.
    """
    if file.read(132)[128:] != b"DICM":
        file.seek(0)
        file = BytesIO(enveloped(file.read()))
        if file.read(132)[128:] != b"DICM":
            raise NotDicom("the file has no DICM prefix and does not begin as a data set does")
    meta = Elements({int(e.tag): e for e in data_element_generator(file, False, True, stop_when=_is_past_meta)})
    syntax = meta.text("TransferSyntaxUID")
    if not syntax:
        raise meta.damage("TransferSyntaxUID")
    if not syntax.startswith(_STANDARD):
        raise meta.damage("TransferSyntaxUID", "a private encoding, which only its vendor's software reads")
    stream = _inflated(file) if syntax == _DEFLATED else file
    return _data_set(stream, syntax, meta)


def _data_set(stream: BinaryIO, syntax: str, meta: Elements) -> Parsed:
    pixel_bytes: list[int] = []
    seen = count()

    def at_pixel_data(tag: BaseTag, _vr: str | None, length: int) -> bool:
        if next(seen) > _MOST_ELEMENTS:
            raise DamagedHeader("there is no end of elements before the pixels")
        if int(tag) in _PIXEL_DATA:
            pixel_bytes.append(length)
        return bool(pixel_bytes)

    elements: dict[int, RawDataElement | DataElement] = {}
    broken = None
    try:
        for element in data_element_generator(
            stream,
            is_implicit_VR=syntax == _IMPLICIT,
            is_little_endian=syntax != _BIG_ENDIAN,
            stop_when=at_pixel_data,
            defer_size=_LEFT_IN_FILE_BYTES,
        ):
            elements[int(element.tag)] = element
    except Exception as fault:  # noqa: BLE001  the parser raises anything; what was read so far says whose it is
        broken = fault
    length = pixel_bytes[0] if pixel_bytes else None
    return Parsed(meta, Elements(elements, stream), Pixels(length, _left(stream), syntax in _NATIVE), broken)


def _is_past_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag >> 16 != 2


def _inflated(file: BinaryIO) -> BinaryIO:
    """PS3.5 A.5; bounded, because a few bytes can inflate to more than there is memory."""
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), LARGEST_INFLATED)
    return BytesIO(content)


def _left(stream: BinaryIO) -> int:
    here = stream.tell()
    left = stream.seek(0, os.SEEK_END) - here
    stream.seek(here)
    return left


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
