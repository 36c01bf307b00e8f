"""Posterior mean and deviation of the maps of one slice, with every scale of the prior found beside them.

theta = (ln a, ln r) is a sum of jumps and a smooth trend (``solver.fields``), in the image domain as Huang et al. have
it for wavelets (2025). Both have a heavy-tailed prior, edges are shared by the two maps:

    -ln p = Σ_links TAIL/2 ln(1 + q/CORE)  +  Σ_knots (FREEDOM + 6)/2 ln(1 + b/FREEDOM)

with q the squared slopes of both jumps in units of their scales, b the squared bends of both trends in units of theirs.
A ln(1 + ...) is a mixture of Gaussians of all widths, so that each turn is a linear system (variational EM): the mean
of a link's precision, given what is expected of its slope, then theta, then the scales. What is expected of a slope
is the square of its mean and the variance that the data leave, in closed form for a lattice whose links and curvature
are those around it. A few sweeps of Gibbs sampling then tell how far theta lies from the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from solver.fields import Grid, Precisions, System, bends, linked

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from solver.likelihood import Likelihood

TAIL, CORE = 1.25, 0.5  # of jumps: one of any size is likely, which costs its height little
FREEDOM = 4.0  # of bends
FIRST_SCALE = 0.05  # of jumps and bends: ln a, ln r
SETTLE = 4  # turns in which the scales of the jumps are those of the whole slice; then of the place
WINDOW = 9  # voxels: a place
LEAST, MOST = 0.05, 2.0  # scale of a place over that of the slice
DOUBT = 1.4  # how much rougher than expected a place must be to count: chosen by coverage on phantoms
PACE = 2.0  # power of a step towards the scale of a place, which alone would take many turns
TURNS = 10
STEPS, FURTHEST = 30, 0.7  # of conjugate gradients in a turn, of ln a or ln r
EXACT = 0.02  # residual of a linear system, relative
PROXIMAL = 1.0  # curvature that holds back in one turn what the data leave open
OPEN = 0.05  # curvature of what the data leave open, about what a factor of 90 is
MOVES = 0.1  # Cramér-Rao deviations that the last turn moves the rate at most, root mean square, where it has settled
SWEEPS, BURN = 20, 4  # of Gibbs sampling; those at its beginning that do not count
LIKE = 3  # voxels over which a deviation is averaged, in units of the Cramér-Rao deviation
SEED = 0
STIFFEST = 1e4  # that a sampled link may be


@dataclass(frozen=True, slots=True)
class Posterior:
    """Maps of a slice and what is known of them."""

    x: NDArray[Any]  # (2, K, L): a, r
    relative_sd: NDArray[Any]  # (K, L) of r
    scales: Scales
    objective: tuple[float, ...]
    iterations: int
    converged: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class Where:
    """What may be fitted (K, L), how far neighbours lie apart, between which rates."""

    free: NDArray[np.bool_]
    spacing: tuple[float, float]
    bounds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Field:
    """Where a slice may be fitted, and how its voxels are linked."""

    grid: Grid
    free: NDArray[np.bool_]  # (K, L)
    links: NDArray[Any]  # (2, K, L): 1 where both neighbours are free
    spacing: tuple[float, float]

    @classmethod
    def of(cls, free: NDArray[np.bool_], spacing: tuple[float, float], dtype: Any) -> Field:
        """Link the neighbours that are free."""
        links = np.zeros((2, *free.shape), dtype)
        links[0, :-1] = free[1:] & free[:-1]
        links[1, :, :-1] = free[:, 1:] & free[:, :-1]
        return cls(Grid.of(free.shape, dtype), free, links, spacing)

    @property
    def steps(self) -> NDArray[Any]:
        """Squared distances (2, 1, 1) of neighbours."""
        square: NDArray[Any] = np.square(np.array(self.spacing, self.links.dtype))[:, None, None]
        return square

    def around(self, values: NDArray[Any], window: int = WINDOW) -> NDArray[Any]:
        """Mean of a map over the free voxels near each."""
        return _share(values * self.free, self.free.astype(self.links.dtype), window)

    def along(self, values: NDArray[Any]) -> NDArray[Any]:
        """Mean over the links (2, K, L) near each voxel."""
        return _share((values * self.links).sum(axis=0), self.links.sum(axis=0))


def _share(values: NDArray[Any], weight: NDArray[Any], window: int = WINDOW) -> NDArray[Any]:
    total, count = (ndimage.uniform_filter(v, window, mode="constant") for v in (values, weight))
    out: NDArray[Any] = total / np.maximum(count, values.dtype.type(1e-3))
    return out


@dataclass(frozen=True, slots=True)
class Scales:
    """Hyper-parameters: scales of jumps and trends of each map, of each place; the precisions they lead to."""

    jumps: NDArray[Any]  # (2,)
    trends: NDArray[Any]  # (2,)
    place: NDArray[Any]  # (K, L): variance of the jumps there over that of the slice
    links: NDArray[Any]  # (2, K, L) in units of jumps and place
    knots: NDArray[Any]  # (P, Q)

    def of_links(self) -> NDArray[Any]:
        """Variance (2, K, L) of the place of each link."""
        out = np.empty_like(self.links)
        for axis in (0, 1):
            out[axis] = np.sqrt(self.place * np.roll(self.place, -1, axis))
        return out


@dataclass(frozen=True, slots=True)
class Quadratic:
    """-ln likelihood of a slice about theta (2, K, L): its value, gradient, curvature (3, K, L); 0 where not free."""

    theta: NDArray[Any]
    value: float
    gradient: NDArray[Any]
    curvature: NDArray[Any]

    @classmethod
    def at(cls, likelihood: Likelihood, theta: NDArray[Any], free: NDArray[np.bool_]) -> Quadratic:
        """By theta = ln x the gradient is x g, the curvature, that of Fisher's information, x h x."""
        x = np.exp(theta)
        t = likelihood.terms(x.reshape(2, -1)).astype(x.dtype, copy=False).reshape(6, *free.shape)
        gradient = np.where(free, x * t[1:3], 0)
        curvature = np.where(free, np.stack([x[0] * x[0] * t[3], x[0] * x[1] * t[4], x[1] * x[1] * t[5]]), 0)
        return cls(theta, float(np.sum(t[0], where=free, dtype=np.float64)), gradient, curvature)

    def held(self, free: NDArray[np.bool_], by: float) -> Quadratic:
        """The same with curvature added."""
        curvature = self.curvature.copy()
        curvature[::2] += curvature.dtype.type(by) * free
        return replace(self, curvature=curvature)

    def pull(self) -> NDArray[Any]:
        """Slope at 0 (2, K, L), downhill."""
        slope: NDArray[Any] = _curved(self.curvature, self.theta) - self.gradient
        return slope


