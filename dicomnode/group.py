"""Echo images -> stacks of one echo × slice grid each, or a named reason why not."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise, product
from statistics import median
from typing import TYPE_CHECKING

from dicomnode.model import Component, EchoImage, EchoStack, Encoding, Group, GroupStatus, Reason, SequenceKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dicomnode.config import GroupingSettings
    from dicomnode.model import Plane

__all__ = ["REASONS", "assemble"]

REASONS = {
    # REFUSED: more images of the same kind cannot cure it
    "not-wanted": "a rule in [grouping] leaves this series out",
    "echo-planar": "echo-planar read-out: geometric distortion and T2* decay inside one echo",
    "spin-echo": "spin echo: decays with T2, not T2*",
    "turbo-spin-echo": "turbo spin echo: decays with T2, not T2*",
    "diffusion": "diffusion weighted",
    "inversion-recovery": "inversion recovery",
    "unknown-sequence": "the header does not say what made the echo",
    "derived-only": "maps or other derived images only",
    "no-magnitude": "no magnitude images, nor real and imaginary ones to compute them from",
    "no-echo-time": "no image gives an echo time",
    "repetitions": "several repetitions at one position",
    "ambiguous": "several different images at one echo and slice",
    "too-few-echoes": "fewer echoes than [grouping] minimum_echoes",
    # INCOMPLETE: more images may cure it
    "images-missing": "the echo × slice grid has holes",
    "echoes-missing": "the scanner announced more echoes than arrived",
    "fewer-images-than-announced": "the grid is full, but the scanner announced more images than can be accounted for",
}

_KIND_CODES = {
    SequenceKind.ECHO_PLANAR: "echo-planar",
    SequenceKind.SPIN_ECHO: "spin-echo",
    SequenceKind.TURBO_SPIN_ECHO: "turbo-spin-echo",
    SequenceKind.DIFFUSION: "diffusion",
    SequenceKind.INVERSION_RECOVERY: "inversion-recovery",
    SequenceKind.UNKNOWN: "unknown-sequence",
}
_SIGNAL = (Component.MAGNITUDE, Component.PHASE, Component.REAL, Component.IMAGINARY)
_COMPLEX = (Component.REAL, Component.IMAGINARY)
_MAPS = 3  # per slice: T2*, R2*, goodness of fit
_NAMED = 3  # holes that a sentence names; the group lists all
_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}

# Tolerances: writers round; neighbouring echoes and slices are an order of magnitude further apart.
_ECHO_MS = 0.02
_LOCATION_MM = 0.1
_OFFSET_MM = 1.0
_COSINE = 1e-3
_SPACING = 1e-3  # relative


def assemble(images: Iterable[EchoImage], rules: GroupingSettings) -> tuple[Group, ...]:
    """Sort images of any number of series and studies into candidate stacks, each with a verdict.

    The answer depends on the set of images only: not on their order, nor on how often each comes. Every image is in
    exactly one group.
    """
    studies: dict[str, list[EchoImage]] = defaultdict(list)
    for image in _unique(images):
        studies[image.study_instance_uid].append(image)
    groups = [group for study in sorted(studies) for group in _study(studies[study], rules)]
    return _with_distinct_ids(groups)


def _order(image: EchoImage) -> tuple[object, ...]:
    echo_time = -1.0 if image.echo_time_ms is None else image.echo_time_ms
    place = (image.plane.position, image.plane.orientation, image.component, echo_time)
    return (image.series_number or 0, image.series_instance_uid, image.sop_instance_uid, image.frame or 0, place)


def _unique(images: Iterable[EchoImage]) -> list[EchoImage]:
    """Return each image once; a copy is the same frame of the same instance and looks the same."""
    unique: dict[tuple[object, ...], EchoImage] = {}
    for image in images:
        key = (image.study_instance_uid, _order(image))
        if key not in unique or str(image.path) < str(unique[key].path):
            unique[key] = image
    return [unique[key] for key in sorted(unique)]


# --- from images to scans ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scan:
    """Images of one geometry that may make one stack, with the maps that came beside them."""

    geometry: int
    anchor: str  # what keeps the group's name the same while images arrive
    images: tuple[EchoImage, ...]
    derived: tuple[EchoImage, ...] = ()

    def of(self, component: Component) -> tuple[EchoImage, ...]:
        return tuple(image for image in self.images if image.component is component)

    @property
    def first(self) -> EchoImage:
        return (self.images or self.derived)[0]

    @property
    def has_signal(self) -> bool:
        here = {image.component for image in self.images}
        return Component.MAGNITUDE in here or {Component.REAL, Component.IMAGINARY} <= here

    def joined(self, others: Iterable[_Scan]) -> _Scan:
        """Return this scan with the images of others; the name stays."""
        more = tuple(others)
        images = (*self.images, *(image for other in more for image in other.images))
        derived = (*self.derived, *(image for other in more for image in other.derived))
        return replace(self, images=images, derived=derived)


def _study(images: Sequence[EchoImage], rules: GroupingSettings) -> list[Group]:
    scans = _scans(images)
    wholes = _series_per_echo([scan for scan in scans if scan.has_signal])
    wholes, rest = _with_companions(wholes, [scan for scan in scans if scan.images and not scan.has_signal])
    complex_scans, rest = _complex_pairs(rest)
    wholes, alone = _with_derived(wholes + complex_scans, [scan for scan in scans if not scan.images])
    return [_judged(scan, rules) for scan in (*wholes, *rest, *alone)]


def _scans(images: Sequence[EchoImage]) -> list[_Scan]:
    """Split by series, geometry, sequence and twin facts; derived images by series and geometry only."""
    geometry = _Geometries()
    parts: dict[tuple[str, int, tuple[object, ...]], list[EchoImage]] = defaultdict(list)
    for image in images:
        facts: tuple[object, ...] = () if image.component is Component.DERIVED else (image.sequence_kind, image.twin)
        parts[(image.series_instance_uid, geometry.index(image.plane), facts)].append(image)
    scans = []
    for (_, index, shared), members in parts.items():
        for number, slab in enumerate(_slabs(members)):
            scans.append(_scan(index, tuple(slab), f"{shared}{number or ''}"))
    return scans


def _scan(geometry: int, images: tuple[EchoImage, ...], facts: str) -> _Scan:
    first = images[0]
    derived = first.component is Component.DERIVED
    series = f"{first.scan} {first.protocol}" if first.scan else first.series_instance_uid
    anchor = f"{series}|{_coarse(first.plane)}|{facts}"
    return _Scan(geometry, anchor, () if derived else images, images if derived else ())


def _coarse(plane: Plane) -> str:
    """Orientation and matrix in few digits: the same for every image of a stack, whichever arrived first."""
    return f"{plane.rows}x{plane.columns} " + " ".join(f"{round(cosine, 1) + 0.0}" for cosine in plane.orientation)


class _Geometries:
    """Numbers the image planes that can be stacked: same frame of reference, matrix, spacing and orientation."""

    def __init__(self) -> None:
        self._known: list[Plane] = []
        self._exact: dict[tuple[object, ...], int] = {}

    def index(self, plane: Plane) -> int:
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


def _slabs(images: Sequence[EchoImage]) -> list[list[EchoImage]]:
    """Split images that lie side by side in one plane; slices that only shift from one to the next stay together."""
    axes = _Axes.of(images[0].plane)
    locations = _Bins.of((axes.location(image.plane) for image in images), _LOCATION_MM)
    rows = _Bins.of((axes.along_row(image.plane) for image in images), _OFFSET_MM)
    columns = _Bins.of((axes.along_column(image.plane) for image in images), _OFFSET_MM)
    slabs: dict[tuple[int, int], list[EchoImage]] = defaultdict(list)
    beside: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for image in images:
        place = (rows.index(axes.along_row(image.plane)), columns.index(axes.along_column(image.plane)))
        slabs[place].append(image)
        beside[locations.index(axes.location(image.plane))].add(place)
    if all(len(places) == 1 for places in beside.values()):
        return [list(images)]
    return [slabs[place] for place in sorted(slabs)]


@dataclass(frozen=True, slots=True)
class _Axes:
    """Row, column and normal direction of a stack."""

    row: tuple[float, ...]
    column: tuple[float, ...]
    normal: tuple[float, ...]

    @classmethod
    def of(cls, plane: Plane) -> _Axes:
        return cls(plane.orientation[:3], plane.orientation[3:], plane.normal)

    def location(self, plane: Plane) -> float:
        return _dot(self.normal, plane.position)

    def along_row(self, plane: Plane) -> float:
        return _dot(self.row, plane.position)

    def along_column(self, plane: Plane) -> float:
        return _dot(self.column, plane.position)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


@dataclass(frozen=True, slots=True)
class _Bins:
    """Numbers that lie closer than a tolerance, counted as one value: their median."""

    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]

    @classmethod
    def of(cls, numbers: Iterable[float], tolerance: float) -> _Bins:
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


# --- from scans to whole scans ----------------------------------------------------------------------------------------


def _series_per_echo(scans: Sequence[_Scan]) -> list[_Scan]:
    """Join the series of scans that were sent as one series per echo."""
    families: dict[tuple[object, ...], list[_Scan]] = defaultdict(list)
    whole = []
    for scan in scans:
        if len(_echoes(scan)) == 1:
            families[_family(scan)].append(scan)
        else:
            whole.append(scan)
    for family in families.values():
        whole += _joined_family(sorted(family, key=_series_order))
    return whole


def _echoes(scan: _Scan) -> _Bins:
    signal = scan.of(Component.MAGNITUDE) or scan.of(Component.REAL)
    return _Bins.of((image.echo_time_ms for image in signal if image.echo_time_ms is not None), _ECHO_MS)


def _family(scan: _Scan) -> tuple[object, ...]:
    first = scan.first
    return (scan.geometry, first.sequence_kind, first.twin, first.protocol, first.scan, first.encoding)


def _series_order(scan: _Scan) -> tuple[int, str]:
    return (scan.first.series_number or 0, scan.first.series_instance_uid)


def _joined_family(scans: Sequence[_Scan]) -> list[_Scan]:
    """Cut the series, in the scanner's order, where an echo comes again: there the next scan begins.

    Where the pieces do not look alike the order cannot be trusted, so nothing is joined.
    """
    times = {id(scan): _echoes(scan).values[0] for scan in scans}
    pieces: list[list[_Scan]] = []
    for scan in scans:
        before = pieces[-1][-1] if pieces else scan
        if times[id(scan)] > times[id(before)] + _ECHO_MS and _overlap(scan, before):
            pieces[-1].append(scan)
        else:
            pieces.append([scan])
    longest = max(pieces, key=len)
    alike = (
        abs(times[id(a)] - times[id(b)]) <= _ECHO_MS for piece in pieces for a, b in zip(piece, longest, strict=False)
    )
    return [piece[0].joined(piece[1:]) for piece in pieces] if all(alike) else list(scans)


def _overlap(one: _Scan, other: _Scan) -> bool:
    """Tell whether any slice of one lies where one of the other does."""
    axes = _Axes.of(one.first.plane)
    here = _Bins.of((axes.location(image.plane) for image in one.images), _LOCATION_MM)
    return any(here.near(axes.location(image.plane), _LOCATION_MM) for image in other.images)


def _with_companions(wholes: Sequence[_Scan], rest: Sequence[_Scan]) -> tuple[list[_Scan], list[_Scan]]:
    """Give phase, real and imaginary images to the scan they belong to; what belongs to none is returned."""
    extra: dict[int, list[_Scan]] = defaultdict(list)
    alone = []
    for scan in rest:
        homes = [i for i, whole in enumerate(wholes) if _belongs(scan, whole)]
        if homes:
            extra[min(homes, key=lambda i: _distance(scan, wholes[i]))].append(scan)
        else:
            alone.append(scan)
    return [whole.joined(extra[i]) for i, whole in enumerate(wholes)], alone


def _belongs(scan: _Scan, whole: _Scan) -> bool:
    same_series = scan.first.series_instance_uid in {image.series_instance_uid for image in whole.images}
    same_protocol = (scan.first.protocol, scan.first.sequence_kind) == (whole.first.protocol, whole.first.sequence_kind)
    return scan.geometry == whole.geometry and (same_series or same_protocol) and _overlap(scan, whole)


def _distance(scan: _Scan, whole: _Scan) -> tuple[bool, bool, int, int, str]:
    """Order homes: the same series, then the nearest series before (scanners write the phase after the magnitude)."""
    series = {image.series_instance_uid for image in whole.images}
    apart = (scan.first.series_number or 0) - (whole.first.series_number or 0)
    twin_differs = scan.first.twin != whole.first.twin
    return (scan.first.series_instance_uid not in series, apart < 0, abs(apart), int(twin_differs), whole.anchor)


def _complex_pairs(rest: Sequence[_Scan]) -> tuple[list[_Scan], list[_Scan]]:
    """Join real and imaginary images that came as separate series and have no magnitude."""
    families: dict[tuple[object, ...], list[_Scan]] = defaultdict(list)
    for scan in rest:
        families[(scan.geometry, scan.first.protocol, scan.first.sequence_kind)].append(scan)
    pairs, alone = [], []
    for family in families.values():
        whole = family[0].joined(family[1:])
        counts = Counter(component for scan in family for component in {image.component for image in scan.images})
        if whole.has_signal and counts[Component.REAL] == counts[Component.IMAGINARY] == 1:
            pairs.append(whole)
        else:
            alone += family
    return pairs, alone


def _with_derived(wholes: Sequence[_Scan], derived: Sequence[_Scan]) -> tuple[list[_Scan], list[_Scan]]:
    """Put maps beside the first scan of their series, where they are named as left out."""
    extra: dict[int, list[_Scan]] = defaultdict(list)
    alone = []
    for scan in derived:
        uid = scan.first.series_instance_uid
        home = next(
            (i for i, w in enumerate(wholes) if any(image.series_instance_uid == uid for image in w.images)), None
        )
        if home is None:
            alone.append(scan)
        else:
            extra[home].append(scan)
    return [whole.joined(extra[i]) for i, whole in enumerate(wholes)], alone


# --- from a scan to a verdict -----------------------------------------------------------------------------------------


def _judged(scan: _Scan, rules: GroupingSettings) -> Group:
    """Judge one scan: what is not wanted or cannot be used first, then what is ambiguous, then what is missing."""
    group = Group(
        group_id=hashlib.sha256(f"{scan.first.study_instance_uid}|{scan.anchor}".encode()).hexdigest()[:16],
        study_instance_uid=scan.first.study_instance_uid,
        series_instance_uids=tuple(sorted({i.series_instance_uid for i in (*scan.images, *scan.derived)})),
        status=GroupStatus.REFUSED,
        reason=None,
        echo_times_ms=(),
        n_slices=0,
        images=(*scan.images, *scan.derived),
        left_out=_left_out(scan.derived, "derived: a map, a mean or not a magnitude"),
    )
    reason = _not_wanted(scan.first, rules) or _unusable(scan)
    if reason is not None:
        return replace(group, reason=reason)
    return _gridded(scan, group, rules)


def _not_wanted(image: EchoImage, rules: GroupingSettings) -> Reason | None:
    wanted = (
        ("manufacturer", rules.manufacturer, image.manufacturer),
        ("series_description", rules.series_description, image.series_description),
        ("station_name", rules.station_name, image.station_name),
    )
    for name, pattern, value in wanted:
        if pattern and not re.search(pattern, value, re.IGNORECASE):
            return Reason("not-wanted", f"not wanted: [grouping] {name} = {pattern!r} does not match this series")
    pattern = rules.exclude_series_description
    if pattern and re.search(pattern, image.series_description, re.IGNORECASE):
        return Reason(
            "not-wanted", f"not wanted: [grouping] exclude_series_description = {pattern!r} matches this series"
        )
    return None


def _unusable(scan: _Scan) -> Reason | None:
    if not scan.images:
        return Reason("derived-only", f"{_number(len(scan.derived), 'derived image')}, no echo among them")
    kind = scan.first.sequence_kind
    if kind is not SequenceKind.GRADIENT_ECHO:
        sentence = "the header does not say what made the echo" if kind is SequenceKind.UNKNOWN else str(kind)
        return Reason(_KIND_CODES[kind], f"{sentence}: only gradient echoes decay with T2*")
    if not scan.has_signal:
        parts = " and ".join(sorted({str(image.component) for image in scan.images}))
        return Reason("no-magnitude", f"only {parts} images, and no magnitude")
    if not _echoes(scan):
        return Reason("no-echo-time", "no image gives an echo time")
    return None


@dataclass(frozen=True, slots=True)
class _Table:
    """The echo and slice axes of a scan, and how an operator counts them."""

    axes: _Axes
    echoes: _Bins
    slices: _Bins
    echo_numbers: tuple[int, ...]

    @classmethod
    def of(cls, scan: _Scan) -> _Table:
        axes = _Axes.of(scan.first.plane)
        timed = [i for i in scan.of(Component.MAGNITUDE) or _complex(scan) if i.echo_time_ms is not None]
        echoes = _Bins.of((image.echo_time_ms or 0.0 for image in timed), _ECHO_MS)
        slices = _Bins.of((axes.location(image.plane) for image in timed), _LOCATION_MM)
        return cls(axes, echoes, slices, _echo_numbers(timed, echoes))

    def cell(self, image: EchoImage) -> tuple[int, int] | None:
        """Return slice and echo, None for an image outside the table."""
        if image.echo_time_ms is None:
            return None
        place = (self.axes.location(image.plane), image.echo_time_ms)
        inside = self.slices.near(place[0], _LOCATION_MM) and self.echoes.near(place[1], _ECHO_MS)
        return (self.slices.index(place[0]), self.echoes.index(place[1])) if inside else None

    def name(self, cell: tuple[int, int]) -> str:
        return f"echo {self.echo_numbers[cell[1]]}, slice {cell[0] + 1}"

    def cells(self) -> Iterable[tuple[int, int]]:
        return product(range(len(self.slices)), range(len(self.echoes)))


def _complex(scan: _Scan) -> tuple[EchoImage, ...]:
    return (*scan.of(Component.REAL), *scan.of(Component.IMAGINARY))


def _echo_numbers(images: Iterable[EchoImage], echoes: _Bins) -> tuple[int, ...]:
    """The scanner's own count of the echoes where it is one, else 1, 2, 3 ..."""
    stated: list[set[int]] = [set() for _ in echoes.values]
    for image in images:
        stated[echoes.index(image.echo_time_ms or 0.0)].add(image.echo_number or 0)
    numbers = tuple(min(numbers) for numbers in stated if len(numbers) == 1)
    sound = len(numbers) == len(stated) and min(numbers, default=0) > 0
    rising = all(a < b for a, b in pairwise(numbers))
    return numbers if sound and rising else tuple(range(1, len(stated) + 1))


