"""How well a fitted rate is known, and up to where it can be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solver.noise import sample_information

if TYPE_CHECKING:
    from numpy.typing import NDArray


def information(a: NDArray[Any], r: NDArray[Any], t: NDArray[Any], n_coils: float) -> NDArray[Any]:
    """Fisher information (3, ...) of amplitude and rate of a exp(-r t): aa, ar, rr; a in units of sigma.

    ``n_coils`` is N of the noise, 0 for Gaussian.
    """
    total = np.zeros((3, *np.shape(a)), np.float64)
    a, r = np.asarray(a, np.float64), np.asarray(r, np.float64)
    for tm in np.asarray(t, np.float64):
        e = np.exp(-r * tm)
        known = sample_information(a * e, n_coils) * e * e
        slope = -tm * a
        total += known * np.stack([np.ones_like(a), slope, slope * slope])
    return total


def cramer_rao(a: NDArray[Any], r: NDArray[Any], t: NDArray[Any], n_coils: float) -> NDArray[Any]:
    """Cramér-Rao standard deviations (2, ...) of amplitude and rate of a exp(-r t); a in units of sigma."""
    aa, ar, rr = information(a, r, t, n_coils)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(np.stack([rr, aa]) / (aa * rr - ar * ar))
