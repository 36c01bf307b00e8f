"""A page as pixels."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicomnode.report.fonts import font
from dicomnode.report.sheet import Fill, Picture, Stroke, Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.report.sheet import Point, Sheet

_FINER = 4  # oblique lines are drawn so much larger and averaged
_HALO = (0, 0, 0)


def pixels(sheet: Sheet) -> NDArray[np.uint8]:
    """Return a page as (height, width, 3); its units are pixels."""
    image = Image.new("RGB", (round(sheet.width), round(sheet.height)), sheet.palette.paper)
    draw = ImageDraw.Draw(image)
    for item in sheet.items:
        match item:
            case Text():
                _text(draw, item)
            case Stroke():
                _stroke(image, draw, item)
            case Fill():
                draw.polygon([_edge(point) for point in item.points], fill=item.colour)
            case Picture():
                size = round(item.box.width), round(item.box.height)
                shown = Image.fromarray(item.pixels)
                shown = shown if shown.size == size else shown.resize(size, Image.Resampling.NEAREST)
                image.paste(shown, (round(item.box.x), round(item.box.y)))
    return np.asarray(image)


def _edge(point: Point) -> tuple[int, int]:
    return round(point[0]), round(point[1])


@cache
def _face(size: float, bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font(bold).path, size, layout_engine=ImageFont.Layout.BASIC)


def _text(draw: ImageDraw.ImageDraw, item: Text) -> None:
    place, face = (round(item.left), round(item.y)), _face(item.size, item.bold)
    width = 2 if item.halo else 0
    draw.text(place, item.text, item.colour, face, "ls", stroke_width=width, stroke_fill=_HALO)


def _stroke(image: Image.Image, draw: ImageDraw.ImageDraw, item: Stroke) -> None:
    for points in _dashed(item):
        upright = all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(points))
        if upright and item.width <= 1:
            draw.line([_edge(point) for point in points], fill=item.colour, width=1)
        else:
            _smooth(image, points, item)


def _smooth(image: Image.Image, points: tuple[Point, ...], item: Stroke) -> None:
    """Draw a line larger, average it down and lay it over the page."""
    xy = np.array(points)
    margin = item.width + 2
    x, y = (math.floor(v) for v in xy.min(axis=0) - margin)
    right, bottom = (math.ceil(v) for v in xy.max(axis=0) + margin)
    mask = Image.new("L", ((right - x) * _FINER, (bottom - y) * _FINER))
    finer = ImageDraw.Draw(mask)
    moved = [(float(a), float(b)) for a, b in (xy - (x, y)) * _FINER]
    finer.line(moved, fill=255, width=round(item.width * _FINER), joint="curve")
    image.paste(item.colour, (x, y, right, bottom), mask.reduce(_FINER))


def _dashed(item: Stroke) -> list[tuple[Point, ...]]:
    """Cut a line into its dashes."""
    if item.dash is None:
        return [item.points]
    on, off = item.dash
    found = []
    for (x0, y0), (x1, y1) in pairwise(item.points):
        length = math.hypot(x1 - x0, y1 - y0)
        for start in np.arange(0.0, length, on + off):
            ends = start / length, min(start + on, length) / length
            found.append(tuple((x0 + t * (x1 - x0), y0 + t * (y1 - y0)) for t in ends))
    return found
