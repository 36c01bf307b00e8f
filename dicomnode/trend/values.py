"""One measurement of the iron of a patient's organ as a point in time, and what was found of earlier ones."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads the annotations of this module
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dicomnode.errors import StepError
from dicomnode.model import HALF_95

_Value = TypeVar("_Value")
LIVER = "liver"  # what names no organ is older than a second one
MOST = 20  # earlier results of a patient that a report shows, the newest


class Origin(StrEnum):
    """Where an earlier result was found; of one that is found twice the first of these counts."""

    NODE = "node"
    ARCHIVE = "archive"
    TABLE = "table"


class Bound(StrEnum):
    """What a value is, where it is no measurement."""

    NONE = ""
    BELOW = "<"
    ABOVE = ">"


class Silence(StrEnum):
    """Why earlier results were not asked for."""

    NO_PATIENT = "no-patient"
    NO_DATE = "no-date"
    UNREADABLE = "unreadable"
    NOT_CONFIGURED = "not-configured"
    UNREACHABLE = "unreachable"
    NOT_ALLOWED = "not-allowed"
    NOT_OFFERED = "not-offered"
    NO_ANSWER = "no-answer"
    TOO_LATE = "too-late"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Scanner:
    """A scanner as its images name it (PS3.3 C.7.5.1); empty where they do not."""

    manufacturer: str = ""
    model: str = ""
    station: str = ""
    serial_number: str = ""

    @property
    def label(self) -> str:
        """What people call it."""
        return " ".join(part for part in (self.model or self.manufacturer, self.station) if part)


@dataclass(frozen=True, slots=True)
class Conditions:
    """All that two measurements must have in common for a difference to be the patient's."""

    scanner: Scanner = Scanner()
    field_t: float | None = None
    echo_times_ms: tuple[float, ...] = ()
    voxel_mm: tuple[float, float, float] | None = None  # between rows, between columns, thickness
    calibration: str = ""  # its name and its line
    finder: str = ""  # name and version; empty where a person drew the region
    fit: str = ""  # method, model and noise that were asked for


@dataclass(frozen=True, slots=True)
class Reference:
    """The report that an earlier result is in."""

    study_uid: str
    series_uid: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement of an organ at a date: a concentration (mg/g dry weight), or a time (ms), or a rate (1/s).

    An organ whose reports answer with T2* has a time and no concentration. No identity of anybody.
    """

    date: str  # YYYYMMDD
    origin: Origin
    time: str = ""  # HHMMSS
    lic_mg_per_g: float | None = None
    bound: Bound = Bound.NONE  # what the concentration, or else the time, is, if no measurement
    lic_ci95: tuple[float, float] | None = None
    r2star_per_s: float | None = None  # median
    r2star_ci95: tuple[float, float] | None = None
    conditions: Conditions | None = None  # None: this software did not measure it
    drawn: bool = False  # a person drew the region
    key: str = ""  # of the result
    report: Reference | None = None
    scanner_label: str = ""  # as a table calls the scanner
    field_t: float | None = None  # as a table says it
    method: str = ""  # as a table calls it
    organ: str = LIVER
    t2star_ms: float | None = None  # median, where the organ's reports answer with it

    @property
    def value(self) -> float | None:
        """What a report of the organ answers with."""
        return self.t2star_ms if self.lic_mg_per_g is None else self.lic_mg_per_g

    @property
    def ci95(self) -> tuple[float, float] | None:
        """The 95 % interval of that; None where it is a bound, or has no upper end."""
        ends = self.r2star_ci95
        if self.lic_mg_per_g is not None or self.t2star_ms is None:
            return self.lic_ci95
        return None if ends is None or min(ends) <= 0 or self.bound else (1000.0 / ends[1], 1000.0 / ends[0])

    @property
    def scanner(self) -> str:
        """What people call the scanner; empty where that is not known."""
        return self.scanner_label or ("" if self.conditions is None else self.conditions.scanner.label)

    @property
    def strength_t(self) -> float | None:
        """The field, in tesla."""
        return self.field_t if self.conditions is None else self.conditions.field_t

    @property
    def lic_sd_mg_per_g(self) -> float | None:
        """Standard error of the concentration without that of the calibration, which two points have in common.

        From the interval of the rate: every calibration is a line through almost nothing, so that the relative error
        is the same.
        """
        rate, ends, iron = self.r2star_per_s, self.r2star_ci95, self.lic_mg_per_g
        if rate is None or ends is None or iron is None or rate <= 0:
            return None
        return iron * (ends[1] - ends[0]) / (2 * HALF_95 * rate)


@dataclass(frozen=True, slots=True)
class Unasked:
    """Somebody who could know earlier results and was not heard."""

    where: str  # the name of a destination, "node" or "table"
    why: Silence


@dataclass(frozen=True, slots=True)
class Priors:
    """What was found, once, before the report was made; the oldest first."""

    points: tuple[Point, ...] = ()
    unasked: tuple[Unasked, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


NONE_KNOWN = Priors()
_PRIORS = TypeAdapter(Priors)
_CONDITIONS = TypeAdapter(Conditions)


def read(said: Any) -> Priors:
    """The priors that ``as_json`` gave; raises StepError where they are none."""
    return _read(_PRIORS, said, "earlier results")


def conditions(said: Any) -> Conditions:
    """The conditions that ``asdict`` gave; raises StepError where they are none."""
    return _read(_CONDITIONS, said, "conditions of a result")


def _read(adapter: TypeAdapter[_Value], said: Any, what: str) -> _Value:
    try:
        return adapter.validate_python(said)
    except ValidationError as fault:  # its words would repeat what is in there
        raise StepError(f"{fault.error_count()} values of the {what} cannot be read") from None


def before(points: Iterable[Point], organ: str, date: str, time: str) -> tuple[Point, ...]:
    """An organ's points with a value before a moment, each result once: the newest ``MOST``, the oldest first.

    On the same day only what is known to be of an earlier time counts.
    """
    order = list(Origin)
    known: dict[str, Point] = {}
    own = (one for one in points if one.organ == organ)
    for number, point in enumerate(sorted(own, key=lambda one: order.index(one.origin))):
        has_value = point.value is not None or point.r2star_per_s is not None
        if has_value and (point.date, point.time or "9") < (date, time or "0"):
            known.setdefault(point.key or f"{number}", point)
    ordered = sorted(known.values(), key=lambda one: (one.date, one.time, one.key, one.value or 0.0))
    return tuple(ordered[-MOST:])


def without(priors: Priors, where: str, why: Silence) -> Priors:
    """The same, with somebody more who was not heard."""
    return replace(priors, unasked=(*priors.unasked, Unasked(where, why)))