@dataclass(frozen=True, slots=True)
class _Grid:
    """The images of one component in the cells of a table; ``copies`` came in a second encoding."""

    component: Component
    cells: Mapping[tuple[int, int], tuple[EchoImage, ...]]
    copies: tuple[EchoImage, ...] = ()
    outside: tuple[EchoImage, ...] = ()

    @classmethod
    def of(cls, component: Component, images: Iterable[EchoImage], table: _Table) -> _Grid:
        found: dict[Encoding, dict[tuple[int, int], list[EchoImage]]] = {e: defaultdict(list) for e in Encoding}
        outside = []
        for image in images:
            cell = table.cell(image)
            if cell is None:
                outside.append(image)
            else:
                found[image.encoding][cell].append(image)
        best, other = sorted(found.values(), key=len, reverse=True)  # stable: classic first where both are full
        copies = tuple(image for cell in other if cell in best for image in other[cell])
        cells = {cell: tuple(members) for cell, members in {**other, **best}.items()}
        return cls(component, cells, copies, tuple(outside))

    def full(self, table: _Table) -> bool:
        return all(len(self.cells.get(cell, ())) == 1 for cell in table.cells())

    def rows(self, slices: Iterable[int], table: _Table) -> tuple[tuple[EchoImage, ...], ...]:
        return tuple(tuple(self.cells[s, e][0] for e in range(len(table.echoes))) for s in slices)


