"""Planes, positions and echo times that are equal within the digits that writers round to."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dicomnode.model import EchoImage, Plane

# Neighbouring echoes and slices are an order of magnitude further apart.
ECHO_MS = 0.02
LOCATION_MM = 0.1
_OFFSET_MM = 1.0
_COSINE = 1e-3
_SPACING = 1e-3  # relative


@dataclass(frozen=True, slots=True)
class Bins:
    """Numbers that lie closer than a tolerance, counted as one value: their median."""

    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]

    @classmethod
    def of(cls, numbers: Iterable[float], tolerance: float) -> Bins:
        """Put numbers into bins that are further apart than the tolerance."""
        bins: list[list[float]] = []
        for number in sorted(set(numbers)):
            if bins and number - bins[-1][-1] <= tolerance:
                bins[-1].append(number)
            else:
                bins.append([number])
        lows, highs = (tuple(members[i] for members in bins) for i in (0, -1))
        return cls(tuple(median(members) for members in bins), lows, highs)

    def index(self, number: float) -> int:
        """Return the bin of a number, the nearest one for a number between bins."""
        return min(
            (
                i
                for i in (bisect_right(self.lows, number) - 1, bisect_right(self.lows, number))
                if 0 <= i < len(self.lows)
            ),
            key=lambda i: max(self.lows[i] - number, number - self.highs[i]),
        )

    def near(self, number: float, tolerance: float) -> bool:
        """Tell whether a number is in a bin or closer to one than the tolerance."""
        if not self.lows:
            return False
        i = self.index(number)
        return max(self.lows[i] - number, number - self.highs[i]) <= tolerance

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Axes:
    """Row, column and normal direction of a stack."""

    row: tuple[float, ...]
    column: tuple[float, ...]
    normal: tuple[float, ...]

    @classmethod
    def of(cls, plane: Plane) -> Axes:
        """Take the directions of one plane for the whole stack."""
        return cls(plane.orientation[:3], plane.orientation[3:], plane.normal)

    def location(self, plane: Plane) -> float:
        """Millimetres along the normal."""
        return _dot(self.normal, plane.position)

    def along_row(self, plane: Plane) -> float:
        """Millimetres of the first pixel along the rows."""
        return _dot(self.row, plane.position)

    def along_column(self, plane: Plane) -> float:
        """Millimetres of the first pixel along the columns."""
        return _dot(self.column, plane.position)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


class Geometries:
    """Numbers the image planes that can be stacked: same frame of reference, matrix, spacing and orientation."""

    def __init__(self) -> None:
        self._known: list[Plane] = []
        self._exact: dict[tuple[object, ...], int] = {}

    def axes(self, index: int) -> Axes:
        """Return the directions that all images of a geometry are measured along."""
        return Axes.of(self._known[index])

    def index(self, plane: Plane) -> int:
        """Return the number of the geometry, a new one for one not met before."""
        key = (plane.frame_of_reference_uid, plane.rows, plane.columns, plane.pixel_spacing_mm, plane.orientation)
        if key not in self._exact:
            self._exact[key] = next(
                (i for i, known in enumerate(self._known) if _parallel(plane, known)), len(self._known)
            )
            if self._exact[key] == len(self._known):
                self._known.append(plane)
        return self._exact[key]


def _parallel(one: Plane, other: Plane) -> bool:
    same = (one.frame_of_reference_uid, one.rows, one.columns) == (
        other.frame_of_reference_uid,
        other.rows,
        other.columns,
    )
    spacings = zip(one.pixel_spacing_mm, other.pixel_spacing_mm, strict=True)
    cosines = zip(one.orientation, other.orientation, strict=True)
    return (
        same
        and all(abs(a - b) <= _SPACING * max(a, b) for a, b in spacings)
        and all(abs(a - b) <= _COSINE for a, b in cosines)
    )


def slabs(images: Sequence[EchoImage], axes: Axes) -> dict[str, list[EchoImage]]:
    """Split images that lie side by side in one plane, named by where; slices that only shift stay together."""
    locations = Bins.of((axes.location(image.plane) for image in images), LOCATION_MM)
    rows = Bins.of((axes.along_row(image.plane) for image in images), _OFFSET_MM)
    columns = Bins.of((axes.along_column(image.plane) for image in images), _OFFSET_MM)
    slabs: dict[tuple[int, int], list[EchoImage]] = defaultdict(list)
    beside: dict[tuple[str, int], set[tuple[int, int]]] = defaultdict(set)  # copies in two encodings may be shifted
    for image in images:
        place = (rows.index(axes.along_row(image.plane)), columns.index(axes.along_column(image.plane)))
        slabs[place].append(image)
        beside[image.encoding, locations.index(axes.location(image.plane))].add(place)
    if all(len(places) == 1 for places in beside.values()):
        return {"": list(images)}
    return {f"{rows.values[r]:.0f},{columns.values[c]:.0f}": slabs[r, c] for r, c in sorted(slabs)}
