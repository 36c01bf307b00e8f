"""Rician / non-central chi noise: likelihood, information, and its standard deviation from the data.

Signals are in units of sigma unless a name says otherwise; N is the number of coils under a root of sum of squares,
N = 1 is Rician (Koay and Basser 2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special
from scipy.interpolate import CubicSpline

from solver.vector_math import fast_log, inlined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solver.sigma_map import Surface

INFORMATION_STEPS = 8  # entries of the table of information per sigma
GAUSSIAN = -1.0  # in place of a Bessel order


@inlined
def bessel_terms(z: Any, order: Any) -> tuple[Any, Any]:
    """I_{order+1}(z) / I_order(z) and ln(sqrt(2 pi) e^-z z^-order I_order(z)), z >= 0, order >= 0.

    Debye's uniform expansion to third order (DLMF 10.41) at v = order + 5, then five times down the recursion
    R_v = z / (2 (v + 1) + z R_{v+1}), which contracts: relative error of the ratio below 2e-6.
    """
    f = type(z)
    one, two, half = f(1), f(2), f(0.5)
    v = order + f(5)
    h = np.sqrt(v * v + z * z)
    top = v + h
    inverse = one / h
    p = v * inverse
    p *= p
    square = inverse * inverse
    cube = square * inverse
    u = one + inverse * (f(3) - f(5) * p) * f(1 / 24)
    u += square * (f(81) + p * (f(385) * p - f(462))) * f(1 / 1152)
    u += cube * (f(30375) + p * (p * (f(765765) - f(425425) * p) - f(369603))) * f(1 / 414720)
    d = square * (f(840) * p - f(216)) * f(1 / 1152) - half * inverse
    d += cube * (p * (f(748440) - f(900900) * p) - f(72900)) * f(1 / 414720)
    ratio = z * (one / top + inverse * d / u)
    scale = one / top
    product = one
    for k in range(5):
        below = two * (order + f(5 - k)) + z * ratio
        ratio = z / below
        product *= below * scale
    value = v * v / (h + z) - order * fast_log(top) + fast_log(u * product * np.sqrt(inverse))
    return ratio, value


@inlined
def sample_terms(s: Any, mean: Any, order: Any) -> tuple[Any, Any, Any]:
    """-ln likelihood of one sample (up to a function of s), its derivative by the noise-free signal, its curvature.

    s and ``mean`` in units of sigma; order N - 1 of the non-central chi, or GAUSSIAN. The curvature is a positive
    approximation of the Fisher information.
    """
    f = type(s)
    half, one = f(0.5), f(1)
    residual = mean - s
    value = half * residual * residual
    if order < f(0):
        return value, residual, one
    s = max(s, f(1e-6))
    ratio, log_bessel = bessel_terms(s * mean, order)
    power = mean * mean
    return value - log_bessel, mean - s * ratio, power / (power + order + one)


@lru_cache(maxsize=32)
def information_table(n_coils: float) -> NDArray[np.float64]:
    """Fisher information of one sample on its noise-free signal, at 0 to 12 sigma, by quadrature over the density."""
    signal = np.arange(12 * INFORMATION_STEPS + 1) / INFORMATION_STEPS
    m = np.linspace(0, 12 + np.sqrt(2 * n_coils) + 9, 801)[1:]
    z = np.outer(signal, m)
    order = n_coils - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        # p(m | A) is proportional to m^N A^(1-N) exp(-(m - A)^2 / 2) I_{N-1}(mA) e^(-mA); A = 0 is taken as a limit.
        ratio = np.where(z > 0, special.ive(order + 1, z) / special.ive(order, z), 0)
        log_scaled = np.where(
            z > 0, np.log(special.ive(order, z)) - order * np.log(z), -order * np.log(2) - special.gammaln(n_coils)
        )
    log_density = (2 * n_coils - 1) * np.log(m) - 0.5 * (m - signal[:, None]) ** 2 + log_scaled
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    score = m * ratio - signal[:, None]
    table: NDArray[np.float64] = np.sum(density * score**2, axis=1) / np.sum(density, axis=1)
    return table


def expected_magnitude(signal: NDArray[np.float64], n_coils: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """E[m] at noise-free signals (units of sigma), sqrt(2) (N)_1/2 1F1(-1/2; N; -A^2/2), and its slope."""
    if not n_coils:
        return signal, np.ones_like(signal)
    near = np.minimum(signal, 30)
    scale, z = mean_of_noise(n_coils), -0.5 * near**2
    value = scale * special.hyp1f1(-0.5, n_coils, z)
    slope = scale * near * special.hyp1f1(0.5, n_coils + 1, z) / (2 * n_coils)
    far = np.maximum(signal, 30)
    tail = n_coils - 0.5
    return (
        np.where(signal < 30, value, far + tail / far),
        np.where(signal < 30, slope, 1 - tail / far**2),
    )


def median_magnitude(signal: NDArray[np.float64], n_coils: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median of m at noise-free signals (units of sigma), and its slope: m^2 is non-central chi-square of 2 N.

    In the floor it lies up to 6 % below the expectation. Beyond 30 sigma it is sqrt(A^2 + 2 N - 1).
    """
    if not n_coils:
        return signal, np.ones_like(signal)
    near, far = _median_spline(n_coils), np.sqrt(np.maximum(signal, 30) ** 2 + 2 * n_coils - 1)
    is_near = signal < 30
    return np.where(is_near, near(signal), far), np.where(is_near, near(signal, 1), signal / far)


