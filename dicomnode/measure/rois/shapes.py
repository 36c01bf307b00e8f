"""Which pixels a drawn outline covers.

Points are (n, 2): column and row, with pixel centres at integers. An outline covers the pixels whose centre is inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dicomnode.model import Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Mask = NDArray[np.bool_]

CORNER_TO_CENTRE = 0.5  # SCOORD and presentation states count from the corner of the first pixel (PS3.3 C.18.6, C.10.5)
ON_EDGE = 0.05  # pixels; contour points are rounded to about that
CLOSED_WITHIN = 0.5  # pixels between first and last point


def from_corner(data: object) -> Points:
    """Return pairs of column and row that count from the pixel's corner, counted from its centre."""
    return np.asarray(data, dtype=float).reshape(-1, 2) - CORNER_TO_CENTRE


def cover(graphic_type: str, points: Points, shape: tuple[int, int], region: str) -> Mask | Reason:
    """Return the pixels (K, L) inside a graphic of PS3.3 C.18.6 or C.10.5, or why it has no inside."""
    if not np.isfinite(points).all():
        return Reason("damaged-outline", f"{region} has a point without coordinates; draw it again")
    if graphic_type == "ELLIPSE" and len(points) == 4:
        return ellipse(points, shape)
    if graphic_type == "CIRCLE" and len(points) == 2:
        return _circle(points, shape)
    if graphic_type == "POLYGON" or (graphic_type == "POLYLINE" and _closed(points)):
        return polygon(points, shape)
    return Reason(
        "not-an-area",
        f"{region} is a {graphic_type.lower()} of {len(points)} points and not an area; "
        "draw a circle, an ellipse or a closed outline",
    )


def _closed(points: Points) -> bool:
    return len(points) >= 4 and float(np.hypot(*(points[0] - points[-1]))) <= CLOSED_WITHIN


def _grid(shape: tuple[int, int]) -> Points:
    """Return every pixel's centre, (K, L, 2)."""
    rows, columns = np.indices(shape, dtype=float)
    return np.stack([columns, rows], axis=-1)


def ellipse(points: Points, shape: tuple[int, int]) -> Mask:
    """Return the inside of an ellipse given by the ends of its major and of its minor axis.

    Axes that are perpendicular in the patient are not in pixels that are not square; they stay conjugate, so that
    a pixel at centre + u·major + v·minor is inside where u² + v² ≤ 1.
    """
    centre = points.mean(axis=0)
    axes = np.stack([points[1] - points[0], points[3] - points[2]], axis=-1) / 2
    if abs(np.linalg.det(axes)) < 1e-9:
        return np.zeros(shape, dtype=bool)
    u, v = np.moveaxis((_grid(shape) - centre) @ np.linalg.inv(axes).T, -1, 0)
    inside: Mask = u**2 + v**2 <= 1.0
    return inside


def _circle(points: Points, shape: tuple[int, int]) -> Mask:
    """Return the inside of a circle given by its centre and a point on it."""
    centre, rim = points
    inside: Mask = np.hypot(*np.moveaxis(_grid(shape) - centre, -1, 0)) <= np.hypot(*(rim - centre))
    return inside


def polygon(points: Points, shape: tuple[int, int]) -> Mask:
    """Return the pixels whose centre is inside by the even-odd rule; the outline closes itself."""
    inside = np.zeros(shape, dtype=bool)
    columns = np.arange(shape[1])
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        crossed = _span(min(y1, y2), max(y1, y2), shape[0])
        if len(crossed):
            crossing = x1 + (crossed - y1) * (x2 - x1) / (y2 - y1)
            inside[crossed] ^= columns < crossing[:, None]
    return inside


def edge(points: Points, shape: tuple[int, int]) -> Mask:
    """Return the pixels whose centre the closed outline runs through."""
    touched = np.zeros(shape, dtype=bool)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        (left, top), (right, bottom) = np.minimum(start, end) - ON_EDGE, np.maximum(start, end) + ON_EDGE
        rows, columns = _span(top, bottom, shape[0])[:, None], _span(left, right, shape[1])
        touched[rows, columns] |= _distance(columns, rows, start, end) <= ON_EDGE
    return touched


def _span(low: float, high: float, size: int) -> NDArray[np.intp]:
    """Return the rows or columns n of an image with low ≤ n < high."""
    return np.arange(max(int(np.ceil(low)), 0), min(int(np.ceil(high)), size))


def _distance(columns: NDArray[np.intp], rows: NDArray[np.intp], start: Points, end: Points) -> Points:
    """Return the distance of each pixel centre (K, L) from the stretch between two points."""
    x, y = columns - start[0], rows - start[1]
    along = end - start
    length2 = float(along @ along)
    t = np.clip((x * along[0] + y * along[1]) / length2, 0.0, 1.0) if length2 > 0 else 0.0
    away: Points = np.hypot(x - t * along[0], y - t * along[1])
    return away
