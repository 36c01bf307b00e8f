"""Phase between echoes: whether it is one, and what read-outs of alternating direction add to it.

Of three echoes at equal distances, s₀ s₂ conj(s₁)² holds neither the field nor the phase that all share, but four times
the phase θ that alternates from echo to echo, its sign alternating too. Where read-outs go forth and back θ is linear
over the image (gradient delays, eddy currents); where they do not it is 0. What is left of the alignment tells whether
the phases belong to these magnitudes at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

EVEN = 0.05  # relative: distances of echoes that differ by less are equal
MOST_TURNS = 6.0  # of 4 θ over the image
STEPS = 4  # of a turn over the image, in which a ramp is looked for
BRIGHT, CAPPED = 0.7, 4.0  # quantile of what a voxel weighs whose median times this is the most that one may


@dataclass(frozen=True, slots=True)
class Alternation:
    """What alternates between the echoes of a slice."""

    theta_rad: NDArray[Any]  # (K, L), known up to a quarter turn and taken nearest to none
    coherence: float  # 0 to 1: how well phases agree once it is taken out


def alternation(s: NDArray[Any], t_ms: NDArray[np.float64]) -> Alternation | None:
    """Find what alternates in a slice ``s`` (K, L, M); None where no three echoes are equally far apart."""
    steps = np.diff(t_ms)
    even = np.flatnonzero(np.abs(np.diff(steps)) <= EVEN * steps[1:])
    if not even.size:
        return None
    triplets = s[..., even] * s[..., even + 2] * np.conj(s[..., even + 1]) ** 2
    units = triplets / np.maximum(np.abs(triplets), np.finfo(np.float32).tiny)
    units = np.where(even % 2, np.conj(units), units)
    weight = _weight(s)
    evidence = weight * units.sum(-1)
    theta = _ramp(evidence) / 4
    rest = float((evidence * np.exp(-4j * theta)).real.sum())
    most = float(weight.sum()) * even.size
    return Alternation(theta, rest / most if most > 0 else 0.0)


def take_out(s: NDArray[Any], theta_rad: NDArray[Any]) -> NDArray[np.complex64]:
    """The slice (K, L, M) without its alternation."""
    signs = 1.0 - 2.0 * (np.arange(s.shape[-1]) % 2)
    return np.asarray(s * np.exp(-1j * signs * theta_rad[..., None]), np.complex64)


def _weight(s: NDArray[Any]) -> NDArray[Any]:
    """By the faintest echo: where fat cancels water there is no say, and no voxel near a coil has all of it."""
    weight: NDArray[Any] = np.abs(s).min(-1) ** 2
    bright = weight[weight > np.quantile(weight, BRIGHT)]
    return np.asarray(np.minimum(weight, CAPPED * np.median(bright))) if bright.size else weight


def _ramp(evidence: NDArray[Any]) -> NDArray[np.float64]:
    """The plane (K, L) of phase, in radians, that the evidence follows best."""
    turns = np.arange(-MOST_TURNS * STEPS, MOST_TURNS * STEPS + 1) / STEPS
    rows, columns = (np.arange(n) / n - 0.5 for n in evidence.shape)
    by_row, by_column = (np.exp(-2j * np.pi * np.outer(turns, one)) for one in (rows, columns))
    power = np.abs(by_row @ evidence @ by_column.T)
    i, j = np.unravel_index(int(power.argmax()), power.shape)
    plane: NDArray[np.float64] = np.asarray(2 * np.pi * (turns[i] * rows[:, None] + turns[j] * columns))
    plane += np.angle((evidence * np.exp(-1j * plane)).sum())
    return plane
