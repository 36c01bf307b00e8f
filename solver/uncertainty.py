"""How well a fitted rate is known, and up to where it can be measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from solver import admm
from solver.noise import sample_information

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 9  # pixels
LOST_TEXTURE = 1.04  # the replicate cannot lose again what the fit has lost of the texture


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
        deviation: NDArray[Any] = np.sqrt(np.stack([rr, aa]) / (aa * rr - ar * ar))
    return deviation


def regularised_deviation(problem: admm.Problem, found: admm.Solution, bound: NDArray[Any]) -> NDArray[Any]:
    """Standard deviation (K, L) of the regularised rate, by one parametric bootstrap replicate.

    Data are drawn from the fitted maps and fitted again with the same weights. How far the rates move, in units of the
    Cramér-Rao deviations ``bound``, is averaged over a window: TV joins voxels, so one replicate holds many. It counts
    noise and lost contrast alike (Efron and Tibshirani 1993, ch. 6). The draw is always the same.
    """
    drawn = problem.likelihood.redrawn(found.x.reshape(2, -1), np.random.default_rng(0))
    again = replace(problem, likelihood=drawn)
    moved = admm.minimise(again, found.x, found.p.copy(), tolerance=1e-3).x[1] - found.x[1]
    usable = problem.free & np.isfinite(bound) & (bound > 0)
    square = np.where(usable, (moved / np.where(usable, bound, 1)) ** 2, 0).astype(np.float32)
    count, total = (ndimage.uniform_filter(v, WINDOW, mode="constant") for v in (usable.astype(np.float32), square))
    least = 1.0 / max(int(np.count_nonzero(usable)), 1)
    ratio = np.sqrt(np.maximum(total / np.maximum(count, 1e-6), least))
    return np.where(usable, LOST_TEXTURE * ratio * bound, np.nan)
