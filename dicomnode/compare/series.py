"""One series fitted by every method and measured in the same regions, beside the scanner's own map."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode import analyse, pixels, plausible
from dicomnode.compare import body, methods, scanner
from dicomnode.compare.methods import METHODS, REFERENCE
from dicomnode.region import statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dicomnode.compare.scanner import Found, ScannerMap
    from dicomnode.config import Settings
    from dicomnode.model import EchoImage, EchoStack, FitRecord, Maps, Roi, RoiMeasurement, Statistics


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
    rois: tuple[Roi, ...]
    records: Mapping[str, FitRecord]  # by key of METHODS, as the next two
    cpu_seconds: Mapping[str, float]
    numbers: Mapping[str, tuple[RoiMeasurement, ...]]
    scanner: Found
    scanner_numbers: tuple[ScannerNumbers | None, ...]
    remarks: tuple[str, ...]  # what the whole series lacks


@dataclass(frozen=True, slots=True)
class Images:
    """What pictures are drawn from: the signal (slices, K, L, M) and the maps by key of METHODS."""

    signal: NDArray[np.float32]
    maps: Mapping[str, Maps]
    scanner: ScannerMap | None


def compare(
    name: str,
    stack: EchoStack,
    study: Iterable[EchoImage],
    chosen: Sequence[str],
    settings: Settings,
    *,
    progress: Callable[[str], None],
) -> tuple[Compared, Images]:
    """Fit a stack by ADMM and by each of ``chosen``; ``study`` are all images of its study. Raises NodeError."""
    signal = pixels.load(stack)
    plausible.check(signal, stack.echo_times_ms)
    methods.warm_up(signal, stack, settings.fit)
    progress(f"{name}: {METHODS[REFERENCE].label}, {len(signal)} slices")
    fits = {REFERENCE: methods.fit(REFERENCE, signal, stack, settings.fit)}
    rois = _regions(stack, signal, fits[REFERENCE].maps)
    measured = np.logical_or.reduce([roi.mask for roi in rois])
    for key in (key for key in METHODS if key in chosen and key != REFERENCE):
        progress(f"{name}: {METHODS[key].label}, {len(signal)} slices")
        fits[key] = methods.fit(key, signal, stack, settings.fit, measured)
    maps = {key: one.maps for key, one in fits.items()}
    measure = settings.measure.model_copy(update={"calibration": "none"})
    found = scanner.find(stack, study, maps[REFERENCE])
    progress(f"{name}: {found.sentence}")
    compared = Compared(
        name=name,
        stack=stack,
        rois=rois,
        records={key: one.record for key, one in maps.items()},
        cpu_seconds={key: one.cpu_seconds for key, one in fits.items()},
        numbers={key: analyse.measure_regions(rois, stack, signal, one, measure)[1] for key, one in maps.items()},
        scanner=dataclasses.replace(found, map=None),
        scanner_numbers=tuple(_scanner_numbers(found.map, roi) for roi in rois),
        remarks=(found.sentence, *_within_regions(fits)),
    )
    return compared, Images(signal, maps, found.map)


def _within_regions(keys: Iterable[str]) -> Iterator[str]:
    """Which maps end where the regions do."""
    labels = [METHODS[key].label for key in keys if METHODS[key].within_regions]
    if labels:
        yield f"fitted in the regions alone: {', '.join(labels)}"


def _regions(stack: EchoStack, signal: NDArray[np.float32], own: Maps) -> tuple[Roi, ...]:
    """Return the liver and the circles in it, as the node measures them, or the body where no liver is found."""
    found = analyse.find_regions(stack, signal, own).rois
    return found if found[0].mask.any() else (body.region(signal[..., 0]),)


def _scanner_numbers(theirs: ScannerMap | None, roi: Roi) -> ScannerNumbers | None:
    if theirs is None:
        return None
    region = roi.mask & np.isfinite(theirs.t2star_ms)
    if not region.any():
        return None
    both = (statistics(values[region]) for values in (theirs.t2star_ms, theirs.r2star_per_s))
    return ScannerNumbers(int(region.sum()), *both)


def shown_slice(compared: Compared) -> int:
    """Return the slice that pictures show: the middle one of those with every region."""
    here = [roi.mask.any(axis=(1, 2)) for roi in compared.rois if roi.mask.any()]
    candidates = np.flatnonzero(np.all(here, axis=0)) if here else np.array([], int)
    return int(candidates[len(candidates) // 2]) if candidates.size else compared.stack.shape[0] // 2


def remarks_of(compared: Compared) -> list[str]:
    """Return what qualifies the numbers, each sentence once with the regions and methods that it is about."""
    about: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for index, roi in enumerate(compared.rois):
        for sentence, who in _qualified(compared, index).items():
            about.setdefault((sentence, tuple(who)), []).append(roi.name)
    everybody = tuple(METHODS[key].label for key in compared.records)
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
            about.setdefault(str(flag), []).append(METHODS[key].label)
        counts.append((METHODS[key].label, numbers[index].n_voxels))
    theirs = compared.scanner_numbers[index]
    if compared.scanner.reading is not None:
        counts.append(("scanner", theirs.n_voxels if theirs else 0))
    for who, count in counts:
        if count < total:
            about.setdefault(f"{count} of {total} voxels have a value", []).append(who)
    return about


def summary_of(compared: Compared) -> dict[str, Any]:
    """Return what ``compare.json`` says of a series."""
    stack, reading = compared.stack, compared.scanner.reading
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
            "series_instance_uid": compared.scanner.series_instance_uid,
            "quantity": reading.quantity if reading else None,
            "unit": reading.unit if reading else None,
            "unit_is_stated": reading.stated if reading else None,
        },
        "fits": {key: _fit_summary(key, compared) for key in compared.records},
        "rois": [_roi_summary(compared, index) for index in range(len(compared.rois))],
        "remarks": remarks_of(compared),
    }


def _fit_summary(key: str, compared: Compared) -> dict[str, Any]:
    record = compared.records[key]
    return {
        "label": METHODS[key].label,
        "method": record.method,
        "noise": record.noise,
        "parameters": dict(record.parameters),
        "converged": record.converged,
        "iterations": record.iterations,
        "verdict": record.verdict,
        "seconds": round(record.seconds, 3),
        "cpu_seconds": round(compared.cpu_seconds[key], 3),
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
                "flags": [str(flag) for flag in numbers[index].flags],
            }
            for key, numbers in compared.numbers.items()
        },
    }


def _difference(ours: RoiMeasurement, theirs: ScannerNumbers | None) -> float | None:
    return None if ours.t2star_ms is None or theirs is None else ours.t2star_ms.mean - theirs.t2star_ms.mean


def _plain(statistics: Statistics | None) -> dict[str, float] | None:
    return dataclasses.asdict(statistics) if statistics else None
