"""What speaks for or against a found liver, as numbers: of a slice, and of all slices of a series together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from dicomnode.measure.liver.features import CHANNELS, GRID_MM, TYPICAL_PER_S
from dicomnode.measure.liver.network import CLASSES, INSIDE, LIVER, MISPLACED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicomnode.measure.liver.looking import Look
    from dicomnode.model import Plane

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]

SLICE_NUMBERS = (
    "softness", "agreement", "entropy", "peak", "log area", "second piece", "rate spread", "told", "residual",
    "rightness", "depth", "snr", "misplaced", "trunk", "spleen", "gas", "inside", "share of body", "cut",
)  # fmt: skip
SERIES_NUMBERS = (
    "mean slice", "best slice", "worst slice", "log volume", "overlap", "rate spread", "misplaced", "trunk", "slices",
    "unsure share",
)  # fmt: skip
SLOWEST_PER_S = 1.0  # rates are compared by their logarithms: what does not decay at all counts as this
FEWEST_POINTS = 12  # of the grid: 2 cm², less is no liver
NEIGHBOURS_MM = 26.0  # slices farther apart need not overlap


@dataclass(frozen=True, slots=True)
class SliceEvidence:
    """Numbers of a slice in the order of ``SLICE_NUMBERS``; its rate (1/s, NaN where unknown) and area (mm²)."""

    numbers: Array
    rate: float
    area_mm2: float


def of_slice(look: Look) -> SliceEvidence | None:
    """Describe what was found on a slice; None where there is hardly anything."""
    p = look.classes[LIVER] + look.classes[INSIDE]
    found = p > 0.5
    count = int(found.sum())
    if count < FEWEST_POINTS:
        return None
    labels, pieces = ndi.label(found)
    sizes = np.bincount(labels.ravel())[1:]
    main = labels == 1 + int(np.argmax(sizes))
    depth = ndi.distance_transform_edt(main)
    deep = main & (depth > 1.5)
    deep = deep if deep.sum() >= 8 else main
    channel = dict(zip(CHANNELS, look.seen.channels, strict=True))
    rate = channel["rate"][deep]
    body = max(int(look.seen.body.sum()), 1)
    misplaced = float(look.classes[MISPLACED].sum())
    middle, half = _width(look.seen.body)
    outside = ndi.binary_dilation(channel["inside"] < 0.5)
    low, high = np.percentile(rate, (25, 75))
    numbers = [
        2 * float(p[found].sum()) / (count + float(p.sum())),
        look.agreement,
        float((p * (1 - p)).sum()) / count,
        float(np.sort(p.ravel())[-min(count, 60) :].mean()),
        float(np.log(count * GRID_MM**2)),
        float(np.sort(sizes)[-2]) / count if pieces > 1 else 0.0,
        float(high - low),
        float(channel["told"][deep].mean()),
        float(channel["residual"][deep].mean()),
        (middle - float(np.nonzero(main)[1].mean())) / half,
        float(depth.max()) * GRID_MM / 50,
        float(channel["snr"][deep].mean()),
        misplaced / (misplaced + float(p.sum())),
        float(look.scene[0]),
        _share(look, "spleen", body),
        _share(look, "gas", body),
        float(look.classes[INSIDE][found].mean()),
        count / body,
        float((found & outside).sum()) / np.sqrt(count),
    ]
    # The liver of several pieces or textures has one rate: the median where it is deep.
    return SliceEvidence(np.array(numbers), _rate(channel, deep), count * GRID_MM**2)


def _width(body: Mask) -> tuple[float, float]:
    columns = np.nonzero(body)[1]
    if not columns.size:
        return body.shape[1] / 2, body.shape[1] / 4
    low, high = np.percentile(columns, (1, 99))
    return float(low + high) / 2, max(float(high - low) / 2, 8.0)


def _share(look: Look, name: str, body: int) -> float:
    return float((look.classes[CLASSES.index(name)] * look.seen.body).sum()) / body


def _rate(channel: dict[str, Array], deep: Mask) -> float:
    told = deep & (channel["told"] > 0)
    if not told.any():
        return float("nan")
    return max(SLOWEST_PER_S, float(TYPICAL_PER_S * np.expm1(4 * np.median(channel["rate"][told]))))


def of_series(
    slices: Sequence[SliceEvidence | None], log_odds: Array, overlaps: Sequence[float], looks: Sequence[Look]
) -> Array:
    """Numbers of a series in the order of ``SERIES_NUMBERS``; ``log_odds`` of the slices where something was found."""
    found = [e for e in slices if e is not None]
    areas = np.array([e.area_mm2 for e in found])
    rates = np.log([e.rate for e in found if np.isfinite(e.rate)] or [1.0])
    liver = sum(float((k.classes[LIVER] + k.classes[INSIDE]).sum()) for k in looks)
    misplaced = sum(float(k.classes[MISPLACED].sum()) for k in looks)
    unsure = areas[log_odds < 0].sum() / areas.sum()
    return np.array(
        [
            float((log_odds * areas).sum() / areas.sum()),
            float(log_odds.max()),
            float(log_odds.min()),
            float(np.log(areas.sum())),
            float(np.mean(overlaps)) if overlaps else 0.8,
            float(np.ptp(np.percentile(rates, (10, 90)))),
            misplaced / max(misplaced + liver, 1.0),
            float(np.mean([k.scene[0] for k in looks])),
            float(np.log(len(found))),
            float(unsure),
        ]
    )


def neighbours(planes: Sequence[Plane]) -> list[tuple[int, int]]:
    """Pairs of parallel slices that lie next to each other, near enough to show the same organ."""
    order = np.argsort([plane.location_mm for plane in planes], kind="stable")
    return [
        (int(a), int(b))
        for a, b in pairwise(order)
        if abs(planes[b].location_mm - planes[a].location_mm) <= NEIGHBOURS_MM
        and abs(float(np.dot(planes[a].normal, planes[b].normal))) > 0.98
    ]


def stacked(a: Plane, b: Plane) -> bool:
    """Whether the pixels of two slices lie over each other."""
    if (a.rows, a.columns, a.pixel_spacing_mm) != (b.rows, b.columns, b.pixel_spacing_mm):
        return False
    if not np.allclose(a.orientation, b.orientation, atol=0.02):
        return False
    between = np.array(b.position) - np.array(a.position)
    aside = between - between @ a.normal * np.array(a.normal)
    return float(np.linalg.norm(aside)) < max(a.pixel_spacing_mm)


def overlap(mask_a: Mask, plane_a: Plane, mask_b: Mask, plane_b: Plane) -> float:
    """Share of the smaller of two masks that lies over the other one, across the slices."""
    if not mask_a.any() or not mask_b.any():
        return 0.0
    rows, columns = np.nonzero(mask_a)
    at = _patient(plane_a, rows, columns) - np.array(plane_b.position)
    along_row, along_column = np.array(plane_b.orientation[:3]), np.array(plane_b.orientation[3:])
    between_rows, between_columns = plane_b.pixel_spacing_mm
    r, c = np.rint(at @ along_column / between_rows), np.rint(at @ along_row / between_columns)
    within = (r >= 0) & (r < mask_b.shape[0]) & (c >= 0) & (c < mask_b.shape[1])
    hits = int(mask_b[r[within].astype(int), c[within].astype(int)].sum())
    pixel_a, pixel_b = (p.pixel_spacing_mm[0] * p.pixel_spacing_mm[1] for p in (plane_a, plane_b))
    return float(min(1.0, hits * pixel_a / min(mask_a.sum() * pixel_a, mask_b.sum() * pixel_b)))


def _patient(plane: Plane, rows: Array, columns: Array) -> Array:
    along_row, along_column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    between_rows, between_columns = plane.pixel_spacing_mm
    places: Array = (
        np.array(plane.position)
        + rows[:, None] * between_rows * along_column
        + columns[:, None] * between_columns * along_row
    )
    return places
