"""How likely each published range of a concentration is, by the number's own uncertainty.

The concentration is taken for a normal deviate about its value with every part of its interval: noise, sigma and N of
the floor, fat, model, field, sample, slices, and the calibration's standard error, which is in the interval that is
printed beside it. So the two never contradict each other. No network has a say.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dicomnode.model import Stage

if TYPE_CHECKING:
    from dicomnode.measure.organ import Ranges
    from dicomnode.model import Estimate, Limit


def stages(ranges: Ranges, estimate: Estimate) -> tuple[Stage, ...]:
    """The ranges with the probability that the concentration, in mg/g, lies in each."""
    sd = max(math.hypot(*estimate.parts.values()), 1e-9)
    below = [_normal((high - estimate.value) / sd) for _, high, _ in ranges.limits]
    shares = (upper - lower for lower, upper in zip([0.0, *below], below, strict=False))
    return tuple(_stage(entry, share) for entry, share in zip(ranges.limits, shares, strict=True))


def from_bound(ranges: Ranges, bound: Limit) -> tuple[Stage, ...]:
    """The ranges where only a bound is known: those that end below it are not, of the others nothing is said.

    Nothing at all where the bound excludes none.
    """
    least = bound.lic_mg_per_g
    if least is None or least < ranges.least:
        return ()
    return tuple(_stage(entry, 0.0 if entry[1] <= least else None) for entry in ranges.limits)


def _stage(entry: tuple[float, float, str], probability: float | None) -> Stage:
    low, high, name = entry
    return Stage(name, low if math.isfinite(low) else None, high if math.isfinite(high) else None, probability)


def _normal(deviations: float) -> float:
    """Share of a normal deviate below so many standard deviations."""
    return 0.5 * (1.0 + math.erf(deviations / math.sqrt(2.0)))
