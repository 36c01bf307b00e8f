"""A report that this software has made, read back as a point in time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydicom.uid import ComprehensiveSRStorage

from dicomnode.errors import StepError
from dicomnode.measure import iron
from dicomnode.measure.organ import Answered
from dicomnode.measure.organs import ORGANS, PHANTOM, of_result
from dicomnode.report import codes
from dicomnode.report.segmentation import tracking_uid
from dicomnode.trend import values
from dicomnode.trend.values import Bound, Conditions, Origin, Point, Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset
    from pydicom.sr.coding import Code

    from dicomnode.measure.organ import Organ
    from dicomnode.report.codes import Iron

SOP_CLASS_UID = str(ComprehensiveSRStorage)
_PARAMETER = "111002"  # DCM, Algorithm Parameters
_MEASUREMENTS, _GROUP, _TRACKING_UID, _DERIVATION = "126010", "125007", "112040", "121401"  # DCM


def is_ours(report: Dataset) -> bool:
    """Whether this software has made a report: by its kind, its title, its private scheme and its model name."""
    schemes = {
        str(one.get("CodingSchemeDesignator", "")) for one in report.get("CodingSchemeIdentificationSequence", ())
    }
    return (
        str(report.get("SOPClassUID", "")) == SOP_CLASS_UID
        and _is(report, codes.MEASUREMENT_REPORT)
        and codes.SCHEME in schemes
        and str(report.get("ManufacturerModelName", "")) in {organ.device for organ in (*ORGANS.values(), PHANTOM)}
    )


def replaced(report: Dataset) -> set[str]:
    """SOP Instance UIDs of the reports that this one replaces (PS3.3 C.17.2, Predecessor Documents)."""
    return {
        str(one.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.get("ReferencedSeriesSequence", ())
        for one in series.get("ReferencedSOPSequence", ())
    }


def point(report: Dataset) -> Point:
    """What a report of ours says; raises StepError where it says nothing that can be placed in time."""
    date = str(report.get("StudyDate") or "")
    said = _parameters(report)
    key = said.get("result")
    if not date or not isinstance(key, str):
        raise StepError("a report of this node lacks its study's date or its result")
    organ = _organ(report, said)
    items = _answer(report, key, organ)
    conditions = values.conditions(said.get("conditions", {}))
    names = codes.iron(organ.symbol)
    if organ.answers is Answered.T2STAR:
        concentration, (time, bound) = None, _time(items)
    else:
        time, (concentration, bound) = None, _iron(items, conditions, names)
    rate = _number(items, codes.R2STAR, codes.MEDIAN)
    return Point(
        date=date,
        origin=Origin.ARCHIVE,
        time=str(report.get("StudyTime") or "")[:6],
        lic_mg_per_g=concentration,
        bound=bound,
        lic_ci95=None if concentration is None else _ends(items, names.low, names.high),
        r2star_per_s=rate,
        r2star_ci95=_ends(items, codes.R2STAR_LOW, codes.R2STAR_HIGH),
        conditions=conditions,
        drawn=any(_is(item, codes.REGION) and _codes(item) == {codes.MANUAL.value} for item in items),
        key=key,
        report=Reference(
            *(str(report[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
        ),
        organ=organ.name,
        t2star_ms=time,
    )


def _organ(report: Dataset, said: dict[str, Any]) -> Organ:
    """The organ that a report is of: by its parameters, which its device has to confirm."""
    try:
        organ = of_result(said.get("settings", {}))
    except KeyError:
        raise StepError("a report of this node is of an organ that is not known here") from None
    if str(report.get("ManufacturerModelName", "")) != organ.device:
        raise StepError("a report of this node names another organ than its device is for")
    return organ


def _answer(report: Dataset, key: str, organ: Organ) -> list[Dataset]:
    """The items of the region that the answer was about; what is said of earlier results is none of it.

    A region of something else than the organ, which a person drew, says nothing.
    """
    for container in _children(report, _MEASUREMENTS):
        for group in _children(container, _GROUP):
            tracked = {str(one.UID) for one in _children(group, _TRACKING_UID)}
            if tracked == {tracking_uid(key, 0)} and not any(
                _is(one, codes.TIME_POINT) for one in group.ContentSequence
            ):
                sites = [code for one in group.ContentSequence if _is(one, codes.FINDING_SITE) for code in _codes(one)]
                return list(group.ContentSequence) if not sites or any(map(organ.has, sites)) else []
    return []


def _time(items: list[Dataset]) -> tuple[float | None, Bound]:
    value, least = _number(items, codes.T2STAR, codes.MEDIAN), _number(items, codes.R2STAR_AT_LEAST)
    return (1000.0 / least, Bound.BELOW) if value is None and least else (value, Bound.NONE)


def _iron(items: list[Dataset], conditions: Conditions, names: Iron) -> tuple[float | None, Bound]:
    value, least = _number(items, names.value), _number(items, names.at_least)
    if value is not None:
        return value, Bound.NONE
    if least is not None:
        return least, Bound.ABOVE
    stopped = any(_concept(item) == codes.NOT_MEASURABLE.value for item in items)
    if conditions.calibration and not stopped and _number(items, codes.R2STAR, codes.MEDIAN) is not None:
        return iron.SMALLEST_MG_PER_G, Bound.BELOW  # such a report prints "< 0.5", and no number
    return None, Bound.NONE


def _parameters(report: Dataset) -> dict[str, Any]:
    """Every parameter of a report by name; those named ``a.b`` under ``a``."""
    found: dict[str, Any] = {}
    for text in _texts(report, _PARAMETER):
        name, _, value = text.partition("=")
        place = found
        *path, last = name.split(".")
        for part in path:
            inner = place.setdefault(part, {})
            place = inner if isinstance(inner, dict) else {}
        try:
            place[last] = json.loads(value)
        except ValueError:
            continue
    return found


def _texts(item: Dataset, code: str) -> Iterator[str]:
    for child in item.get("ContentSequence", ()):
        if _concept(child) == code:
            yield str(child.get("TextValue", ""))
        yield from _texts(child, code)


def _number(items: list[Dataset], code: Code, derivation: Code | None = None) -> float | None:
    for item in items:
        if item.get("ValueType") != "NUM" or not _is(item, code):
            continue
        derived = {value for one in _children(item, _DERIVATION) for value in _codes(one)}
        if derivation is None or derived == {derivation.value}:
            for measured in item.get("MeasuredValueSequence", ()):
                return float(measured.NumericValue)
    return None


def _ends(items: list[Dataset], low: Code, high: Code) -> tuple[float, float] | None:
    first, last = _number(items, low), _number(items, high)
    return None if first is None or last is None else (first, last)


def _children(item: Dataset, code: str) -> list[Dataset]:
    return [child for child in item.get("ContentSequence", ()) if _concept(child) == code]


def _is(item: Dataset, code: Code) -> bool:
    names = item.get("ConceptNameCodeSequence", ())
    return any(
        (one.get("CodeValue"), one.get("CodingSchemeDesignator")) == (code.value, code.scheme_designator)
        for one in names
    )


def _concept(item: Dataset) -> str:
    return next((str(one.get("CodeValue", "")) for one in item.get("ConceptNameCodeSequence", ())), "")


def _codes(item: Dataset) -> set[str]:
    return {str(one.get("CodeValue", "")) for one in item.get("ConceptCodeSequence", ())}