def posterior(
    likelihood: Likelihood,
    start: NDArray[Any],
    where: Where,
    seed: int = SEED,
) -> Posterior:
    """Fit amplitude and rate of a slice with voxels to fit from ``start`` (2, K, L)."""
    free, bounds = where.free, where.bounds
    field = Field.of(free, where.spacing, start.dtype)
    theta = _start(start, free, bounds)
    limits = np.log(np.array([[1e-2, 1e12], bounds])).astype(start.dtype)[..., None, None]
    state = field.grid.state(theta, np.full(2, FIRST_SCALE, start.dtype))
    scales = _first_scales(field, state)
    history, moved = [], np.inf
    for turn in range(TURNS):
        terms = Quadratic.at(likelihood, theta, free)
        history.append(terms.value + _penalty(field, scales, state))
        state = _turned(field, scales, terms, state)
        new = field.grid.maps(state, scales.jumps, scales.trends)
        bounded = np.clip(theta + np.clip(new - theta, -FURTHEST, FURTHEST), limits[:, 0], limits[:, 1])
        bounded = np.where(free, bounded, new)
        field.grid.split(state)[0][:] += (bounded - new) / scales.jumps[:, None, None]
        moved, theta = _moved(bounded - theta, terms.curvature, free), bounded
        if not np.isfinite(moved):
            break
        scales, state = _rescaled(field, scales, terms.curvature, state, of_places=turn >= SETTLE)
    sd = _spread(field, scales, Quadratic.at(likelihood, theta, free), state, np.random.default_rng(seed))
    settled = bool(moved <= MOVES)
    verdict = "converged" if settled else "stopped: the maps still moved after the last turn"
    return Posterior(np.exp(theta), sd, scales, tuple(history), len(history), settled, verdict)


def _start(x: NDArray[Any], free: NDArray[np.bool_], bounds: tuple[float, float]) -> NDArray[Any]:
    """Logarithms of the maps; where nothing is fitted, what is usual."""
    least = np.array([0.3, bounds[0]], x.dtype)[:, None, None]
    theta = np.log(np.maximum(x, least))
    usual = np.median(theta[:, free], axis=1)[:, None, None]
    out: NDArray[Any] = np.where(free, theta, usual).astype(x.dtype)
    return out


def _first_scales(field: Field, state: NDArray[Any]) -> Scales:
    dtype = state.dtype
    both = np.full(2, FIRST_SCALE, dtype)
    links = _precision(_slopes(field, state).sum(axis=1)) * field.links
    return Scales(both, both.copy(), np.ones(field.grid.shape, dtype), links, np.ones(field.grid.knots, dtype))


