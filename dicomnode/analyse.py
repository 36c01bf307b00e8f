"""A stack -> its maps, regions and numbers, free of files and queues."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode import fit as fitting
from dicomnode import pixels
from dicomnode.measure import iron, quality, regions
from dicomnode.model import DecayCurve, EchoStack, Group, Maps, Output, Result, Roi, RoiMeasurement, Statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.config import FitSettings, MeasureSettings

Measurement = tuple[tuple[Roi, ...], tuple[RoiMeasurement, ...], tuple[DecayCurve | None, ...]]


def fit_stack(stack: EchoStack, settings: FitSettings) -> tuple[NDArray[np.float32], Maps]:
    """Load the pixels of a stack and fit them."""
    signal = pixels.load(stack)
    return signal, fitting.fit(signal, stack.echo_times_ms, stack.planes[0].pixel_spacing_mm, settings)


def find_regions(stack: EchoStack, signal: NDArray[np.float32], maps: Maps) -> tuple[Roi, ...]:
    """Find the regions of a stack without a person's help."""
    return regions.find(signal, maps, stack.planes)


def measure_regions(
    rois: tuple[Roi, ...], stack: EchoStack, signal: NDArray[np.float32], maps: Maps, settings: MeasureSettings
) -> Measurement:
    """Measure regions on maps that exist."""
    measured = [_measure_roi(roi, stack, signal, maps, settings) for roi in rois]
    return rois, tuple(one for one, _ in measured), tuple(decay for _, decay in measured)


def _measure_roi(
    roi: Roi,
    stack: EchoStack,
    signal: NDArray[np.float32],
    maps: Maps,
    settings: MeasureSettings,
) -> tuple[RoiMeasurement, DecayCurve | None]:
    region = roi.mask & maps.valid
    row_mm, column_mm = stack.planes[0].pixel_spacing_mm
    area = float(region.sum()) * row_mm * column_mm
    if not region.any():
        nothing = (*roi.doubts, f"{quality.NOT_MEASURABLE}: the region holds no voxel with a valid fit")
        return RoiMeasurement(roi.name, 0, area, None, None, None, None, nothing), None
    noise = fitting.Noise.of(maps)
    decay, plain = fitting.decay(signal, stack.echo_times_ms, region, noise)
    invalid = 1.0 - region.sum() / roi.mask.sum()
    trust = quality.judge(
        decay,
        sigma=noise.sigma,
        plain_r2star_per_s=plain,
        invalid_fraction=float(invalid),
        floor_is_known=noise.source not in {"unclear", "unknown"},
    )
    flags = roi.doubts + trust.flags
    if not maps.record.converged:
        flags += (f"{quality.LOW_CONFIDENCE}: the fit did not converge ({maps.record.verdict})",)
    flags += _of_coils(noise)
    flags += quality.of_residuals(fitting.unexplained(signal, stack.echo_times_ms, region, maps))
    elsewhere = any(doubt.startswith(quality.NOT_MEASURABLE) for doubt in roi.doubts)
    if elsewhere or not trust.measurable:
        decay = dataclasses.replace(decay, s0=None, r2star_per_s=None)
        return RoiMeasurement(roi.name, int(region.sum()), area, None, None, None, None, flags), decay
    r2star = statistics(maps.r2star_per_s[region])
    lic, name, more = _iron(roi, r2star.median, stack.field_strength_t, settings)
    told = region & ~(maps.r2star_per_s <= maps.r2star_sd_per_s)
    t2star = statistics(maps.t2star_ms[told]) if told.any() else None
    flags += _too_long_to_tell(region, told)
    values = (t2star, r2star, lic, name, flags + more, decay.r2star_per_s)
    return RoiMeasurement(roi.name, int(region.sum()), area, *values), decay


