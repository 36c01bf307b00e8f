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
    """A method with its label in tables, and what it is given of ``solver.fit_t2star``."""

    label: str
    method: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    update: Mapping[str, Any] = field(default_factory=dict)  # of [fit]: model, noise, weights
    within_regions: bool = False  # fitted where something is measured, for it is slow

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything that it is given, as ``solver.fit_t2star`` takes it."""
        return {"method": self.method, **self.update, **self.hyperparameters}


def _algorithm_1(weight: float) -> dict[str, Any]:
    return {"lambda1": weight, "lambda2": weight, "maximum_iterations": _ITERATIONS}


def _field(label: str, model: str, noise: str, method: str = "nls", **hyperparameters: Any) -> Method:
    """A way of fitting that others use, in the regions alone."""
    return Method(label, method, hyperparameters, {"model": model, "noise": noise}, within_regions=True)


def number(weight: float) -> str:
    """Print a weight as the paper does."""
    return "1e−5" if weight == 1e-5 else f"{weight:g}"


# What the field fits by; docs/solver.md has the sources.
FIELD: Mapping[str, Method] = {
    "offset": _field("with offset", "offset", "gaussian"),
    "truncation": _field("truncated", "truncation", "gaussian"),
    "laplacian": _field("Laplacian", "mono-exponential", "rician", "admm", regulariser="laplacian"),
    "first-moment": _field("first moment", "mono-exponential", "first-moment"),
    "second-moment": _field("second moment", "mono-exponential", "second-moment"),
    "bi-exponential": _field("bi-exponential", "bi-exponential", "gaussian"),
}
LAMBDAS = (1e-5, 0.1, 1.0, 10.0, 100.0)
# Eq. 2 of the paper at its minimum, which Algorithm 1 does not reach.
SWEEP: Mapping[str, Method] = {
    f"lambda-{weight:g}".replace("e-05", "e-5"): Method(
        f"eq. 2, λ = {number(weight)}",
        "admm",
        update={"model": "mono-exponential", "noise": "gaussian", "weights": (weight, weight)},
        within_regions=True,
    )
    for weight in LAMBDAS
}
ALGORITHM_1: Mapping[str, Method] = {
    "algorithm-1": Method("Algorithm 1, λ = 1e−5", "admm-published", _algorithm_1(1e-5)),
    "algorithm-1-lambda-10": Method("Algorithm 1, λ = 10", "admm-published", _algorithm_1(10.0)),
}
METHODS: Mapping[str, Method] = {
    REFERENCE: Method("ADMM", "admm"),
    "nls": Method("voxelwise", "nls"),
    "bayesian": Method("Bayesian", "bayesian"),
    "learned": Method("learned", "learned"),
    "lm-100": Method("LM from [100, 0.2]", "lm-published", {"start": (100.0, 0.2)}),
    "lm-50": Method("LM from [50, 0.05]", "lm-published", {"start": (50.0, 0.05)}),
    **FIELD,
    **SWEEP,
    **ALGORITHM_1,
}
# Without what takes most of a minute a slice, or several seconds.
QUICK = ("nls", "bayesian", "learned", "lm-100", "lm-50", *(key for key in FIELD if key != "bi-exponential"))
GROUPS: Mapping[str, tuple[str, ...]] = {
    "quick": QUICK,
    "field": tuple(FIELD),
    "sweep": tuple(SWEEP),
    "all": tuple(METHODS),
}


def chosen(names: str) -> tuple[str, ...]:
    """The keys of METHODS that names between commas stand for; a group stands for its members.

    Raises KeyError with the name that is neither.
    """
    keys = [key for name in names.split(",") for key in GROUPS.get(name, (name,))]
    unknown = next((key for key in keys if key not in METHODS), None)
    if unknown is not None:
        raise KeyError(unknown)
    return tuple(dict.fromkeys(keys))


@dataclass(frozen=True, slots=True)
class Fit:
    """What a method made of a stack, and the seconds of all threads together that it took."""

    maps: Maps
    cpu_seconds: float


def fit(
    key: str,
    signal: NDArray[np.float32],
    stack: EchoStack,
    settings: FitSettings,
    regions: NDArray[np.bool_] | None = None,
) -> Fit:
    """Fit a stack by the method of a key of METHODS; noise and weights of the settings are for our own methods.

    ``regions`` (slices, K, L) is where a slow one is fitted; None: everywhere.
    """
    one = METHODS[key]
    update: dict[str, Any] = {"method": one.method, **one.update}
    hyperparameters = dict(one.hyperparameters)
    if one.method.endswith("-published"):
        update |= {"noise": "gaussian", "weights": "auto"}
    if one.method == "admm-published":
        hyperparameters["eta"] = _eta(signal, stack.echo_times_ms)
    if one.within_regions and regions is not None:
        hyperparameters["mask"] = regions
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
    for key in (REFERENCE, "nls", "bayesian", "learned"):
        fit(key, signal[centre], stack, settings)


def _eta(signal: NDArray[np.float32], echo_times_ms: tuple[float, ...]) -> float:
    """Return the paper's η, lowered where brighter images or longer echo times would make its gradient steps diverge.

    The curvature in r is at most a² Σt².
    """
    brightest = float(np.percentile(signal[..., 0], 99.9))
    here = brightest**2 * float(np.sum(np.square(echo_times_ms)))
    paper = _PAPER_SIGNAL**2 * float(np.sum(np.square(_PAPER_ECHO_TIMES_MS)))
    return _ETA * min(1.0, paper / max(here, 1e-12))
