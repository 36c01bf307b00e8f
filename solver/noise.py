"""Rician / non-central chi noise: likelihood, information, and its standard deviation from the data.

Signals are in units of sigma unless a name says otherwise; N is the number of coils under a root of sum of squares,
N = 1 is Rician (Koay and Basser 2006).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from solver.vector_math import fast_log, inlined

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def residual_sigma(fits: list[tuple[NDArray[Any], NDArray[Any]]], n_echoes: int) -> float:
    """Noise deviation from the residuals of voxelwise fits, the bright half of the voxels, robust to misfits.

    ``fits`` holds (signal at the first echo, residual sum of squares) of each slice.
    """
    if n_echoes < 3 or not fits:
        return 0.0
    first, rss = (np.concatenate(parts) for parts in zip(*fits, strict=True))
    bright = rss[(first > 0) & (first >= 0.25 * np.quantile(first, 0.98))]
    if not bright.size:
        return 0.0
    freedom = n_echoes - 2
    return float(np.sqrt(np.median(bright) / special.chdtri(freedom, 0.5)))
