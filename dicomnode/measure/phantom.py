"""Finds what is measured of a physical phantom: its round vials, or the inside of an even body.

A vial is a round patch of some level set: of the first echo, the last one or the rate, brighter or darker than what is
around it. So it is found in a bath and in air, with a dark wall and without, and whatever the coils' shading does.
Nothing here says what a series is of: ``protocol`` weighs that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomnode.measure.regions import Found
from dicomnode.model import Flag, Grade, Roi

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dicomnode.model import Maps, Plane, Vector3

    Mask = NDArray[np.bool_]
    Array = NDArray[np.float64]

PHANTOM = "phantom"  # what its regions are of: no calibration is for it, and none may be
BODY = "phantom body"
FEWEST = 3  # vials: two round things are found in many bodies
RADII_MM = (3.0, 30.0)
LEAST_PIXELS = 16
THIN = 0.3  # of the least area: a wall that its vial is told by
ROUND = 0.88  # overlap with the circle of the same area, over the union of both
SUPPORT = 4  # levels at which one circle shows: noise is round at one or two
ALIKE = 0.3  # of a radius: vials of a rack are of one size
INSIDE = 0.75  # of a vial's radius: its wall and what it shares a voxel with are left out
AROUND, CONTRAST = 1.3, 0.08  # of a radius: what lies around; of the brighter: the least difference from that
FOREGROUND = 0.12  # of the bright end of the first echo
BRIGHT = 98.0  # per cent
LEVELS = 24  # of a feature, at even shares of its voxels
NEAR = 0.5  # of a radius: circles of two levels that are of one vial
EVEN = 0.12  # interquartile range of the rate over its median, beyond noise, in an even body
EVEN_PER_S = 2.0  # or that much, where hardly anything decays
WHOLE = 0.8  # of the foreground that is one piece
FILLED = 0.93  # of its convex hull along rows and columns
RIM = 0.2  # of an even body's radius, left out
ALONE, SOLID, ELLIPSE = 0.97, 0.98, 0.96  # a smooth ellipse: share of what is bright, of its hull, overlap over union
ROUGH, SPOT, SPOTS = (
    0.025,
    0.05,
    97.0,
)  # what its brightness may leave of a polynomial, relative: usually, at most; per cent
ROW = 0.6  # of a diameter: vials that lie no further apart across a row are of that row
MOSTLY = 0.5  # of an even body's voxels have a fit
VERSION = "1"
_POWERS = tuple((i, j) for i in range(5) for j in range(5 - i))
_IQR = 1.349  # of a normal distribution, in its standard deviations
_NOTHING = Flag("no-vials", Grade.NOT_MEASURABLE, "neither three round vials nor an even body was found in the phantom")


@dataclass(frozen=True, slots=True)
class _Disc:
    """A circle in a slice: middle in rows and columns, radius in mm, how round it is."""

    slice: int
    row: float
    column: float
    radius_mm: float
    roundness: float

    def apart_mm(self, other: _Disc, spacing: tuple[float, float]) -> float:
        return math.hypot((self.row - other.row) * spacing[0], (self.column - other.column) * spacing[1])


def found(
    signal: NDArray[np.float32],
    _echo_times_ms: tuple[float, ...],
    maps: Maps,
    planes: tuple[Plane, ...],
    _n_coils: float,
) -> Found:
    """Find the vials of a phantom, in an order that stays from scan to scan, or else its even body.

    ``signal`` is (slices, K, L, M); ``maps`` are those of one exponential. Where there are neither the phantom is there
    with an empty mask. ``scene`` says whether the outline of a body and its brightness alone are no patient's.
    """
    rois = _vials(signal, maps, planes) or _even_body(signal, maps, planes)
    smooth = len(rois) == 1 and _is_smooth(signal, maps, planes)
    mask = np.logical_or.reduce([one.mask for one in rois]) if rois else np.zeros(signal.shape[:3], bool)
    nothing = (Roi(PHANTOM, mask, finding=PHANTOM, doubts=(_NOTHING,)),)
    return Found(
        rois or nothing, {"name": "phantom", "version": VERSION}, mask, {PHANTOM: float(smooth)}, seen=bool(rois)
    )


def place_of(roi: Roi, planes: Sequence[Plane]) -> tuple[Vector3, float]:
    """Where a region lies that has a voxel, mm: the mean of its middles in all slices, the radius of its area."""
    slices = [int(k) for k in np.flatnonzero(roi.mask.any(axis=(1, 2)))]
    middles = [_place_mm(planes[k], *(float(one.mean()) for one in np.nonzero(roi.mask[k]))) for k in slices]
    x, y, z = (float(value) for value in np.mean(middles, axis=0))
    height, width = planes[0].pixel_spacing_mm
    area = float(roi.mask.sum(axis=(1, 2)).max()) * height * width
    return (x, y, z), math.sqrt(area / math.pi)


# ---- vials


def _vials(signal: NDArray[np.float32], maps: Maps, planes: Sequence[Plane]) -> tuple[Roi, ...]:
    spacing = planes[0].pixel_spacing_mm
    discs = [disc for k in range(len(signal)) for disc in _alike(_discs(signal, maps, k, spacing), spacing)]
    slices = len({one.slice for one in discs})
    tubes = [tube for tube in _tubes(discs, spacing) if 2 * len(tube) > slices]
    if len(tubes) < FEWEST:
        return ()
    rois = _ordered([_vial(tube, signal.shape[:3], planes) for tube in tubes], planes)
    return tuple(replace(one, name=f"vial {number}") for number, one in enumerate(rois, 1))


def _discs(signal: NDArray[np.float32], maps: Maps, k: int, spacing: tuple[float, float]) -> list[_Disc]:
    """The circles of a slice: each the middle one of those that lie on each other, at several levels."""
    left = sorted(_candidates(signal, maps, k, spacing), key=lambda one: -one.roundness * one.radius_mm)
    shown = (signal[k, ..., 0], signal[k, ..., -1])
    found = []
    while left:
        first = left[0]
        same = [one for one in left if one.apart_mm(first, spacing) <= NEAR * first.radius_mm and _is_alike(one, first)]
        middle = sorted(same, key=lambda one: one.radius_mm)[len(same) // 2]
        if len(same) >= SUPPORT and any(_stands_out(image, middle, spacing) for image in shown):
            found.append(middle)
        left = [one for one in left if one not in same]
    return found


def _stands_out(image: NDArray[np.float32], disc: _Disc, spacing: tuple[float, float]) -> bool:
    """Whether a circle is brighter or darker than what lies around it, be that its wall."""
    around = _circle(image.shape, disc.row, disc.column, AROUND * disc.radius_mm, spacing)
    around &= ~_circle(image.shape, disc.row, disc.column, disc.radius_mm, spacing)
    inside = float(np.median(image[_circle(image.shape, disc.row, disc.column, INSIDE * disc.radius_mm, spacing)]))
    outside = float(np.median(image[around]))
    return abs(inside - outside) > CONTRAST * max(inside, outside)


def _candidates(signal: NDArray[np.float32], maps: Maps, k: int, spacing: tuple[float, float]) -> Iterator[_Disc]:
    bright = float(np.percentile(signal[k, ..., 0], BRIGHT))
    foreground = ndimage.binary_fill_holes(signal[k, ..., 0] > FOREGROUND * bright)
    for feature in (signal[k, ..., 0], signal[k, ..., -1], maps.r2star_per_s[k]):
        smooth = ndimage.median_filter(feature, 3)
        inside = smooth[foreground]
        if not inside.size:
            continue
        for level in np.unique(np.quantile(inside, np.linspace(0.0, 1.0, LEVELS + 2)[1:-1])):
            for patches in (smooth > level, (smooth <= level) & foreground):
                yield from _round_ones(patches, k, spacing)


def _round_ones(patches: Mask, k: int, spacing: tuple[float, float]) -> Iterator[_Disc]:
    """The connected patches that are circles, holes filled."""
    labels, _ = ndimage.label(patches)
    least, most = (math.pi * radius**2 / (spacing[0] * spacing[1]) for radius in RADII_MM)
    sizes = np.bincount(labels.ravel())
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if sizes[number] < THIN * least:
            continue
        height, width = ((one.stop - one.start) * step for one, step in zip(box, spacing, strict=True))
        if max(height, width) > 2.5 * RADII_MM[1] or max(height, width) > 1.5 * min(height, width):
            continue
        patch = ndimage.binary_fill_holes(labels[box] == number)
        if not max(least, LEAST_PIXELS) <= patch.sum() <= most:
            continue
        rows, columns = np.nonzero(patch)
        row, column = float(rows.mean()), float(columns.mean())
        radius = math.sqrt(patch.sum() * spacing[0] * spacing[1] / math.pi)
        circle = _circle(patch.shape, row, column, radius, spacing)
        roundness = float((patch & circle).sum() / (patch | circle).sum())
        if roundness >= ROUND:
            yield _Disc(k, row + box[0].start, column + box[1].start, radius, roundness)


def _circle(shape: tuple[int, ...], row: float, column: float, radius_mm: float, spacing: tuple[float, float]) -> Mask:
    rows, columns = np.indices(shape)
    away = np.hypot((rows - row) * spacing[0], (columns - column) * spacing[1])
    return np.asarray(away <= radius_mm)


def _is_alike(one: _Disc, other: _Disc) -> bool:
    return abs(one.radius_mm - other.radius_mm) <= ALIKE * max(one.radius_mm, other.radius_mm)


def _alike(discs: Sequence[_Disc], spacing: tuple[float, float]) -> list[_Disc]:
    """Those of about one size that cover most, none of them on another."""
    if not discs:
        return []
    groups = [[one for one in discs if _is_alike(one, usual)] for usual in discs]
    best = max(groups, key=lambda group: sum(one.radius_mm**2 for one in group))
    kept: list[_Disc] = []
    for one in sorted(best, key=lambda one: -one.roundness):
        if all(one.apart_mm(other, spacing) > one.radius_mm for other in kept):
            kept.append(one)
    return kept


def _tubes(discs: Sequence[_Disc], spacing: tuple[float, float]) -> list[list[_Disc]]:
    """Circles of several slices that lie over each other, of each slice one."""
    groups: list[list[_Disc]] = []
    for one in discs:
        near = [
            group
            for group in groups
            if group[-1].slice != one.slice and group[-1].apart_mm(one, spacing) <= one.radius_mm
        ]
        if near:
            min(near, key=lambda group: group[-1].apart_mm(one, spacing)).append(one)
        else:
            groups.append([one])
    return groups


def _vial(discs: Sequence[_Disc], shape: tuple[int, ...], planes: Sequence[Plane]) -> Roi:
    mask = np.zeros(shape, bool)
    for one in discs:
        spacing = planes[one.slice].pixel_spacing_mm
        mask[one.slice] = _circle(shape[1:], one.row, one.column, INSIDE * one.radius_mm, spacing)
    return Roi("vial", mask, finding=PHANTOM)


def _place_mm(plane: Plane, row: float, column: float) -> Array:
    """PS3.3 C.7.6.2.1.1."""
    along, down = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    height, width = plane.pixel_spacing_mm
    return np.asarray(np.array(plane.position) + along * width * column + down * height * row)


def _ordered(rois: Sequence[Roi], planes: Sequence[Plane]) -> list[Roi]:
    """Row by row as a reader reads, along the rows of the rack, however it was laid down."""
    along, down = np.array(planes[0].orientation[:3]), np.array(planes[0].orientation[3:])
    places = [place_of(one, planes) for one in rois]
    centres = np.array([centre for centre, _ in places])
    flat = np.stack([centres @ along, centres @ down], axis=1)
    angle = _turned(flat)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    x, y = turn @ flat.T
    step = ROW * 2 * float(np.median([radius for _, radius in places])) / INSIDE
    rows: list[list[int]] = []
    for index in (int(one) for one in np.argsort(y, kind="stable")):
        if rows and y[index] - y[rows[-1][0]] <= step:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [rois[index] for row in rows for index in sorted(row, key=lambda one: float(x[one]))]


def _turned(places: Array) -> float:
    """By which angle the rows of a rack lie turned, from -45 to 45 degrees: that of most nearest neighbours."""
    offsets = places[:, None] - places[None]
    lengths = np.linalg.norm(offsets, axis=-1)
    np.fill_diagonal(lengths, np.inf)
    nearest = [offsets[index, int(np.argmin(row))] for index, row in enumerate(lengths)]
    # Four times the angle is the same for all four neighbours of a square lattice.
    turns = np.exp(4j * np.array([math.atan2(one[1], one[0]) for one in nearest]))
    return float(np.angle(turns.mean()) / 4)


# ---- an even body


def _even_body(signal: NDArray[np.float32], maps: Maps, planes: Sequence[Plane]) -> tuple[Roi, ...]:
    mask = np.stack([_inner(first, plane) for first, plane in zip(signal[..., 0], planes, strict=True)])
    voxels = mask & maps.valid
    if mask.sum() < LEAST_PIXELS or voxels.sum() < MOSTLY * mask.sum():
        return ()
    if not _is_even(maps, voxels) and not _is_smooth(signal, maps, planes):
        return ()
    return (Roi(BODY, mask, finding=PHANTOM),)


def _inner(first: NDArray[np.float32], plane: Plane) -> Mask:
    """The inside of the one solid piece that a slice shows; nothing where it shows several, or one full of holes."""
    piece, share = _largest(first)
    if share < WHOLE or piece.sum() < FILLED * _hull(piece).sum():
        return np.zeros(first.shape, bool)
    padded = ndimage.distance_transform_edt(np.pad(piece, 1), sampling=plane.pixel_spacing_mm)
    depth = np.asarray(padded[1:-1, 1:-1])
    return np.asarray(depth > RIM * depth.max(initial=0.0))


def _largest(first: NDArray[np.float32]) -> tuple[Mask, float]:
    """The largest piece of what is bright in a slice, and its share of that."""
    foreground = ndimage.median_filter(first, 3) > FOREGROUND * float(np.percentile(first, BRIGHT))
    labels, count = ndimage.label(foreground)
    if not count:
        return foreground, 0.0
    sizes = np.bincount(labels.ravel())[1:]
    return labels == 1 + int(np.argmax(sizes)), float(sizes.max() / foreground.sum())


def _hull(piece: Mask) -> Mask:
    """What lies between two voxels of a row and between two of a column."""

    def between(axis: int) -> Mask:
        before = np.logical_or.accumulate(piece, axis=axis)
        after = np.flip(np.logical_or.accumulate(np.flip(piece, axis), axis=axis), axis)
        return np.asarray(before & after)

    return between(0) | between(1)


def _is_smooth(signal: NDArray[np.float32], maps: Maps, planes: Sequence[Plane]) -> bool:
    """Whether every slice with a body shows a smooth ellipse: brightness that only coils change.

    A field that is not even may bend the rates of such a body, as in a bottle that was shimmed badly on purpose.
    """
    looked = [
        _is_smooth_ellipse(first, plane, sigma)
        for first, plane, sigma in zip(signal[..., 0], planes, maps.sigma, strict=True)
        if _inner(first, plane).any()
    ]
    return bool(looked) and all(looked)


def _is_smooth_ellipse(first: NDArray[np.float32], plane: Plane, sigma: float) -> bool:
    piece, share = _largest(first)
    inner = _inner(first, plane)
    if share < ALONE or piece.sum() < SOLID * _hull(piece).sum() or inner.sum() < LEAST_PIXELS * len(_POWERS):
        return False
    rows, columns = np.nonzero(inner)
    u, v = ((one - one.mean()) / max(float(one.std()), 1.0) for one in (rows, columns))
    values = np.log(np.maximum(first[inner].astype(float), 1e-6))
    terms = np.stack([u**i * v**j for i, j in _POWERS], axis=1)
    left = np.abs(values - terms @ np.linalg.lstsq(terms, values, rcond=None)[0])
    noise = sigma / float(np.median(first[inner]))
    rough = 1.4826 * float(np.median(left)) > math.hypot(ROUGH, noise)
    spotted = float(np.percentile(left, SPOTS)) > math.hypot(SPOT, 3 * noise)
    return not rough and not spotted and _is_ellipse(piece, plane.pixel_spacing_mm)


def _is_ellipse(piece: Mask, spacing: tuple[float, float]) -> bool:
    """Whether a piece covers the ellipse of its own second moments, whose axes are twice its deviations."""
    grid = np.moveaxis(np.indices(piece.shape), 0, -1) * np.array(spacing)
    places = grid[piece].T
    away = grid - places.mean(axis=1)
    ellipse = np.einsum("...i,ij,...j", away, np.linalg.inv(np.cov(places)), away) <= 4.0
    return bool((piece & ellipse).sum() >= ELLIPSE * (piece | ellipse).sum())


def _is_even(maps: Maps, voxels: Mask) -> bool:
    rates = maps.r2star_per_s[voxels].astype(float)
    low, median, high = np.percentile(rates, [25, 50, 75])
    noise = _IQR * float(np.median(maps.r2star_sd_per_s[voxels]))
    spread = math.sqrt(max((high - low) ** 2 - noise**2, 0.0))
    return bool(spread <= max(EVEN * median, EVEN_PER_S))
