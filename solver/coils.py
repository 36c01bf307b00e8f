"""Number of coils: from the shape of noise, from its moments under weak signal, from how tissue decays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from solver.likelihood import MonoExponential
from solver.noise import expected_magnitude, magnitude_variance
from solver.proximal_newton import DEFAULT, Problem, minimise
from solver.tiles import TILE, VOXELS, Tiles
from solver.vector_math import kernel
from solver.voxelwise import variable_projection

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_VOXELS = 3000
FEWEST_ECHOES = 5
TRIED = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
RARE = 0.01  # voxels with residuals of less than that probability whatever N are not heard
FEWEST = 0.1  # share of the voxels that must be heard
FEWEST_VOXELS = 64
NEAR = 8.0  # sigma left at the last echo, at most, where a floor would show
NOTICEABLE = 0.03  # of ln likelihood for each of these voxels; one coil stays near half of it at most
DECISIVE = 0.15  # of it; what fat makes of one coil stays near half of it
EXCESS = 1.4  # of squared residuals over the variance of that noise: then something else bends the decays
LOW = 7.0  # sigma^2 of power up to which a tile tells N by its moments: above, errors of sigma decide
FEWEST_LOW = 40  # of them
SLANT = 0.06  # error of N by moments for each sigma^2 of power, as an error of sigma by 3 % makes it
NEAR_WHOLE = (0.25, 0.1)  # N this near to a whole number, at least and as a fraction, is that number
RATIO_TABLE = np.geomspace(0.4, 200, 600)
RATIOS = special.poch(RATIO_TABLE, 0.5) ** 2 / RATIO_TABLE  # E[m]^2 / E[m^2] of noise of each N


def coils_of_ratio(ratio: float) -> float:
    """N from E[m]^2 / E[m^2] of noise alone, from 0.4 to 200."""
    return float(np.interp(ratio, RATIOS, RATIO_TABLE))


def ratio_of_coils(n: float) -> float:
    """E[m]^2 / E[m^2] of noise alone."""
    return float(np.interp(n, RATIO_TABLE, RATIOS))


def whole_coils(n: float) -> float:
    """N at least 1, and the nearest whole number where that is near."""
    n = max(n, 1.0)
    nearest = round(n)
    return float(nearest) if abs(n - nearest) < max(NEAR_WHOLE[0], NEAR_WHOLE[1] * nearest) else n


@dataclass(frozen=True, slots=True)
class Moments:
    """N from moments, its standard deviation, and whether enough samples told it."""

    n: float = 0.0
    deviation: float = np.inf


@kernel
def _power_variances(s: Any, ys: Any, xs: Any, out: Any) -> None:
    """Variance of m^2 in tiles from second differences of voxels two apart, (M, n): slopes of the signal cancel."""
    for e in range(s.shape[0]):
        for i in range(ys.size):
            total = 0.0
            for y in range(ys[i], ys[i] + TILE - 2):
                for x in range(xs[i], xs[i] + TILE - 2):
                    a, b, c, d = s[e, y, x], s[e, y + 2, x], s[e, y, x + 2], s[e, y + 2, x + 2]
                    total += (a * a - b * b - c * c + d * d) ** 2
            out[e, i] = total / VOXELS


def coils_by_moments(stacks: list[NDArray[Any]], tiles: Tiles, some: NDArray[Any], sigma: NDArray[Any]) -> Moments:
    """N from tiles that may hold weak signal A: m^2 has mean P = A^2 + 2 N s^2 and variance V = 4 s^2 P - 4 N s^4.

    So N = P / s^2 - V / (4 s^4) whatever A, in each tile and echo of low power; ``sigma`` is that of each tile.
    """
    p = tiles.power[:, some] / sigma**2
    if not some.size:
        return Moments()
    low = p.min(axis=0) < LOW
    p, some, sigma = p[:, low], some[low], sigma[low]
    use = p < LOW
    if np.count_nonzero(use) < FEWEST_LOW:
        return Moments()
    slices, ys, xs = tiles.corners(some)
    variance = np.empty(p.shape)
    for k, s in enumerate(stacks):
        mine = np.flatnonzero(slices == k)
        out = np.empty((len(p), mine.size))
        _power_variances(s, ys[mine], xs[mine], out)
        variance[:, mine] = out
    n = p - variance / sigma**4 / 4
    weight = use / (1 + p) ** 2
    weight /= weight.sum()
    value = float((weight * n).sum())
    chance = float(np.sqrt((weight**2 * (n - value) ** 2).sum()))
    return Moments(value, chance + SLANT * float((weight * p).sum()))


def coils_of_tissue(samples: NDArray[Any], t: NDArray[Any], bounds: tuple[float, float]) -> tuple[float, str]:
    """N of the noise, that of the greatest likelihood of voxelwise fits, and where it comes from.

    ``samples`` (M, n) in units of sigma. The root of a sum over coils levels off at sigma sqrt(2 N) in every voxel,
    however bright it began, which one exponential in Rician noise cannot follow. Where the decays do not tell, N = 1 is
    "assumed"; where they contradict it and no N explains them, it is "unclear"; where they are too few, "unknown".
    """
    s = samples[:, np.all(samples > 0, axis=0)].astype(np.float64)
    s = np.ascontiguousarray(s[:, :: -(-s.shape[1] // MOST_VOXELS) or 1])
    if len(s) < FEWEST_ECHOES or s.shape[1] < FEWEST_VOXELS:
        return 1.0, "unknown"
    t = t.astype(np.float64)
    a, r, _ = variable_projection(s, t, *bounds)
    start = np.stack([a, r])[:, None]
    fits = {n: _fit(s, t, bounds, start, n) for n in TRIED}
    near = fits[1.0].last < NEAR
    if np.count_nonzero(near) < FEWEST_VOXELS:
        return 1.0, "assumed"
    least = np.min([fit.excess for fit in fits.values()], axis=0)
    # Fat and motion bend decays too, but as no N does.
    heard = near & (least < special.chdtri(len(s) - 2, RARE) / (len(s) - 2))
    if np.count_nonzero(heard) < FEWEST * np.count_nonzero(near):
        return 1.0, "unclear"
    best = _likeliest(fits, heard)
    gain = float(np.mean(fits[1.0].cost[heard] - fits[best].cost[heard]))
    if best == 1 or gain < DECISIVE:
        return 1.0, "unclear" if gain > NOTICEABLE else "assumed"
    fits |= {n: _fit(s, t, bounds, start, n) for n in (best / np.sqrt(2), best * np.sqrt(2))}
    best = _likeliest(fits, heard)
    return (best, "decays") if np.mean(fits[best].excess[heard]) < EXCESS else (1.0, "unclear")


@dataclass(frozen=True, slots=True)
class _Fit:
    cost: NDArray[np.float64]  # (n,) -ln likelihood with all that depends on N
    excess: NDArray[np.float64]  # (n,) squared residuals over what noise of that N leaves
    last: NDArray[np.float64]  # (n,) signal at the last echo, in sigma


def _likeliest(fits: dict[float, _Fit], heard: NDArray[np.bool_]) -> float:
    return float(min(fits, key=lambda n: float(fits[n].cost[heard].sum())))


def _fit(s: NDArray[Any], t: NDArray[Any], bounds: tuple[float, float], start: NDArray[Any], n_coils: float) -> _Fit:
    """Fit every voxel for itself."""
    likelihood = MonoExponential(s, t, n_coils - 1)
    free = np.ones(start.shape[1:], bool)
    found = minimise(
        Problem(likelihood, np.zeros_like(start), free, *bounds),
        start.copy(),
        schedule=replace(DEFAULT, tolerance=1e-5),
    )
    x = found.x.reshape(2, -1)
    # p(m) = m^(2N-1) exp(-(m - A)^2 / 2) I_{N-1}(z) e^-z z^(1-N) at z = m A, whose last three are known up to a factor.
    nothing = MonoExponential(np.full((1, 1), 1e-6), np.ones(1), n_coils - 1).terms(np.array([[0.0], [1.0]]))[0, 0]
    factor = -(n_coils - 1) * np.log(2) - special.gammaln(n_coils) + nothing
    cost = likelihood.terms(x)[0] - np.sum((2 * n_coils - 1) * np.log(s), axis=0) - len(s) * factor
    signal = x[0] * np.exp(-x[1] * t[:, None])
    expected, _ = expected_magnitude(signal, n_coils)
    variance = np.maximum(magnitude_variance(signal, n_coils), 0.25)
    return _Fit(cost, np.sum((s - expected) ** 2 / variance, axis=0) / (len(s) - 2), signal[-1])
