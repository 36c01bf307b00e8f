"""Mixtures of Gaussians in the logarithm of a rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.vector_math import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_STEPS = 60  # a bisection alone needs fewer
FAR = 8.0  # deviations from every mean, beyond which nothing is left
CLOSE = 1e-6  # of a logarithm


@kernel
def _find(weight: Any, mean: Any, sd: Any, q: float, out: Any) -> None:
    """Bracketed Newton steps on the distribution function, in double precision."""
    root = math.sqrt(0.5)
    for j in range(out.size):
        low, high, x = math.inf, -math.inf, 0.0
        for k in range(len(weight)):
            low = min(low, mean[k, j] - FAR * sd[k, j])
            high = max(high, mean[k, j] + FAR * sd[k, j])
            x += weight[k, j] * mean[k, j]
        for _ in range(MOST_STEPS):
            below, density = 0.0, 1e-30
            for k in range(len(weight)):
                u = (x - mean[k, j]) / sd[k, j] * root
                below += 0.5 * weight[k, j] * math.erfc(-u)
                density += weight[k, j] * math.exp(-u * u) / sd[k, j]
            low, high = (low, x) if below > q else (x, high)
            new = x + (q - below) / (density * root / math.sqrt(math.pi))
            new = new if low < new < high else 0.5 * (low + high)
            moved, x = abs(new - x), new
            if moved < CLOSE:
                break
        out[j] = x


@dataclass(frozen=True, slots=True)
class Mixture:
    """Gaussians in x = ln r of n voxels, each field (components, n)."""

    weight: NDArray[Any]
    mean: NDArray[Any]
    sd: NDArray[Any]

    def widened(self, sd: NDArray[Any]) -> Mixture:
        """The same with an independent Gaussian error of x, deviation ``sd`` (n,)."""
        return replace(self, sd=np.hypot(self.sd, sd))

    def quantile(self, q: float) -> NDArray[np.float64]:
        """Return the x (n,) that a share ``q`` of the mixture lies below."""
        out = np.empty(self.mean.shape[1])
        _find(self.weight, self.mean, self.sd, float(q), out)
        return out

    def rms_about(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Root mean square of e^x' - e^x (n,), over x' of the mixture."""
        variance = np.square(self.sd, dtype=np.float64)
        first = np.sum(self.weight * np.exp(self.mean - x + variance / 2), axis=0)
        second = np.sum(self.weight * np.exp(2 * (self.mean - x + variance)), axis=0)
        rms: NDArray[np.float64] = np.exp(x) * np.sqrt(np.maximum(second - 2 * first + 1, 0))
        return rms
