"""A control chart as the places of its lines and points in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicomnode.control.scanner import Named

WIDTH, HEIGHT = 640, 150
LEFT, RIGHT, TOP, BOTTOM = 52, 628, 12, 128
_ROOM = 0.08  # of the range of values, above and below


@dataclass(frozen=True, slots=True)
class Point:
    """One scan: its place, what is said of it, whether it is an alarm or of the baseline."""

    x: float
    y: float
    words: str
    alarm: bool
    baseline: bool


@dataclass(frozen=True, slots=True)
class Level:
    """A line across the chart with its value."""

    y: float
    words: str
    kind: str  # "centre", "limit"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart to be drawn, and the same in words."""

    points: tuple[Point, ...]
    levels: tuple[Level, ...]
    line: str  # of an SVG polyline
    first: str
    last: str
    words: str


def drawn(named: Named) -> Drawing | None:
    """The places of a chart; None where it has no value."""
    chart = named.drawn
    if not chart.values:
        return None
    known = [one for one in (chart.low, chart.high) if one is not None]
    low, high = min([*chart.values, *known]), max([*chart.values, *known])
    room = _ROOM * (high - low) or 1.0
    alarms = {one.at: one for one in chart.verdicts}

    def y_of(value: float) -> float:
        return round(BOTTOM - (value - low + room) / (high - low + 2 * room) * (BOTTOM - TOP), 1)

    step = (RIGHT - LEFT) / max(len(chart.values) - 1, 1)
    points = tuple(
        Point(
            round(LEFT + index * step, 1),
            y_of(value),
            f"{row.at[:10]}: {value:.2f}" + (f", {alarms[index].kind}" if index in alarms else ""),
            index in alarms,
            index < chart.baseline,
        )
        for index, (value, row) in enumerate(zip(chart.values, named.rows, strict=True))
    )
    levels = [(chart.low, "limit"), (chart.centre, "centre"), (chart.high, "limit")]
    return Drawing(
        points=points,
        levels=tuple(
            Level(y_of(value), f"{round(value, 1) + 0.0:.1f}", kind) for value, kind in levels if value is not None
        ),
        line=" ".join(f"{one.x},{one.y}" for one in points),
        first=named.rows[0].at[:10],
        last=named.rows[-1].at[:10],
        words=_words(named, len(alarms)),
    )


def _words(named: Named, alarms: int) -> str:
    chart = named.drawn
    said = f"{named.title}: {len(chart.values)} scans from {named.rows[0].at[:10]} to {named.rows[-1].at[:10]}"
    if chart.low is None or chart.high is None:
        return f"{said}; limits after {chart.baseline} scans"
    return f"{said}; limits {chart.low:.1f} to {chart.high:.1f}; {alarms or 'no'} alarm{'' if alarms == 1 else 's'}"
