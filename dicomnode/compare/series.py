"""One series fitted by every method and measured in the same regions, beside the scanner's own map."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode import analyse, pixels
from dicomnode.compare import circles, methods, scanner
from dicomnode.compare.methods import METHODS, REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dicomnode.compare.methods import Fit
    from dicomnode.compare.scanner import Found
    from dicomnode.config import Settings
    from dicomnode.model import EchoImage, EchoStack, Maps, Roi, RoiMeasurement, Statistics


@dataclass(frozen=True, slots=True)
class ScannerNumbers:
    """The scanner's map in a region: how many voxels have a value, and both quantities."""

    n_voxels: int
    t2star_ms: Statistics
    r2star_per_s: Statistics


@dataclass(frozen=True, slots=True)
class Compared:
    """The numbers of a series; those of the scanner and of each method are in the order of ``rois``."""

    name: str
    stack: EchoStack
    signal: NDArray[np.float32]
    rois: tuple[Roi, ...]
    fits: Mapping[str, Fit]  # by key of METHODS
    numbers: Mapping[str, tuple[RoiMeasurement, ...]]
    scanner: Found
    scanner_numbers: tuple[ScannerNumbers | None, ...]
    remarks: tuple[str, ...]  # what the whole series lacks


def compare(
    name: str,
    stack: EchoStack,
    images: Iterable[EchoImage],
    chosen: Sequence[str],
    settings: Settings,
    *,
    progress: Callable[[str], None],
) -> Compared:
    """Fit a stack by ADMM and by each of ``chosen``; ``images`` are all of its study. Raises UndecodablePixels."""
    signal = pixels.load(stack)
    methods.warm_up(signal, stack, settings.fit)
    fits = {}
    for key in (REFERENCE, *(key for key in METHODS if key in chosen and key != REFERENCE)):
        progress(f"{name}: {METHODS[key].label}, {len(signal)} slices")
        fits[key] = methods.fit(key, signal, stack, settings.fit)
    own = fits[REFERENCE].maps
    rois, remark = _regions(stack, signal, own)
    measure = settings.measure.model_copy(update={"calibration": "none"})
    numbers = {key: analyse.measure_regions(rois, stack, signal, one.maps, measure)[1] for key, one in fits.items()}
    found = scanner.find(stack, images, own)
    progress(f"{name}: {found.sentence}")
    theirs = tuple(_scanner_numbers(found, roi) for roi in rois)
    remarks = (found.sentence, remark) if remark else (found.sentence,)
    return Compared(name, stack, signal, rois, fits, numbers, found, theirs, remarks)


def _regions(stack: EchoStack, signal: NDArray[np.float32], own: Maps) -> tuple[tuple[Roi, ...], str | None]:
    """Return the automatic regions, then the paper's four circles or why there are none.

    The whole body is measured only where nothing else is found.
    """
    automatic = analyse.find_regions(stack, signal, own)
    bodies = tuple(roi for roi in automatic if roi.finding == "body")
    placed, remark = circles.place(bodies[0].mask, stack.planes) if bodies else ((), circles.NO_BODY)
    found = (*(roi for roi in automatic if roi.finding != "body"), *placed)
    return (found if any(roi.mask.any() for roi in found) else (*found, *bodies)), remark


def _scanner_numbers(found: Found, roi: Roi) -> ScannerNumbers | None:
    if found.map is None:
        return None
    region = roi.mask & np.isfinite(found.map.t2star_ms)
    if not region.any():
        return None
    both = (analyse.statistics(values[region]) for values in (found.map.t2star_ms, found.map.r2star_per_s))
    return ScannerNumbers(int(region.sum()), *both)


