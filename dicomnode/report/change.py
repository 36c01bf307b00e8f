"""What a reader is told of earlier results, the same in report, PDF, page and summary."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

from dicomnode.measure.organ import Answered
from dicomnode.report import wording
from dicomnode.trend.rules import Obstacle, Outcome
from dicomnode.trend.values import Bound, Origin, Silence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dicomnode.measure.organ import Organ
    from dicomnode.trend.rules import Change, Trend
    from dicomnode.trend.values import Point, Unasked

OUTCOMES: Mapping[Outcome, str] = {
    Outcome.MORE: "more iron",
    Outcome.LESS: "less iron",
    Outcome.UNCHANGED: "no change beyond repeatability",
    Outcome.NOT_COMPARABLE: "not comparable",
    Outcome.NOT_JUDGED: "not judged",
}
OBSTACLES: Mapping[Obstacle, str] = {
    Obstacle.OTHER_METHOD: "measured by another method",
    Obstacle.NO_VALUE: "one of them has no concentration",
    Obstacle.BEYOND_RANGE: "beyond the measurable range, which leaves open what changed",
    Obstacle.DRAWN: "region drawn by a person",
    Obstacle.SCANNER_UNKNOWN: "scanner not named",
    Obstacle.OTHER_SCANNER: "other scanner",
    Obstacle.OTHER_FIELD: "other field strength",
    Obstacle.OTHER_ECHO_TIMES: "other echo times",
    Obstacle.OTHER_RESOLUTION: "other resolution",
    Obstacle.PROTOCOL_UNKNOWN: "protocol not told",
    Obstacle.OTHER_CALIBRATION: "other calibration",
    Obstacle.OTHER_FINDER: "other version of the region finder",
    Obstacle.OTHER_FIT: "other fit",
}
SILENCES: Mapping[Silence, str] = {
    Silence.NO_PATIENT: "the images give no patient identifier that can be asked for",
    Silence.NO_DATE: "the images give no study date",
    Silence.UNREADABLE: "what is there cannot be read",
    Silence.NOT_CONFIGURED: "it is no longer configured",
    Silence.UNREACHABLE: "it cannot be reached",
    Silence.NOT_ALLOWED: "it does not take this node's credentials",
    Silence.NOT_OFFERED: "it does not offer what is asked",
    Silence.NO_ANSWER: "it did not answer",
    Silence.TOO_LATE: "it did not answer in time",
    Silence.FAILED: "a fault of this node, which its log names",
}
_ORIGINS: Mapping[Origin, str] = {Origin.NODE: "this node", Origin.ARCHIVE: "archive", Origin.TABLE: "by hand"}
NOTHING = "–"


def heads(trend: Trend) -> tuple[str, ...]:
    """Return what stands above the cells of a row."""
    organ, last = trend.organ, "Change since" if trend.is_judged else "What differs"
    return "Date", f"{organ.quantity} {organ.unit}", "95 %", "R2* /s", "Field T", "Scanner", "Source", last


def day(point: Point) -> str:
    """Return its date as 2026-03-04."""
    return f"{point.date[:4]}-{point.date[4:6]}-{point.date[6:8]}"


def days_since(then: Point, now: Point) -> int | None:
    """Return the days from one point to another; None where one of the dates is none."""
    try:
        return (date.fromisoformat(now.date) - date.fromisoformat(then.date)).days
    except ValueError:
        return None


def value(point: Point, organ: Organ) -> str:
    """Return what the report of an organ answered with, as it was printed."""
    if point.value is None:
        return NOTHING
    sign = f"{point.bound.value} " if point.bound is not Bound.NONE else ""
    return f"{sign}{printed(point.value, organ)}"


def printed(number: float, organ: Organ) -> str:
    """Return a concentration to one decimal, a time in three digits."""
    return wording.number(number) if organ.answers is Answered.T2STAR else f"{number:.1f}"


def sentence(trend: Trend) -> str:
    """Return how today's value stands to those before it; nothing where there are none."""
    last = trend.last
    if last is None:
        return ""
    then, change = last
    organ, unit = trend.organ, trend.organ.unit
    before, today = value(then, organ), value(trend.now, organ)
    if change.outcome is Outcome.NOT_JUDGED:
        return f"{organ.quantity} on {day(then)} {before} {unit}, now {today} {unit}; {_unjudged(organ)}."
    if change.outcome is Outcome.NOT_COMPARABLE:
        count = len(trend.entries)
        several = f"Of {count} earlier results none can" if count > 1 else "The earlier result cannot"
        newest = f"{'the last, ' if count > 1 else ''}{before} {unit} of {day(then)}: "
        return f"{several} be compared with this one; {newest}{_why(change)}."
    least = f"a change counts from {change.limit_mg_per_g:.1f} on"
    values = f"{before} then, {today} {unit} now; {least}"
    return f"Since {day(then)} {OUTCOMES[change.outcome]}: {values}."


