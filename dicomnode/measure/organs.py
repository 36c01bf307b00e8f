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
class Ranges:
    """Published ranges of a concentration in mg/g, ascending: (from, up to, the scheme's own word)."""

    scheme: str
    limits: tuple[tuple[float, float, str], ...]
    top: float  # where a scale of them ends

    @property
    def severe(self) -> float:
        """Where the last range begins."""
        return self.limits[-1][0]

    @property
    def least(self) -> float:
        """Where the second range begins: a bound below says nothing."""
        return self.limits[0][1]

    def of(self, mg_per_g: float) -> tuple[float, float, str]:
        """The range that a concentration lies in."""
        return next(entry for entry in self.limits if mg_per_g < entry[1])


@dataclass(frozen=True, slots=True)
class Organ:
    """One organ: how it is named and found, and what its decay says of its iron."""

    name: str  # as regions, drawings and calibrations call it
    code: str  # SNOMED CT
    retired_codes: tuple[str, ...]  # that viewers still write
    body_part: str  # Body Part Examined (PS3.16 annex L)
    subject: str  # what a report is about
    ranges: Ranges | None
    find: Callable[..., Found]  # (signal, echo times in ms, maps, planes, number of coils) -> its regions
    calibrations: tuple[Calibration, ...]  # published, each for some field
    smallest_mg_per_g: float  # under which no concentration is given
    without_iron: frozenset[str]  # regions of it that show something else, and get no concentration
    region: str  # of the body it lies in, in words
    words: tuple[str, ...]  # that name it or what lies about it in a header: see ``protocol``
    scenes: tuple[str, ...]  # of the finder's, that show it

    def calibration(self, name: str, field_t: float | None, own: Iterable[Calibration] = ()) -> Calibration | None:
        """The calibration of that name at that field, published or a site's own; None where none was made for it."""
        return iron.calibration(name, self.name, field_t, own)

    def usual_calibration(self, field_t: float | None) -> Calibration | None:
        """The first published calibration for that field."""
        names = dict.fromkeys(one.name for one in self.calibrations)
        found = (self.calibration(name, field_t) for name in names)
        return next((one for one in found if one is not None), None)


LIVER = Organ(
    name="liver",
    code="10200004",
    retired_codes=("T-62000",),
    body_part="LIVER",
    subject="Liver iron",
    ranges=Ranges(
        "Reeder 2023",  # Radiology; mg Fe per g dry weight
        (
            (float("-inf"), 1.8, "normal"),
            (1.8, 3.2, "borderline"),
            (3.2, 7.0, "mild"),
            (7.0, 15.0, "moderate"),
            (15.0, float("inf"), "severe"),
        ),
        top=43.0,
    ),
    find=regions.find,
    calibrations=iron.CALIBRATIONS,
    smallest_mg_per_g=iron.SMALLEST_MG_PER_G,
    without_iron=regions.WITHOUT_IRON,
    region="abdomen",
    words=(
        *("liver", "leber", "|foie|", "fegato", "higado", "figado", "hepat", "hepar", "ferriscan", "|lic|"),
        *("abdom", "|abd", "addom", "bauch", "viscera", "trunk"),
        *("spleen", "milz", "kidney", "renal", "pancrea", "mrcp"),
    ),
    scenes=("trunk",),
)
ORGANS: Mapping[str, Organ] = {organ.name: organ for organ in (LIVER,)}