@lru_cache(maxsize=64)
def _median_spline(n_coils: float) -> CubicSpline:
    """The median up to 30 sigma; each of its values takes a search, and a fit asks for thousands."""
    signal = np.linspace(0, 30, 30 * MEDIAN_STEPS + 1)
    return CubicSpline(signal, np.sqrt(special.chndtrix(0.5, 2 * n_coils, signal**2)), bc_type=((1, 0.0), "not-a-knot"))


def magnitude_variance(signal: NDArray[np.float64], n_coils: float) -> NDArray[np.float64]:
    """Variance of a magnitude at noise-free signals (units of sigma): A^2 + 2 N - E[m]^2; 1 without a floor (N = 0)."""
    if not n_coils:
        return np.ones_like(signal)
    expected, _ = expected_magnitude(signal, n_coils)
    near = np.minimum(signal, 30)
    # Far from the floor the difference of squares has no digits left; the next terms of the tail stand in for it.
    tail = 1 - (n_coils - 0.5) / np.maximum(signal, 30) ** 2
    variance: NDArray[np.float64] = np.where(
        signal < 30, near**2 + 2 * n_coils - np.where(signal < 30, expected, 0) ** 2, tail
    )
    return variance


MEDIAN_STEPS = 32  # to a sigma: cubic between them is within 1e-7
TABLE_STEPS = 64  # to a sigma: linear between them is within 3e-5 of the expectation


@lru_cache(maxsize=32)
def _magnitude_table(n_coils: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    signal = np.arange(30 * TABLE_STEPS + 1) / TABLE_STEPS
    return signal, expected_magnitude(signal, n_coils)[0], magnitude_variance(signal, n_coils)


def tabled_magnitude(signal: NDArray[np.float64], n_coils: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expectation and variance of magnitudes as ``expected_magnitude`` and ``magnitude_variance``, for many samples."""
    if not n_coils:
        return signal, np.ones_like(signal)
    at, expected, variance = _magnitude_table(n_coils)
    far, tail = np.maximum(signal, 30), n_coils - 0.5
    return (
        np.where(signal < 30, np.interp(signal, at, expected), far + tail / far),
        np.where(signal < 30, np.interp(signal, at, variance), 1 - tail / far**2),
    )


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """Standard deviation of the real and imaginary channels, N of the non-central chi, and where both come from."""

    sigma: float
    n_coils: float
    source: str  # of sigma: "air", "late echoes", "tissue", "residuals", "differences" or "given"
    coils_source: str  # of N: "air", "late echoes", "moments", "decays", "given", "assumed", "unclear" or "unknown"
    confidence: str = "given"  # "high", "fair", "low" or "unknown"
    coils_range: tuple[float, float] = (1.0, 1.0)  # N that the data allow
    relative_sd: float = 0.0  # of sigma
    surface: Surface | None = None  # of sigma, where it varies


def mean_of_noise(n_coils: float) -> float:
    """E[m] / sigma without signal: sqrt(2) Gamma(N + 1/2) / Gamma(N)."""
    return float(np.sqrt(2) * special.poch(n_coils, 0.5))


def residual_sigma(a: NDArray[Any], r: NDArray[Any], rss: NDArray[Any], t: NDArray[Any]) -> float:
    """Noise deviation from the residuals of least-squares fits (M, n), where the last echo still stands out.

    The lowest fifth of the voxels is compared with that of chi-square: misfits only raise residuals.
    """
    freedom = t.size - 2
    if freedom < 1 or not rss.size:
        return 0.0
    last = a * np.exp(-r * t[-1])
    brightest = last >= np.quantile(last, 0.7)
    sigma = np.sqrt(np.quantile(rss[brightest], 0.2) / special.chdtri(freedom, 0.8))
    clear = last > 4 * sigma
    if clear.sum() >= 16:
        sigma = np.sqrt(np.quantile(rss[clear], 0.2) / special.chdtri(freedom, 0.8))
    return float(sigma)


def difference_sigma(images: NDArray[Any], lit: NDArray[np.bool_], apart: int = 1) -> float:
    """Noise deviation from diagonal second differences of the images (M, K, L) where all four voxels are ``lit``.

    Structure only raises it. Interpolation lowers that of neighbours, so that these are the last resort; of voxels two
    ``apart`` it does not.
    """
    if min(images.shape[-2:]) <= apart:
        return 0.0

    def corners(m: Any) -> list[Any]:
        return [m[..., apart:, apart:], m[..., apart:, :-apart], m[..., :-apart, apart:], m[..., :-apart, :-apart]]

    a, b, c, d = corners(images)
    all_lit = np.logical_and.reduce(corners(lit))
    if not all_lit.any():
        return 0.0
    # The mean of the lowest three quarters: edges are outside them, and whole numbers do not make steps of it.
    lowest = np.sort(np.abs((a - b - c + d)[..., all_lit]), axis=-1)[..., : max(1, 3 * int(all_lit.sum()) // 4)]
    return float(np.median(lowest.mean(axis=-1)) / (2 * 0.5148))
