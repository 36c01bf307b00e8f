"""The paper's two methods as published: Algorithm 1 with the corrected dual, Levenberg–Marquardt of eqs 14–16.

Source: B (Brigliadori, "Quantification of Hepatic Iron Overload using MRI"), whose letters are kept: signal s
(..., K, L, M), echo times t (M,) in ms, intercept a in signal units, rate r in 1/ms. Where B prints what cannot work,
the right thing is done here; tests/unit/solver/test_published.py shows both:

- lines 8–9 of Algorithm 1 print d ← d − (g − a), which diverges with the penalty of eq. 4; d ← d − (a − g) converges;
- eqs 15–16 with a fixed η do not converge from the printed starts; η is raised tenfold where a step does not lower
  eq. 14 and lowered tenfold where it does, as Marquardt did.

The derivative of eq. 8 is right as printed. These methods are for comparison; ``solver.fit`` has better ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[np.float64]

START = (100.0, 0.2)  # a, r of B's text; B also runs (50, 0.05)
OTHER_START = (50.0, 0.05)


@dataclass(frozen=True, slots=True)
class PublishedFit:
    """Estimates (..., K, L) and how they came about.

    ``s0`` in signal units, ``r2star_per_ms`` in 1/ms. ``objective`` and ``residual`` have one value per iteration:
    eq. 2 or eq. 14, and the largest relative step or splitting distance. ``verdict`` says in words why the loop ended.
    """

    s0: Array
    r2star_per_ms: Array
    objective: tuple[float, ...]
    residual: tuple[float, ...]
    iterations: int
    converged: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What Algorithm 1 is given: the data and B's hyper-parameters."""

    s: Array
    t: Array
    lambda1: float
    lambda2: float
    eta: float
    mu: float
    gradient_steps: int


@dataclass(frozen=True, slots=True)
class AdmmState:
    """The variables of Algorithm 1, each (..., K, L)."""

    a: Array
    r: Array
    g: Array
    f: Array
    d1: Array
    d2: Array


def fit_admm(
    signal: ArrayLike,
    echo_times_ms: ArrayLike,
    *,
    lambda1: float = 1e-5,
    lambda2: float = 1e-5,
    eta: float = 1e-8,
    mu: float = 1.0,
    gradient_steps: int = 10,
    start: tuple[float, float] = START,
    tolerance: float = 1e-6,
    maximum_iterations: int = 1000,
) -> PublishedFit:
    """Minimise eq. 2 by Algorithm 1 of B.

    ``signal`` is (..., K, L, M), TV acts in the K–L plane; λ1, λ2 weigh TV(a) and TV(r) with r in 1/ms. B gives λ and
    η; μ, the number of gradient steps and the stopping rule are ours. η has a unit: when the signal is multiplied by a
    factor, η must be divided by its square. Raises ValueError for a signal or hyper-parameter that cannot be used.
    """
    s, t = _checked(signal, echo_times_ms)
    _check_positive(eta=eta, mu=mu, gradient_steps=gradient_steps, maximum_iterations=maximum_iterations)
    if min(lambda1, lambda2) < 0:
        raise ValueError("lambda1 and lambda2 must not be negative")
    problem = Problem(s, t, lambda1, lambda2, eta, mu, gradient_steps)
    return run_admm(problem, admm_start(problem, start), tolerance, maximum_iterations)


def run_admm(
    problem: Problem,
    state: AdmmState,
    tolerance: float,
    maximum_iterations: int,
    dual: Callable[[Array, Array, Array], Array] | None = None,
) -> PublishedFit:
    """Repeat ``admm_step`` until no variable moves and a = g, r = f, each to ``tolerance``."""
    objective: list[float] = []
    residual: list[float] = []
    verdict = "stopped: the largest number of iterations was reached"
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(maximum_iterations):
            new = admm_step(problem, state, dual or corrected_dual)
            objective.append(objective_of(problem, new.a, new.r))
            residual.append(admm_residual(state, new))
            if not np.isfinite([objective[-1], residual[-1]]).all():
                verdict = "diverged: an iterate is not finite"
                break
            state = new
            if residual[-1] <= tolerance:
                verdict = "converged"
                break
    return _result(state.a, state.r, objective, residual, verdict)


def admm_start(problem: Problem, start: tuple[float, float]) -> AdmmState:
    """Set a and g, r and f to the same constants and the duals to zero."""
    size = problem.s.shape[:-1]
    a, r, zero = np.full(size, float(start[0])), np.full(size, float(start[1])), np.zeros(size)
    return AdmmState(a, r, a, r, zero, zero)


