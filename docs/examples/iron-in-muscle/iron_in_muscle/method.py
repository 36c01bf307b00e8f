"""A method of fitting: a straight line through the logarithms of the signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dicomnode.fit import Rates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.model import Maps


def log_linear(signal: NDArray[np.float32], echo_times_ms: tuple[float, ...], start: Maps) -> Rates:
    """Ln S = ln S0 - R2* t by least squares, each echo weighed by its signal; where ``start`` has a fit.

    ``signal`` is (slices, K, L, M). ``start`` are the node's own voxelwise maps: of them the noise is known, and where
    anything is seen. Nothing here knows the floor of that noise, so that severe iron reads too mild.
    """
    t = np.asarray(echo_times_ms, np.float64) / 1000.0
    s = np.maximum(signal.astype(np.float64), 1e-6)
    weight = s**2 / np.square(s).sum(axis=-1, keepdims=True)
    mean_t, mean_y = (weight * t).sum(axis=-1, keepdims=True), (weight * np.log(s)).sum(axis=-1, keepdims=True)
    spread = (weight * (t - mean_t) ** 2).sum(axis=-1)
    rate = -(weight * (t - mean_t) * (np.log(s) - mean_y)).sum(axis=-1) / spread
    s0 = np.exp(mean_y[..., 0] + rate * mean_t[..., 0])
    noise = np.asarray(start.sigma)[:, None, None] / np.sqrt(np.square(s).sum(axis=-1) * spread)
    return Rates(*(values.astype(np.float32) for values in (s0, rate, noise)), valid=start.valid)