def _slopes(field: Field, state: NDArray[Any]) -> NDArray[Any]:
    """Squared slopes (2 directions, 2 maps, K, L) of the jumps, in units of their scales."""
    square: NDArray[Any] = np.square(linked(field.grid.split(state)[0], field.spacing))
    return square


def _precision(q: NDArray[Any]) -> NDArray[Any]:
    """Mean precision of a link whose squared slope is q: a Gamma of shape TAIL/2 and rate (CORE + q)/2."""
    out: NDArray[Any] = TAIL / (CORE + q)
    return out.astype(q.dtype, copy=False)


def _system(field: Field, scales: Scales, curvature: NDArray[Any]) -> System:
    links = scales.links / (scales.of_links() * field.steps)
    return System.of(field.grid, Precisions(curvature, links, scales.knots, scales.jumps, scales.trends))


def _turned(field: Field, scales: Scales, terms: Quadratic, state: NDArray[Any]) -> NDArray[Any]:
    """Where the quadratic model of the likelihood and the links lead."""
    held = terms.held(field.free, PROXIMAL)
    wanted = field.grid.pulled(held.pull(), scales.jumps, scales.trends)
    return _moved_to(_system(field, scales, held.curvature), wanted, state, STEPS)


def _moved_to(system: System, b: NDArray[Any], state: NDArray[Any], steps: int) -> NDArray[Any]:
    """Solve for the way from a state, so that the residual is relative to that and not to the state."""
    rest = b - system.times(state)
    out: NDArray[Any] = state + system.solve(rest, np.zeros_like(rest), EXACT, steps)
    return out


def _curved(h: NDArray[Any], theta: NDArray[Any]) -> NDArray[Any]:
    """Product of the curvature (3, K, L) of each voxel and maps (2, K, L)."""
    return np.stack([h[0] * theta[0] + h[1] * theta[1], h[1] * theta[0] + h[2] * theta[1]])


def _moved(step: NDArray[Any], h: NDArray[Any], free: NDArray[np.bool_]) -> float:
    """Root mean square of a step, in deviations of single voxels."""
    square = np.sum(step * _curved(h, step), axis=0)[free]
    return float(np.sqrt(np.mean(square, dtype=np.float64)))


def _penalty(field: Field, scales: Scales, state: NDArray[Any]) -> float:
    """-ln prior of a state under the scales, up to a constant."""
    of_links = scales.of_links()
    q = _slopes(field, state).sum(axis=1) / of_links
    jumps = 0.5 * TAIL * np.sum(np.log1p(q / CORE), where=field.links > 0, dtype=np.float64)
    b = np.square(bends(field.grid.split(state)[1])).sum(axis=(0, 1))
    trend = 0.5 * (FREEDOM + 6) * np.sum(np.log1p(b / FREEDOM), dtype=np.float64)
    sizes = field.free.sum() * np.log(scales.jumps).sum() + b.size * np.log(scales.trends).sum()
    return float(jumps + trend + sizes + np.sum(np.log(scales.place), where=field.free, dtype=np.float64))


def _told(h: NDArray[Any], scales: NDArray[Any], links: NDArray[Any], share: Callable[[Any], Any]) -> NDArray[Any]:
    """Share (2, ...) of what is known of each map that the data and not the prior tell: eigenvalue by eigenvalue.

    ``share`` is that of a lattice by the curvature of its data over that of its links.
    """
    a, b, d = h[0] * scales[0] ** 2, h[1] * scales[0] * scales[1], h[2] * scales[1] ** 2
    middle, half = (a + d) / 2, np.sqrt(np.square((a - d) / 2) + b * b)
    more, less = share((middle + half) / links), share(np.maximum(middle - half, 0) / links)
    # The first map's part of the first eigenvector.
    part = 0.5 + 0.5 * np.divide((a - d) / 2, half, out=np.zeros_like(half), where=half > 0)
    return np.stack([part * more + (1 - part) * less, (1 - part) * more + part * less])


def _share_of_jumps(rho: NDArray[Any]) -> NDArray[Any]:
    """Mean of rho / (rho + lambda) over the modes of a square lattice, within 5 %: its Green's function by rho."""
    rho = np.maximum(rho, 1e-9)
    out: NDArray[Any] = np.minimum(rho / (4 * np.pi) * np.log1p(32 / rho), 1)
    return out


def _share_of_trends(rho: NDArray[Any]) -> NDArray[Any]:
    """The same where bends are penalised: lambda squared."""
    root = np.sqrt(rho)
    out: NDArray[Any] = root / (8 + root)
    return out


