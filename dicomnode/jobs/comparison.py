"""How a result that was made again differs from the one it stands beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.trend.values import LIVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from dicomnode.jobs.manifest import Manifest
    from dicomnode.model import Result

FILE = "comparison.json"
# By name: what stands over the column, how a value is written.
_COLUMNS = {
    "lic_mg_per_g": ("LIC mg/g", "{:.1f}"),
    "r2star_per_s": ("R2* /s", "{:.1f}"),
    "t2star_ms": ("T2* ms", "{:.2f}"),
}
_NOTHING = "–"


def of(
    before: Manifest, after: Manifest, told_before: Mapping[str, Any] | None, told: Mapping[str, Any]
) -> dict[str, Any]:
    """JSON values: each pair is of the earlier and the later result, medians in the unit of their name.

    ``told_before`` and ``told`` are what ``summary.json`` says of them; None where the earlier came to no result.
    """
    old = told_before or {}
    values = [dict(_flat(one.parameters)) for one in (before, after)]
    regions = [{roi["name"]: roi for roi in one.get("rois", ())} for one in (old, told)]
    return {
        "of": before.key,
        "key": after.key,
        "answer": [old.get("answer"), told.get("answer")],
        "software_version": [before.software_version, after.software_version],
        "settings": {
            name: [one.get(name) for one in values]
            for name in sorted(values[0].keys() | values[1].keys())
            if values[0].get(name) != values[1].get(name)
        },
        "regions": [
            _region(name, *(one.get(name) for one in regions)) for name in dict.fromkeys([*regions[1], *regions[0]])
        ],
    }


def moved_by_fit(result: Result, before: NDArray[np.float32] | None) -> float | None:
    """How far the median R2* of the first region moved by the map alone, in the region of the later result, 1/s."""
    if before is None or not result.rois:
        return None
    voxels = result.rois[0].mask & result.maps.valid & (before > 0)
    if not voxels.any():
        return None
    return float(np.median(result.maps.r2star_per_s[voxels]) - np.median(before[voxels]))


def why(told_before: Mapping[str, Any] | None, told: Mapping[str, Any], moved: float | None) -> dict[str, Any] | None:
    """By how much the LIC of the first region changed, mg/g, and which part of it has which cause.

    What is of another organ now, or turned out to be a phantom, cannot be compared. Otherwise a number that came or
    went did so by its flags. Of a rate the map's part is ``moved``; the rest is the region's, where that is another.
    What the rates do not explain is the calibration's, where that is another. None where neither result has a first
    region.
    """
    regions = [(one or {}).get("rois", ()) for one in (told_before, told)]
    before, after = (one[0] if one else {} for one in regions)
    if not before and not after:
        return None
    old, new = (one.get("lic_mg_per_g") for one in (before, after))
    if old is not new and told_before is not None and told_before.get("organ", LIVER) != told.get("organ", LIVER):
        return {"change": None, "parts": {}, "cause": "organ"}
    if old is None or new is None:
        return {"change": None, "parts": {}, "cause": "flags" if old is not new else None}
    change = round(new - old, 3)
    first, last = ((one.get("r2star_per_s") or {}).get("median") for one in (before, after))
    line = before.get("calibration") != after.get("calibration")
    rate = 0.0 if first is None or last is None else last - first
    slope = change / rate if rate and not line else _slope(after, last)
    same_region = _region_is_same(told_before or {}, told, before, after)
    fit = rate if same_region or moved is None else moved
    parts = {"fit": slope * fit, "region": slope * (rate - fit)}
    parts["calibration"] = change - sum(parts.values()) if line else 0.0
    rounded = {name: round(value, 3) for name, value in parts.items()}
    largest = max(rounded, key=lambda name: abs(rounded[name]))
    return {"change": change, "parts": rounded, "cause": largest if change else None}


def _slope(after: Mapping[str, Any], rate: float | None) -> float:
    """About how much LIC a rate stands for, mg/g for 1/s."""
    return float(after["lic_mg_per_g"]) / rate if rate else 0.0


def _region_is_same(
    told_before: Mapping[str, Any], told: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> bool:
    finders = [one.get("finder", {}).get("sha256") for one in (told_before, told)]
    return finders[0] == finders[1] and before.get("n_voxels") == after.get("n_voxels")


def lines(said: Mapping[str, Any]) -> Iterator[str]:
    """The same for people: what differs in the settings, then a line a region."""
    for name, (before, after) in settings(said):
        yield f"{name}: {before} -> {after}"
    table = [("region", *heads(), "flags")]
    table += [(one["name"], *(in_words(one, name) for name in names()), flags(one)) for one in said["regions"]]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def names() -> tuple[str, ...]:
    """The quantities that are compared."""
    return tuple(_COLUMNS)


def heads() -> tuple[str, ...]:
    """What stands over the columns of those."""
    return tuple(head for head, _ in _COLUMNS.values())


def settings(said: Mapping[str, Any]) -> list[tuple[str, tuple[str, str]]]:
    """What differs of software and settings, before and after."""
    found = [("software", said["software_version"]), *said["settings"].items()]
    return [(name, (_text(before), _text(after))) for name, (before, after) in found if before != after]


def in_words(region: Mapping[str, Any], name: str) -> str:
    """A quantity of a region before and after, or once where it is the same."""
    form = _COLUMNS[name][1]
    before, after = (_NOTHING if one is None else form.format(one) for one in region[name])
    return before if before == after else f"{before} -> {after}"


def flags(region: Mapping[str, Any]) -> str:
    """The flags that came and went."""
    before, after = (set(codes) for codes in region["flags"])
    came, went = sorted(after - before), sorted(before - after)
    return " ".join([*(f"+{code}" for code in came), *(f"-{code}" for code in went)])


def _region(name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Any]:
    pair = (before or {}, after or {})
    return {
        "name": name,
        "lic_mg_per_g": [one.get("lic_mg_per_g") for one in pair],
        **{name: [(one.get(name) or {}).get("median") for one in pair] for name in ("r2star_per_s", "t2star_ms")},
        "flags": [sorted({flag["code"] for flag in one.get("flags", ())}) for one in pair],
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    return _NOTHING if value in (None, "") else str(value)