def repeatability(organ: Organ) -> str:
    """Return what a change is of that organ, and what is compared."""
    rule = organ.repeatability
    if rule is None:
        return f"{wording.capital(_unjudged(organ))}."
    return (
        f"A change counts where it is more than the largest of {100 * rule.share:g} % of both values' mean, 1.96 √2 "
        f"times their standard error and {rule.least:g} mg/g. Compared is only what was measured on the same scanner "
        "by the same protocol, calibration, region finder and fit."
    )


def _unjudged(organ: Organ) -> str:
    return f"no change is judged, for no repeatability of {organ.quantity} of the {organ.name} is known here"


def remarks(trend: Trend) -> list[str]:
    """Return the same, and who was not asked for earlier results."""
    said = [sentence(trend), *map(unasked, trend.unasked)]
    return [one for one in said if one]


def unasked(one: Unasked) -> str:
    """Return why somebody was not heard."""
    return f"Earlier results were not asked for ({one.where}): {SILENCES[one.why]}."


def verdict(change: Change) -> str:
    """Return the verdict on one earlier value, with the reason where it has one."""
    word = OUTCOMES[change.outcome]
    if change.outcome is Outcome.NOT_JUDGED:
        return _why(change)
    return f"{word}: {_why(change)}" if change.obstacles else word


def _why(change: Change) -> str:
    return ", ".join(OBSTACLES[one] for one in change.obstacles)


def rows(trend: Trend) -> Iterator[tuple[str, ...]]:
    """Return the cells of a table, the newest first: today's, then those before."""
    yield (*_cells(trend.now, trend.organ)[:-1], "this report", "")
    for then, change in reversed(trend.entries):
        yield (*_cells(then, trend.organ), verdict(change))


def _cells(point: Point, organ: Organ) -> tuple[str, ...]:
    ends = point.ci95
    between = "" if ends is None else " to ".join(printed(max(end, 0.0), organ) for end in ends)
    rate = NOTHING if point.r2star_per_s is None else wording.number(point.r2star_per_s)
    field = NOTHING if point.strength_t is None else f"{point.strength_t:.2f}"
    origin = point.method or _ORIGINS[point.origin]
    return day(point), value(point, organ), between, rate, field, point.scanner or NOTHING, origin


def lines(trend: Trend) -> Iterator[str]:
    """Return the table as sentences, for those who see none."""
    organ = trend.organ
    for then, change in reversed(trend.entries):
        found, number, between, rate, field, scanner, origin = _cells(then, organ)
        interval = f" (95 % interval {between})" if between else ""
        rates = f", R2* {rate} /s" if rate != NOTHING else ""
        said = f": {verdict(change)}" if verdict(change) else ""
        yield f"{found}: {organ.quantity} {number} {organ.unit}{interval}{rates}; {field} T, {scanner}, {origin}{said}"


def as_json(trend: Trend) -> dict[str, Any]:
    """Return JSON values: codes for programs, words for pages."""
    last = trend.last
    organ = trend.organ
    return {
        "organ": organ.name,
        "quantity": organ.quantity,
        "unit": organ.unit,
        "heads": list(heads(trend)),
        "judged": trend.is_judged,
        "outcome": None if last is None else last[1].outcome.value,
        "since": None if last is None else day(last[0]),
        "sentence": sentence(trend) or None,
        "repeatability_mg_per_g": trend.limit_mg_per_g,
        "points": [_entry(then, change, row) for (then, change), row in _with_rows(trend)],
        "now": _entry(trend.now, None, next(rows(trend))),
        "unasked": [{"where": one.where, "code": one.why.value, "sentence": unasked(one)} for one in trend.unasked],
    }


def _with_rows(trend: Trend) -> list[tuple[tuple[Point, Change], tuple[str, ...]]]:
    return list(zip(trend.entries, list(rows(trend))[:0:-1], strict=True))


def _entry(point: Point, change: Change | None, row: tuple[str, ...]) -> dict[str, Any]:
    verdict = {} if change is None else {**asdict(change), "outcome": change.outcome.value}
    return {
        "date": day(point),
        "origin": point.origin.value,
        "lic_mg_per_g": point.lic_mg_per_g,
        "bound": point.bound.value,
        "lic_ci95": None if point.lic_ci95 is None else list(point.lic_ci95),
        "t2star_ms": point.t2star_ms,
        "value": point.value,
        "value_ci95": None if point.ci95 is None else list(point.ci95),
        "r2star_per_s": point.r2star_per_s,
        "scanner": point.scanner or None,
        "field_strength_t": point.strength_t,
        "key": point.key or None,
        **verdict,
        **({"obstacles": [one.value for one in change.obstacles]} if change is not None else {}),
        "words": list(row),
    }
