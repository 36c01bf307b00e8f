"""A scan -> its echo × slice grid, component by component."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING

from dicomnode.group.geometry import ECHO_MS, LOCATION_MM, Bins
from dicomnode.model import Component, EchoImage, EchoStack, Encoding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dicomnode.group.geometry import Axes
    from dicomnode.group.scans import Scan

SIGNAL = (Component.MAGNITUDE, Component.PHASE, Component.REAL, Component.IMAGINARY)
COMPLEX = (Component.REAL, Component.IMAGINARY)


@dataclass(frozen=True, slots=True)
class Table:
    """The echo and slice axes of a scan, and how an operator counts them."""

    axes: Axes
    echoes: Bins
    slices: Bins
    echo_numbers: tuple[int, ...]

    @classmethod
    def of(cls, scan: Scan) -> Table:
        """Take the axes from the magnitudes, or from the real and imaginary images where there are none."""
        axes = scan.axes
        timed = [i for i in scan.of(Component.MAGNITUDE) or _complex(scan) if i.echo_time_ms is not None]
        echoes = Bins.of((image.echo_time_ms or 0.0 for image in timed), ECHO_MS)
        slices = Bins.of((axes.location(image.plane) for image in timed), LOCATION_MM)
        return cls(axes, echoes, slices, _echo_numbers(timed, echoes))

    def cell(self, image: EchoImage) -> tuple[int, int] | None:
        """Return slice and echo, None for an image outside the table."""
        if image.echo_time_ms is None:
            return None
        place = (self.axes.location(image.plane), image.echo_time_ms)
        inside = self.slices.near(place[0], LOCATION_MM) and self.echoes.near(place[1], ECHO_MS)
        return (self.slices.index(place[0]), self.echoes.index(place[1])) if inside else None

    def name(self, cell: tuple[int, int]) -> str:
        """Return what an operator calls the cell; slices count from 1 along the normal."""
        return f"echo {self.echo_numbers[cell[1]]}, slice {cell[0] + 1}"

    def cells(self) -> Iterable[tuple[int, int]]:
        """Every cell, slice by slice."""
        return product(range(len(self.slices)), range(len(self.echoes)))


def _complex(scan: Scan) -> tuple[EchoImage, ...]:
    return (*scan.of(Component.REAL), *scan.of(Component.IMAGINARY))


def _echo_numbers(images: Iterable[EchoImage], echoes: Bins) -> tuple[int, ...]:
    """The scanner's own count of the echoes where it is one, else 1, 2, 3 ..."""
    stated: list[set[int]] = [set() for _ in echoes.values]
    for image in images:
        stated[echoes.index(image.echo_time_ms or 0.0)].add(image.echo_number or 0)
    numbers = tuple(min(numbers) for numbers in stated if len(numbers) == 1)
    sound = len(numbers) == len(stated) and min(numbers, default=0) > 0
    rising = all(a < b for a, b in pairwise(numbers))
    return numbers if sound and rising else tuple(range(1, len(stated) + 1))


@dataclass(frozen=True, slots=True)
class Grid:
    """The images of one component in the cells of a table; ``copies`` came in a second encoding."""

    component: Component
    cells: Mapping[tuple[int, int], tuple[EchoImage, ...]]
    copies: tuple[EchoImage, ...] = ()
    outside: tuple[EchoImage, ...] = ()

    @classmethod
    def of(cls, component: Component, images: Iterable[EchoImage], table: Table) -> Grid:
        """Put images into their cells, from one encoding entirely where that one is full."""
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

    def full(self, table: Table) -> bool:
        """Tell whether every cell holds one image."""
        return all(len(self.cells.get(cell, ())) == 1 for cell in table.cells())

    def rows(self, slices: Iterable[int], table: Table) -> tuple[tuple[EchoImage, ...], ...]:
        """Return the images of some slices, echo by echo."""
        return tuple(tuple(self.cells[s, e][0] for e in range(len(table.echoes))) for s in slices)


def stack_of(slices: Sequence[int], grids: Mapping[Component, Grid], needed: Sequence[Grid], table: Table) -> EchoStack:
    """Return the stack of slices that are complete, with the companions that are complete."""
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
