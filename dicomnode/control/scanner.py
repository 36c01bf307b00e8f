"""A scanner's rows become its control charts, and a table."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from dicomnode.control import chart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dicomnode.control.chart import Chart
    from dicomnode.control.rows import History, Row

    Array = NDArray[np.float64]

# Spread under which a change matters to nobody, in per cent.
LEAST = {"r2star": 0.4, "vial": 0.7, "snr": 2.0, "ghosting": 0.1, "echoes": 0.1}
APART_MM = 8.0  # of two scans, how far one vial may lie from where the others say it is
SURELY_MM = 2.0  # on average: they are the same vials
HEADS = (
    *("scanner", "at", "organ", "protocol", "software", "snr", "sigma", "coils", "ghosting", "echoes"),
    *("vial", "r2star_per_s", "sd_per_s", "t2star_ms", "s0", "x_mm", "y_mm", "z_mm", "voxels", "alarms"),
)


@dataclass(frozen=True, slots=True)
class Named:
    """A chart of a phantom's scans: ``code`` for programs, ``title`` and ``unit`` for people."""

    code: str
    title: str
    unit: str
    rows: tuple[Row, ...]  # one for each value
    drawn: Chart

    def alarms(self, row: Row) -> list[chart.Verdict]:
        """What it says of one scan."""
        return [one for one in self.drawn.verdicts if self.rows[one.at].key == row.key]


@dataclass(frozen=True, slots=True)
class Phantom:
    """The scans of one phantom by one protocol, and their charts."""

    title: str
    rows: tuple[Row, ...]
    charts: tuple[Named, ...]

    def alarms(self, row: Row) -> list[tuple[Named, chart.Verdict]]:
        """What the charts say of one scan."""
        return [(named, one) for named in self.charts for one in named.alarms(row)]


def phantoms(history: History, baseline: int = chart.BASELINE) -> list[Phantom]:
    """Every phantom of a scanner that was scanned since its last new baseline; those scanned last first."""
    rows = [one for one in history.judged if one.of_phantom]
    found = [_phantom(tuple(group), baseline) for _, group in groupby(sorted(rows, key=_kind), key=_kind)]
    return sorted(found, key=lambda one: one.rows[-1].at, reverse=True)


def standing(history: History) -> list[tuple[Named, chart.Verdict]]:
    """What the charts say of the last scan of each phantom."""
    return [alarm for one in phantoms(history) for alarm in one.alarms(one.rows[-1])]


def table(histories: Iterable[History]) -> str:
    """Every row as CSV, of a phantom a line a vial."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADS, lineterminator="\n")
    writer.writeheader()
    for history in histories:
        judged = phantoms(history)
        for row in history.rows:
            alarms = sorted({f"{named.code} {one.kind}" for each in judged for named, one in each.alarms(row)})
            for vial in row.vials or ({},):
                writer.writerow(_line(row, vial, alarms))
    return text.getvalue()


def _line(row: Row, vial: Mapping[str, Any], alarms: list[str]) -> dict[str, Any]:
    x, y, z = vial.get("centre_mm") or (None, None, None)
    return {
        "scanner": row.scanner.title,
        "at": row.at,
        "organ": row.organ,
        "protocol": row.protocol,
        "software": row.software,
        "snr": _short(row.snr),
        "sigma": _short(row.sigma),
        "coils": _short(row.n_coils),
        "ghosting": _short(row.ghosting),
        "echoes": _short(row.echoes),
        "vial": vial.get("name"),
        **{name: _short(vial.get(name)) for name in ("r2star_per_s", "sd_per_s", "t2star_ms", "s0", "voxels")},
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "alarms": "; ".join(alarms),
    }


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


# ---- charts


def _kind(row: Row) -> tuple[str, bool]:
    return row.protocol, len(row.vials) > 1


def _usual(rows: tuple[Row, ...]) -> Row:
    """The first scan that shows as many vials as most do: which of them is which is told by its places."""
    counts = Counter(len(one.vials) for one in rows)
    most = max(counts, key=lambda count: (counts[count], count))
    return next(one for one in rows if len(one.vials) == most)


def _phantom(rows: tuple[Row, ...], baseline: int) -> Phantom:
    count = len(_usual(rows).vials)
    what = f"{count} vials" if count > 1 else "Even body"
    charts = [*_rates(rows, baseline), *_figures(rows, baseline)]
    return Phantom(f"{what}, {rows[0].protocol}", rows, tuple(charts))


def _rates(rows: tuple[Row, ...], baseline: int) -> Iterator[Named]:
    """R2* of all vials together, then of each beside the others: per cent of the baseline's."""
    first = _usual(rows)
    rates = np.array([_matched(row, first) for row in rows])
    logs = np.log(np.where(rates > 0, rates, np.nan))
    usual = [_mean(column[:baseline]) for column in logs.T]
    away = 100.0 * (logs - np.array(usual))
    common = np.array([_median(row) for row in away])
    several = rates.shape[1] > 1
    title = "R2* of all vials" if several else "R2*"
    yield _named(_Drawn("r2star", title, _OF_BASELINE, steps=True), rows, common, baseline)
    for index, vial in enumerate(first.vials if several else ()):
        drawn = _Drawn(f"vial-{index + 1}", f"R2* of {vial['name']} beside the others", _OF_BASELINE, rates.shape[1])
        yield _named(drawn, rows, away[:, index] - common, baseline)