def _gridded(scan: _Scan, group: Group, rules: GroupingSettings) -> Group:
    table = _Table.of(scan)
    grids = {c: _Grid.of(c, members, table) for c in _SIGNAL if (members := scan.of(c))}
    needed = [grids[Component.MAGNITUDE]] if Component.MAGNITUDE in grids else [grids[c] for c in _COMPLEX]
    group = replace(
        group,
        echo_times_ms=table.echoes.values,
        n_slices=len(table.slices),
        left_out=group.left_out + _left_over(grids, needed, table),
    )
    reason = _ambiguous(needed, table) or _too_few(scan, table, rules)
    if reason is not None:
        return replace(group, reason=reason)
    holes = [cell for cell in table.cells() if any(cell not in grid.cells for grid in needed)]
    whole = [s for s in range(len(table.slices)) if not any(hole[0] == s for hole in holes)]
    stack = _stack(whole, grids, needed, table) if whole else None
    reason = _missing_echoes(scan, table) or _missing_images(holes, table) or _unaccounted(scan, table)
    if reason is None:
        return replace(group, status=GroupStatus.COMPLETE, stack=stack)
    missing = tuple(table.name(hole) for hole in holes) + _missing_echo_names(scan, table)
    return replace(group, status=GroupStatus.INCOMPLETE, reason=reason, partial=stack, missing=missing)