def admm_step(problem: Problem, old: AdmmState, dual: Callable[[Array, Array, Array], Array]) -> AdmmState:
    """Do lines 4–9 of Algorithm 1 once."""
    new = replace(old, a=a_step(problem, old))
    new = replace(new, r=r_steps(problem, new))
    # eq. 11: g = Chambolle(a − d1, λ1/μ);  eq. 13: f = Chambolle(r − d2, λ2/μ)
    new = replace(new, g=chambolle(new.a - new.d1, problem.lambda1 / problem.mu))
    new = replace(new, f=chambolle(new.r - new.d2, problem.lambda2 / problem.mu))
    return replace(new, d1=dual(new.d1, new.a, new.g), d2=dual(new.d2, new.r, new.f))


def a_step(problem: Problem, state: AdmmState) -> Array:
    """Eq. 6: a = (eᵀs + μ(g + d1)) / (eᵀe + μ), e = exp(−r t)."""
    e = np.exp(-state.r[..., None] * problem.t)
    numerator = _over_echoes(e, problem.s) + problem.mu * (state.g + state.d1)
    a: Array = numerator / (_over_echoes(e, e) + problem.mu)
    return a


def r_steps(problem: Problem, state: AdmmState) -> Array:
    """Eq. 9, ``gradient_steps`` times: r ← r − η ∂L/∂r."""
    r = state.r
    for _ in range(problem.gradient_steps):
        r = r - problem.eta * r_gradient(problem, state, r)
    return r


def r_gradient(problem: Problem, state: AdmmState, r: Array) -> Array:
    """Eq. 8: ∂L/∂r = (a t⊙e)ᵀ(s − a e) + μ(r − f − d2)."""
    e = np.exp(-r[..., None] * problem.t)
    a = state.a[..., None]
    gradient: Array = _over_echoes(a * problem.t * e, problem.s - a * e) + problem.mu * (r - state.f - state.d2)
    return gradient


def corrected_dual(d: Array, a: Array, g: Array) -> Array:
    """Return d − (a − g): the sign that belongs to the penalty ½μ‖a − g − d‖² of eq. 4."""
    return d - (a - g)


def chambolle(image: Array, weight: float) -> Array:
    """argmin_u ½‖u − image‖² + weight TV(u) in the last two axes, by scikit-image at its own stopping rule."""
    from skimage.restoration import denoise_tv_chambolle  # noqa: PLC0415  the other fits need not wait for this import

    if weight == 0:
        return image
    denoise: Callable[..., Array] = denoise_tv_chambolle
    planes = image.reshape(-1, *image.shape[-2:])
    denoised: Array = np.stack([denoise(plane, weight=weight) for plane in planes])
    return denoised.reshape(image.shape)


def objective_of(problem: Problem, a: Array, r: Array) -> float:
    """Eq. 2: ½ Σ‖s − a e‖² + λ1 TV(a) + λ2 TV(r)."""
    misfit = problem.s - a[..., None] * np.exp(-r[..., None] * problem.t)
    variation = problem.lambda1 * _total_variation(a) + problem.lambda2 * _total_variation(r)
    return float(0.5 * np.sum(misfit * misfit) + variation)


def admm_residual(old: AdmmState, new: AdmmState) -> float:
    """Return the largest of the relative steps of a, r, g, f and the relative distances of a from g and r from f."""
    steps = [(old.a, new.a), (old.r, new.r), (old.g, new.g), (old.f, new.f), (new.a, new.g), (new.r, new.f)]
    return max(_relative_distance(x, y) for x, y in steps)


def fit_levenberg_marquardt(
    signal: ArrayLike,
    echo_times_ms: ArrayLike,
    *,
    eta: float = 1.0,
    start: tuple[float, float] = START,
    tolerance: float = 1e-8,
    maximum_iterations: int = 1000,
) -> PublishedFit:
    """Minimise eq. 14 by eqs 15–16 of B; ``eta`` is the first damping of every voxel.

    ``signal`` is (..., K, L, M). Raises ValueError for a signal or hyper-parameter that cannot be used.
    """
    s, t = _checked(signal, echo_times_ms)
    _check_positive(eta=eta, maximum_iterations=maximum_iterations)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _run_lm(s, t, lm_start(s, t, start, eta), tolerance, maximum_iterations)


