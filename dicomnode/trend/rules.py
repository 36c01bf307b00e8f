"""Whether a concentration has changed by more than two scans of an unchanged organ differ, and when that can be said.

The limit is the largest of three: a share of the mean of both values, 1.96 √2 times their standard error, and a least
difference. Share and least are the organ's; of an organ without them no change is judged. Only measurements of one
organ on the same scanner, by the same protocol, calibration, region finder and fit are compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dicomnode.measure.organ import Answered
from dicomnode.model import HALF_95
from dicomnode.trend.values import Bound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicomnode.measure.organ import Organ, Repeatability
    from dicomnode.trend.values import Conditions, Point, Priors, Scanner, Unasked

FIELD_SHARE = 0.01  # as stacks are told apart
ECHO_SHARE, ECHO_MS = 0.02, 0.05  # the larger: scanners round, and choose by the body before them
VOXEL_SHARE = 0.10  # a field of view that is fitted to the patient


class Outcome(StrEnum):
    """What a new value says against an earlier one."""

    MORE = "more"
    LESS = "less"
    UNCHANGED = "no-change"  # none beyond repeatability
    NOT_COMPARABLE = "not-comparable"
    NOT_JUDGED = "not-judged"  # of an organ whose repeatability is not known


class Obstacle(StrEnum):
    """Why two values cannot be compared."""

    OTHER_METHOD = "other-method"  # not measured by this software
    NO_VALUE = "no-value"
    BEYOND_RANGE = "beyond-range"  # a bound, which leaves open what changed
    DRAWN = "drawn"  # a person drew one of the regions
    SCANNER_UNKNOWN = "scanner-unknown"
    OTHER_SCANNER = "other-scanner"
    OTHER_FIELD = "other-field"
    OTHER_ECHO_TIMES = "other-echo-times"
    OTHER_RESOLUTION = "other-resolution"
    PROTOCOL_UNKNOWN = "protocol-unknown"
    OTHER_CALIBRATION = "other-calibration"
    OTHER_FINDER = "other-finder"
    OTHER_FIT = "other-fit"


_OF_VERDICTS = frozenset({Obstacle.NO_VALUE})  # without a verdict it is seen
_NOT_OF_TIMES = _OF_VERDICTS | {Obstacle.OTHER_CALIBRATION}  # which changes no T2*


@dataclass(frozen=True, slots=True)
class Change:
    """The verdict on an earlier value: a difference (mg/g, now minus then) and what it had to exceed."""

    outcome: Outcome
    difference_mg_per_g: float | None = None
    limit_mg_per_g: float | None = None
    obstacles: tuple[Obstacle, ...] = ()


@dataclass(frozen=True, slots=True)
class Trend:
    """A new measurement beside those of the same organ before it, the oldest first, each with the verdict on it."""

    now: Point
    organ: Organ
    entries: tuple[tuple[Point, Change], ...] = ()
    unasked: tuple[Unasked, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Whether there are verdicts; else obstacles only say what differs."""
        return self.organ.repeatability is not None

    @property
    def limit_mg_per_g(self) -> float | None:
        """What the difference from a value as sure as today's must exceed."""
        rule = self.organ.repeatability
        return None if rule is None or self.now.lic_mg_per_g is None else limit(self.now, self.now, rule)

    @property
    def last(self) -> tuple[Point, Change] | None:
        """The newest that can be compared; where none can, the newest."""
        usable = [one for one in self.entries if one[1].outcome is not Outcome.NOT_COMPARABLE]
        return (usable or self.entries or (None,))[-1]


def trend(now: Point, priors: Priors, organ: Organ) -> Trend:
    """Judge every earlier value of the organ; of what has no iron nothing was measured that a patient had before."""
    if not organ.has_iron:
        return Trend(now, organ)
    own = (point for point in priors.points if point.organ == now.organ == organ.name)
    return Trend(now, organ, tuple((point, compare(now, point, organ)) for point in own), priors.unasked)


