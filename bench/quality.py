"""Simulated years of weekly phantom scans: how soon a step is found, how often there is none and an alarm is raised.

``python -m bench.quality [--years N] [--quick]``. The first table scans a rack of vials through images, fit, finder and
row, as a node does; what differs from scan to scan are place, angle, temperature, receiver gain and noise. The second
draws the values of charts directly, for as many years as it takes to bound what is rare.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from bench import phantom
from bench.phantom import Setting
from bench.solver import machine
from dicomnode import fit
from dicomnode.compare.tables import Table
from dicomnode.config import FitSettings, MeasureSettings
from dicomnode.control import chart, scanner
from dicomnode.control.rows import History, Row, Scanner
from dicomnode.measure.organs import PHANTOM
from dicomnode.region import Images, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

WEEKS, STEP_AT, STEP = 52, 30, 0.03  # of the rate of every vial
TOGETHER, EACH = 0.006, 0.003  # deviations from scan to scan of all rates (temperature) and of each, relative
GAIN = 0.03  # of the receiver
SHIFT_MM, TURN_DEG = 5.0, 3.0
SPREADS = (0.5, 0.7, 0.9)  # per cent, of the chart of all vials
FIT = FitSettings(method="nls", model="mono-exponential")
OTHERS = (*(("vial", len(phantom.RATES_PER_S)),) * len(phantom.RATES_PER_S), ("snr", 1), ("ghosting", 1), ("echoes", 1))
WITHIN = 5  # scans


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="few years, for a test")
    asked = parser.parse_args()
    years = 50 if asked.quick else asked.years
    tables = [scanned(1 if asked.quick else 3), drawn(years)]
    sys.stdout.write(machine().markdown() + "\n" + "\n".join(one.markdown() for one in tables))


# ---- through images


def scanned(years: int) -> Table:
    """Scan a phantom every week of some years, with a step and without one."""
    lines = []
    for seed in range(years):
        for step in (0.0, STEP):
            (one,) = scanner.phantoms(year(seed, step))
            main_chart = one.charts[0].drawn
            alarms = [each for named in one.charts for each in named.drawn.verdicts]
            after = [each.at - STEP_AT + 1 for each in main_chart.verdicts if each.at >= STEP_AT]
            early = sum(each.at < STEP_AT or not step for each in alarms)
            first = (str(after[0]) if after else "not found") if step else "–"
            lines.append([f"{seed + 1}", f"{step:.0%}", f"{main_chart.sigma:.2f}", str(early), first])
    heads = ("year", "step", "spread, % of R2*", "false alarms, all charts", "scans until the step is found")
    return Table("Simulated years of scans", heads, lines, [])


def year(seed: int, step: float) -> History:
    """The rows of a year of weekly scans; from one of them on every rate is higher."""
    rng = np.random.default_rng([41, seed])
    kept = tuple(row(_setting(rng, step if week >= STEP_AT else 0.0), rng, week) for week in range(WEEKS))
    return History(kept[0].scanner, kept)


def _setting(rng: np.random.Generator, step: float) -> Setting:
    together = rng.normal(0.0, TOGETHER)
    return Setting(
        shift_mm=(float(rng.normal(0, SHIFT_MM)), float(rng.normal(0, SHIFT_MM))),
        turned_deg=float(rng.normal(0, TURN_DEG)),
        factors=tuple((1 + step) * (1 + together + rng.normal(0.0, EACH)) for _ in phantom.RATES_PER_S),
        gain=float(1 + rng.normal(0.0, GAIN)),
    )


def row(setting: Setting, rng: np.random.Generator, week: int) -> Row:
    """One scan, fitted and measured as the node does."""
    exam = phantom.scan(setting, rng)
    signal = exam.signal.astype(np.float32)
    maps = fit.fit(signal, exam.echo_times_ms, exam.spacing_mm[:2], FIT, exam.field_t)
    vials = PHANTOM.find(signal, exam.echo_times_ms, maps, exam.planes(), 1.0)
    images = Images.of(_Stack(exam.planes(), exam.echo_times_ms), signal, maps)  # type: ignore[arg-type]
    measured = [measure(roi, images, MeasureSettings())[0] for roi in vials.rois]
    known = tuple(
        {
            "name": one.name,
            "centre_mm": list(one.vial.centre_mm) if one.vial else None,
            "r2star_per_s": one.r2star_per_s.median if one.r2star_per_s else None,
        }
        for one in measured
    )
    at = (datetime(2026, 1, 5) + timedelta(weeks=week)).isoformat()  # noqa: DTZ001  a scanner's own time
    snr = float(np.median(signal[0, ..., 0][vials.rois[0].mask[0]])) / max(float(np.median(maps.sigma)), 1e-9)
    return Row(f"{week}", f"{week}", at, Scanner("SIEMENS", "Digital"), PHANTOM.name, "weekly", "1", snr, vials=known)


@dataclass(frozen=True, slots=True)
class _Stack:
    """What of a stack a region is measured by."""

    planes: tuple[object, ...]
    echo_times_ms: tuple[float, ...]
    field_strength_t: float = 1.5
    incomplete: str = ""


# ---- values alone


def drawn(years: int) -> Table:
    """Judge years of normal values, with a step and without one."""
    lines = [_line(years, spread) for spread in SPREADS]
    heads = (
        *("spread, % of R2*", "years", "with a false alarm, R2*", "with a false alarm, any chart"),
        *(f"step of {STEP:.0%} found within {WITHIN} scans", "scans, median", "scans, 99th percentile"),
    )
    notes = [
        f"Baseline of {chart.BASELINE} scans, then {WEEKS - chart.BASELINE} that are judged; {1 + len(OTHERS)} charts."
    ]
    return Table("Simulated years of values", heads, lines, notes)


def _line(years: int, spread: float) -> list[str]:
    rng = np.random.default_rng([42, round(100 * spread)])
    own = others = 0
    found = []
    for _ in range(years):
        values = rng.normal(0.0, spread, WEEKS)
        false = bool(_of_rates(values).verdicts)
        own += false
        others += false or any(_of_others(rng))
        steps = [one.at for one in _of_rates(values + 100 * STEP * (np.arange(WEEKS) >= STEP_AT)).verdicts]
        after = [at - STEP_AT + 1 for at in steps if at >= STEP_AT]
        found.append(after[0] if after else WEEKS)
    within = float(np.mean(np.array(found) <= WITHIN))
    shares = [f"{100 * one / years:.1f} %" for one in (own, others)]
    late = [f"{np.percentile(found, part):.0f}" for part in (50, 99)]
    return [f"{spread:g}", f"{years}", *shares, f"{100 * within:.1f} %", *late]


def _of_rates(values: NDArray[np.float64]) -> chart.Chart:
    return chart.of(values.tolist(), least_sigma=scanner.LEAST["r2star"])


def _of_others(rng: np.random.Generator) -> Iterator[bool]:
    """Whether each of the other charts raises an alarm; each spreads twice as wide as what matters to nobody."""
    for code, charts in OTHERS:
        least = scanner.LEAST[code]
        values = rng.normal(0.0, 2 * least, WEEKS)
        yield bool(chart.of(values.tolist(), least_sigma=least, charts=charts, steps=False).verdicts)


if __name__ == "__main__":
    main()
