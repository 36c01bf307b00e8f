"""From evidence to the chance that a region is right: logistic rules fitted on exams that the network never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[Any]

FARTHEST = 4.0  # deviations: evidence beyond what was seen in calibration does not count more


def log_odds(arrays: Mapping[str, Array], rule: str, numbers: Array) -> Array:
    """Log odds of being right for numbers (..., n); the arrays hold the rule's mean, scale and weights."""
    mean, scale, weights = (arrays[f"{rule}_{part}"] for part in ("mean", "scale", "weights"))
    scaled = np.clip((np.asarray(numbers) - mean) / scale, -FARTHEST, FARTHEST)
    odds: Array = scaled @ weights[:-1] + weights[-1]
    return odds


def chance(odds: Array | float) -> float:
    """Probability of log odds."""
    return float(1 / (1 + np.exp(-np.clip(odds, -30, 30))))