def _stack(
    slices: Sequence[int], grids: Mapping[Component, _Grid], needed: Sequence[_Grid], table: _Table
) -> EchoStack:
    images = needed[0].rows(slices, table)
    companions: dict[Component, tuple[tuple[EchoImage, ...], ...]] = {
        component: grid.rows(slices, table)
        for component, grid in grids.items()
        if component is not Component.MAGNITUDE and (grid in needed or grid.full(table))
    }
    used = (image for grid in needed for row in grid.rows(slices, table) for image in row)
    first = images[0][0]
    return EchoStack(
        study_instance_uid=first.study_instance_uid,
        series_instance_uids=tuple(dict.fromkeys(image.series_instance_uid for image in used)),
        echo_times_ms=table.echoes.values,
        images=images,
        companions=companions,
        magnitude_from=needed[0].component,
    )


def _left_over(grids: Mapping[Component, _Grid], needed: Sequence[_Grid], table: _Table) -> tuple[str, ...]:
    """Say which images are in no stack."""
    said: tuple[str, ...] = ()
    for component, grid in grids.items():
        said += _left_out(grid.copies, f"{component} that is there in another encoding too")
        said += _left_out(grid.outside, f"{component} without an echo time or outside the magnitude's grid")
        if grid not in needed and not grid.full(table):
            kept = tuple(image for images in grid.cells.values() for image in images)
            said += _left_out(kept, f"{component} that does not fill the grid")
    return said


