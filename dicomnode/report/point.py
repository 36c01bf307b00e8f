"""A result as one point in time, to be set beside earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicomnode.measure import iron
from dicomnode.measure.organ import Answered
from dicomnode.measure.organs import of_result
from dicomnode.report import wording
from dicomnode.trend.values import Bound, Conditions, Origin, Point, Reference, Scanner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom import Dataset

    from dicomnode.measure.organ import Organ
    from dicomnode.model import Result, Roi, RoiMeasurement
    from dicomnode.report.source import Source


def of(result: Result, source: Source) -> Point:
    """What the first region says, as printed: a difference of two points is that of two reports."""
    known = source.identity
    organ, first = of_result(result.settings), wording.lead(result)
    if first is not None and first[0].finding != organ.name:
        first = None  # a person drew something else
    value, time, bound = (None, None, Bound.NONE) if first is None else _answer(organ, *first)
    numbers = None if first is None else first[1]
    measurable = numbers is not None and numbers.measurable
    return Point(
        date=str(known.get("StudyDate") or ""),
        origin=Origin.NODE,
        time=str(known.get("StudyTime") or "")[:6],
        lic_mg_per_g=value,
        bound=bound,
        lic_ci95=numbers.lic.ci95 if numbers and numbers.lic and bound is Bound.NONE and value is not None else None,
        r2star_per_s=numbers.r2star_per_s.median if numbers and numbers.r2star_per_s and measurable else None,
        r2star_ci95=numbers.r2star.ci95 if numbers and numbers.r2star and measurable else None,
        conditions=conditions(result, source),
        drawn=result.drawn is not None,
        key=result.identity.key,
        report=Reference(source.study_instance_uid, "", ""),
        organ=organ.name,
        t2star_ms=time,
    )


def conditions(result: Result, source: Source) -> Conditions:
    """All that another result must have in common with this one to be compared with it."""
    first = wording.lead(result)
    spacing, thickness = source.slices[0].plane.pixel_spacing_mm, source.thickness_mm
    finder = result.finder
    return Conditions(
        scanner=_scanner(source.scanner),
        field_t=result.stack.field_strength_t,
        echo_times_ms=result.stack.echo_times_ms,
        voxel_mm=None if thickness is None else (*spacing, thickness),
        calibration="" if first is None else _calibration(first[1]),
        finder=f"{finder['name']} {finder['version']}" if {"name", "version"} <= finder.keys() else "",
        fit=_fit(result.settings.get("fit", {})),
    )


def _answer(organ: Organ, roi: Roi, numbers: RoiMeasurement) -> tuple[float | None, float | None, Bound]:
    """The concentration or the time that the report answers with, or the bound of it that it states."""
    if organ.answers is not Answered.T2STAR:
        value, bound = _iron(roi, numbers)
        return value, None, bound
    if numbers.measurable:
        return None, None if numbers.t2star_ms is None else float(numbers.t2star_ms.median), Bound.NONE
    if numbers.at_least is not None:
        return None, 1000.0 / numbers.at_least.r2star_per_s, Bound.BELOW
    return None, None, Bound.NONE


def _iron(roi: Roi, numbers: RoiMeasurement) -> tuple[float | None, Bound]:
    """The concentration, or the bound of it that a report states."""
    if wording.is_under_range(numbers):
        return iron.SMALLEST_MG_PER_G, Bound.BELOW
    if numbers.measurable and numbers.lic_mg_per_g is not None:
        return float(numbers.lic_mg_per_g), Bound.NONE
    ranges, least = wording.ranges_of(roi, numbers), None if numbers.at_least is None else numbers.at_least.lic_mg_per_g
    if least is not None and ranges is not None and least >= ranges.least:
        return float(least), Bound.ABOVE
    return None, Bound.NONE


def _calibration(numbers: RoiMeasurement) -> str:
    return f"{numbers.calibration_name}: {numbers.calibration_formula}" if numbers.calibration_name else ""


def _fit(settings: Mapping[str, Any]) -> str:
    return " ".join(str(settings[name]) for name in ("method", "model", "noise") if name in settings)


def _scanner(known: Dataset) -> Scanner:
    keywords = ("Manufacturer", "ManufacturerModelName", "StationName", "DeviceSerialNumber")
    return Scanner(*(str(known.get(keyword) or "").strip() for keyword in keywords))
