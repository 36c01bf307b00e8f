"""Fit the rules of confidence on exams that the network never saw."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bench.training.judging import Judged
    from dicomnode.measure.liver.network import Network

    Array = NDArray[Any]

RIDGE = 5.0  # penalty on scaled weights: few hundred exams, a dozen numbers
STEPS = 60


def logistic(numbers: Array, good: Array) -> dict[str, Array]:
    """Mean, scale and weights (the last is the offset) of a ridge-penalised logistic regression, by Newton steps."""
    mean, scale = numbers.mean(0), numbers.std(0) + 1e-6
    z = np.c_[(numbers - mean) / scale, np.ones(len(numbers))]
    penalty = RIDGE * np.r_[np.ones(numbers.shape[1]), 1e-6]
    weights = np.zeros(z.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(z @ weights, -30, 30)))
        gradient = z.T @ (p - good) + penalty * weights
        curvature = (z * (p * (1 - p))[:, None]).T @ z + np.diag(penalty)
        weights = weights - np.linalg.solve(curvature, gradient)
    return {"mean": mean, "scale": scale, "weights": weights}


def with_rule(network: Network, rule: str, parts: dict[str, Array]) -> Network:
    """The network with a rule among its arrays."""
    arrays = {**network.arrays, **{f"{rule}_{name}": np.asarray(v, np.float64) for name, v in parts.items()}}
    return replace(network, arrays=arrays)


def without_opinion(network: Network, slice_count: int, series_count: int) -> Network:
    """Rules that say even odds to everything, to gather evidence with."""
    for rule, n in (("slice", slice_count), ("series", series_count)):
        network = with_rule(network, rule, {"mean": np.zeros(n), "scale": np.ones(n), "weights": np.zeros(n + 1)})
    return network


def slice_rule(judged: Sequence[Judged]) -> dict[str, Array]:
    """From all slices where something was found.

    Where a header lies and the liver was found all the same, that says nothing of either.
    """
    some = [j for j in judged if len(j.slice_good)]
    numbers, good = np.concatenate([j.slice_numbers for j in some]), np.concatenate([j.slice_good for j in some])
    lucky = good & np.concatenate([np.full(len(j.slice_good), j.lies) for j in some])
    return logistic(numbers[~lucky], good[~lucky].astype(float))


def series_rule(judged: Sequence[Judged]) -> dict[str, Array]:
    """From all series where something was found; likewise."""
    some = [j for j in judged if j.series_numbers is not None and not (j.lies and j.good)]
    numbers, good = np.stack([j.series_numbers for j in some]), np.array([j.good for j in some], float)  # type: ignore[misc]
    return logistic(numbers, good)