def _of_coils(noise: fitting.Noise) -> tuple[str, ...]:
    """What is not known of the number of coils that made the noise floor."""
    said = {
        "decays": f"noise of {noise.n_coils:.1f} coils is supposed, because the decays level off",
        "unclear": "the decays level off as no noise does; noise of one coil is supposed",
        "unknown": "too little data to tell how many coils made the noise; one is supposed",
    }
    return (f"{quality.LOW_CONFIDENCE}: {said[noise.source]}",) if noise.source in said else ()


def _too_long_to_tell(region: NDArray[np.bool_], told: NDArray[np.bool_]) -> tuple[str, ...]:
    """A decay that cannot be told from none has no T2*: its reciprocal would be any large number."""
    share = 1.0 - told.sum() / region.sum()
    part = f"{share:.0%}" if share >= 0.01 else "under 1%"
    return (f"T2* of {part} of the voxels is too long to tell and left out of its figures",) if share > 0 else ()


def _iron(
    roi: Roi, r2star_per_s: float, field_t: float | None, settings: MeasureSettings
) -> tuple[float | None, str | None, tuple[str, ...]]:
    """LIC of a region's median R2*, the calibration used, and why there is none where there is none."""
    if settings.calibration == "none" or roi.finding == "body":
        return None, None, ()
    line = iron.calibration(settings.calibration, field_t)
    if line is None:
        field = "an unknown field" if field_t is None else f"{field_t:.2f} T"
        return None, None, (f"LIC not given: {settings.calibration} has no calibration at {field}",)
    lic = iron.lic_mg_per_g(r2star_per_s, line)
    below = () if lic is not None else (f"LIC < {iron.SMALLEST_MG_PER_G} mg/g",)
    return lic, f"{line.name}: {line.formula} at {field_t:.2f} T ({line.source})", below


def statistics(values: NDArray[np.float32]) -> Statistics:
    """Mean, sample standard deviation, median and interquartile range."""
    data = values.astype(np.float64)
    low, median, high = np.percentile(data, [25.0, 50.0, 75.0])
    sd = float(np.std(data, ddof=1)) if data.size > 1 else 0.0
    return Statistics(float(data.mean()), sd, float(median), float(high - low))


def summary_of(result: Result, outputs: tuple[Output, ...]) -> dict[str, Any]:
    """What ``summary.json`` says of a series that was processed."""
    stack, record = result.stack, result.maps.record
    slices, rows, columns, _ = stack.shape
    return {
        "series_instance_uid": stack.series_instance_uids[0],
        "series_instance_uids": list(stack.series_instance_uids),
        "status": "done",
        "reason": None,
        "code": None,
        "echo_times_ms": list(stack.echo_times_ms),
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "field_strength_t": stack.field_strength_t,
        "method": record.method,
        "converged": record.converged,
        "iterations": record.iterations,
        "verdict": record.verdict,
        "seconds": round(record.seconds, 3),
        "sigma": list(result.maps.sigma),
        "key": result.identity.key,
        "supersedes": result.identity.supersedes,
        "software_version": result.identity.software_version,
        "settings": dict(result.settings),
        "rois": [_roi_summary(one) for one in result.measurements],
        "outputs": [{**dataclasses.asdict(output), "path": str(output.path)} for output in outputs],
    }


def summary_without_result(candidate: Group, status: str, reason: str | None, code: str | None) -> dict[str, Any]:
    """What ``summary.json`` says of a series that gave no result."""
    plane = candidate.images[0].plane
    return {
        "series_instance_uid": candidate.series_instance_uids[0],
        "series_instance_uids": list(candidate.series_instance_uids),
        "status": status,
        "reason": reason,
        "code": code,
        "echo_times_ms": list(candidate.echo_times_ms),
        "left_out": list(candidate.left_out),
        "slices": candidate.n_slices,
        "rows": plane.rows,
        "columns": plane.columns,
        "field_strength_t": candidate.images[0].field_strength_t,
        "method": None,
        "converged": None,
        "iterations": None,
        "seconds": None,
        "rois": [],
        "outputs": [],
    }


def _roi_summary(one: RoiMeasurement) -> dict[str, Any]:
    entry = dataclasses.asdict(one)
    entry["flags"] = list(one.flags)
    return entry