def compare(now: Point, then: Point, organ: Organ) -> Change:
    """The verdict on an earlier value of the organ."""
    obstacles, rule = tuple(_obstacles(now, then)), organ.repeatability
    if rule is None:
        said = _NOT_OF_TIMES if organ.answers is Answered.T2STAR else _OF_VERDICTS
        return Change(Outcome.NOT_JUDGED, obstacles=tuple(one for one in obstacles if one not in said))
    if obstacles or now.lic_mg_per_g is None or then.lic_mg_per_g is None:
        return Change(Outcome.NOT_COMPARABLE, obstacles=obstacles)
    difference, most = now.lic_mg_per_g - then.lic_mg_per_g, limit(now, then, rule)
    may_rise = now.bound is not Bound.BELOW and then.bound is not Bound.ABOVE  # a bound tells one direction
    may_fall = now.bound is not Bound.ABOVE and then.bound is not Bound.BELOW
    if may_rise and difference > most:
        return Change(Outcome.MORE, difference, most)
    if may_fall and -difference > most:
        return Change(Outcome.LESS, difference, most)
    if Bound.ABOVE in (now.bound, then.bound):
        return Change(Outcome.NOT_COMPARABLE, obstacles=(Obstacle.BEYOND_RANGE,))
    return Change(Outcome.UNCHANGED, difference, most)


def limit(now: Point, then: Point, rule: Repeatability) -> float:
    """What a difference must exceed, mg/g; a standard error that one of them lacks is supposed to be the other's."""
    mean = ((now.lic_mg_per_g or 0.0) + (then.lic_mg_per_g or 0.0)) / 2
    own, earlier = now.lic_sd_mg_per_g, then.lic_sd_mg_per_g
    first, second = own if own is not None else earlier, earlier if earlier is not None else own
    noise = 0.0 if first is None or second is None else HALF_95 * math.hypot(first, second)
    return max(rule.share * mean, noise, rule.least)


def _obstacles(now: Point, then: Point) -> Iterator[Obstacle]:
    """Why two values cannot be compared, the weightiest first."""
    if now.conditions is None or then.conditions is None:
        yield Obstacle.OTHER_METHOD
        return
    if now.lic_mg_per_g is None or then.lic_mg_per_g is None:
        yield Obstacle.NO_VALUE
    if now.drawn or then.drawn:
        yield Obstacle.DRAWN
    yield from _of_scanners(now.conditions.scanner, then.conditions.scanner)
    yield from _of_protocols(now.conditions, then.conditions)
    if now.conditions.calibration != then.conditions.calibration:
        yield Obstacle.OTHER_CALIBRATION
    if now.conditions.finder != then.conditions.finder:
        yield Obstacle.OTHER_FINDER
    if now.conditions.fit != then.conditions.fit:
        yield Obstacle.OTHER_FIT


def is_same_scanner(one: Scanner, other: Scanner) -> bool | None:
    """By serial number where both have one, else by station and model; None where neither tells."""
    if one.manufacturer.casefold() != other.manufacturer.casefold():
        return False
    if one.serial_number and other.serial_number:
        return one.serial_number == other.serial_number
    if one.station and other.station:
        return (one.station, one.model) == (other.station, other.model)
    return None


def _of_scanners(now: Scanner, then: Scanner) -> Iterator[Obstacle]:
    same = is_same_scanner(now, then)
    if same is not True:
        yield Obstacle.SCANNER_UNKNOWN if same is None else Obstacle.OTHER_SCANNER


def _of_protocols(now: Conditions, then: Conditions) -> Iterator[Obstacle]:
    unknown = False
    if now.field_t is None or then.field_t is None:
        unknown = True
    elif not _alike((now.field_t,), (then.field_t,), FIELD_SHARE):
        yield Obstacle.OTHER_FIELD
    if not now.echo_times_ms or not then.echo_times_ms:
        unknown = True
    elif not _alike(now.echo_times_ms, then.echo_times_ms, ECHO_SHARE, ECHO_MS):
        yield Obstacle.OTHER_ECHO_TIMES
    if now.voxel_mm is None or then.voxel_mm is None:
        unknown = True
    elif not _alike(now.voxel_mm, then.voxel_mm, VOXEL_SHARE):
        yield Obstacle.OTHER_RESOLUTION
    if unknown:
        yield Obstacle.PROTOCOL_UNKNOWN


def _alike(now: tuple[float, ...], then: tuple[float, ...], share: float, least: float = 0.0) -> bool:
    """Whether values differ by less than a share of the larger, or by so little."""
    if len(now) != len(then):
        return False
    return all(abs(one - other) <= max(share * max(one, other), least) for one, other in zip(now, then, strict=True))
