"""Typed access to the undecoded elements of a data set, with a fault that names tag, keyword and value."""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence as DicomSequence
from pydicom.values import convert_SQ

from dicomnode.errors import DamagedHeader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    from pydicom.dataelem import DataElement

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"})
# PS3.5 6.1.2.5.3: these end an escape sequence's reach.
_DELIMITERS = {0x0D, 0x0A, 0x09, 0x0C, 0x5C}
_PRIVATE_BLOCKS = range(0x10, 0x16)  # creators sit in the first blocks; a sixth creator of one group was never seen


class Private(NamedTuple):
    """A private element: ``element`` is its low byte inside the block that ``creator`` reserved (PS3.5 7.8)."""

    group: int
    creator: str
    element: int
    vr: str
    name: str


@cache
def _public(keyword: str) -> tuple[int, str]:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag, dictionary_VR(tag)


class Elements:
    """The elements of one data set or sequence item. Values are decoded here and not by pydicom, which warns."""

    def __init__(self, elements: Mapping[int, RawDataElement | DataElement], file: BinaryIO | None = None) -> None:
        self._elements = elements
        self._file = file  # holds the values that were too large to be read at once

    def has(self, keyword: str) -> bool:
        """Tell whether the element is there and not empty."""
        raw = self._raw(*_public(keyword))
        return raw is not None and raw[0] not in (b"", None)

    def items(self, keyword: str) -> tuple[Elements, ...]:
        """Items of a sequence; none where it is absent or not a sequence."""
        tag, _ = _public(keyword)
        return self._items(tag)

    def private_items(self, private: Private) -> tuple[Elements, ...]:
        """Items of a private sequence."""
        tag = self._private_tag(private)
        return () if tag is None else self._items(tag)

    def texts(self, name: str | Private) -> tuple[str, ...]:
        """Values of a text element, stripped; none where it is absent, empty or not text."""
        value = self._value(name)
        if isinstance(value, bytes):
            return (
                tuple(part.strip(" \0") for part in value.decode("latin-1").split("\\")) if value.strip(b" \0") else ()
            )
        return tuple(f"{part:g}" for part in value)

    def text(self, name: str | Private) -> str:
        """Return the whole text, stripped."""
        return "\\".join(self.texts(name))

    def character_sets(self) -> tuple[str, ...]:
        """Return the data set's character sets; none, which means ASCII, where they cannot be read."""
        try:
            return self.texts("SpecificCharacterSet")
        except DamagedHeader:
            return ()

    def words(self, keyword: str, character_sets: Sequence[str]) -> str:
        """Human text in the data set's own character sets (PS3.3 C.12.1.1.2); what cannot be decoded shows as �.

        At most the 64 characters of a Long String, without control characters: it goes into logs and reports.
        """
        value = self._value(keyword)
        if not isinstance(value, bytes):
            return ""
        if value.isascii() and b"\x1b" not in value:
            return _printable(value.decode("ascii"))
        try:
            encodings = convert_encodings(list(character_sets) or None)
            return _printable(decode_bytes(value, encodings, _DELIMITERS))
        except (LookupError, UnicodeError, ValueError):
            return _printable(value.decode("ascii", "replace"))

    def numbers(self, name: str | Private) -> tuple[float, ...]:
        """Finite numbers; none where the element is absent or empty.

        Raises DamagedHeader for anything that is not a finite number.
        """
        value = self._value(name)
        if not isinstance(value, bytes):
            numbers = value
        elif not value.strip(b" \0\\"):
            return ()
        else:
            numbers = tuple(self._parsed(part, name) for part in value.split(b"\\"))
        if not all(map(math.isfinite, numbers)):
            raise self.damage(name)
        return numbers

    def number(self, name: str | Private) -> float | None:
        """Return the first number, None where there is none. Raises DamagedHeader when it is not a number."""
        numbers = self.numbers(name)
        return numbers[0] if numbers else None

    def lenient(self, name: str | Private) -> float | None:
        """Return the first number, None where there is none or it cannot be read: for what is good to know only."""
        try:
            return self.number(name)
        except DamagedHeader:
            return None

    def whole(self, name: str | Private) -> int | None:
        """Return the first number when it is a whole one of plausible size, else None."""
        number = self.lenient(name)
        return int(number) if number is not None and number == int(number) and abs(number) < 2**31 else None

    def damage(self, name: str | Private, wanted: str = "") -> DamagedHeader:
        """Build the fault that names an element and what it holds; the values of these elements are not identity."""
        tag, keyword = (_public(name)[0], name) if isinstance(name, str) else (self._private_tag(name) or 0, name.name)
        raw = self._raw(tag, "")
        where = f"({tag >> 16:04x},{tag & 0xFFFF:04x}) {keyword}"
        if raw is None or raw[0] in (b"", None):
            return DamagedHeader(f"{where} is {'missing' if raw is None else 'empty'}{wanted and f', {wanted}'}")
        shown = raw[0][:40].decode("ascii", "replace").strip(" \0") if isinstance(raw[0], bytes) else "a sequence"
        return DamagedHeader(f"{where} is {shown!r}{wanted and f', {wanted}'}")

    def _items(self, tag: int) -> tuple[Elements, ...]:
        element = self._elements.get(tag)
        if isinstance(element, RawDataElement):
            raw = self._raw(tag, "SQ")
            implicit = element.is_implicit_VR or element.VR == "UN"  # PS3.5 6.2.2: a sequence of unknown VR is implicit
            value = convert_SQ(raw[0], implicit, element.is_little_endian) if raw and raw[0] else ()
        else:
            value = element.value if element is not None else ()
        items = value if isinstance(value, DicomSequence) else ()
        return tuple(Elements({int(part): nested for part, nested in item.items()}) for item in items)

    def _private_tag(self, private: Private) -> int | None:
        wanted = private.creator.encode()
        for block in _PRIVATE_BLOCKS:
            creator = self._elements.get(private.group << 16 | block)
            if isinstance(creator, RawDataElement) and creator.value and creator.value.strip(b" \0") == wanted:
                return private.group << 16 | block << 8 | private.element
        return None

    def _value(self, name: str | Private) -> bytes | tuple[float, ...]:
        """Bytes of text, or the numbers of a binary element. The file's VR counts, else the dictionary's."""
        if isinstance(name, str):
            tag, known = _public(name)
        else:
            private_tag = self._private_tag(name)
            if private_tag is None:
                return b""
            tag, known = private_tag, name.vr
        raw = self._raw(tag, known)
        if raw is None or raw[0] is None:
            return b""
        value, vr, little = raw
        if not isinstance(value, bytes):
            raise self.damage(name, "a number or a text was expected")
        return value if vr not in _BINARY else self._unpacked(value, vr, little=little, name=name)

    def _unpacked(self, value: bytes, vr: str, *, little: bool, name: str | Private) -> tuple[float, ...]:
        size = struct.calcsize("=" + _BINARY[vr])
        if len(value) % size:
            raise self.damage(name, f"{len(value)} bytes do not fit {vr}")
        return struct.unpack(f"{'<' if little else '>'}{len(value) // size}{_BINARY[vr]}", value)

    def _parsed(self, part: bytes, name: str | Private) -> float:
        try:
            return float(part.strip(b" \0").decode("ascii")) if b"_" not in part else math.nan
        except ValueError as fault:
            raise self.damage(name) from fault

    def _raw(self, tag: int, known: str) -> tuple[Any, str, bool] | None:
        """Value, VR and byte order, undecoded. Raises DamagedHeader when the file ends inside the value."""
        element = self._elements.get(tag)
        if element is None:
            return None
        if not isinstance(element, RawDataElement):
            return (element.value, str(element.VR), True)
        value = element.value
        if value is None and element.length and self._file is not None:
            self._file.seek(element.value_tell)
            value = self._file.read(element.length)
        if value is not None and element.length not in (len(value), 0xFFFFFFFF):
            raise DamagedHeader(f"the file ends inside ({tag >> 16:04x},{tag & 0xFFFF:04x})")
        vr = element.VR if element.VR in _BINARY or element.VR in _TEXT else known
        return (value, vr, element.is_little_endian)


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable()).strip()[:64]
