"""Control charts of single values: Shewhart's limits and a tabular CUSUM, by a baseline of the first scans.

The baseline is the mean of the first values and their spread by the mean moving range (Montgomery, Introduction to
Statistical Quality Control, 6.4 and 9.1). So few values do not know their spread well: both limits are widened as
Student's t is over the normal distribution, so that a chart of sixteen raises no more false alarms than one of sixty.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

BASELINE = 16  # scans
CHANCE = 0.0005  # of one value of a steady process to lie beyond the limits
ALLOWANCE, DECISION = 1.0, 2.5  # of the CUSUM, in standard deviations
_RANGE = 1.128  # mean range of two normal values, in their standard deviations
_FREEDOM = 0.62  # degrees of freedom of a mean moving range, for each of its values


class Kind(StrEnum):
    """What a chart says is wrong."""

    OUTSIDE = "outside"  # one value beyond the limits
    STEP = "step"  # since some scan, all lie to one side
    DRIFT = "drift"  # they move to one side, scan by scan


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong at a scan: since which, counted from 0, and by how much it lies from the baseline since."""

    at: int
    kind: Kind
    since: int
    change: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Values in the order of the scans with what they are judged by; limits are None before the baseline is whole."""

    values: tuple[float, ...]
    baseline: int
    centre: float | None = None
    sigma: float | None = None
    low: float | None = None
    high: float | None = None
    verdicts: tuple[Verdict, ...] = ()  # of scans after the baseline, in their order


def of(
    values: Sequence[float], *, least_sigma: float, charts: int = 1, steps: bool = True, baseline: int = BASELINE
) -> Chart:
    """Judge every value after the baseline.

    ``least_sigma`` is a spread under which nothing matters; ``charts`` share the chance of a false alarm; without
    ``steps`` only single values are judged.
    """
    known = tuple(float(one) for one in values)
    if len(known) < baseline:
        return Chart(known, baseline)
    first = np.array(known[:baseline])
    centre = float(first.mean())
    sigma = max(float(np.abs(np.diff(first)).mean()) / _RANGE, least_sigma)
    widened, factor = _widened(baseline, CHANCE / charts)
    reach = factor * sigma
    verdicts = _judged(known, centre, sigma * widened, reach, baseline, steps=steps)
    return Chart(known, baseline, centre, sigma, centre - reach, centre + reach, verdicts)


@cache
def _widened(baseline: int, chance: float) -> tuple[float, float]:
    """How much wider than those of a known spread limits are, and where Shewhart's lie, in standard deviations."""
    quantile = float(stats.t.ppf(1 - chance / 2, _FREEDOM * (baseline - 1)))
    return quantile / float(stats.norm.ppf(1 - chance / 2)), quantile * float(np.sqrt(1 + 1 / baseline))


def _judged(
    values: Sequence[float], centre: float, sigma: float, reach: float, baseline: int, *, steps: bool
) -> tuple[Verdict, ...]:
    found = []
    sums, begun = {1: 0.0, -1: 0.0}, {1: baseline, -1: baseline}
    for index in range(baseline, len(values)):
        away = values[index] - centre
        for side in (1, -1):
            sums[side] += side * away / sigma - ALLOWANCE
            if sums[side] <= 0:
                sums[side], begun[side] = 0.0, index + 1
        over = [side for side in (1, -1) if sums[side] > DECISION] if steps else []
        if over:
            since = begun[over[0]]
            change = float(np.mean(values[since : index + 1])) - centre
            found.append(Verdict(index, _kind(values[baseline : index + 1], since - baseline), since, change))
        elif abs(away) > reach:
            found.append(Verdict(index, Kind.OUTSIDE, index, away))
    return tuple(found)


def _kind(values: Sequence[float], since: int) -> Kind:
    """Whether a line explains what came after the baseline better than a step does."""
    data = np.array(values)
    if since < 2 or len(data) - since < 4:
        return Kind.STEP
    step = np.concatenate([data[:since] - data[:since].mean(), data[since:] - data[since:].mean()])
    places = np.arange(len(data))
    line = data - np.polyval(np.polyfit(places, data, 1), places)
    return Kind.DRIFT if float(line @ line) < float(step @ step) else Kind.STEP
