"""What the reports of a patient's organ answered with over time, drawn on a sheet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from dicomnode.measure.organ import Answered
from dicomnode.report import change
from dicomnode.report.figures import ticks
from dicomnode.report.sheet import Box, leading
from dicomnode.trend.rules import Outcome
from dicomnode.trend.values import Bound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dicomnode.report.sheet import Point as Place
    from dicomnode.report.sheet import Sheet
    from dicomnode.trend.rules import Trend
    from dicomnode.trend.values import Point

_EDGE_DAYS = 30.0  # before the first and after the last
_APART = frozenset({Outcome.NOT_COMPARABLE, Outcome.NOT_JUDGED})  # joined by no line
_SIDES = (0, 4, 3, 6)  # of the mark of the first scanner (0: round), the second, ...


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where a day and a value lie."""

    box: Box
    first: float
    last: float
    top: float

    @classmethod
    def over(cls, box: Box, points: list[Point]) -> _Axes:
        days = [_number(point) for point in points]
        most = max(_highest(point) for point in points)
        return cls(box, min(days) - _EDGE_DAYS, max(days) + _EDGE_DAYS, 1.1 * max(most, 1.0))

    def at(self, day: float, value: float) -> Place:
        x = self.box.x + (day - self.first) / (self.last - self.first) * self.box.width
        return x, self.box.bottom - min(max(value / self.top, 0.0), 1.0) * self.box.height


def can_be_drawn(trend: Trend) -> bool:
    """Whether there are two values to be set beside each other."""
    return len(_shown(trend)) > 1


def draw(sheet: Sheet, box: Box, trend: Trend, size: float) -> float:
    """Draw the axes, a band in which an earlier value is no change, and every value; return where the page goes on.

    What can be compared is filled and joined by a line to today's; each scanner has its own mark, whose names stand
    below. Where no change is judged, nothing is joined and only today's is filled.
    """
    points = _shown(trend)
    axes = _Axes.over(box, points)
    _scales(sheet, axes, trend, size)
    _band(sheet, axes, trend)
    usable = [then for then, verdict in trend.entries if verdict.outcome not in _APART]
    joined = [axes.at(_number(one), one.value or 0.0) for one in (*usable, trend.now) if one in points]
    if len(joined) > 1:
        sheet.line(joined, 0.12 * size, sheet.palette.curve)
    scanners = list(dict.fromkeys(point.scanner for point in reversed(points)))  # today's first
    for point in points:
        filled = point is trend.now or point in usable
        _value(sheet, axes, point, _SIDES[min(scanners.index(point.scanner), len(_SIDES) - 1)], size, filled=filled)
        if point.bound is not Bound.NONE:
            x, y = axes.at(_number(point), point.value or 0.0)
            sheet.write(x + 0.6 * size, y + 0.3 * size, change.value(point, trend.organ), 0.9 * size)
    return _key(sheet, box, trend, scanners, size)


def _shown(trend: Trend) -> list[Point]:
    """The points that have a value, the oldest first."""
    everything = (*(then for then, _ in trend.entries), trend.now)
    return [one for one in everything if one.value is not None and change.days_since(one, trend.now) is not None]


def _number(point: Point) -> float:
    return float(date.fromisoformat(point.date).toordinal())


def _highest(point: Point) -> float:
    return max(point.value or 0.0, 0.0 if point.ci95 is None else point.ci95[1])


def _scales(sheet: Sheet, axes: _Axes, trend: Trend, size: float) -> None:
    box, faint, organ = axes.box, sheet.palette.faint, trend.organ
    title = f"{organ.quantity}, {organ.unit}{' dry weight' if organ.answers is Answered.IRON else ''}"
    sheet.line(((box.x, box.y), (box.x, box.bottom), (box.right, box.bottom)), 0.6, faint)
    for value in ticks(axes.top):
        x, y = axes.at(axes.first, value)
        sheet.line(((x - 0.3 * size, y), (x, y)), 0.6, faint)
        sheet.write(x - 0.5 * size, y + 0.36 * size, f"{value:g}", size, faint, align="right")
    sheet.write(box.x, box.y - 0.6 * size, title, size, faint)
    for day, label in _dates(axes):
        x, y = axes.at(day, 0.0)
        sheet.line(((x, y), (x, y + 0.3 * size)), 0.6, faint)
        sheet.write(x, y + 1.3 * size, label, size, faint, align="middle")


def _dates(axes: _Axes) -> Iterator[tuple[float, str]]:
    """The first of some months: as many as have room."""
    first, last = (date.fromordinal(int(day)) for day in (axes.first, axes.last))
    months = 12 * (last.year - first.year) + last.month - first.month
    step = next((one for one in (1, 2, 3, 6, 12, 24, 60) if months / one <= 7), 120)
    for month in range(12 * first.year + first.month, 12 * last.year + last.month):
        if month % step == 0:
            begin = date(month // 12, month % 12 + 1, 1)
            yield float(begin.toordinal()), f"{begin:%Y-%m}"


def _band(sheet: Sheet, axes: _Axes, trend: Trend) -> None:
    """Shade where a value as sure as today's would be none of a change."""
    now, most = trend.now.lic_mg_per_g, trend.limit_mg_per_g
    if now is None or most is None or trend.now.bound is not Bound.NONE:
        return
    (left, top), (right, bottom) = axes.at(axes.first, now + most), axes.at(axes.last, max(now - most, 0.0))
    sheet.fill(Box(left, top, right - left, bottom - top).corners(), sheet.palette.shade)


def _value(sheet: Sheet, axes: _Axes, point: Point, sides: int, size: float, *, filled: bool) -> None:
    x, y = axes.at(_number(point), point.value or 0.0)
    ink = sheet.palette.ink
    if point.bound is Bound.NONE and point.ci95 is not None:
        low, high = (axes.at(_number(point), max(end, 0.0))[1] for end in point.ci95)
        sheet.line(((x, low), (x, high)), 0.1 * size, ink)
    outline = _mark((x, y), sides, 0.34 * size)
    sheet.fill(outline, ink if filled else sheet.palette.paper)
    sheet.line((*outline, outline[0]), 0.1 * size, ink)


def _mark(centre: Place, sides: int, radius: float) -> tuple[Place, ...]:
    turn = np.linspace(0, 2 * np.pi, sides or 16, endpoint=False) - np.pi / 2
    return tuple((centre[0] + radius * float(np.cos(a)), centre[1] + radius * float(np.sin(a))) for a in turn)


def _key(sheet: Sheet, box: Box, trend: Trend, scanners: Iterable[str], size: float) -> float:
    """Name the marks below the figure."""
    x, y = box.x, box.bottom + 3.2 * size
    entries = [(_SIDES[min(n, len(_SIDES) - 1)], name or "scanner not named") for n, name in enumerate(scanners)]
    for sides, name in entries:
        outline = _mark((x + 0.4 * size, y - 0.35 * size), sides, 0.34 * size)
        sheet.line((*outline, outline[0]), 0.1 * size)
        x = sheet.write(x + 1.2 * size, y, name, size, sheet.palette.faint) + 1.5 * size
        if x > box.right - 8 * size:
            x, y = box.x, y + leading(size)
    judged = "filled: comparable with this report; empty: not comparable; band: no change beyond repeatability"
    words = judged if trend.is_judged else "filled: this report; empty: earlier ones"
    sheet.write(box.x, y + leading(size), words, size, sheet.palette.faint)
    return y + 2 * leading(size)
