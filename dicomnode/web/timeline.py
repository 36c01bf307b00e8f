"""What reports answered with over time as places in a drawing of 640 × 240, for a page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WIDTH, HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 630.0, 22.0, 210.0
_EDGE_DAYS = 30  # before the first and after the last
_STEPS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)  # mg/g between two marks of the scale


@dataclass(frozen=True, slots=True)
class Mark:
    """One result: where it lies, its interval, which scanner's it is, and what to say of it."""

    x: float
    y: float
    low: float | None
    high: float | None
    scanner: int  # from 0: that of today's result
    comparable: bool
    title: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything of the drawing; ``band`` is the top and the height of what is no change."""

    marks: tuple[Mark, ...]
    joined: str  # points of the line through what can be compared
    band: tuple[float, float] | None
    scale: tuple[tuple[float, str], ...]
    dates: tuple[tuple[float, str], ...]
    scanners: tuple[str, ...]
    title: str
    judged: bool


@dataclass(frozen=True, slots=True)
class _Axes:
    first: int
    last: int
    top: float

    def x(self, day: int) -> float:
        return round(_LEFT + (day - self.first) / (self.last - self.first) * (_RIGHT - _LEFT), 1)

    def y(self, value: float) -> float:
        return round(_BOTTOM - min(max(value / self.top, 0.0), 1.0) * (_BOTTOM - _TOP), 1)


def of(trend: Mapping[str, Any] | None) -> Timeline | None:
    """The drawing of what ``summary.json`` says of earlier results; None where it has not two values to show."""
    if trend is None or not trend["points"]:
        return None
    now = trend["now"]
    points = [one for one in (*trend["points"], now) if _value(one) is not None and _day(one) is not None]
    if len(points) < 2:
        return None
    days = [_day(one) or 0 for one in points]
    highest = max(max(_value(one) or 0.0, *(_ends(one) or (0.0,))) for one in points)
    unit = trend.get("unit", "mg/g")
    axes = _Axes(min(days) - _EDGE_DAYS, max(days) + _EDGE_DAYS, 1.1 * max(highest, 1.0))
    scanners = tuple(dict.fromkeys(one["scanner"] or "scanner not named" for one in reversed(points)))
    marks = tuple(_mark(axes, one, scanners, unit, is_now=one is now) for one in points)
    joined = [f"{one.x},{one.y}" for one in marks if one.comparable]
    return Timeline(
        marks,
        " ".join(joined) if len(joined) > 1 else "",
        _band(axes, now, trend["repeatability_mg_per_g"]),
        tuple(_scale(axes)),
        tuple(_dates(axes)),
        scanners,
        f"{trend.get('quantity', 'LIC')}, {unit}{' dry weight' if unit == 'mg/g' else ''}",
        trend.get("judged", True),
    )


def _value(one: Mapping[str, Any]) -> float | None:
    """What a report answered with; before organs had other answers it was a concentration."""
    found: float | None = one.get("value", one["lic_mg_per_g"])
    return found


def _ends(one: Mapping[str, Any]) -> tuple[float, float] | None:
    found = one.get("value_ci95", one["lic_ci95"])
    return None if found is None else (found[0], found[1])


def _mark(axes: _Axes, one: Mapping[str, Any], scanners: tuple[str, ...], unit: str, *, is_now: bool) -> Mark:
    ends = _ends(one)
    low, high = (None, None) if ends is None else (axes.y(ends[0]), axes.y(ends[1]))
    verdict = "this report" if is_now else one["words"][-1]
    title = f"{one['date']}: {one['words'][1]} {unit}"
    return Mark(
        axes.x(_day(one) or 0),
        axes.y(_value(one) or 0.0),
        low,
        high,
        scanners.index(one["scanner"] or "scanner not named"),
        is_now or one["outcome"] not in {"not-comparable", "not-judged"},
        f"{title}, {verdict}" if verdict else title,
    )


def _band(axes: _Axes, now: Mapping[str, Any], limit: float | None) -> tuple[float, float] | None:
    value = now["lic_mg_per_g"]
    if value is None or limit is None or now["bound"]:
        return None
    top = axes.y(value + limit)
    return top, round(axes.y(max(value - limit, 0.0)) - top, 1)


def _scale(axes: _Axes) -> Iterator[tuple[float, str]]:
    step = next((one for one in _STEPS if axes.top / one <= 5), _STEPS[-1])
    for number in range(int(axes.top / step) + 1):
        yield axes.y(number * step), f"{number * step:g}"


def _dates(axes: _Axes) -> Iterator[tuple[float, str]]:
    """The first of some months: as many as have room."""
    first, last = date.fromordinal(axes.first), date.fromordinal(axes.last)
    months = 12 * (last.year - first.year) + last.month - first.month
    step = next((one for one in (1, 2, 3, 6, 12, 24, 60) if months / one <= 7), 120)
    for month in range(12 * first.year + first.month, 12 * last.year + last.month):
        if month % step == 0:
            begin = date(month // 12, month % 12 + 1, 1)
            yield axes.x(begin.toordinal()), f"{begin:%Y-%m}"


def _day(one: Mapping[str, Any]) -> int | None:
    try:
        return date.fromisoformat(one["date"]).toordinal()
    except ValueError:
        return None