def _rescaled(
    field: Field, scales: Scales, h: NDArray[Any], state: NDArray[Any], *, of_places: bool
) -> tuple[Scales, NDArray[Any]]:
    """Scales and links that go with what is expected of the slopes and bends, and the state in their units."""
    dtype = state.dtype
    of_links = scales.of_links()
    typical = np.maximum(field.along(scales.links), 0.02)
    told = _told(h, scales.jumps, typical / scales.place, _share_of_jumps)
    mean = _slopes(field, state) / of_links[:, None]
    rest = 1 / (scales.links[:, None] + (typical * (1 + told) / np.maximum(1 - told, 1e-3))[None])
    expected = (mean + rest) * field.links[:, None]
    links = _precision(expected.sum(axis=1)) * field.links
    jumps, place = scales.jumps, scales.place
    if of_places:
        rough = field.along((links[:, None] * mean).sum(axis=1))
        ratio = (rough + 1e-4) / (DOUBT * field.around(told.sum(axis=0) / 2) + 1e-4)
        place = np.clip(place * np.clip(ratio, 0.2, 5) ** PACE, LEAST**2, MOST**2).astype(dtype)
    else:
        square = np.sum(links[:, None] * expected, axis=(0, 2, 3), dtype=np.float64) / max(field.free.sum() - 1, 1)
        jumps = (jumps * np.sqrt(np.clip(square, 0.1, 10))).astype(dtype)
    knots, trends = _rescaled_trends(field, scales, h, state)
    alpha, c = field.grid.split(state)
    alpha *= (scales.jumps / jumps)[:, None, None]
    c *= (scales.trends / trends)[:, None, None]
    return Scales(jumps, trends, place, links.astype(dtype), knots), state


def _rescaled_trends(
    field: Field, scales: Scales, h: NDArray[Any], state: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    dtype = state.dtype
    grid = field.grid
    unit = np.ones(2, dtype)
    at_knots = np.stack([grid.split(grid.pulled(np.stack([one, one]), unit, unit))[1][0] for one in h])
    told = _told(at_knots, scales.trends, scales.knots, _share_of_trends)
    mean = np.square(bends(grid.split(state)[1])).sum(axis=1)
    expected = mean + (1 - told) / scales.knots
    knots = ((FREEDOM + 6) / (FREEDOM + expected.sum(axis=0))).astype(dtype)
    ratio = np.sum(knots * mean, axis=(1, 2)) / np.maximum(np.sum(told, axis=(1, 2)), 1e-3)
    return knots, (scales.trends * np.sqrt(np.clip(ratio, 0.25, 4))).astype(dtype)


def _spread(
    field: Field, scales: Scales, terms: Quadratic, state: NDArray[Any], rng: np.random.Generator
) -> NDArray[Any]:
    """Deviation (K, L) of ln r, by Gibbs sampling that begins at the maps.

    The likelihood is its quadratic model. Precisions of links and knots are drawn given the state, then the state
    given them. A variance is averaged over neighbours in units of that of single voxels.
    """
    quadratic, theta = terms.held(field.free, OPEN), terms.theta
    held = quadratic.curvature
    wanted = field.grid.pulled(quadratic.pull(), scales.jumps, scales.trends)
    first, second = np.zeros_like(theta[1]), np.zeros_like(theta[1])
    x, kept = state, SWEEPS - BURN
    for sweep in range(SWEEPS):
        system = _system(field, _drawn(field, scales, x, rng), held)
        x = _moved_to(system, wanted + system.drawn(rng), x, 2 * STEPS)
        if sweep >= BURN:
            off = field.grid.maps(x, scales.jumps, scales.trends)[1] - theta[1]
            first += off / kept
            second += np.square(off) / kept
    variance = (second - np.square(first)) * (kept / (kept - 1))
    single = held[0] / np.maximum(held[0] * held[2] - held[1] * held[1], 1e-12)
    ratio = field.around(variance / np.where(field.free, single, 1), LIKE)
    return np.where(field.free, np.sqrt(np.maximum(ratio, 0) * single), np.nan).astype(theta.dtype)


def _drawn(field: Field, scales: Scales, state: NDArray[Any], rng: np.random.Generator) -> Scales:
    """The scales with precisions of links and knots drawn given a state."""
    q = _slopes(field, state).sum(axis=1) / scales.of_links()
    b = np.square(bends(field.grid.split(state)[1])).sum(axis=(0, 1))
    of_links = np.minimum(_gamma(TAIL / 2, q, rng) * 2 / (CORE + q), STIFFEST) * field.links
    return replace(scales, links=of_links, knots=_gamma((FREEDOM + 6) / 2, b, rng) * 2 / (FREEDOM + b))


def _gamma(shape: float, like: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return rng.standard_gamma(shape, like.shape, np.float32).astype(like.dtype, copy=False)
