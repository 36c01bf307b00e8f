"""One decay, fitted for itself by richer models: with fat, read-outs that alternate, a field across the slice.

A bipolar read-out runs to and fro: odd and even echoes meet other filters and eddy currents, and their magnitudes
differ by a common factor, some per cent, whatever the tissue. Fat beats against water. A rate that knows neither is
wrong by as much as they swing; the decay of a whole region, whose noise is small, tells both. Where the field changes
by g across a slice its parts turn away from each other, |sin(πgt)/(πgt)|: an exponential that bends down, which
tissue never makes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import optimize

from solver.model import fat_water
from solver.noise import magnitude_variance, median_magnitude

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SMALLEST = 1e-9  # turns
EVEN = 0.5  # signal fraction where fat and water are as much
START_FAT, START_MOSTLY = 0.05, 0.9
HELD = 1e-5  # how near a fraction stays that is not to be found
MOST_SWING = 0.25  # how far odd and even echoes lie from their mean, relative
LEAST_VARIANCE = 0.2  # of sigma squared: in the floor the magnitude varies less than its expectation is known
MOST_STEPS = 200
START_TURNS, MOST_TURNS = 0.3, 0.9  # across the slice, until the last echo


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """Median magnitudes (M,) of a region at their echo times (M,), with each coil's ``sigma`` of a real part."""

    signal: Array
    echo_times_ms: Array
    sigma: float
    n_coils: float

    def without(self, echo: int) -> Magnitudes:
        """All but one echo."""
        kept = np.arange(len(self.signal)) != echo
        return replace(self, signal=self.signal[kept], echo_times_ms=self.echo_times_ms[kept])


@dataclass(frozen=True, slots=True)
class Model:
    """What a decay may hold beside one exponential: fat at a field (T), and a sign (M,) for alternating echoes.

    ``held_fat`` asks what the rate is if there is so much. ``mostly_fat`` looks where fat outweighs water: of one peak
    of fat magnitudes would not tell that from the reverse; the six of fat do.
    """

    fat_at_t: float | None = None
    signs: Array | None = None
    mostly_fat: bool = False
    held_fat: float | None = None  # the fraction, where it is not to be found
    turning_within_ms: float | None = None  # time of the last echo, where the field changes across the slice

    def shape(self, t_ms: Array, further: Array) -> tuple[Array, Array]:
        """Factors (M,) on one exponential for the further parameters (P,), and their derivatives (P, M)."""
        factor, slopes, one, nought = np.ones_like(t_ms), [], np.ones(1), np.zeros(1)
        rest = list(further)
        if self.fat_at_t is not None:
            value, jacobian = fat_water(self.fat_at_t, 1.0)(one, nought, np.array([[rest.pop(0)]]), t_ms)
            factor, slopes = value[:, 0], [jacobian[2][:, 0]]
        if self.signs is not None:
            swing = 1 + rest.pop(0) * self.signs
            slopes = [*(slope * swing for slope in slopes), factor * self.signs]
            factor = factor * swing
        if self.turning_within_ms is not None:
            turns = rest.pop(0) * t_ms / self.turning_within_ms
            left = np.sinc(turns)
            by_turns = (np.cos(np.pi * turns) - left) / np.maximum(turns, SMALLEST) * t_ms / self.turning_within_ms
            slopes = [*(slope * left for slope in slopes), factor * by_turns]
            factor = factor * left
        return factor, np.reshape(slopes, (-1, t_ms.size))

    @property
    def looks_for_fat(self) -> bool:
        """Whether there is a fraction to be found."""
        return self.fat_at_t is not None and self.held_fat is None

    @property
    def further(self) -> list[tuple[float, float, float]]:
        """Start and bounds of each further parameter."""
        part = (START_MOSTLY, EVEN, 1.0) if self.mostly_fat else (START_FAT, 0.0, EVEN)
        if self.held_fat is not None:
            part = (self.held_fat, self.held_fat - HELD, self.held_fat + HELD)
        fat = [part] if self.fat_at_t is not None else []
        swing = [(0.0, -MOST_SWING, MOST_SWING)] if self.signs is not None else []
        return fat + swing + ([(START_TURNS, 0.0, MOST_TURNS)] if self.turning_within_ms is not None else [])


@dataclass(frozen=True, slots=True)
class Decay:
    """A fitted decay: ``cost`` is half the squared residuals over the noise's variance."""

    s0: float
    rate_per_s: float
    further: tuple[float, ...]
    cost: float


def fit_decay(measured: Magnitudes, model: Model, start: tuple[float, float]) -> Decay | None:
    """Fit one decay, ``start`` being S0 and R2* in 1/s; None where there is no rate.

    The median magnitude of so many coils is what is fitted, so that the noise floor bends nothing.
    """
    t, sigma, n_coils = measured.echo_times_ms, measured.sigma, measured.n_coils
    magnitude = measured.signal / sigma
    further = model.further
    if len(t) < 2 + len(further) or start[0] <= 0:
        return None
    variance = np.maximum(magnitude_variance(np.maximum(magnitude, 0.0), n_coils), LEAST_VARIANCE)
    weight = 1 / np.sqrt(variance)

    def clean(x: Array) -> tuple[Array, Array, Array]:
        factor, slopes = model.shape(t, x[2:])
        decayed = np.exp(x[0] - x[1] * t)
        return decayed * factor, decayed, slopes

    def residuals(x: Array) -> Array:
        found: Array = (median_magnitude(clean(x)[0], n_coils)[0] - magnitude) * weight
        return found

    def jacobian(x: Array) -> Array:
        value, decayed, slopes = clean(x)
        steep = median_magnitude(value, n_coils)[1] * weight
        return np.stack([value * steep, -t * value * steep, *(decayed * slope * steep for slope in slopes)], 1)

    lower = [-np.inf, 0.0, *(low for _, low, _ in further)]
    upper = [np.inf, np.inf, *(high for _, _, high in further)]
    first = [np.log(start[0] / sigma), max(start[1], 1e-3) / 1000, *(value for value, _, _ in further)]
    found: Any = optimize.least_squares(
        residuals, first, jacobian, bounds=(lower, upper), x_scale="jac", max_nfev=MOST_STEPS
    )
    s0, rate = float(np.exp(found.x[0]) * sigma), float(1000 * found.x[1])
    if not np.isfinite([s0, rate]).all() or rate <= 0:
        return None
    return Decay(s0, rate, tuple(float(value) for value in found.x[2:]), float(found.cost))
