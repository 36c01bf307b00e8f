"""What ``process`` says of every simulated series a new user may make: ``python -m bench.sweep``.

Field, T2*, S0/σ, seed and vendor's dialect are all crossed. A number more than 20 % off, or a bound above the truth, is
silently wrong: there must be none.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dicomnode import analyse, simulate
from dicomnode.compare.tables import Table
from dicomnode.config import FitSettings, GroupingSettings, MeasureSettings
from dicomnode.operate import offline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T2STAR_MS = (0.8, 1.2, 2.0, 2.2, 3.0, 5.0, 8.0, 14.0, 25.0)
SNR = (15.0, 20.0, 25.0, 50.0, 150.0)
FIELDS_T = (1.5, 3.0)
SEEDS = (1, 2, 3)
WRONG = 0.20
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Point:
    """One series and what came out: the rate, or a bound, or nothing with a reason."""

    dialect: str
    field_t: float
    t2star_ms: float
    snr: float
    seed: int
    true_per_s: float
    found_per_s: float | None
    at_least_per_s: float | None
    why: str

    @property
    def wrong(self) -> bool:
        """Whether what was said is not so."""
        if self.found_per_s is not None:
            return abs(self.found_per_s / self.true_per_s - 1) > WRONG
        return self.at_least_per_s is not None and self.at_least_per_s > self.true_per_s


def plans() -> Iterator[simulate.SeriesPlan]:
    """Every series."""
    for dialect, field, t2star, snr, seed in itertools.product(simulate.DIALECTS, FIELDS_T, T2STAR_MS, SNR, SEEDS):
        yield simulate.SeriesPlan(
            dialect=dialect, field_strength_t=field, liver_t2star_ms=t2star, snr=snr, seed=seed, slices=1
        )


def point(plan: simulate.SeriesPlan) -> Point:
    """Write a series and measure it as the node does."""
    made = simulate.make(plan, CREATED)
    with tempfile.TemporaryDirectory() as folder:
        simulate.write(made, Path(folder) / "series")
        groups, _ = offline.find([Path(folder) / "series"], GroupingSettings(), lambda _: None)
        (stack,) = [group.stack for group in groups if group.stack is not None]
        signal, maps = analyse.fit_stack(stack, FitSettings())
        found = analyse.find_regions(stack, signal, maps)
        _, (liver, *_), _ = analyse.measure_regions(found.rois, stack, signal, maps, MeasureSettings())
    why = analyse.why_no_number((liver,))
    return Point(
        plan.dialect,
        plan.field_strength_t,
        plan.liver_t2star_ms,
        plan.snr,
        plan.seed,
        made.truth.regions["liver"].r2star_per_s,
        None if liver.r2star is None else liver.r2star.value,
        None if liver.at_least is None else liver.at_least.r2star_per_s,
        "" if why is None else why.code,
    )


def table(points: Sequence[Point]) -> Table:
    """Worst error, bounds and reasons over seeds and dialects, by field and T2* (rows) and S0/σ (columns)."""
    cells: dict[tuple[float, float], dict[float, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for one in points:
        cells[one.field_t, one.t2star_ms][one.snr].append(one)
    rows = [
        [f"{field:g} T, {t2star:g} ms", *(_cell(by_snr[snr]) for snr in SNR)]
        for (field, t2star), by_snr in sorted(cells.items())
    ]
    wrong = sum(one.wrong for one in points)
    note = f"{len(points)} series, {wrong} silently wrong. Largest error of the numbers; n/m of the series have one."
    return Table("Every simulated series: what is said of the liver", ["", *(f"S0/σ {s:g}" for s in SNR)], rows, [note])


def _cell(points: Sequence[Point]) -> str:
    numbers = [100 * abs(one.found_per_s / one.true_per_s - 1) for one in points if one.found_per_s is not None]
    said = [f"{max(numbers):.1f} %"] if numbers else []
    if len(numbers) < len(points):
        bounds = [one.at_least_per_s / one.true_per_s for one in points if one.at_least_per_s is not None]
        said += [f"{len(numbers)}/{len(points)}"] if numbers else []
        said += [f"> {np.median(bounds):.2f} of it"] if bounds else []
        said += sorted({one.why for one in points if one.why and one.at_least_per_s is None})
    wrong = sum(one.wrong for one in points)
    return ", ".join(said) + (f", {wrong} WRONG" if wrong else "")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="take only every so-manieth series")
    options = parser.parse_args()
    wanted = list(plans())[:: options.every]
    points = []
    with ProcessPoolExecutor(options.processes) as pool:
        for number, one in enumerate(pool.map(point, wanted, chunksize=8), 1):
            points.append(one)
            if number % 100 == 0:
                print(f"{number} of {len(wanted)} series", file=sys.stderr, flush=True)  # noqa: T201
    print(table(points).markdown())  # noqa: T201


if __name__ == "__main__":
    main()
