"""The public door: from multi-echo magnitudes to T2* maps."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from solver import admm, published
from solver.noise import GAUSSIAN, NoiseEstimate
from solver.tuning import automatic_weights, estimate_noise, smooth_start
from solver.uncertainty import cramer_rao, regularised_deviation
from solver.voxelwise import variable_projection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

METHODS = ("admm", "nls", "admm-published", "lm-published")
BEYOND = 2.0
SLICES_FOR_NOISE = 6
NOISES = ("rician", "gaussian")


@dataclass(frozen=True, slots=True)
class T2StarFit:
    """Maps of shape (..., K, L), NaN where ``valid`` is False, and everything needed to judge and repeat them."""

    s0: NDArray[Any]  # signal at echo time 0, in the units of the input
    t2star_ms: NDArray[Any]
    r2star_per_s: NDArray[Any]
    r2star_sd_per_s: NDArray[Any]  # standard deviation of r2star_per_s
    at_least_r2star_per_s: NDArray[Any]  # finite where R2* is beyond the measurable range: "more than this"
    valid: NDArray[np.bool_]
    sigma: float  # noise standard deviation of the real and imaginary channels, in the units of the input
    n_coils: float  # N of the non-central chi distribution, 1 is Rician
    objective: tuple[float, ...]  # after each accepted iteration, all slices together
    iterations: int
    converged: bool
    verdict: str
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON values: what made the numbers


@dataclass(frozen=True, slots=True)
class _Slice:
    """What one slice gives."""

    x: NDArray[Any]
    free: NDArray[np.bool_]
    sd: NDArray[Any]
    objective: tuple[float, ...]
    iterations: int
    converged: bool
    verdict: str


def _echo_times(echo_times_ms: ArrayLike, n: int) -> NDArray[np.float64]:
    t = np.asarray(echo_times_ms, np.float64)
    if t.ndim != 1 or t.size != n:
        raise ValueError(
            f"echo_times_ms must hold one time for each of the {n} echoes of signal, it has shape {t.shape}"
        )
    if not 2 <= n <= 1024:
        raise ValueError(f"echo_times_ms must hold at least 2 times, it holds {n}")
    if not np.all(np.isfinite(t)) or np.any(t <= 0):
        raise ValueError("echo_times_ms must be positive and finite")
    if np.any(np.diff(t) <= 0):
        raise ValueError("echo_times_ms must ascend, without duplicates")
    return t


def _signal(signal: ArrayLike) -> NDArray[Any]:
    s = np.asarray(signal)
    if s.dtype.kind not in "iufb":
        raise ValueError(f"signal must hold real numbers, it holds {s.dtype}")
    if s.ndim < 3 or 0 in s.shape:
        raise ValueError(f"signal must have the shape (..., K, L, M), it has {s.shape}")
    return s


def _precision(s: NDArray[Any]) -> Any:
    """float64 keeps its digits; everything else has no more than single precision to keep."""
    return np.float64 if s.dtype == np.float64 else np.float32


def _mask(mask: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask is None:
        return np.ones(shape, bool)
    chosen = np.asarray(mask)
    try:
        return np.broadcast_to(chosen.astype(bool), shape)
    except ValueError as fault:
        raise ValueError(f"mask must have the shape {shape}, it has {chosen.shape}") from fault


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _positive(name: str, value: float | None) -> float | None:
    if value is not None and not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive, not {value}")
    return value


def _weights(weights: Any) -> tuple[float, float] | None:
    if isinstance(weights, str) and weights == "auto":
        return None
    pair = np.asarray(weights, np.float64) if not isinstance(weights, str) else np.empty(0)
    if pair.shape != (2,) or not np.all(np.isfinite(pair)) or np.any(pair < 0):
        raise ValueError('weights must be "auto" or two numbers (lambda_s0, lambda_r2star) that are not negative')
    return float(pair[0]), float(pair[1])


def _bounds(t: NDArray[np.float64]) -> tuple[float, float]:
    """Rates, per last echo time, from no decay to nothing left at the second echo."""
    return 1e-4, float(min(15.0 / (t[1] - t[0]), 10.0 / t[0]) * t[-1])


def _echo_major(s: NDArray[Any], mask: NDArray[np.bool_], unit: float, dtype: Any) -> tuple[NDArray[Any], Any]:
    """One slice as (M, K, L) in units of ``unit``; what is masked or not finite is 0 and not usable."""
    stack = np.ascontiguousarray(np.moveaxis(s, -1, 0).astype(dtype) * dtype(1 / unit))
    usable = mask & np.all(np.isfinite(stack), axis=0)
    if not usable.all():
        stack[:, ~usable] = 0
    return stack, usable


def _detectable(s: NDArray[Any], usable: NDArray[np.bool_], n_coils: float) -> NDArray[np.bool_]:
    """Whether the first echo stands out of the noise, alone or with its neighbours; s in units of sigma.

    The median over the neighbours keeps weak tissue whole: a choice voxel by voxel would keep those that noise made
    bright, which biases what is fitted to them.
    """
    floor = np.sqrt(2 * n_coils)
    around = ndimage.uniform_filter((s[0] > floor + 0.8).astype(np.float32), 5, mode="nearest")
    return usable & ((s[0] > floor + 3.1) | (around > 0.5))


@dataclass(frozen=True, slots=True)
class _Settings:
    method: str
    noise: str
    sigma: float
    n_coils: float
    noise_source: str
    weights: tuple[float, float] | None
    t_ms: NDArray[np.float64]
    dtype: Any
    hyperparameters: Mapping[str, Any]


def _fit_slice(s: NDArray[Any], mask: NDArray[np.bool_], settings: _Settings) -> _Slice:
    """Start voxel by voxel, then regularise where asked."""
    t = (settings.t_ms / settings.t_ms[-1]).astype(settings.dtype)
    stack, usable = _echo_major(s, mask, settings.sigma, settings.dtype)
    if settings.method.endswith("-published"):
        return _published_slice(stack, usable, t, settings)
    free = _detectable(stack, usable, settings.n_coils) if settings.weights is None else usable
    a, r, rss = variable_projection(stack.reshape(t.size, -1), t, *_bounds(settings.t_ms))
    x = np.stack([a, r]).reshape(2, *free.shape)
    if settings.method == "nls" and settings.noise == "gaussian":
        loss = float(0.5 * np.sum(rss, where=free.ravel(), dtype=np.float64))
        return _Slice(x, free, _deviation(x, t, settings), (loss,), 1, True, "converged")
    problem, found = _regularise(stack, x, t, free, settings)
    sd = _deviation(found.x, t, settings)
    if settings.method == "admm":
        sd = regularised_deviation(problem, found, sd)
    return _Slice(found.x, free, sd, found.objective, found.iterations, found.converged, found.verdict)


def _regularise(
    stack: NDArray[Any], x: NDArray[Any], t: NDArray[Any], free: NDArray[np.bool_], settings: _Settings
) -> tuple[admm.Problem, admm.Solution]:
    """Minimise with the weights given, or first roughly, then with weights that know the edges."""
    bounds = _bounds(settings.t_ms)
    order = settings.n_coils - 1 if settings.noise == "rician" else GAUSSIAN
    if settings.method == "nls" or settings.weights is not None:
        problem = admm.Problem(stack, t, order, _given_weights(stack, free, settings), free, *bounds)
        return problem, admm.minimise(problem, x)
    n_noise = settings.n_coils if settings.noise == "rician" else 0.0
    around = smooth_start(stack, t, n_noise, free, bounds)
    rough = automatic_weights(around, t, n_noise, free, edges=False)
    found = admm.minimise(admm.Problem(stack, t, order, rough, free, *bounds), around, tolerance=1e-3)
    weights = automatic_weights(found.x, t, n_noise, free, edges=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.nan_to_num(weights / rough, nan=0, posinf=0)
    dual = found.p * np.repeat(np.minimum(scale, 1), 2, axis=0)
    problem = admm.Problem(stack, t, order, weights, free, *bounds)
    return problem, admm.minimise(problem, found.x, dual)


def _deviation(x: NDArray[Any], t: NDArray[Any], settings: _Settings) -> NDArray[Any]:
    """Standard deviation of r, per last echo time."""
    n_noise = settings.n_coils if settings.noise == "rician" else 0.0
    return cramer_rao(x[0].ravel(), x[1].ravel(), t, n_noise)[1].reshape(x.shape[1:])


def _published_slice(stack: NDArray[Any], usable: NDArray[np.bool_], t: NDArray[Any], settings: _Settings) -> _Slice:
    """Run the paper's methods in the paper's units."""
    method = published.fit_admm if settings.method == "admm-published" else published.fit_levenberg_marquardt
    options = dict(settings.hyperparameters)
    if settings.weights is not None and settings.method == "admm-published":
        options = {"lambda1": settings.weights[0], "lambda2": settings.weights[1]} | options
    signal = np.moveaxis(stack, 0, -1) * np.float64(settings.sigma)
    try:
        found = method(signal, settings.t_ms, **options)
    except TypeError as fault:
        raise ValueError(f"{', '.join(options)}: not all are hyper-parameters of {settings.method}") from fault
    x = np.stack([found.s0 / settings.sigma, found.r2star_per_ms * settings.t_ms[-1]])
    sd = _deviation(x, t, settings)
    return _Slice(x, usable, sd, found.objective, found.iterations, found.converged, found.verdict)


def _given_weights(stack: NDArray[Any], free: NDArray[np.bool_], settings: _Settings) -> NDArray[Any]:
    """TV weights of eq. 2 in noise units and per last echo time."""
    unit = settings.sigma
    pair = np.array(settings.weights or (0.0, 0.0)) / np.array([unit, unit * unit * settings.t_ms[-1]])
    if settings.method == "nls":
        pair = np.zeros(2)
    weights: NDArray[Any] = (pair[:, None, None] * free).astype(stack.dtype)
    return weights


def _noise(
    s: NDArray[Any], mask: NDArray[np.bool_], t_ms: NDArray[np.float64], dtype: Any, n_coils: float | None
) -> NoiseEstimate:
    """Noise of a stack from a few of its slices, in the units of the input; never zero."""
    some = np.unique(np.linspace(0, len(s) - 1, SLICES_FOR_NOISE).round().astype(int))
    scale = max((float(np.abs(s[k][np.isfinite(s[k])]).max(initial=0)) for k in some), default=0.0) or 1.0
    t = (t_ms / t_ms[-1]).astype(dtype)
    stacks, usable = zip(*(_echo_major(s[k], mask[k], scale, dtype) for k in some), strict=True)
    found = estimate_noise(list(stacks), list(usable), t, _bounds(t_ms), n_coils)
    # Whole numbers are rounded, and no data is known better than its last digit.
    least = max(1e-7 * scale if dtype == np.float32 else 1e-9 * scale, 12**-0.5 if s.dtype.kind in "iu" else 0.0)
    return replace(found, sigma=max(found.sigma * scale, least))


def fit_t2star(
    signal: ArrayLike,
    echo_times_ms: ArrayLike,
    *,
    method: str = "admm",
    noise: str | None = None,
    sigma: float | None = None,
    weights: Literal["auto"] | tuple[float, float] = "auto",
    mask: ArrayLike | None = None,
    spacing: tuple[float, float] | None = None,
    n_coils: float | None = None,
    threads: int | None = None,
    **hyperparameters: Any,
) -> T2StarFit:
    """Fit S0 exp(-TE / T2*) to magnitudes.

    ``signal`` is (..., K, L, M), any real type, echo axis last; leading axes are slices and TV acts in the K-L plane of
    each. ``echo_times_ms`` ascends. ``weights`` are those of eq. 2 with r in 1/ms. A voxel without an answer is NaN
    with ``valid`` False. Raises ValueError naming the argument at fault.
    """
    s = _signal(signal)
    t_ms = _echo_times(echo_times_ms, s.shape[-1])
    _choice("method", method, METHODS)
    noise = _choice("noise", noise or ("rician" if method == "admm" else "gaussian"), NOISES)
    if hyperparameters and not method.endswith("-published"):
        raise ValueError(f"{', '.join(hyperparameters)}: only the published methods have these")
    _positive("sigma", sigma)
    _positive("n_coils", n_coils)
    _positive("spacing", None if spacing is None else float(np.min(spacing)))
    pair = _weights(weights)
    shape = s.shape[:-1]
    chosen = _mask(mask, shape).reshape(-1, *shape[-2:])
    slices = s.reshape(-1, *s.shape[-3:])
    dtype = _precision(s)
    if sigma is not None and n_coils is not None:
        estimate = NoiseEstimate(sigma, n_coils, "given")
    else:
        estimate = _noise(slices, chosen, t_ms, dtype, n_coils)
    settings = _Settings(
        method,
        noise,
        float(sigma or estimate.sigma),
        float(estimate.n_coils),
        estimate.source if sigma is None else "given",
        pair,
        t_ms,
        dtype,
        hyperparameters,
    )
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        results = list(pool.map(lambda one: _fit_slice(one[0], one[1], settings), zip(slices, chosen, strict=True)))
    return _assemble(results, settings, shape)


def _assemble(results: list[_Slice], settings: _Settings, shape: tuple[int, ...]) -> T2StarFit:
    """Join slices, back to the units of the input."""
    t_last = settings.t_ms[-1]
    x = np.stack([one.x for one in results])
    free = np.stack([one.free for one in results])
    sd = np.stack([one.sd for one in results])
    s0, r = x[:, 0] * settings.sigma, x[:, 1] / t_last
    low, high = (bound / t_last for bound in _bounds(settings.t_ms))
    second = x[:, 0] * np.exp(-r * settings.t_ms[1])
    beyond = free & (second < BEYOND * np.sqrt((1 + settings.n_coils) / 2))
    share = [ndimage.uniform_filter(v.astype(np.float32), (0, 5, 5), mode="nearest") for v in (beyond, free)]
    beyond |= free & (share[0] > 0.5 * share[1])
    valid = free & ~beyond & (r > low * 1.01) & (r < high * 0.99) & (x[:, 0] > 0) & np.isfinite(sd)
    nan = settings.dtype(np.nan)

    def kept(values: Any) -> NDArray[Any]:
        return np.where(valid, values, nan).astype(settings.dtype).reshape(shape)

    with np.errstate(divide="ignore", invalid="ignore"):
        first = x[:, 0] * np.exp(-r * settings.t_ms[0])
        at_least = 1000 * np.log(np.maximum(first - 2, 3) / 3) / (settings.t_ms[1] - settings.t_ms[0])
        t2star = 1 / r
    longest = max(len(one.objective) for one in results)
    history = [sum(one.objective[min(k, len(one.objective) - 1)] for one in results) for k in range(longest)]
    worst = next((one.verdict for one in results if not one.converged), "converged")
    return T2StarFit(
        s0=kept(s0),
        t2star_ms=kept(t2star),
        r2star_per_s=kept(1000 * r),
        r2star_sd_per_s=kept(1000 * sd / t_last),
        at_least_r2star_per_s=np.where(beyond, at_least, nan).astype(settings.dtype).reshape(shape),
        valid=valid.reshape(shape),
        sigma=settings.sigma,
        n_coils=settings.n_coils,
        objective=tuple(float(v) for v in history),
        iterations=max(one.iterations for one in results),
        converged=all(one.converged for one in results),
        verdict=worst,
        parameters={
            "method": settings.method,
            "noise": settings.noise,
            "sigma": settings.sigma,
            "n_coils": settings.n_coils,
            "noise_source": settings.noise_source,
            "weights": settings.weights or "auto",
            "echo_times_ms": [float(v) for v in settings.t_ms],
        },
    )