def _left_out(images: Sequence[EchoImage], what: str) -> tuple[str, ...]:
    return (f"{_number(len(images), 'image')}: {what}",) if images else ()


def _ambiguous(needed: Sequence[_Grid], table: _Table) -> Reason | None:
    crowded = {cell: images for grid in needed for cell in table.cells() if len(images := grid.cells.get(cell, ())) > 1}
    if not crowded:
        return None
    cell, images = next(iter(crowded.items()))
    most = max(map(len, crowded.values()))
    if all(_repeated(images) for images in crowded.values()):
        return Reason("repetitions", f"{most} repetitions at one position, where one is expected")
    where = f"echo {table.echoes.values[cell[1]]:g} ms, slice {cell[0] + 1}"
    more = f" (and at {_number(len(crowded) - 1, 'more place')})" if len(crowded) > 1 else ""
    return Reason("ambiguous", f"{_WORDS.get(len(images), len(images))} different images at {where}{more}")


def _repeated(images: Sequence[EchoImage]) -> bool:
    """Tell whether the header numbers the images of one cell: then they are repetitions."""
    numbers: tuple[Callable[[EchoImage], int | None], ...] = (lambda i: i.repetition, lambda i: i.acquisition_number)
    return any(None not in found and len(found) == len(images) for found in ({n(i) for i in images} for n in numbers))


