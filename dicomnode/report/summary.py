"""What ``summary.json`` says of a series: stable keys for programs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from dicomnode import protocol
from dicomnode.analyse import why_no_number
from dicomnode.control import exam
from dicomnode.measure import iron, organs
from dicomnode.report import change, wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicomnode.model import Group, Output, Result, Roi, RoiMeasurement
    from dicomnode.trend.rules import Trend


def of(result: Result, outputs: tuple[Output, ...], trend: Trend) -> dict[str, Any]:
    """What ``summary.json`` says of a series that was processed; ``trend`` sets it beside earlier ones."""
    stack, record = result.stack, result.maps.record
    slices, rows, columns, _ = stack.shape
    organ = organs.of_result(result.settings)
    why = why_no_number(result.measurements)
    return {
        "series_instance_uid": stack.series_instance_uids[0],
        "series_instance_uids": list(stack.series_instance_uids),
        "status": "done" if why is None else "no_number",
        "reason": None if why is None else why.sentence,
        "code": None if why is None else why.code,
        "organ": organ.name,
        "concentration": organ.symbol if organ.has_iron else None,
        "echo_times_ms": list(stack.echo_times_ms),
        "incomplete": stack.incomplete or None,
        "left_out": list(stack.left_out),
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "field_strength_t": stack.field_strength_t,
        "method": record.method,
        "converged": record.converged,
        "iterations": record.iterations,
        "verdict": record.verdict,
        "phase": record.phase,
        "answer": str(wording.headline(result)),
        "seconds": round(record.seconds, 3),
        "sigma": list(result.maps.sigma),
        "key": result.identity.key,
        "supersedes": result.identity.supersedes,
        "software_version": result.identity.software_version,
        "settings": dict(result.settings),
        "finder": dict(result.finder),
        "conditions": None if trend.now.conditions is None else dataclasses.asdict(trend.now.conditions),
        "trend": change.as_json(trend) if trend.entries or trend.unasked else None,
        "advice": protocol.advice(stack, organ) or None,
        "rois": [
            {**_roi_summary(one), "staging": _staging(roi, one), "words": _words(roi, one)}
            for roi, one in zip(result.rois, result.measurements, strict=True)
        ],
        "quality": exam.of(result),
        "outputs": [{**dataclasses.asdict(output), "path": str(output.path)} for output in outputs],
    }


def without_result(
    candidate: Group, status: str, reason: str | None, code: str | None, among: Sequence[str]
) -> dict[str, Any]:
    """What ``summary.json`` says of a series that gave no result; ``among`` names the organs that are measured."""
    stack, plane = candidate.stack, candidate.images[0].plane
    return {
        "series_instance_uid": candidate.series_instance_uids[0],
        "series_instance_uids": list(candidate.series_instance_uids),
        "status": status,
        "reason": reason,
        "code": code,
        "echo_times_ms": list(candidate.echo_times_ms),
        "incomplete": reason if status == "incomplete" else None,
        "missing": list(candidate.missing),
        "left_out": list(candidate.left_out),
        "slices": candidate.n_slices,
        "rows": plane.rows,
        "columns": plane.columns,
        "field_strength_t": candidate.images[0].field_strength_t,
        "method": None,
        "converged": None,
        "iterations": None,
        "seconds": None,
        "advice": None if stack is None else protocol.advice(stack, protocol.choose(stack, among).organ) or None,
        "rois": [],
        "outputs": [],
    }


def _words(roi: Roi, one: RoiMeasurement) -> dict[str, str]:
    """The numbers of a region as the report words them, for who shows them elsewhere."""
    rate, time, third = wording.values(one)
    s0, iron = ("", third) if one.vial is None else (third, "–")
    known = one.lic is not None and one.measurable and not wording.is_under_range(one)
    return {
        "r2star_per_s": rate,
        "r2star_ci95": wording.rate_interval(one),
        "t2star_ms": time,
        "s0": s0,
        "lic_mg_per_g": iron,
        "lic_ci95": wording.interval(one.lic) if known and one.lic is not None else "",
        "range": wording.band(roi, one),
        "staging": wording.chances(one),
        "signal_fat_fraction": wording.fat(one),
        "plain_r2star_per_s": wording.plain(one),
        "doubt": wording.doubt_of(one),
    }


def _roi_summary(one: RoiMeasurement) -> dict[str, Any]:
    r2star = dataclasses.asdict(one.r2star_per_s) if one.r2star_per_s else None
    if r2star is not None and one.r2star is not None:
        r2star |= {"ci95": list(one.r2star.ci95), "parts": dict(one.r2star.parts)}
    return {
        "name": one.name,
        "n_voxels": one.n_voxels,
        "area_mm2": one.area_mm2,
        "t2star_ms": dataclasses.asdict(one.t2star_ms) if one.t2star_ms else None,
        "r2star_per_s": r2star,
        "unregularised_r2star_per_s": one.unregularised_r2star_per_s,
        "plain_r2star_per_s": one.plain_r2star_per_s,
        "signal_fat_fraction": _fat(one),
        "lic_mg_per_g": one.lic_mg_per_g,
        "lic_ci95": [round(bound, 1) for bound in one.lic.ci95] if one.lic else None,
        "lic_umol_per_g": round(one.lic_mg_per_g * iron.UMOL_PER_MG) if one.lic_mg_per_g is not None else None,
        "at_least": dataclasses.asdict(one.at_least) if one.at_least else None,
        "measurable_up_to": dataclasses.asdict(one.reach) if one.reach else None,
        "advice": one.advice or None,
        "calibration": one.calibration,
        "vial": None if one.vial is None else dataclasses.asdict(one.vial),
        "confidence": None if one.confidence is None else round(one.confidence, 3),
        "slices": [dataclasses.asdict(slice_) for slice_ in one.slices],
        "flags": [{"code": f.code, "grade": f.grade.value, "sentence": f.sentence} for f in one.flags],
    }


def _staging(roi: Roi, one: RoiMeasurement) -> dict[str, Any] | None:
    """How likely each published range is, 0 to 1, the calibration's own error with it; null: nothing is said."""
    ranges = wording.ranges_of(roi, one)
    if ranges is None or not one.stages:
        return None
    bands = [
        {
            "name": stage.name,
            "from": stage.low_mg_per_g,
            "to": stage.high_mg_per_g,
            "probability": None if stage.probability is None else round(stage.probability, 4),
        }
        for stage in one.stages
    ]
    return {"scheme": ranges.scheme, "unit": ranges.unit, "bands": bands}


def _fat(one: RoiMeasurement) -> dict[str, Any] | None:
    """Of the signal, 0 to 1."""
    told = one.fat_fraction
    if told is None:
        return None
    return {"value": round(told.value, 4), "ci95": [round(bound, 4) for bound in told.ci95], "parts": dict(told.parts)}
