"""The parts that pages and PDF are put together from: images, scales, curves, tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from dicomnode.report import colours, wording
from dicomnode.report.regions import outlines
from dicomnode.report.sheet import Box, leading, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from dicomnode.measure.organs import Ranges
    from dicomnode.model import DecayCurve, Flag, Maps, Plane, Result, Roi, RoiMeasurement
    from dicomnode.report.sheet import Colour, Point, Sheet

_Scalar = TypeVar("_Scalar", bound=np.generic)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Where the ranges end; the last is where the default calibration's data end. Each range is drawn as wide as the others.
BRIGHTEST = 99.0  # per cent of the voxels are darker than white
MARGIN = 0.03  # of the body, left around it


# ---- images


@dataclass(frozen=True, slots=True)
class View:
    """The part of the slices that is shown: rows and columns from, to."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def of(cls, result: Result) -> View:
        """Find the body on all slices: a reader who scrolls sees the same part. All where nothing was fitted."""
        parts = [result.maps.valid, *(roi.mask for roi in result.rois)]
        seen = np.logical_or.reduce([np.any(part, axis=0) for part in parts])
        return cls(_span(np.any(seen, axis=1)), _span(np.any(seen, axis=0)))

    def shape_mm(self, plane: Plane) -> tuple[float, float]:
        """Height and width of what is shown."""
        (top, bottom), (left, right) = self.rows, self.columns
        return (bottom - top) * plane.pixel_spacing_mm[0], (right - left) * plane.pixel_spacing_mm[1]

    def cut(self, image: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Return what is shown of an image (K, L, ...)."""
        return image[slice(*self.rows), slice(*self.columns)]


def _span(seen: NDArray[np.bool_]) -> tuple[int, int]:
    if not seen.any():
        return 0, len(seen)
    first, last = int(np.argmax(seen)), len(seen) - int(np.argmax(seen[::-1]))
    margin = max(1, round(MARGIN * (last - first)))
    return max(0, first - margin), min(len(seen), last + margin)


@dataclass(frozen=True, slots=True)
class Panel:
    """An image of a slice in its place on a sheet; ``finer`` is how many pixels a unit of the sheet has."""

    box: Box
    view: View
    plane: Plane
    finer: float = 1.0

    @classmethod
    def within(cls, room: Box, view: View, plane: Plane, finer: float = 1.0) -> Panel:
        """Fit the view into a room at its left top without bending it."""
        high, wide = view.shape_mm(plane)
        scale = min(room.width / wide, room.height / high)
        width, height = round(wide * scale * finer) / finer, round(high * scale * finer) / finer
        return cls(Box(room.x + (room.width - width) / 2, room.y, width, height), view, plane, finer)

    @property
    def size(self) -> tuple[int, int]:
        """Pixels across and down."""
        return round(self.box.width * self.finer), round(self.box.height * self.finer)

    def place(self, points: NDArray[np.float32]) -> list[Point]:
        """Return points of the image, (column, row) with the corner of the first pixel at 0, on the sheet."""
        (top, bottom), (left, right) = self.view.rows, self.view.columns
        x = self.box.x + (points[:, 0] - left) / (right - left) * self.box.width
        y = self.box.y + (points[:, 1] - top) / (bottom - top) * self.box.height
        return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]

    def sampled(self, image: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Return an image at the panel's pixels, each as it is."""
        shown = self.view.cut(image)
        width, height = self.size
        rows = (np.arange(height) * shown.shape[0]) // height
        columns = (np.arange(width) * shown.shape[1]) // width
        found: NDArray[_Scalar] = shown[rows[:, None], columns[None, :]]
        return found


def brightness(result: Result) -> tuple[NDArray[np.float32], float, str]:
    """Return what shows the anatomy, where it is white, and its name; without images the fitted signal at TE 0."""
    image, name = (result.maps.s0, "Signal at TE 0")
    if result.anatomy is not None:
        image, name = result.anatomy, f"First echo, {result.stack.echo_times_ms[0]:g} ms"
    few = image[:, ::4, ::4]  # enough to know what is bright
    bright = few[few > 0]
    return image, float(np.percentile(bright, BRIGHTEST)) if bright.size else 1.0, name


def magnitude(sheet: Sheet, panel: Panel, image: NDArray[np.float32], white: float) -> None:
    """Show an image in grey."""
    grey = np.clip(panel.view.cut(image) / white * 255, 0, 255).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(grey).resize(panel.size, Image.Resampling.BILINEAR))
    sheet.picture(panel.box, np.repeat(smooth[..., None], 3, axis=2))


