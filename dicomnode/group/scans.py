"""Images of a study -> scans: what one acquisition made, over however many series and encodings it was sent."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dicomnode.group.geometry import ECHO_MS, LOCATION_MM, Axes, Bins, Geometries, slabs
from dicomnode.model import Component

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dicomnode.model import EchoImage, Plane


@dataclass(frozen=True, slots=True)
class Scan:
    """Images of one geometry that may make one stack, with the maps that came beside them."""

    geometry: int
    anchor: str  # what keeps the group's name the same while images arrive
    images: tuple[EchoImage, ...]
    derived: tuple[EchoImage, ...] = ()

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

    def joined(self, others: Iterable[Scan]) -> Scan:
        """Return this scan with the images of others; the name stays."""
        more = tuple(others)
        images = (*self.images, *(image for other in more for image in other.images))
        derived = (*self.derived, *(image for other in more for image in other.derived))
        return replace(self, images=images, derived=derived)


def scans_of(images: Sequence[EchoImage]) -> list[Scan]:
    """Split by series (or the scan a scanner split), geometry, sequence and twins; derived images less finely."""
    geometry = Geometries()
    parts: dict[tuple[str, int, tuple[str, ...]], list[EchoImage]] = defaultdict(list)
    for image in images:
        facts = () if image.component is Component.DERIVED else (str(image.sequence_kind), *image.twin)
        parts[(_origin(image), geometry.index(image.plane), facts)].append(image)
    scans = []
    for (_, index, shared), members in parts.items():
        for number, slab in enumerate(slabs(members)):
            scans.append(_scan(index, tuple(slab), "/".join((*shared, str(number or "")))))
    return scans


def _scan(geometry: int, images: tuple[EchoImage, ...], facts: str) -> Scan:
    first = images[0]
    derived = first.component is Component.DERIVED
    anchor = f"{_origin(first)}|{_coarse(first.plane)}|{facts}"
    return Scan(geometry, anchor, () if derived else images, images if derived else ())


def _origin(image: EchoImage) -> str:
    return "/".join(("scan", image.scan, *image.protocol)) if image.scan else image.series_instance_uid


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


def _series_order(scan: Scan) -> tuple[int, str]:
    return (scan.first.series_number or 0, scan.first.series_instance_uid)


def _joined_family(scans: Sequence[Scan]) -> list[Scan]:
    """Cut the series, in the scanner's order, where an echo comes again: there the next scan begins.

    Where the pieces do not look alike the order cannot be trusted, so nothing is joined.
    """
    times = {id(scan): echoes_of(scan).values[0] for scan in scans}
    pieces: list[list[Scan]] = []
    for scan in scans:
        before = pieces[-1][-1] if pieces else scan
        if times[id(scan)] > times[id(before)] + ECHO_MS and _overlap(scan, before):
            pieces[-1].append(scan)
        else:
            pieces.append([scan])
    longest = max(pieces, key=len)
    alike = (
        abs(times[id(a)] - times[id(b)]) <= ECHO_MS for piece in pieces for a, b in zip(piece, longest, strict=False)
    )
    return [piece[0].joined(piece[1:]) for piece in pieces] if all(alike) else list(scans)


def _overlap(one: Scan, other: Scan) -> bool:
    """Tell whether any slice of one lies where one of the other does."""
    axes = Axes.of(one.first.plane)
    here = Bins.of((axes.location(image.plane) for image in one.images), LOCATION_MM)
    return any(here.near(axes.location(image.plane), LOCATION_MM) for image in other.images)


def with_companions(wholes: Sequence[Scan], rest: Sequence[Scan]) -> tuple[list[Scan], list[Scan]]:
    """Give phase, real and imaginary images to the scan they belong to; what belongs to none is returned."""
    extra: dict[int, list[Scan]] = defaultdict(list)
    alone = []
    for scan in rest:
        homes = [i for i, whole in enumerate(wholes) if _belongs(scan, whole)]
        if homes:
            extra[min(homes, key=lambda i: _distance(scan, wholes[i]))].append(scan)
        else:
            alone.append(scan)
    return [whole.joined(extra[i]) for i, whole in enumerate(wholes)], alone


def _belongs(scan: Scan, whole: Scan) -> bool:
    same_series = scan.first.series_instance_uid in {image.series_instance_uid for image in whole.images}
    same_protocol = (scan.first.protocol, scan.first.sequence_kind) == (whole.first.protocol, whole.first.sequence_kind)
    return scan.geometry == whole.geometry and (same_series or same_protocol) and _overlap(scan, whole)


def _distance(scan: Scan, whole: Scan) -> tuple[bool, bool, int, int, str]:
    """Order homes: the same series, then the nearest series before (scanners write the phase after the magnitude)."""
    series = {image.series_instance_uid for image in whole.images}
    apart = (scan.first.series_number or 0) - (whole.first.series_number or 0)
    twin_differs = scan.first.twin != whole.first.twin
    return (scan.first.series_instance_uid not in series, apart < 0, abs(apart), int(twin_differs), whole.anchor)


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
    extra: dict[int, list[Scan]] = defaultdict(list)
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
