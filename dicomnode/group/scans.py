"""Images of a study -> scans: what one acquisition made, over however many series and encodings it was sent."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from dicomnode.group.geometry import ECHO_MS, LOCATION_MM, Bins, Geometries, slabs
from dicomnode.model import DAY_S, Component

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dicomnode.group.geometry import Axes
    from dicomnode.model import EchoImage, Plane

TOGETHER_S = 10.0  # echoes of one slice come within a repetition time; the next breath-hold is further away


_SAME_TR, _SAME_FLIP_DEGREES = 0.02, 1.0  # relative; objects of one scan differ in digits


@dataclass(frozen=True, slots=True)
class Scan:
    """Images of one geometry that may make one stack, with the maps that came beside them."""

    geometry: int
    axes: Axes
    anchor: str  # what keeps the group's name the same while images arrive
    images: tuple[EchoImage, ...]
    derived: tuple[EchoImage, ...] = ()
    shifted_mm: float = 0.0  # how far apart the echoes of one slice lie in its plane, where that is no rounding

    def of(self, component: Component) -> tuple[EchoImage, ...]:
        """Return the images of one component."""
        return tuple(image for image in self.images if image.component is component)

    @property
    def first(self) -> EchoImage:
        """The image whose facts speak for all."""
        return (self.images or self.derived)[0]

    @property
    def has_signal(self) -> bool:
        """Whether there is a magnitude, or what it can be computed from."""
        here = {image.component for image in self.images}
        return Component.MAGNITUDE in here or {Component.REAL, Component.IMAGINARY} <= here

    @property
    def series(self) -> frozenset[str]:
        """Series Instance UIDs of the signal."""
        return frozenset(image.series_instance_uid for image in self.images)

    def joined(self, others: Iterable[Scan]) -> Scan:
        """Return this scan with the images of others; the name stays."""
        more = tuple(others)
        images = (*self.images, *(image for other in more for image in other.images))
        derived = (*self.derived, *(image for other in more for image in other.derived))
        return replace(self, images=images, derived=derived)


def scans_of(images: Sequence[EchoImage]) -> list[Scan]:
    """Split by series (or the scan a scanner split), geometry, sequence and twins; derived images less finely."""
    geometry, origins = Geometries(), _scattered(images)
    parts: dict[tuple[str, int, tuple[str, ...]], list[EchoImage]] = defaultdict(list)
    for image in images:
        facts = () if image.component is Component.DERIVED else (str(image.sequence_kind), *image.twin)
        origin = origins.get(image.series_instance_uid) or _origin(image)
        parts[(origin, geometry.index(image.plane), facts)].append(image)
    scans = []
    for (origin, index, shared), members in parts.items():
        axes = geometry.axes(index)
        pieces = [(name, *piece) for name, one in _protocols(members) for piece in _slabs(one, axes)]
        for protocol, place, slab, shift in pieces:
            anchor = _anchor(origin, slab[0], (*shared, protocol, place))
            signal = slab[0].component is not Component.DERIVED
            images_of, derived = (tuple(slab), ()) if signal else ((), tuple(slab))
            scans.append(Scan(index, axes, anchor, images_of, derived, shift))
    return scans


def _slabs(images: Sequence[EchoImage], axes: Axes) -> list[tuple[str, list[EchoImage], float]]:
    """Slabs side by side; one, with how far it is torn, where they share no echo: those are no neighbours."""
    found = slabs(images, axes)
    times = [{round((image.echo_time_ms or 0.0) / ECHO_MS) for image in slab} for slab in found.values()]
    torn = len(found) > 1 and sum(map(len, times)) == len(set().union(*times)) > len(found)
    if not torn:
        return [(place, slab, 0.0) for place, slab in found.items()]
    rows, columns = ([along(i.plane) for i in images] for along in (axes.along_row, axes.along_column))
    return [("", list(images), math.hypot(max(rows) - min(rows), max(columns) - min(columns)))]


def _protocols(images: Sequence[EchoImage]) -> list[tuple[str, list[EchoImage]]]:
    """Split what one series holds by sequence, repetition time and flip angle; what is not said contradicts nothing.

    Each part has a name of its own that does not hang on what else the series holds.
    """
    found: list[list[EchoImage]] = []
    for image in sorted(images, key=lambda one: one.protocol.count("")):
        home = next((members for members in found if _same_protocol(members[0].protocol, image.protocol)), None)
        if home is None:
            found.append([image])
        else:
            home.append(image)
    return [("/".join(members[0].protocol[1:]), members) for members in _by_slice(found)]


def _by_slice(parts: list[list[EchoImage]]) -> list[list[EchoImage]]:
    """Put parts together that have the same echoes at other places: a trigger may give every slice its own timing."""
    joined: list[list[EchoImage]] = []
    for part in parts:
        home = next((other for other in joined if _same_echoes_elsewhere(other, part)), None)
        if home is None:
            joined.append(part)
        else:
            home += part
    return joined


def _same_echoes_elsewhere(one: Sequence[EchoImage], other: Sequence[EchoImage]) -> bool:
    times, places = (
        [{round(value / step) for value in map(of, images)} for images in (one, other)]
        for of, step in ((lambda i: i.echo_time_ms or 0.0, ECHO_MS), (lambda i: i.plane.location_mm, LOCATION_MM))
    )
    return times[0] == times[1] and len(times[0]) > 1 and not places[0] & places[1]


def _same_protocol(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Compare sequence name, repetition time and flip angle as ``header`` tells them."""
    if not one or not other:
        return True
    (_, name, _, tr, flip), (_, other_name, _, other_tr, other_flip) = one, other
    if name and other_name and name != other_name:
        return False
    if tr and other_tr and abs(float(tr) - float(other_tr)) > _SAME_TR * max(float(tr), float(other_tr)) + 0.1:
        return False
    return not (flip and other_flip and abs(float(flip) - float(other_flip)) > _SAME_FLIP_DEGREES)


