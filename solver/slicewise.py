"""One slice, from signals to maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solver import bayesian, freed, learned, published
from solver.likelihood import Likelihood, MonoExponential, Profiled
from solver.model import signal_model
from solver.noise import GAUSSIAN, mean_of_noise
from solver.proximal_newton import DEFAULT, ROUGH, Problem, Solution, minimise
from solver.survey import sums_around
from solver.tuning import automatic_weights, sharpened, smooth_start
from solver.uncertainty import cramer_rao, gaussian_deviation, regularised_deviation, with_doubt
from solver.voxelwise import variable_projection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solver.arguments import Settings
    from solver.fat import FatMap

BLOCK = 4  # voxels joined in each direction for a start
SMALLEST_TO_JOIN = 32
USABLE_ECHO = 1.3  # a truncated fit stops before the first echo below this many times the mean of the noise


@dataclass(frozen=True, slots=True)
class SliceFit:
    """Amplitude in units of sigma and rate per last echo time, with what is known of them."""

    x: NDArray[Any]  # (2, K, L)
    free: NDArray[np.bool_]  # (K, L): voxels that were fitted
    sd: NDArray[Any]  # (K, L): standard deviation of the rate
    objective: tuple[float, ...]
    iterations: int
    converged: bool
    verdict: str
    fat: Fat | None = None  # what was looked for and found of it


@dataclass(frozen=True, slots=True)
class Fat:
    """Fat of a slice, (K, L) each: fraction that the decay was freed of, its deviation, the rate without that."""

    fraction: NDArray[Any]
    sd: NDArray[Any]
    plain_rate: NDArray[Any]


def echo_major(
    s: NDArray[Any], mask: NDArray[np.bool_], unit: float | NDArray[Any], dtype: Any
) -> tuple[NDArray[Any], Any]:
    """Return one slice as (M, K, L) in units of ``unit``, one or (K, L).

    What is masked or not finite is 0 and not usable.
    """
    stack = np.ascontiguousarray(np.moveaxis(s, -1, 0).astype(dtype) * np.asarray(1 / unit, dtype))
    usable = mask & np.all(np.isfinite(stack), axis=0)
    if not usable.all():
        stack[:, ~usable] = 0
    return stack, usable


def fit_slice(s: NDArray[Any], mask: NDArray[np.bool_], sigma: float | NDArray[Any], settings: Settings) -> SliceFit:
    """Fit a slice (K, L, M) where ``mask`` allows; ``sigma`` is one or (K, L)."""
    stack, usable = echo_major(s, mask, sigma, settings.dtype)
    if settings.method.endswith("-published"):
        return _published(stack, usable, settings)
    if settings.floor_coils:
        usable &= np.all(stack >= 0, axis=0)  # no magnitude is negative
        stack[:, ~usable] = 0
    # In air a floor leaves amplitude and rate undecided: least squares fits it, a likelihood that knows it wanders.
    seen = settings.weights is None or settings.floor_coils
    free = _detectable(stack, usable, settings.n_coils) if seen else usable
    box = _box(free)
    stack, inside = np.ascontiguousarray(stack[:, *box]), np.ascontiguousarray(free[box])
    fit = {"nls": _voxelwise, "admm": _regularised, "bayesian": _bayesian, "learned": _learned}[settings.method]
    return _pasted(fit(stack, inside, settings), box, free)


def _box(free: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest part of a slice that holds every voxel that is fitted: air around a body costs nothing then."""
    if not free.any():
        return slice(0, 1), slice(0, 1)
    rows, columns = (np.flatnonzero(free.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _pasted(part: SliceFit, box: tuple[slice, slice], free: NDArray[np.bool_]) -> SliceFit:
    """The same in the whole slice; nothing is known outside."""
    x = np.zeros((2, *free.shape), part.x.dtype)
    sd = np.full(free.shape, np.nan, part.sd.dtype)
    x[:, *box], sd[box] = part.x, part.sd
    return replace(part, x=x, sd=sd, free=free, fat=None if part.fat is None else _fat_pasted(part.fat, box, free))


def _fat_pasted(part: Fat, box: tuple[slice, slice], free: NDArray[np.bool_]) -> Fat:
    whole = []
    for values, outside in ((part.fraction, 0), (part.sd, np.nan), (part.plain_rate, 0)):
        map_ = np.full(free.shape, outside, values.dtype)
        map_[box] = values
        whole.append(map_)
    return Fat(*whole)


def _regularised(stack: NDArray[Any], free: NDArray[np.bool_], settings: Settings) -> SliceFit:
    """Fit all voxels together."""
    problem, found = _regularise(stack, free, settings)
    fat, plain = freed.look_for_fat(stack, found.x, free, settings), found.x[1]
    problem, found = freed.fit_beside(fat, problem, found, settings, DEFAULT)
    sd = regularised_deviation(problem, found, _deviation(found.x, problem, settings))
    sd = freed.with_doubt_of(fat, with_doubt(sd, found.x, settings), found.x, settings)
    return _ended(found, free, sd, fat, plain)


def _bayesian(stack: NDArray[Any], free: NDArray[np.bool_], settings: Settings) -> SliceFit:
    """Find posterior mean and deviation of all voxels together."""
    if not free.any():
        none = np.zeros((2, *free.shape), settings.dtype)
        return SliceFit(none, free, none[0], (0.0,), 0, converged=True, verdict="converged")
    likelihood, t, n_coils = _likelihood(stack, settings), settings.t, settings.floor_coils
    around = smooth_start(stack, t, n_coils, free, settings.bounds)
    start = _start(sharpened(around, stack, t, n_coils, free), settings)
    where = bayesian.Where(free, settings.spacing, settings.bounds)
    seed = int(settings.hyperparameters["seed"])
    found = bayesian.posterior(likelihood, start, where, seed)
    fat, plain = freed.look_for_fat(stack, found.x, free, settings), found.x[1]
    beside = freed.known_beside(fat, likelihood, settings)
    if beside is not None:
        again = bayesian.posterior(*beside, where, seed)
        found = replace(again, iterations=found.iterations + again.iterations)
    sd = with_doubt(found.x[1] * found.relative_sd, found.x, settings)
    return _ended(found, free, freed.with_doubt_of(fat, sd, found.x, settings), fat, plain)


def _ended(
    found: Solution | bayesian.Posterior,
    free: NDArray[np.bool_],
    sd: NDArray[Any],
    fat: FatMap | None,
    plain: NDArray[Any],
) -> SliceFit:
    told = None if fat is None else Fat(fat.fraction, fat.sd, plain)
    return SliceFit(found.x, free, sd, found.objective, found.iterations, found.converged, found.verdict, told)


def _detectable(s: NDArray[Any], usable: NDArray[np.bool_], n_coils: float) -> NDArray[np.bool_]:
    """Whether the first echo stands out of the noise, alone or with its neighbours; s in units of sigma.

    The majority of the neighbours keeps weak tissue whole: a choice voxel by voxel would keep those that noise made
    bright, which biases what is fitted to them.
    """
    floor = np.sqrt(2 * n_coils)
    around = sums_around(s[0] > floor + 0.8, 5)
    found: NDArray[np.bool_] = usable & ((s[0] > floor + 3.1) | (around > 0.5 * 25))
    return found


def _likelihood(stack: NDArray[Any], settings: Settings) -> Likelihood:
    s = stack.reshape(len(stack), -1)
    order = settings.floor_coils - 1 if settings.floor_coils else GAUSSIAN
    if settings.one_exponential and not settings.moment:
        return MonoExponential(s, settings.t, order)
    chosen = signal_model(settings.model, settings.field_strength_t, float(settings.t_ms[-1]))
    use = _echoes_to_use(s, settings) if settings.model == "truncation" else np.ones(s.shape, bool)
    return Profiled(s.astype(np.float64), settings.t.astype(np.float64), order, chosen, use, settings.moment)


def _echoes_to_use(s: NDArray[Any], settings: Settings) -> NDArray[np.bool_]:
    """All echoes before the first that is near the noise, at least two."""
    clear = s > USABLE_ECHO * mean_of_noise(settings.n_coils)
    clear[:2] = True
    return np.logical_and.accumulate(clear, axis=0)


def _voxelwise(stack: NDArray[Any], free: NDArray[np.bool_], settings: Settings) -> SliceFit:
    """Fit every voxel for itself."""
    a, r, rss = variable_projection(stack.reshape(len(stack), -1), settings.t, *settings.bounds)
    x = np.stack([a, r]).reshape(2, *free.shape)
    problem = Problem(_likelihood(stack, settings), np.zeros_like(x), free, *settings.bounds)
    schedule = replace(DEFAULT, tolerance=1e-6)
    if settings.noise == "gaussian" and settings.one_exponential:
        loss = float(0.5 * np.sum(rss, where=free.ravel(), dtype=np.float64))
        none = np.zeros((4, *free.shape), x.dtype)
        found = Solution(x, none, (loss,), 1, converged=True, verdict="converged")
    else:
        found = minimise(problem, _start(x, settings), schedule=schedule)
    smooth = smooth_start(stack, settings.t, settings.floor_coils, free, settings.bounds)
    fat, plain = freed.look_for_fat(stack, smooth, free, settings), found.x[1]
    problem, found = freed.fit_beside(fat, problem, found, settings, schedule)
    sd = _deviation(found.x, problem, settings)
    sd = freed.with_doubt_of(fat, with_doubt(sd, found.x, settings), found.x, settings)
    return _ended(found, free, sd, fat, plain)


def _learned(stack: NDArray[Any], free: NDArray[np.bool_], settings: Settings) -> SliceFit:
    """Ask the network for every voxel; what is outside what it was trained on has no deviation."""
    found = learned.read_decays(stack[:, free], settings)
    x, sd = np.zeros((2, *free.shape), stack.dtype), np.full(free.shape, np.nan, stack.dtype)
    x[:, free] = found.x
    outside = learned.with_neighbours(found.outside, free)
    sd[free] = np.where(outside, np.nan, found.sd)
    answered = not outside.size or not outside.all()
    return SliceFit(x, free, sd, (), 1, answered, learned.verdict(outside))


def _start(x: NDArray[Any], settings: Settings) -> NDArray[Any]:
    """Turn maps of one exponential into a start for the model."""
    faster = signal_model(settings.model, settings.field_strength_t, 1.0).faster
    return np.stack([x[0], np.clip(x[1] * x.dtype.type(faster), *settings.bounds)]).astype(x.dtype)


def _regularise(stack: NDArray[Any], free: NDArray[np.bool_], settings: Settings) -> tuple[Problem, Solution]:
    """Minimise with the weights given, or first roughly, then with weights that know the edges."""
    likelihood, t, n_coils = _likelihood(stack, settings), settings.t, settings.floor_coils
    around = smooth_start(stack, t, n_coils, free, settings.bounds)
    start = automatic_weights(around, t, n_coils, free, edges=False)
    problem = Problem(likelihood, start, free, *settings.bounds, settings.regulariser, settings.spacing)
    around = _start(sharpened(around, stack, t, n_coils, free), settings)
    if settings.weights is not None:
        problem = replace(problem, weights=_given_weights(free, settings), thorough=True)
        dual = _coarse_dual(problem, stack, around, settings)
        return problem, minimise(problem, around, dual)
    found = minimise(problem, around, schedule=ROUGH)
    weights = automatic_weights(found.x, t, n_coils, free, edges=True)
    scale = np.minimum(np.divide(weights, start, out=np.zeros_like(weights), where=start > 0), 1)
    problem = replace(problem, weights=weights)
    return problem, minimise(problem, found.x, found.p * np.repeat(scale, 2, axis=0))


def _coarse_dual(problem: Problem, stack: NDArray[Any], x: NDArray[Any], settings: Settings) -> NDArray[Any] | None:
    """Dual start from the same problem on blocks of voxels: what strong weights carry far gets there sooner.

    Over a block the sum of (s - m)^2 is that of ``BLOCK`` times the means, but for a constant, and a step of the map
    crosses ``BLOCK`` voxels.
    """
    rows, columns = (n // BLOCK * BLOCK for n in problem.free.shape)
    if settings.regulariser != "tv" or min(rows, columns) < SMALLEST_TO_JOIN:
        return None

    def joined(maps: NDArray[Any]) -> NDArray[Any]:
        blocks = maps[..., :rows, :columns].reshape(*maps.shape[:-2], rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
        return np.ascontiguousarray(blocks.mean(axis=(-3, -1)).astype(settings.dtype))

    free = joined(problem.free) > 0.5
    units = np.array([BLOCK, 1], settings.dtype)[:, None, None]
    coarse = replace(
        problem,
        likelihood=_likelihood(BLOCK * joined(stack), settings),
        weights=joined(problem.weights) * (BLOCK / units).astype(settings.dtype) * free,
        free=free,
    )
    found = minimise(coarse, joined(x) * units, schedule=ROUGH)
    p = (found.p.reshape(2, 2, *found.p.shape[1:]) * (units / BLOCK)[:, None]).reshape(found.p.shape)
    dual = np.zeros((4, *problem.free.shape), settings.dtype)
    dual[:, :rows, :columns] = p.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2)
    return np.where(np.repeat(problem.weights, 2, axis=0) > 0, dual, 0)


def _given_weights(free: NDArray[np.bool_], settings: Settings) -> NDArray[Any]:
    """Weights of eq. 2 in noise units and per last echo time."""
    unit, last = settings.sigma, float(settings.t_ms[-1])
    s0, r2star = settings.weights or (0.0, 0.0)
    pair = np.array([s0 / unit, r2star / (unit * unit * last)])
    if settings.regulariser == "laplacian":
        pair = np.sqrt(np.array([s0, r2star / (unit * last) ** 2]))
    weights: NDArray[Any] = (pair[:, None, None] * free).astype(settings.dtype)
    return weights


def _deviation(x: NDArray[Any], problem: Problem, settings: Settings) -> NDArray[Any]:
    """Cramér-Rao deviation of the rate of each voxel; of models with more parameters, from the curvature."""
    if isinstance(problem.likelihood, MonoExponential):
        factor = problem.likelihood.factor
        if not settings.floor_coils and factor is None:
            return gaussian_deviation(x[0], x[1], settings.t)
        known = None if factor is None else factor.reshape(len(factor), *x.shape[1:])
        bound: NDArray[Any] = cramer_rao(x[0], x[1], settings.t, settings.floor_coils, known)[1]
        return bound
    if isinstance(problem.likelihood, Profiled) and settings.moment:
        return problem.likelihood.deviation(x.reshape(2, -1)).reshape(x.shape[1:])
    aa, ar, rr = problem.likelihood.terms(x.reshape(2, -1))[3:]
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation: NDArray[Any] = np.sqrt(aa / (aa * rr - ar * ar)).reshape(x.shape[1:])
    return deviation


def _published(stack: NDArray[Any], usable: NDArray[np.bool_], settings: Settings) -> SliceFit:
    """Run the paper's methods in the paper's units."""
    methods = {"admm-published": published.fit_admm, "lm-published": published.fit_levenberg_marquardt}
    method = methods[settings.method]
    options = dict(settings.hyperparameters)
    if settings.weights is not None and settings.method == "admm-published":
        options = {"lambda1": settings.weights[0], "lambda2": settings.weights[1]} | options
    signal = np.moveaxis(stack, 0, -1) * np.float64(settings.sigma)
    try:
        found = method(signal, settings.t_ms, **options)
    except TypeError as fault:
        raise ValueError(f"{', '.join(options)}: not all are hyper-parameters of {settings.method}") from fault
    x = np.stack([found.s0 / settings.sigma, found.r2star_per_ms * settings.t_ms[-1]])
    sd = cramer_rao(x[0], x[1], settings.t, settings.floor_coils)[1]
    return SliceFit(x, usable, sd, found.objective, found.iterations, found.converged, found.verdict)