def _promised_echoes(scan: _Scan) -> int:
    return max((image.promised_echoes or 0 for image in scan.images), default=0)


def _too_few(scan: _Scan, table: _Table, rules: GroupingSettings) -> Reason | None:
    """Judge by what is announced where that is more than what has arrived."""
    count = max(len(table.echoes), _promised_echoes(scan))
    if count >= rules.minimum_echoes:
        return None
    return Reason("too-few-echoes", f"{_number(count, 'echo', 'echoes')}, minimum is {rules.minimum_echoes}")


def _missing_echo_names(scan: _Scan, table: _Table) -> tuple[str, ...]:
    absent = sorted(set(range(1, _promised_echoes(scan) + 1)) - set(table.echo_numbers))
    return tuple(f"echo {number}" for number in absent)


def _missing_echoes(scan: _Scan, table: _Table) -> Reason | None:
    promised = _promised_echoes(scan)
    if promised <= len(table.echoes):
        return None
    numbers = [int(name.removeprefix("echo ")) for name in _missing_echo_names(scan, table)]
    sentence = f"{_ranges(numbers)} missing: {len(table.echoes)} of {promised} announced"
    return Reason("echoes-missing", sentence)


def _missing_images(holes: Sequence[tuple[int, int]], table: _Table) -> Reason | None:
    if not holes:
        return None
    names = "; ".join(table.name(hole) for hole in holes[:_NAMED])
    more = f" and {len(holes) - _NAMED} more" if len(holes) > _NAMED else ""
    return Reason("images-missing", f"{_number(len(holes), 'image')} missing: {names}{more}")