def _anchor(origin: str, image: EchoImage, facts: Iterable[str]) -> str:
    return f"{origin}|{_coarse(image.plane)}|{'/'.join(facts)}"


def _origin(image: EchoImage) -> str:
    return "/".join(("scan", image.scan, *image.protocol)) if image.scan else image.series_instance_uid


def _scattered(images: Sequence[EchoImage]) -> dict[str, str]:
    """Names of scans whose images or slices each have a Series Instance UID of their own, by that UID.

    Some exports and anonymisers do so. What is left of the series is its number and its protocol; the UIDs of a scan
    that was sent like this hold one image each, or one slice each and no two of them the same.
    """
    families: dict[str, dict[str, list[EchoImage]]] = defaultdict(lambda: defaultdict(list))
    for image in images:
        if image.series_number is not None and not image.scan and image.component is not Component.DERIVED:
            facts = (str(image.series_number), str(image.component), *image.protocol, *image.twin)
            families["/".join(("number", *facts, _coarse(image.plane)))][image.series_instance_uid].append(image)
    found: dict[str, str] = {}
    for name, series in families.items():
        places = [{round(image.plane.location_mm / LOCATION_MM) for image in members} for members in series.values()]
        alone = all(len(members) == 1 for members in series.values())
        apart = all(len(one) == 1 for one in places) and len(set().union(*places)) == len(places)
        if len(series) > 1 and (alone or apart):
            found |= dict.fromkeys(series, name)
    return found


def _coarse(plane: Plane) -> str:
    """Orientation and matrix in few digits: the same for every image of a stack, whichever arrived first."""
    return f"{plane.rows}x{plane.columns} " + " ".join(str(round(cosine, 1) + 0.0) for cosine in plane.orientation)


def series_per_echo(scans: Sequence[Scan]) -> list[Scan]:
    """Join the series of scans that were sent as one series per echo by a scanner that does not number its scans."""
    families: dict[tuple[object, ...], list[Scan]] = defaultdict(list)
    whole = []
    for scan in scans:
        if len(echoes_of(scan)) == 1:
            families[_family(scan)].append(scan)
        else:
            whole.append(scan)
    for family in families.values():
        whole += _joined_family(sorted(family, key=_series_order))
    return whole


def echoes_of(scan: Scan) -> Bins:
    """Return the echo times of the signal, in milliseconds."""
    signal = scan.of(Component.MAGNITUDE) or scan.of(Component.REAL)
    return Bins.of((image.echo_time_ms for image in signal if image.echo_time_ms is not None), ECHO_MS)


def _family(scan: Scan) -> tuple[object, ...]:
    first = scan.first
    return (scan.geometry, first.sequence_kind, first.twin, first.protocol, first.encoding)


def _series_order(scan: Scan) -> tuple[int, float, str]:
    """Order as the scanner numbered them; by echo time where all have one number."""
    return (scan.first.series_number or 0, echoes_of(scan).values[0], scan.first.series_instance_uid)


