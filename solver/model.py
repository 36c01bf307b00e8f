"""Signal models of a gradient-echo magnitude: value and Jacobian.

Every model has the amplitude a at echo time 0 and the rate r, on which the maps are regularised, and perhaps further
parameters, which each voxel has for itself. Times in any unit, r in its inverse; shapes: a, r (n,), t (M,),
further parameters (P, n), values (M, n), Jacobians (2 + P, M, n) in the order a, r, further parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MODELS = ("mono-exponential", "offset", "truncation", "bi-exponential", "fat-water", "automatic")
LEAST_T, MOST_T = 0.1, 20.0  # fields that are none of a scanner lie outside
FEWEST_FOR_FAT = 6  # echoes
GYROMAGNETIC_RATIO_MHZ_PER_T = 42.577
# Six peaks of liver fat: ppm from water, relative amplitude (Hamilton et al. 2011).
FAT_PEAKS = ((-3.80, 0.087), (-3.40, 0.693), (-2.60, 0.128), (-1.94, 0.004), (-0.39, 0.039), (0.60, 0.048))


@dataclass(frozen=True, slots=True)
class SignalModel:
    """A model with further parameters: where they start, where they may go, and value with Jacobian."""

    name: str
    parameters: tuple[str, ...]
    start: tuple[float, ...]
    bounds: tuple[tuple[float, float], ...]
    evaluate: Callable[[Any, Any, Any, Any], tuple[Array, Array]]
    fewest_echoes: int
    faster: float = 1.0  # where r starts, relative to a fit of one exponential


def mono_exponential(a: Array, r: Array, _further: Array, t: Array) -> tuple[Array, Array]:
    """Return a exp(-r t) and its Jacobian."""
    e = np.exp(-r * t[:, None])
    return a * e, np.stack([e, -t[:, None] * a * e])


def offset(a: Array, r: Array, further: Array, t: Array) -> tuple[Array, Array]:
    """Return a (exp(-r t) + c): a constant for what does not decay; c relative to a, so that it has no unit."""
    (c,) = further
    e = np.exp(-r * t[:, None])
    return a * (e + c), np.stack([e + c, -t[:, None] * a * e, np.broadcast_to(a, e.shape)])


def bi_exponential(a: Array, r: Array, further: Array, t: Array) -> tuple[Array, Array]:
    """Return a ((1 - f) exp(-r t) + f exp(-q r t)): tissue, and a part f that decays q times as fast."""
    f, q = further
    time = t[:, None]
    e, slow = np.exp(-r * time), np.exp(-q * r * time)
    shape = (1 - f) * e + f * slow
    by_r = -time * a * ((1 - f) * e + f * q * slow)
    return a * shape, np.stack([shape, by_r, a * (slow - e), -a * f * r * time * slow])


def fat_turning(t_ms: Array, field_strength_t: float) -> NDArray[np.complex128]:
    """Signal (M,) of fat beside water, without its decay: 1 where all its peaks are in phase with it."""
    ppm, amplitude = np.array(FAT_PEAKS).T
    turns = 2e-3 * np.pi * GYROMAGNETIC_RATIO_MHZ_PER_T * field_strength_t * ppm
    turning: NDArray[np.complex128] = np.exp(1j * np.outer(t_ms, turns)) @ (amplitude / amplitude.sum())
    return turning


def fat_water(field_strength_t: float, unit_ms: float) -> Callable[[Any, Any, Any, Any], tuple[Array, Array]]:
    """Make a |1 - f + f sum_p w_p exp(i 2 pi gamma B0 delta_p t)| exp(-r t), with t in units of ``unit_ms``."""

    def evaluate(a: Array, r: Array, further: Array, t: Array) -> tuple[Array, Array]:
        (f,) = further
        fat = fat_turning(t * unit_ms, field_strength_t)[:, None]
        mix = 1 - f + f * fat
        size = np.maximum(np.abs(mix), 1e-9)
        e = np.exp(-r * t[:, None])
        by_f = a * e * np.real(np.conj(mix) * (fat - 1)) / size
        return a * size * e, np.stack([size * e, -t[:, None] * a * size * e, by_f])

    return evaluate


def tells_fat(echo_times_ms: Array, field_strength_t: float) -> bool:
    """Whether fat beats between the echoes: not where they are spaced by whole turns of it against water."""
    cycles = np.diff(echo_times_ms) * 1e-3 * GYROMAGNETIC_RATIO_MHZ_PER_T * field_strength_t * 3.40
    return not np.all(np.abs(cycles - np.round(cycles)) < 0.1)


def why_untold(echo_times_ms: Array, field_strength_t: float | None) -> str:
    """Why these echoes cannot tell fat: "no field", "few echoes", "whole turns"; nothing where they can."""
    if field_strength_t is None or not LEAST_T < field_strength_t < MOST_T:
        return "no field"
    if echo_times_ms.size < FEWEST_FOR_FAT:
        return "few echoes"
    return "" if tells_fat(echo_times_ms, field_strength_t) else "whole turns"


def check_fat_water(echo_times_ms: Array, field_strength_t: float | None) -> float:
    """Return the field where fat and water can be told apart, else raise a ValueError that names the argument."""
    if field_strength_t is None or not LEAST_T < field_strength_t < MOST_T:
        raise ValueError("field_strength_t must be given, in tesla, for model='fat-water'")
    if echo_times_ms.size < FEWEST_FOR_FAT:
        raise ValueError(f"echo_times_ms must hold at least {FEWEST_FOR_FAT} times for model='fat-water'")
    if not tells_fat(echo_times_ms, field_strength_t):
        raise ValueError(
            "echo_times_ms are spaced by whole turns of fat against water at field_strength_t: fat cannot be told apart"
        )
    return field_strength_t


def signal_model(name: str, field_strength_t: float | None, unit_ms: float) -> SignalModel:
    """Look up a model; the time unit is ``unit_ms``."""
    if name == "offset":
        return SignalModel(name, ("offset",), (0.02,), ((0.0, 0.9),), offset, 3)
    if name == "bi-exponential":
        bounds = ((0.0, 0.5), (0.01, 0.4))  # closer rates cannot be told apart
        return SignalModel(name, ("slow_fraction", "slow_ratio"), (0.1, 0.2), bounds, bi_exponential, 5, 1.5)
    if name == "fat-water":
        evaluate = fat_water(field_strength_t or 0.0, unit_ms)
        return SignalModel(name, ("fat_fraction",), (0.1,), ((0.0, 0.5),), evaluate, 6)
    return SignalModel(name, (), (), (), mono_exponential, 2)
