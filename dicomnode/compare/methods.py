"""The ways of fitting that are set side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode import fit as fitting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dicomnode.config import FitSettings
    from dicomnode.model import EchoStack, Maps

REFERENCE = "admm"  # its maps decide where the regions lie
# Algorithm 1 of the paper: η has a unit; with these echo times and this signal its 1e−8 is below the stable limit.
_ETA, _PAPER_SIGNAL = 1e-8, 455.0
_PAPER_ECHO_TIMES_MS = (2.58, 4.81, 7.59, 9.89, 12.12, 14.35, 16.58, 18.88)
_ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class Method:
    """A method of ``FitSettings`` with its label in tables and the hyper-parameters it is given."""

    label: str
    method: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


def _algorithm_1(weight: float) -> dict[str, Any]:
    return {"lambda1": weight, "lambda2": weight, "maximum_iterations": _ITERATIONS}


METHODS: Mapping[str, Method] = {
    REFERENCE: Method("ADMM", "admm"),
    "nls": Method("voxelwise", "nls"),
    "bayesian": Method("Bayesian", "bayesian"),
    "lm-100": Method("LM from [100, 0.2]", "lm-published", {"start": (100.0, 0.2)}),
    "lm-50": Method("LM from [50, 0.05]", "lm-published", {"start": (50.0, 0.05)}),
    "algorithm-1": Method("Algorithm 1, λ = 1e−5", "admm-published", _algorithm_1(1e-5)),
    "algorithm-1-lambda-10": Method("Algorithm 1, λ = 10", "admm-published", _algorithm_1(10.0)),
}
QUICK = ("nls", "bayesian", "lm-100", "lm-50")


@dataclass(frozen=True, slots=True)
class Fit:
    """What a method made of a stack, and the seconds of all threads together that it took."""

    maps: Maps
    cpu_seconds: float


def fit(key: str, signal: NDArray[np.float32], stack: EchoStack, settings: FitSettings) -> Fit:
    """Fit a stack by the method of a key of METHODS; noise and weights of the settings are for our own methods."""
    chosen = METHODS[key]
    update: dict[str, Any] = {"method": chosen.method}
    hyperparameters = dict(chosen.hyperparameters)
    if chosen.method.endswith("-published"):
        update |= {"noise": "gaussian", "weights": "auto"}
    if chosen.method == "admm-published":
        hyperparameters["eta"] = _eta(signal, stack.echo_times_ms)
    started = time.process_time()
    spacing = stack.planes[0].pixel_spacing_mm
    wanted = settings.model_copy(update=update)
    maps = fitting.fit(signal, stack.echo_times_ms, spacing, wanted, stack.field_strength_t, **hyperparameters)
    return Fit(maps, time.process_time() - started)


def warm_up(signal: NDArray[np.float32], stack: EchoStack, settings: FitSettings) -> None:
    """Let the solver compile before a clock runs."""
    _, rows, columns, _ = stack.shape
    top, left = max(rows // 2 - 8, 0), max(columns // 2 - 8, 0)
    centre = np.s_[:1, top : top + 16, left : left + 16]
    for key in (REFERENCE, "nls", "bayesian"):
        fit(key, signal[centre], stack, settings)


def _eta(signal: NDArray[np.float32], echo_times_ms: tuple[float, ...]) -> float:
    """Return the paper's η, lowered where brighter images or longer echo times would make its gradient steps diverge.

    The curvature in r is at most a² Σt².
    """
    brightest = float(np.percentile(signal[..., 0], 99.9))
    here = brightest**2 * float(np.sum(np.square(echo_times_ms)))
    paper = _PAPER_SIGNAL**2 * float(np.sum(np.square(_PAPER_ECHO_TIMES_MS)))
    return _ETA * min(1.0, paper / max(here, 1e-12))