def _figures(rows: tuple[Row, ...], baseline: int) -> Iterator[Named]:
    snr = np.array([row.snr or math.nan for row in rows])
    relative = 100.0 * (snr / _mean(snr[:baseline]) - 1.0)
    yield _named(_Drawn("snr", "Signal over noise", _OF_BASELINE), rows, relative, baseline)
    for code, title in (("ghosting", "Ghosting"), ("echoes", "What the decay leaves of the echoes")):
        values = np.array([math.nan if (one := getattr(row, code)) is None else 100.0 * one for row in rows])
        yield _named(_Drawn(code, title, "% of the signal"), rows, values, baseline)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is drawn, and how it is judged."""

    code: str
    title: str
    unit: str
    charts: int = 1  # that share the chance of a false alarm
    steps: bool = False


_OF_BASELINE = "% of the baseline"


def _named(drawn: _Drawn, rows: tuple[Row, ...], values: Array, baseline: int) -> Named:
    known = np.isfinite(values)
    least = LEAST[drawn.code.partition("-")[0]]
    judged = chart.of(
        values[known].tolist(), least_sigma=least, charts=drawn.charts, steps=drawn.steps, baseline=baseline
    )
    own = tuple(row for row, is_known in zip(rows, known, strict=True) if is_known)
    return Named(drawn.code, drawn.title, drawn.unit, own, judged)


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


# ---- which vial is which


def _matched(row: Row, first: Row) -> list[float]:
    """The rates of a scan in the order of the first scan's vials, by where they lie; NaN where there is none."""
    places, known = (_places(one) for one in (row, first))
    rates = [math.nan if (rate := one["r2star_per_s"]) is None else float(rate) for one in row.vials]
    if len(places) == 1:
        return rates
    found = [math.nan] * len(known)
    for here, there in _pairs(places, known):
        found[there] = rates[here]
    return found


def _places(row: Row) -> Array:
    return np.array([one["centre_mm"] for one in row.vials], float)


def _pairs(places: Array, known: Array) -> list[tuple[int, int]]:
    """Which place is which, where the whole may be shifted and a little turned: the shift that brings most together."""
    best: tuple[float, list[tuple[int, int]]] = (math.inf, [])
    shifts = [known.mean(axis=0) - places.mean(axis=0), *(there - here for here in places for there in known)]
    for shift in shifts:
        pairs = _nearest(places + shift, known)
        for _ in range(2):
            moved = _laid_on(places, known, pairs)
            pairs = _nearest(moved, known)
        apart = np.linalg.norm(moved[[one for one, _ in pairs]] - known[[one for _, one in pairs]], axis=1)
        kept = [pair for pair, mm in zip(pairs, apart, strict=True) if mm <= APART_MM]
        cost = float(np.minimum(apart, APART_MM).sum())
        if cost < best[0]:
            best = (cost, kept)
        if cost < SURELY_MM * len(pairs):
            break
    return best[1]


def _nearest(places: Array, known: Array) -> list[tuple[int, int]]:
    here, there = linear_sum_assignment(np.linalg.norm(places[:, None] - known[None], axis=-1))
    return [(int(one), int(other)) for one, other in zip(here, there, strict=True)]


def _laid_on(places: Array, known: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """Turn and shift places onto those they are paired with (Kabsch 1976)."""
    here, there = places[[one for one, _ in pairs]], known[[one for _, one in pairs]]
    u, _, v = np.linalg.svd((here - here.mean(axis=0)).T @ (there - there.mean(axis=0)))
    mirrored = np.diag([1.0, 1.0, float(np.sign(np.linalg.det(u @ v)))])
    return np.asarray((places - here.mean(axis=0)) @ u @ mirrored @ v + there.mean(axis=0))