def rate_map(sheet: Sheet, panel: Panel, maps: Maps, too_fast: NDArray[np.bool_], k: int) -> None:
    """Show R2* of a slice in its colours, with stripes where it is beyond the range."""
    image = np.array(panel.sampled(colours.coloured(maps, k)))
    if too_fast[k].any():
        striped = panel.sampled(too_fast[k])
        image[striped] = colours.stripes(*image.shape[:2])[striped]
    sheet.picture(panel.box, image)


def regions(
    sheet: Sheet, panel: Panel, traced: Sequence[Sequence[NDArray[np.float32]]], weight: float, size: float
) -> None:
    """Outline regions in white on black, seen on every colour, the first heavier, each with its number.

    ``traced`` holds the outlines of each region; ``weight`` is a line's width and ``size`` that of the numbers.
    """
    for index, lines in enumerate(traced):
        for points in lines:
            placed = panel.place(points)
            wide = weight * (1.3 if index == 0 else 1.0)
            sheet.line(placed, wide * 2.4, BLACK)
            sheet.line(placed, wide, WHITE)
    for index, lines in enumerate(traced):
        if lines:
            _number(sheet, panel, panel.place(lines[0]), index + 1, size)


def _number(sheet: Sheet, panel: Panel, placed: Sequence[Point], number: int, size: float) -> None:
    """Number a region: the first, which holds the others, above its top; others in their middle."""
    xy = np.array(placed)
    if number == 1:
        x, y = xy[np.argmin(xy[:, 1])]
        y = y - 0.35 * size if y - panel.box.y > 1.2 * size else y + 1.1 * size
    else:
        x, y = (xy.min(axis=0) + xy.max(axis=0)) / 2
        y += 0.36 * size
    sheet.write(float(x), float(y), str(number), size, WHITE, bold=True, align="middle", halo=True)


def traced(result: Result, k: int) -> list[list[NDArray[np.float32]]]:
    """Return the outlines of every region on a slice."""
    return [outlines(roi.mask[k]) for roi in result.rois]


def sides(sheet: Sheet, panel: Panel, size: float) -> None:
    """Say which side of the patient each edge is (PS3.3 C.7.6.1.1.1)."""
    row, column = np.array(panel.plane.orientation[:3]), np.array(panel.plane.orientation[3:])
    box, middle = panel.box, panel.box.y + panel.box.height / 2 + 0.36 * size
    centre = box.x + box.width / 2
    places = (
        (box.x + 0.3 * size, middle, -row, "left"),
        (box.right - 0.3 * size, middle, row, "right"),
        (centre, box.y + size, -column, "middle"),
        (centre, box.bottom - 0.4 * size, column, "middle"),
    )
    for x, y, direction, align in places:
        sheet.write(x, y, side(direction), size, WHITE, align=align, halo=True)


def side(direction: NDArray[np.float64]) -> str:
    """Return the side of the patient a direction points to, the strongest first: "L", "LA", "LAH"."""
    letters = [("R", "L"), ("A", "P"), ("F", "H")]
    order = [axis for axis in np.argsort(-np.abs(direction)) if abs(direction[axis]) > 0.2]
    return "".join(letters[axis][int(direction[axis] > 0)] for axis in order)


