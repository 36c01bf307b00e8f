"""What a reader is told of a number, the same in report, pictures and PDF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomnode.report.regions import name

if TYPE_CHECKING:
    from dicomnode.model import Drawn, Result, Roi, RoiMeasurement, Statistics

# mg Fe per g dry weight (Reeder et al., Radiology 2023): lower limit, upper limit, the scheme's own word.
BANDS = (
    (float("-inf"), 1.8, "normal"),
    (1.8, 3.2, "borderline"),
    (3.2, 7.0, "mild"),
    (7.0, 15.0, "moderate"),
    (15.0, float("inf"), "severe"),
)
BAND_SCHEME = "Reeder 2023"
LIC_UNIT = "mg/g dry weight"


def is_under_range(measurement: RoiMeasurement) -> bool:
    """Say whether a calibration applied but cannot tell the concentration from nothing."""
    value, applied = measurement.lic_mg_per_g, measurement.calibration is not None
    return applied and measurement.r2star_per_s is not None and (value is None or value < 0)


def lic(measurement: RoiMeasurement) -> str:
    """Return the concentration to one decimal; under the calibration's reach it is "< 0.5", otherwise not given."""
    if is_under_range(measurement):
        return f"< 0.5 {LIC_UNIT}"
    value = measurement.lic_mg_per_g
    return "not given" if value is None else f"{value:.1f} {LIC_UNIT}"


def band(roi: Roi, measurement: RoiMeasurement) -> str:
    """Return the published range the concentration lies in with its limits, or nothing. It is no diagnosis.

    A region that is not known to be liver has a number but no range: the ranges are of livers.
    """
    value = 0.0 if is_under_range(measurement) else measurement.lic_mg_per_g
    if value is None or roi.provisional or roi.finding != "liver":
        return ""
    low, high, word = next(entry for entry in BANDS if value < entry[1])
    limits = f"< {high:g}" if low < 0 else f"> {low:g}" if high > 1e9 else f"{low:g} to {high:g}"
    return f"{BAND_SCHEME} range {limits} mg/g: {word}"


def statistics(values: Statistics | None) -> str:
    """Return mean, standard deviation and median, or that there is nothing to return."""
    if values is None:
        return "not measurable"
    return f"{values.mean:.1f} ± {values.sd:.1f} ({values.median:.1f})"


def remarks(result: Result) -> list[str]:
    """Return everything that has to be read with the numbers, region by region."""
    found = [] if result.rois else ["No region was found or drawn; only maps were made"]
    found += [] if result.drawn is None else _drawing(result.drawn)
    for roi, numbers in zip(result.rois, result.measurements, strict=True):
        found += [f"{name(roi)}: {remark}" for remark in (*numbers.flags, *_lic_words(roi, numbers))]
    if not result.maps.record.converged:
        found.append(f"The fit did not converge: {result.maps.record.verdict}")
    if result.identity.supersedes:
        found.append(f"Replaces result {result.identity.supersedes}")
    return found


def _drawing(drawn: Drawn) -> list[str]:
    """Say who drew what was measured, with what, and which of it could not be."""
    author = drawn.author or "a person the object does not name"
    origin = f"Regions drawn by {author} with {drawn.made_with or 'unnamed software'}, object {drawn.sop_instance_uid}"
    return [origin, *(f"Not measured: {reason}" for reason in drawn.refused)]


def _lic_words(roi: Roi, measurement: RoiMeasurement) -> list[str]:
    if measurement.calibration is None or measurement.r2star_per_s is None:
        return []
    words = (lic(measurement), band(roi, measurement), measurement.calibration)
    return ["liver iron concentration " + "; ".join(word for word in words if word)]
