"""What is known of an organ that can be measured: the record that a table of organs, or another package, fills in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from dicomnode.measure import iron

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dicomnode.measure.iron import Calibration
    from dicomnode.measure.regions import Found
    from dicomnode.model import Vector3


class Answered(StrEnum):
    """What the one answer of a report gives."""

    IRON = "iron"  # a concentration, by a calibration
    T2STAR = "T2*"  # the time itself, which is what an organ's published limits are of
    RATE = "R2*"  # the rate alone: of a phantom no iron is told, no range, no change


_UNITS = {Answered.IRON: "mg/g", Answered.T2STAR: "ms", Answered.RATE: "/s"}


@dataclass(frozen=True, slots=True)
class Ranges:
    """Published ranges, ascending in iron: (from, up to, the scheme's own word).

    Of a concentration in mg/g, or of R2* in 1/s where the scheme gives its limits as T2*.
    """

    scheme: str
    limits: tuple[tuple[float, float, str], ...]
    top: float  # where a scale of them ends
    of_rate: bool = False
    fields_t: tuple[float, float] = (0.0, float("inf"))  # from, up to: where they hold

    @property
    def severe(self) -> float:
        """Where the last range begins."""
        return self.limits[-1][0]

    @property
    def least(self) -> float:
        """Where the second range begins: a bound below says nothing."""
        return self.limits[0][1]

    @property
    def unit(self) -> str:
        """Of the limits as they are printed."""
        return "ms" if self.of_rate else "mg/g"

    def of(self, value: float) -> tuple[float, float, str]:
        """The range that a value lies in."""
        return next(entry for entry in self.limits if value < entry[1])

    def printed(self, limit: float) -> str:
        """A limit as the scheme states it, without its unit."""
        return f"{1000.0 / limit:g}" if self.of_rate else f"{limit:g}"

    def within(self, entry: tuple[float, float, str]) -> str:
        """The limits of a range in words."""
        low, high, _ = entry
        more, less = ("below", "above") if self.of_rate else ("above", "below")
        unit = f" {self.unit}" if self.of_rate else ""
        if low < 0:
            return f"{less} {self.printed(high)}{unit}"
        if high > 1e9:
            return f"{more} {self.printed(low)}{unit}"
        ends = sorted((low, high), reverse=self.of_rate)
        return f"{self.printed(ends[0])} to {self.printed(ends[1])}{unit}"

    def hold_at(self, field_t: float | None) -> bool:
        """Whether they were made for a field."""
        low, high = self.fields_t
        return (low, high) == (0.0, float("inf")) or (field_t is not None and low <= field_t < high)


@dataclass(frozen=True, slots=True)
class Repeatability:
    """By how much two concentrations of an unchanged organ differ besides their standard errors; the larger counts."""

    share: float  # of the mean of both
    least: float  # mg/g
    source: str  # where that is from


@dataclass(frozen=True, slots=True)
class Site:
    """A SNOMED CT concept of a place in the body, with the codes that viewers still write for it."""

    code: str
    meaning: str
    retired: tuple[str, ...] = ()


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
    lies_in: Callable[[Vector3], bool]  # whether slices with that normal are cut as it is scanned
    planes: str  # those, in words
    device: str = "Iron Node"  # as results of it name what made them
    concentration: str = "iron concentration"
    symbol: str = "IC"  # of that
    answers: Answered = Answered.IRON
    drawn_as: str = ""  # what a person who draws is asked for; empty: its name
    sites: Mapping[str, Site] = field(default_factory=lambda: MappingProxyType({}))  # of regions that are a part of it
    repeatability: Repeatability | None = None  # None: earlier results stand beside a new one without a verdict
    fits_phase: bool = False  # whether a complex fit is made beside its magnitudes: the gates of it know abdomens
    origin: str = ""  # distribution and version of the package it comes from; empty: this one

    @property
    def quantity(self) -> str:
        """The symbol of what its reports answer with."""
        return self.symbol if self.answers is Answered.IRON else self.answers.value

    @property
    def unit(self) -> str:
        """Of that, as it is printed."""
        return _UNITS[self.answers]

    @property
    def has_iron(self) -> bool:
        """Whether its reports may hold a concentration."""
        return self.answers is not Answered.RATE

    @property
    def to_draw(self) -> str:
        """What a person is asked to draw."""
        return self.drawn_as or self.name

    def site(self, region: str) -> Site:
        """What a region of it is of."""
        return self.sites.get(region, Site(self.code, self.name.capitalize(), self.retired_codes))

    def has(self, code: str) -> bool:
        """Whether a SNOMED CT concept is the organ or a part of it."""
        return code == self.code or any(code == site.code for site in self.sites.values())

    def calibration(self, name: str, field_t: float | None, own: Iterable[Calibration] = ()) -> Calibration | None:
        """The calibration of that name at that field, published or a site's own; None where none was made for it."""
        return iron.calibration(name, self.name, field_t, (*self.calibrations, *own))

    def usual_calibration(self, field_t: float | None) -> Calibration | None:
        """The first published calibration for that field."""
        names = dict.fromkeys(one.name for one in self.calibrations)
        found = (self.calibration(name, field_t) for name in names)
        return next((one for one in found if one is not None), None)