def shown_slice(compared: Compared) -> int:
    """Return the slice that pictures show: the middle one of those with a region other than the body."""
    here = [roi.mask.any(axis=(1, 2)) for roi in compared.rois if roi.finding != "body" and roi.mask.any()]
    candidates = np.flatnonzero(np.all(here, axis=0)) if here else np.array([], int)
    return int(candidates[len(candidates) // 2]) if candidates.size else len(compared.signal) // 2


def remarks_of(compared: Compared) -> list[str]:
    """Return what qualifies the numbers, each sentence once with the regions and methods that it is about."""
    about: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for index, roi in enumerate(compared.rois):
        for sentence, who in _qualified(compared, index).items():
            about.setdefault((sentence, tuple(who)), []).append(roi.name)
    everybody = tuple(METHODS[key].label for key in compared.fits)
    lines = list(compared.remarks)
    for (sentence, meant), regions in about.items():
        whose = "" if meant == everybody else f" ({'; '.join(meant)})"
        lines.append(f"{', '.join(regions)}{whose}: {sentence}")
    return lines


def _qualified(compared: Compared, index: int) -> dict[str, list[str]]:
    """Return the sentences about a region, each with those whose number it qualifies."""
    total = int(compared.rois[index].mask.sum())
    about: dict[str, list[str]] = {}
    counts = []
    for key, numbers in compared.numbers.items():
        for flag in numbers[index].flags:
            about.setdefault(flag, []).append(METHODS[key].label)
        counts.append((METHODS[key].label, numbers[index].n_voxels))
    theirs = compared.scanner_numbers[index]
    if compared.scanner.map is not None:
        counts.append(("scanner", theirs.n_voxels if theirs else 0))
    for who, count in counts:
        if count < total:
            about.setdefault(f"{count} of {total} voxels have a value", []).append(who)
    return about


def summary_of(compared: Compared) -> dict[str, Any]:
    """Return what ``compare.json`` says of a series."""
    stack, found = compared.stack, compared.scanner.map
    slices, rows, columns, _ = stack.shape
    return {
        "series_instance_uid": stack.series_instance_uids[0],
        "name": compared.name,
        "status": "done",
        "echo_times_ms": list(stack.echo_times_ms),
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "field_strength_t": stack.field_strength_t,
        "scanner_map": {
            "found": compared.scanner.sentence,
            "series_instance_uid": found.series_instance_uid if found else None,
            "quantity": found.reading.quantity if found else None,
            "unit": found.reading.unit if found else None,
            "unit_is_stated": found.reading.stated if found else None,
        },
        "fits": {key: _fit_summary(key, one) for key, one in compared.fits.items()},
        "rois": [_roi_summary(compared, index) for index in range(len(compared.rois))],
        "remarks": remarks_of(compared),
    }


def _fit_summary(key: str, one: Fit) -> dict[str, Any]:
    record = one.maps.record
    return {
        "label": METHODS[key].label,
        "method": record.method,
        "noise": record.noise,
        "parameters": dict(record.parameters),
        "converged": record.converged,
        "iterations": record.iterations,
        "verdict": record.verdict,
        "seconds": round(record.seconds, 3),
        "cpu_seconds": round(one.cpu_seconds, 3),
    }


def _roi_summary(compared: Compared, index: int) -> dict[str, Any]:
    roi, theirs = compared.rois[index], compared.scanner_numbers[index]
    return {
        "name": roi.name,
        "n_voxels": int(roi.mask.sum()),
        "scanner": dataclasses.asdict(theirs) if theirs else None,
        "methods": {
            key: {
                "n_voxels": numbers[index].n_voxels,
                "t2star_ms": _plain(numbers[index].t2star_ms),
                "r2star_per_s": _plain(numbers[index].r2star_per_s),
                "difference_t2star_ms": _difference(numbers[index], theirs),
                "flags": list(numbers[index].flags),
            }
            for key, numbers in compared.numbers.items()
        },
    }


def _difference(ours: RoiMeasurement, theirs: ScannerNumbers | None) -> float | None:
    return None if ours.t2star_ms is None or theirs is None else ours.t2star_ms.mean - theirs.t2star_ms.mean


def _plain(statistics: Statistics | None) -> dict[str, float] | None:
    return dataclasses.asdict(statistics) if statistics else None