def colour_bar(sheet: Sheet, box: Box, size: float) -> None:
    """Draw the colours with both their units; ``box`` is the bar alone, numbers stand left and right of it."""
    steps = round(box.height)
    index = np.rint(np.linspace(255, 0, steps)).astype(int)
    sheet.picture(box, np.repeat(colours.table()[index][:, None, :], max(1, round(box.width)), axis=1))
    top = box.y - 0.9 * size
    sheet.write(box.right + 0.4 * size, top, "R2* /s", size)
    sheet.write(box.x - 0.4 * size, top, "T2* ms", size, align="right")
    for fast, slow in zip(colours.R2STAR_TICKS, colours.T2STAR_TICKS, strict=True):
        y = box.bottom - float(colours.position(float(fast))) * box.height
        for x, mark in ((box.right, 0.3 * size), (box.x, -0.3 * size)):
            sheet.line(((x, y), (x + mark, y)), 1 if size > 15 else 0.6)
        sheet.write(box.right + 0.5 * size, y + 0.36 * size, str(fast), size)
        sheet.write(box.x - 0.5 * size, y + 0.36 * size, slow, size, align="right")


def legend(sheet: Sheet, x: float, y: float, size: float) -> None:
    """Name what is no value on a map, from a baseline at ``y``."""
    side_length = round(0.9 * size)
    for words, swatch in (
        ("beyond the measurable range", colours.stripes(side_length * 2, side_length * 2)),
        ("no valid fit", np.zeros((2, 2, 3), np.uint8)),
    ):
        box = Box(round(x), round(y - 0.85 * size), side_length, side_length)
        pixels = swatch if size < 15 else swatch[:side_length, :side_length]
        sheet.picture(box, pixels)
        sheet.line((*box.corners(), box.corners()[0]), 1 if size > 15 else 0.6, sheet.palette.faint)
        x = sheet.write(box.right + 0.5 * size, y, words, size, sheet.palette.faint) + 1.2 * size


# ---- the value on its scale


def iron_scale(sheet: Sheet, box: Box, roi: Roi, numbers: RoiMeasurement, size: float) -> float:
    """Draw the value with its interval over the published ranges; without one, the ranges alone.

    Each range is drawn equally wide, or the mild ones would be too narrow to read. ``box`` is the strip of the ranges;
    the value stands above it, the limits below, and under these how likely each range is, where that is known. Return
    the last baseline.
    """
    ranges = wording.ranges_of(roi, numbers)
    if ranges is None:
        return box.bottom
    step = box.width / len(ranges.limits)
    chances = [wording.chance(stage) for stage in numbers.stages] or [""] * len(ranges.limits)
    for index, (_, high, word) in enumerate(ranges.limits):
        part = Box(box.x + index * step, box.y, step, box.height)
        sheet.fill(part.corners(), sheet.palette.bands[index])
        middle = box.y + box.height / 2 + 0.36 * size
        sheet.write(part.x + step / 2, middle, word, size, sheet.palette.band_ink, align="middle")
        sheet.write(part.x + step / 2, box.bottom + 2.3 * size, chances[index], size, align="middle")
        if high < 1e9:
            sheet.write(
                part.right, box.bottom + 1.1 * size, ranges.printed(high), size, sheet.palette.faint, align="middle"
            )
    if not ranges.of_rate:
        sheet.write(box.x, box.bottom + 1.1 * size, "0", size, sheet.palette.faint)
    sheet.write(box.right, box.bottom + 1.1 * size, ranges.unit, size, sheet.palette.faint, align="right")
    _mark(sheet, box, ranges, (roi, numbers), size)
    return box.bottom + (2.3 if any(chances) else 1.1) * size


def along(ranges: Ranges, value: float) -> float:
    """Return where a value in the unit of the limits lies on the scale, 0 to 1."""
    ends = (0.0, *(high for _, high, _ in ranges.limits[:-1]), ranges.top)
    return float(np.interp(value, ends, np.linspace(0, 1, len(ends))))


