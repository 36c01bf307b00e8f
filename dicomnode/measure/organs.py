"""What is known of each organ that can be measured: a table to which an organ is added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomnode.measure import iron, regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dicomnode.measure.iron import Calibration
    from dicomnode.measure.regions import Found


@dataclass(frozen=True, slots=True)
class Organ:
    """One organ: how it is found, and what its decay says of its iron."""

    name: str  # as regions, drawings and calibrations call it
    find: Callable[..., Found]  # (signal, echo times in ms, maps, planes, number of coils) -> its regions
    calibrations: tuple[Calibration, ...]  # published, each for some field
    smallest_mg_per_g: float  # under which no concentration is given
    without_iron: frozenset[str]  # regions of it that show something else, and get no concentration

    def calibration(self, name: str, field_t: float | None, own: Iterable[Calibration] = ()) -> Calibration | None:
        """The calibration of that name at that field, published or a site's own; None where none was made for it."""
        return iron.calibration(name, self.name, field_t, own)


LIVER = Organ(
    name="liver",
    find=regions.find,
    calibrations=iron.CALIBRATIONS,
    smallest_mg_per_g=iron.SMALLEST_MG_PER_G,
    without_iron=regions.WITHOUT_IRON,
)
ORGANS: Mapping[str, Organ] = {organ.name: organ for organ in (LIVER,)}
