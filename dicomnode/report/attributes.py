"""A source's attributes in a form that can be written again."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName, format_number_as_ds, validate_value

if TYPE_CHECKING:
    from collections.abc import Iterable

# What pydicom raises at a damaged element, by what is damaged.
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, NotImplementedError, struct.error)
_TEXT = {"LO", "SH", "LT", "ST", "UT", "UC"}
_PARAGRAPHS = {"LT", "ST", "UT"}
# Enumerated values; any other makes the whole object invalid (PS3.3 C.7.1.1, C.8.3.1).
_ALLOWED = {
    "PatientSex": {"M", "F", "O"},
    "PatientIdentityRemoved": {"YES", "NO"},
    "LossyImageCompression": {"00", "01"},
    "ScanningSequence": {"SE", "IR", "GR", "EP", "RM"},
    "MRAcquisitionType": {"2D", "3D"},
    "InPlanePhaseEncodingDirection": {"ROW", "COL"},
}
_CLASSIC_WORD = {"COLUMN": "COL"}  # where enhanced objects say it differently (PS3.3 C.8.13.4.1)


def carried(elements: Iterable[DataElement]) -> Dataset:
    """Return copies of ``elements`` that can be written as UTF-8; what has no valid value is left out."""
    result = Dataset()
    for element in elements:
        copy = _copied(element)
        if copy is not None:
            result.add(copy)
    return result


def _copied(element: DataElement) -> DataElement | None:
    vr = dictionary_VR(element.tag)
    if (vr == "SQ") != (element.VR == "SQ"):
        return None
    if vr == "SQ":
        items = [carried(_public(item)) for item in element.value]
        return DataElement(element.tag, vr, [_without_character_set(item) for item in items if len(item)])
    values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
    valid = [value for value in (_valid(element.keyword, vr, value) for value in values) if value is not None]
    if not valid:
        return None
    alone = len(valid) == 1 or (vr not in _TEXT and dictionary_VM(element.tag) == "1")
    return DataElement(element.tag, vr, valid[0] if alone else valid, validation_mode=config.IGNORE)


def _public(item: Dataset) -> list[DataElement]:
    """Return the standard attributes of a sequence item that can be read."""
    keywords = [keyword_for_tag(tag) for tag in item.keys()]  # noqa: SIM118  iterating a Dataset decodes it
    return [item[keyword] for keyword in keywords if keyword and present(item, keyword)]


def _without_character_set(item: Dataset) -> Dataset:
    if "SpecificCharacterSet" in item:
        del item.SpecificCharacterSet
    return item


def _valid(keyword: str, vr: str, value: Any) -> Any:
    """Return the value in a form the standard allows, or None.

    Names and identifiers stay as they were sent even where they are too long: the archive files results by them.
    """
    if vr == "PN":
        return PersonName(_printable(str(value)))
    if vr in _TEXT:
        return _printable(str(value), keep="\r\n\t\f" if vr in _PARAGRAPHS else "")
    if vr in {"DS", "IS"}:
        return _number(vr, value)
    text = str(value).strip().replace(".", "" if vr == "DA" else ".").replace(":", "" if vr == "TM" else ":")
    text = _CLASSIC_WORD.get(text, text)
    if text not in _ALLOWED.get(keyword, {text}):
        return None
    try:
        validate_value(vr, text, config.RAISE)
    except _UNREADABLE:
        return None
    return (float(value) if vr in {"FD", "FL"} else int(value)) if vr in {"FD", "FL", "US", "UL"} else text


def _number(vr: str, value: Any) -> str | None:
    try:
        number = float(value)
        return format_number_as_ds(number) if vr == "DS" else str(int(number))
    except _UNREADABLE:
        return None


def _printable(text: str, keep: str = "") -> str:
    return "".join(c for c in text if c in keep or (ord(c) >= 0x20 and ord(c) != 0x7F)).rstrip()


def present(dataset: Dataset, keyword: str) -> bool:
    """Say whether an attribute is there, readable and not empty."""
    try:
        return keyword in dataset and dataset[keyword].value not in (None, "", [])
    except _UNREADABLE:
        return False