def _mark(sheet: Sheet, box: Box, ranges: Ranges, region: tuple[Roi, RoiMeasurement], size: float) -> None:
    """Point at the value from above, with a bar for its interval; from a bound an arrow points towards more."""
    y = box.y - 0.4 * size
    bound, placed = wording.bound_on_scale(*region), wording.on_scale(*region)
    if placed is None and bound is not None:
        _bar(sheet, box, ranges, (bound, ranges.top), size)
        back = box.right - 0.7 * size
        sheet.fill(((back, y - 0.45 * size), (box.right, y), (back, y + 0.45 * size)), sheet.palette.ink)
    if placed is None:
        return
    value, ends = placed
    if ends[0] < ends[1]:
        _bar(sheet, box, ranges, ends, size)
    x = box.x + along(ranges, value) * box.width
    top = y - 1.05 * size
    sheet.fill(((x - 0.45 * size, top), (x + 0.45 * size, top), (x, y - 0.15 * size)), sheet.palette.ink)


def _bar(sheet: Sheet, box: Box, ranges: Ranges, ends: tuple[float, float], size: float) -> None:
    y = box.y - 0.4 * size
    low, high = (box.x + along(ranges, max(end, 0.0)) * box.width for end in ends)
    sheet.line(((low, y), (high, y)), 0.14 * size)
    for end in (low, high):
        sheet.line(((end, y - 0.28 * size), (end, y + 0.28 * size)), 0.14 * size)


# ---- the decay


def decay(sheet: Sheet, box: Box, curve: DecayCurve, numbers: RoiMeasurement, size: float) -> None:
    """Draw the median signal of a region over the echoes with the fitted decay, its interval and the noise floor."""
    last = curve.echo_times_ms[-1] * 1.04
    fitted = curve.s0 is not None and curve.r2star_per_s is not None
    top = 1.08 * max(*curve.signal, (curve.s0 or 0.0) if fitted else 0.0, 1.5 * curve.noise_floor)

    def at(t: float, value: float) -> Point:
        return box.x + t / last * box.width, box.bottom - min(max(value / top, 0.0), 1.0) * box.height

    _axes(sheet, box, last, top, size)
    times = np.linspace(0.0, last, 80)
    if fitted:
        band = _interval(curve, numbers, times)
        if band is not None:
            low, high = band
            around = [at(t, v) for t, v in zip(times, high, strict=True)]
            around += [at(t, v) for t, v in zip(times[::-1], low[::-1], strict=True)]
            sheet.fill(around, sheet.palette.shade)
        values = (curve.s0 or 0.0) * np.exp(-(curve.r2star_per_s or 0.0) * times / 1000.0) * _beat(curve, times)
        sheet.line([at(t, v) for t, v in zip(times, values, strict=True)], 0.13 * size, sheet.palette.curve)
    floor = (at(0, curve.noise_floor), at(last, curve.noise_floor))
    sheet.line(floor, 0.1 * size, sheet.palette.doubt, (0.6 * size, 0.4 * size))
    for t, value in zip(curve.echo_times_ms, curve.signal, strict=True):
        x, y = at(t, value)
        r = 0.26 * size
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        sheet.fill([(x + r * float(np.cos(a)), y + r * float(np.sin(a))) for a in turn], sheet.palette.ink)
    _key(sheet, box, fitted=fitted, size=size)


