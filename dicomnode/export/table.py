"""Numbers as CSV: a row for each region of each result, one with empty fields where it has none."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from dicomnode.store.durable import write_durably

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from dicomnode.export.results import Finished

NAME = "regions.csv"
SPREADSHEET_RUNS = ("=", "+", "-", "@", "\t", "\r")  # a text that begins so would be a formula


def _within(*keys: str | int) -> Callable[[Mapping[str, Any]], Any]:
    """A value inside of values; None where one of them is."""

    def value(entry: Any) -> Any:
        for key in keys:
            entry = None if entry is None else entry[key] if isinstance(key, int) else entry.get(key)
        return entry

    return value


def _flags(region: Mapping[str, Any]) -> str:
    return " ".join(f"{flag['code']}:{flag['grade']}" for flag in region.get("flags", ()))


OF_RESULT = {
    "result": _within("key"),
    "series_instance_uid": _within("series_instance_uid"),
    "status": _within("status"),
    "field_strength_t": _within("field_strength_t"),
    "method": _within("method"),
    "software_version": _within("software_version"),
    "organ": _within("organ"),
}
OF_REGION = {
    "region": _within("name"),
    "voxels": _within("n_voxels"),
    "area_mm2": _within("area_mm2"),
    **{f"t2star_{name}_ms": _within("t2star_ms", name) for name in ("median", "mean", "sd", "iqr")},
    **{f"r2star_{name}_per_s": _within("r2star_per_s", name) for name in ("median", "mean", "sd", "iqr")},
    "r2star_ci95_low_per_s": _within("r2star_per_s", "ci95", 0),
    "r2star_ci95_high_per_s": _within("r2star_per_s", "ci95", 1),
    "r2star_at_least_per_s": _within("at_least", "r2star_per_s"),
    "lic_mg_per_g": _within("lic_mg_per_g"),
    "lic_ci95_low_mg_per_g": _within("lic_ci95", 0),
    "lic_ci95_high_mg_per_g": _within("lic_ci95", 1),
    "lic_at_least_mg_per_g": _within("at_least", "lic_mg_per_g"),
    "calibration": _within("calibration"),
    "confidence": _within("confidence"),
    "flags": _flags,
}
COLUMNS = (*OF_RESULT, *OF_REGION)


def write(results: Sequence[Finished], folder: Path) -> tuple[Path, ...]:
    """Write ``regions.csv``: numbers with a point and in full, a field that is empty has no value."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in row] for result in results for row in _rows(result))
    path = folder / NAME
    write_durably(path, text.getvalue().encode())
    return (path,)


def _rows(result: Finished) -> Iterator[list[Any]]:
    said = [value(result.summary) for value in OF_RESULT.values()]
    regions: Sequence[Mapping[str, Any]] = result.summary["rois"] or ({},)
    for region in regions:
        yield said + [value(region) for value in OF_REGION.values()]


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(SPREADSHEET_RUNS):
        return f"'{value}"
    return value