def _run_lm(s: Array, t: Array, state: LmState, tolerance: float, maximum_iterations: int) -> PublishedFit:
    """Repeat ``lm_step`` on the voxels that still move."""
    x = np.stack([state.a, state.r, state.eta, state.loss])
    moving = np.ones(s.shape[:-1], dtype=bool)
    objective: list[float] = []
    residual: list[float] = []
    verdict = "stopped: the largest number of iterations was reached"
    for _ in range(maximum_iterations):
        new, moved = lm_step(s[moving], t, LmState(*x[:, moving]))
        x[:, moving] = new.a, new.r, new.eta, new.loss
        moving[moving] = ~(moved <= tolerance)
        objective.append(float(x[3].sum()))
        residual.append(float(moved.max()))
        if not np.isfinite(objective[-1]):
            verdict = "diverged: an iterate is not finite"
            break
        if not moving.any():
            verdict = "converged"
            break
    return _result(x[0], x[1], objective, residual, verdict)


@dataclass(frozen=True, slots=True)
class LmState:
    """Estimates, damping and loss of every voxel, each (..., K, L)."""

    a: Array
    r: Array
    eta: Array
    loss: Array


def lm_start(s: Array, t: Array, start: tuple[float, float], eta: float) -> LmState:
    """Set every voxel to the same start and damping."""
    a, r = (np.full(s.shape[:-1], float(value)) for value in start)
    return LmState(a, r, np.full_like(a, eta), lm_loss(s, t, a, r))


def lm_loss(s: Array, t: Array, a: Array, r: Array) -> Array:
    """Eq. 14 voxel by voxel: ½‖s − a e‖²."""
    misfit = s - a[..., None] * np.exp(-r[..., None] * t)
    return 0.5 * _over_echoes(misfit, misfit)


def lm_step(s: Array, t: Array, old: LmState) -> tuple[LmState, Array]:
    """Try eqs 15–16 once and keep the voxels that improve; also the relative step that was tried."""
    a, r = lm_update(s, t, old)
    loss = lm_loss(s, t, a, r)
    better = loss <= old.loss
    eta = np.clip(np.where(better, old.eta / 10, old.eta * 10), 1e-30, 1e30)
    moved = np.abs(a - old.a) / (np.abs(old.a) + 1e-12) + np.abs(r - old.r) / (np.abs(old.r) + 1e-12)
    return LmState(np.where(better, a, old.a), np.where(better, r, old.r), eta, np.where(better, loss, old.loss)), moved


def lm_update(s: Array, t: Array, old: LmState) -> tuple[Array, Array]:
    """Eqs 15–16: a ← a − (∂²L/∂a² + η)⁻¹ ∂L/∂a, r ← r − (∂²L/∂r² + η)⁻¹ ∂L/∂r.

    ∂L/∂a = −eᵀ(s − a e), ∂²L/∂a² = eᵀe; ∂L/∂r = (a t⊙e)ᵀ(s − a e), ∂²L/∂r² = ‖a t⊙e‖² − (a t²⊙e)ᵀ(s − a e).
    """
    e = np.exp(-old.r[..., None] * t)
    ae = old.a[..., None] * e
    misfit = s - ae
    a = old.a + _over_echoes(e, misfit) / (_over_echoes(e, e) + old.eta)
    curvature = _over_echoes(t * ae, t * ae) - _over_echoes(t * t * ae, misfit)
    r = old.r - _over_echoes(t * ae, misfit) / (curvature + old.eta)
    return a, r


def _result(a: Array, r: Array, objective: list[float], residual: list[float], verdict: str) -> PublishedFit:
    return PublishedFit(
        a, r, tuple(objective), tuple(residual), len(objective), converged=verdict == "converged", verdict=verdict
    )


def _over_echoes(x: Array, y: Array) -> Array:
    """xᵀy over the echoes of each voxel."""
    product: Array = np.einsum("...m,...m->...", x, y)
    return product


def _total_variation(image: Array) -> float:
    """Isotropic TV of forward differences in the last two axes."""
    down = np.diff(image, axis=-2, append=image[..., -1:, :])
    right = np.diff(image, axis=-1, append=image[..., -1:])
    return float(np.sum(np.hypot(down, right)))


def _relative_distance(x: Array, y: Array) -> float:
    return float(np.linalg.norm(x - y) / (np.linalg.norm(x) + 1e-300))


def _check_positive(**values: Any) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, not {value}")


def _checked(signal: ArrayLike, echo_times_ms: ArrayLike) -> tuple[Array, Array]:
    s = np.asarray(signal, dtype=np.float64)
    t = np.asarray(echo_times_ms, dtype=np.float64)
    if s.ndim < 3 or s.size == 0:
        raise ValueError(f"signal must be (..., K, L, M) and not empty, not {s.shape}")
    if t.shape != s.shape[-1:] or t.size < 2 or not np.isfinite(t).all():
        raise ValueError(f"echo_times_ms must hold one time for each of the {s.shape[-1]} echoes of signal, at least 2")
    if not np.isfinite(s).all():
        raise ValueError("signal must be finite in every voxel; mask or fill what is not")
    return s, t