def _interval(
    curve: DecayCurve, numbers: RoiMeasurement, times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the lowest and highest decay that the interval of R2* allows, each with the amplitude that fits best."""
    if numbers.r2star is None or not numbers.r2star.value > 0 or curve.r2star_per_s is None:
        return None
    echo, signal = np.array(curve.echo_times_ms), np.array(curve.signal)
    beating = _beat(curve, echo)
    ideal = (curve.s0 or 0.0) * np.exp(-curve.r2star_per_s * echo / 1000.0) * beating
    signal = np.minimum(signal, ideal)  # without what the floor adds
    found = []
    for bound in numbers.r2star.ci95:
        own = curve.r2star_per_s * max(bound, 0.0) / numbers.r2star.value
        shape = np.exp(-own * echo / 1000.0) * beating
        found.append(float(signal @ shape / (shape @ shape)) * np.exp(-own * times / 1000.0) * _beat(curve, times))
    return np.minimum(*found), np.maximum(*found)


def _beat(curve: DecayCurve, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what fat makes of the decay at echo times in ms; 1 where there is none."""
    if not curve.beat:
        return np.ones_like(times)
    at, factor = zip(*curve.beat, strict=True)
    beating: NDArray[np.float64] = np.interp(times, at, factor)
    return beating


def _axes(sheet: Sheet, box: Box, last: float, top: float, size: float) -> None:
    thin = 1 if size > 15 else 0.6
    sheet.line(((box.x, box.y), (box.x, box.bottom), (box.right, box.bottom)), thin, sheet.palette.faint)
    for t in ticks(last):
        x = box.x + t / last * box.width
        sheet.line(((x, box.bottom), (x, box.bottom + 0.3 * size)), thin, sheet.palette.faint)
        sheet.write(x, box.bottom + 1.3 * size, f"{t:g}", size, sheet.palette.faint, align="middle")
    sheet.write(box.right, box.bottom + 2.5 * size, "echo time in ms", size, sheet.palette.faint, align="right")
    for value in ticks(top)[1:]:
        y = box.bottom - value / top * box.height
        sheet.line(((box.x - 0.3 * size, y), (box.x, y)), thin, sheet.palette.faint)
        sheet.write(box.x - 0.5 * size, y + 0.36 * size, f"{value:g}", size, sheet.palette.faint, align="right")


def ticks(last: float) -> list[float]:
    """Return about four round numbers from 0."""
    step = 10.0 ** np.floor(np.log10(max(last, 1e-9)))
    step = next(step * factor for factor in (0.2, 0.25, 0.5, 1.0, 2.0) if last / (step * factor) <= 5)
    return [float(f"{step * n:.6g}") for n in range(int(last / step) + 1)]


def _key(sheet: Sheet, box: Box, *, fitted: bool, size: float) -> None:
    x, y, palette = box.right - 11.5 * size, box.y + 0.9 * size, sheet.palette
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    dot = [(x + size + 0.26 * size * float(np.cos(a)), y - 0.35 * size + 0.26 * size * float(np.sin(a))) for a in turn]
    sheet.fill(dot, palette.ink)
    sheet.write(x + 2.4 * size, y, "median signal", size)
    if fitted:
        y += leading(size)
        strip = Box(x, y - 0.75 * size, 2 * size, 0.8 * size)
        sheet.fill(strip.corners(), palette.shade)
        sheet.line(((x, y - 0.35 * size), (x + 2 * size, y - 0.35 * size)), 0.13 * size, palette.curve)
        sheet.write(x + 2.4 * size, y, "decay, 95 %", size)
    y += leading(size)
    sheet.line(
        ((x, y - 0.35 * size), (x + 2 * size, y - 0.35 * size)), 0.1 * size, palette.doubt, (0.6 * size, 0.4 * size)
    )
    sheet.write(x + 2.4 * size, y, "noise floor", size)


# ---- words


def row(
    sheet: Sheet, y: float, cells: Iterable[tuple[float, str, str]], size: float, colour: Colour | None = None
) -> None:
    """Write the cells of a row of a table: each its place, its alignment and its text."""
    for x, align, text in cells:
        sheet.write(x, y, text, size, colour, align=align)


def flag_lines(flag: Flag, width: float, size: float) -> list[str]:
    """Return the lines that a flag takes, its mark aside."""
    _, word = wording.GRADES[flag.grade]
    return wrapped(f"{word}: {flag.sentence}", width - 1.4 * size, size)


def flag(sheet: Sheet, place: Point, width: float, one: Flag, size: float) -> float:
    """Write a flag with the mark of its grade and return where the page goes on."""
    mark, _ = wording.GRADES[one.grade]
    x, y = place
    order = list(wording.GRADES).index(one.grade)
    colour = (sheet.palette.stop, sheet.palette.doubt, sheet.palette.ink)[order]
    sheet.write(x, y, mark, size, colour)
    for line in flag_lines(one, width, size):
        sheet.write(x + 1.4 * size, y, line, size, colour)
        y += leading(size)
    return y