def _unaccounted(scan: _Scan, table: _Table) -> Reason | None:
    """Compare with the number of images announced, as far as it can be understood.

    The number counts every component and map that the scanner made (GE: magnitude, real and imaginary together), of
    which a site may send only some. So a full grid is taken for the whole where any number of components and maps
    explains the announcement, and is incomplete only where none does.
    """
    announced = max((image.promised_images or 0 for image in scan.images), default=0)
    arrived = len(scan.images) + len(scan.derived)
    per_slice, rest = divmod(announced, len(table.slices))
    possible = (n * len(table.echoes) + maps for n in range(1, len(_SIGNAL) + 1) for maps in range(_MAPS + 1))
    if announced <= arrived or (rest == 0 and per_slice in possible):
        return None
    return Reason(
        "fewer-images-than-announced",
        f"{arrived} of {announced} announced images: whole slices are missing",
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Write 5, 6, 7, 9 as "echoes 5–7, 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
    return f"echo{'' if len(numbers) == 1 else 'es'} {text}"


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _with_distinct_ids(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Make the names of groups distinct where the stable part alone is not."""
    counts = Counter(group.group_id for group in groups)
    seen: Counter[str] = Counter()
    named = []
    for group in groups:
        seen[group.group_id] += 1
        unique = group.group_id if counts[group.group_id] == 1 else f"{group.group_id}-{seen[group.group_id]}"
        named.append(replace(group, group_id=unique))
    return tuple(named)