def _joined_family(scans: Sequence[Scan]) -> list[Scan]:
    """Cut the series, in the scanner's order, where an echo comes again: there the next scan begins.

    Where the pieces do not look alike the order cannot be trusted, so nothing is joined.
    """
    by_time = sorted(scans, key=lambda scan: echoes_of(scan).values[0])
    if all(
        echoes_of(a).values[0] + ECHO_MS < echoes_of(b).values[0] and _acquired_together(b, a)
        for a, b in pairwise(by_time)
    ):
        return [by_time[0].joined(by_time[1:])]
    times = [echoes_of(scan).values[0] for scan in scans]
    pieces: list[list[int]] = []
    for i, scan in enumerate(scans):
        if i and times[i] > times[i - 1] + ECHO_MS and _acquired_together(scan, scans[i - 1]):
            pieces[-1].append(i)
        else:
            pieces.append([i])
    longest = max(pieces, key=len)
    alike = (abs(times[i] - times[j]) <= ECHO_MS for piece in pieces for i, j in zip(piece, longest, strict=False))
    return [scans[piece[0]].joined(scans[i] for i in piece[1:]) for piece in pieces] if all(alike) else list(scans)


def _acquired_together(one: Scan, other: Scan) -> bool:
    """Tell whether two series may be echoes of one read-out: a slice in common, acquired at one time where it is said.

    Separate scans may differ in gain, which would bend the decay.
    """
    locations = _locations(one)
    moments = {locations.index(one.axes.location(image.plane)): image.acquired_s for image in one.images}
    for image in other.images:
        location = one.axes.location(image.plane)
        if locations.near(location, LOCATION_MM):
            moment = moments[locations.index(location)]
            return moment is None or image.acquired_s is None or apart_s(moment, image.acquired_s) <= TOGETHER_S
    return False


def apart_s(one: float, other: float) -> float:
    """Seconds between two moments; of times of day without a date the shorter way, which may be over midnight."""
    if min(one, other) >= DAY_S:
        return abs(one - other)
    apart = abs(one % DAY_S - other % DAY_S)
    return min(apart, DAY_S - apart)


def _locations(scan: Scan) -> Bins:
    return Bins.of((scan.axes.location(image.plane) for image in scan.images), LOCATION_MM)


def with_companions(wholes: Sequence[Scan], rest: Sequence[Scan]) -> tuple[list[Scan], list[Scan]]:
    """Give phase, real and imaginary images to the scan they belong to; what belongs to none is returned."""
    homes = [_Home(i, whole, whole.series, _locations(whole)) for i, whole in enumerate(wholes)] if rest else []
    extra: dict[int, list[Scan]] = defaultdict(list)
    alone = []
    for scan in rest:
        home = min((home for home in homes if home.takes(scan)), key=lambda home: home.distance(scan), default=None)
        if home is None:
            alone.append(scan)
        else:
            extra[home.number].append(scan)
    return [whole.joined(extra[i]) for i, whole in enumerate(wholes)], alone


@dataclass(frozen=True, slots=True)
class _Home:
    """A scan that other components may belong to, with what is asked of it for each of them."""

    number: int
    scan: Scan
    series: frozenset[str]
    locations: Bins

    def takes(self, other: Scan) -> bool:
        """Same geometry, same series or protocol, and a slice in common."""
        one, two = self.scan.first, other.first
        same_protocol = (one.protocol, one.sequence_kind) == (two.protocol, two.sequence_kind)
        alike = self.scan.geometry == other.geometry and (two.series_instance_uid in self.series or same_protocol)
        places = (self.scan.axes.location(image.plane) for image in other.images)
        return alike and any(self.locations.near(place, LOCATION_MM) for place in places)

    def distance(self, other: Scan) -> tuple[bool, bool, int, bool, int]:
        """Order homes: the same series, then the nearest one before (the phase is written after the magnitude)."""
        apart = (other.first.series_number or 0) - (self.scan.first.series_number or 0)
        elsewhere = other.first.series_instance_uid not in self.series
        return (elsewhere, apart < 0, abs(apart), other.first.twin != self.scan.first.twin, self.number)


def complex_pairs(rest: Sequence[Scan]) -> tuple[list[Scan], list[Scan]]:
    """Join real and imaginary images that came as separate series and have no magnitude."""
    families: dict[tuple[object, ...], list[Scan]] = defaultdict(list)
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


def with_derived(wholes: Sequence[Scan], derived: Sequence[Scan]) -> tuple[list[Scan], list[Scan]]:
    """Put maps beside the first scan of their series, where they are named as left out."""
    homes = {uid: i for i in reversed(range(len(wholes))) for uid in wholes[i].series} if derived else {}
    extra: dict[int, list[Scan]] = defaultdict(list)
    alone = []
    for scan in derived:
        home = homes.get(scan.first.series_instance_uid)
        if home is None:
            alone.append(scan)
        else:
            extra[home].append(scan)
    return [whole.joined(extra[i]) for i, whole in enumerate(wholes)], alone
