"""How well a and r explain the samples of each voxel: minus log likelihood, gradient, curvature.

``terms`` are (6, n): the value, its gradient (a, r), its curvature (aa, ar, rr).
"""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from solver.noise import GAUSSIAN, expected_magnitude, magnitude_variance, sample_terms
from solver.vector_math import fast_exp, kernel, row_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solver.model import SignalModel

BLOCK = 512  # voxels whose scratch stays in the first-level cache
NEWTON_STEPS = 8  # on a model's further parameters, from where they were


class Likelihood(Protocol):
    """What the minimiser needs to know of the data; x is (2, n)."""

    @property
    def samples(self) -> int:
        """Number of samples of a voxel."""

    @property
    def brightest(self) -> float:
        """Return the largest sample."""

    def terms(self, x: NDArray[Any]) -> NDArray[Any]:
        """Value, gradient and curvature of each voxel."""

    def redrawn(self, x: NDArray[Any], rng: np.random.Generator) -> Likelihood:
        """Return the same with data drawn from the maps x."""


@row_kernel
def _decay_block(tm: Any, r: Any, e: Any) -> None:
    for j in range(r.size):
        e[j] = fast_exp(-r[j] * tm)


@row_kernel
def _scale_block(factor: Any, e: Any) -> None:
    for j in range(e.size):
        e[j] *= factor[j]


@row_kernel
def _sample_block(s: Any, order: Any, a: Any, e: Any, g: Any, k: Any, value: Any) -> None:
    for j in range(a.size):
        v, slope, curvature = sample_terms(s[j], a[j] * e[j], order)
        value[j] += v
        g[j] = slope
        k[j] = curvature


@row_kernel
def _add_block(tm: Any, a: Any, e: Any, g: Any, k: Any, g0: Any, g1: Any, h0: Any, h1: Any, h2: Any) -> None:
    for j in range(a.size):
        slope = -tm * a[j] * e[j]
        g0[j] += g[j] * e[j]
        h0[j] += k[j] * e[j] * e[j]
        g1[j] += g[j] * slope
        h1[j] += k[j] * e[j] * slope
        h2[j] += k[j] * slope * slope


@kernel
def _voxel_terms(s: Any, t: Any, factor: Any, order: Any, a: Any, r: Any, terms: Any) -> None:
    terms[:] = s.dtype.type(0)
    e, g, k = np.empty(BLOCK, s.dtype), np.empty(BLOCK, s.dtype), np.empty(BLOCK, s.dtype)
    for start in range(0, s.shape[1], BLOCK):
        part = slice(start, min(start + BLOCK, s.shape[1]))
        n = part.stop - start
        value, g0, g1 = terms[0][part], terms[1][part], terms[2][part]
        h0, h1, h2 = terms[3][part], terms[4][part], terms[5][part]
        for m in range(t.size):
            _decay_block(t[m], r[part], e[:n])
            if factor.size:
                _scale_block(factor[m][part], e[:n])
            _sample_block(s[m][part], order, a[part], e[:n], g[:n], k[:n], value)
            _add_block(t[m], a[part], e[:n], g[:n], k[:n], g0, g1, h0, h1, h2)


@kernel
def _each_sample(s: Any, mean: Any, order: Any, out: Any) -> None:
    for j in range(s.size):
        out[0, j], out[1, j], out[2, j] = sample_terms(s[j], mean[j], order)


@dataclass(frozen=True, slots=True)
class MonoExponential:
    """a q exp(-r t) in Gaussian, Rician or non-central chi noise, with factors q that are known; the fast way."""

    s: NDArray[Any]  # (M, n) signal / sigma
    t: NDArray[Any]  # (M,) echo times, order 1
    order: float  # N - 1 of the noise, or noise.GAUSSIAN
    factor: NDArray[Any] | None = None  # (M, n), None: 1

    @property
    def samples(self) -> int:
        """Number of echoes."""
        return self.t.size

    @property
    def brightest(self) -> float:
        """Return the largest sample."""
        return float(self.s.max(initial=0))

    def terms(self, x: NDArray[Any]) -> NDArray[Any]:
        """Value, gradient and curvature of each voxel."""
        out = np.empty((6, x.shape[1]), x.dtype)
        factor = np.empty((0, 0), x.dtype) if self.factor is None else self.factor
        _voxel_terms(self.s, self.t, factor, x.dtype.type(self.order), x[0], x[1], out)
        return out

    def redrawn(self, x: NDArray[Any], rng: np.random.Generator) -> MonoExponential:
        """Return the same with data drawn from the maps x."""
        clean: NDArray[Any] = x[0] * np.exp(-x[1] * self.t[:, None])
        clean = clean if self.factor is None else clean * self.factor
        return replace(self, s=simulate(clean, self.order, rng))


@dataclass(frozen=True, slots=True)
class Profiled:
    """Any model in any noise: its further parameters are at their best for the a and r of their voxel.

    With f(a, r) = min over the further parameters, the gradient is the partial one and the curvature the Schur
    complement. Double precision throughout, some twenty times slower than ``MonoExponential``.
    """

    s: NDArray[np.float64]  # (M, n) signal / sigma
    t: NDArray[np.float64]
    order: float
    model: SignalModel
    use: NDArray[np.bool_]  # (M, n) samples that count
    moment: int = 0  # least squares on E[m] (1: M1NCM) or E[m^2] (2: M2NCM) of the noise in place of its likelihood

    @property
    def samples(self) -> int:
        """Number of echoes."""
        return self.t.size

    @property
    def brightest(self) -> float:
        """Return the largest sample."""
        return float(self.s.max(initial=0))

    def _sample_terms(self, mean: NDArray[Any]) -> NDArray[Any]:
        if self.moment:
            residual, slope = self._residuals(mean)
            return np.stack([0.5 * residual**2, residual * slope, slope**2]) * self.use
        out = np.empty((3, mean.size))
        _each_sample(self.s.ravel(), mean.ravel(), self.order, out)
        return out.reshape(3, *mean.shape) * self.use

    def _residuals(self, mean: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Moment less sample, and its slope by the noise-free signal.

        Squares are divided by twice the largest sample of their voxel, which makes them as large as the samples: a
        voxel's own fit is that of the squares as they are (Feng et al. 2013), and beside a regulariser voxels count
        alike, whatever their brightness.
        """
        if self.moment == 1:
            expected, slope = expected_magnitude(mean, self.order + 1)
            return expected - self.s, slope
        unit = 2 * np.maximum(self.s.max(axis=0), 1)
        return (mean**2 + 2 * (self.order + 1) - self.s**2) / unit, 2 * mean / unit

    def _variances(self, mean: NDArray[Any]) -> NDArray[Any]:
        """Variance of the residuals of a moment: of m, or of m^2, which is 4 A^2 + 4 N."""
        if self.moment == 1:
            return magnitude_variance(mean, self.order + 1)
        variances: NDArray[Any] = (mean**2 + self.order + 1) / np.maximum(self.s.max(axis=0), 1) ** 2
        return variances

    def deviation(self, x: NDArray[Any]) -> NDArray[Any]:
        """Standard deviation (n,) of rates that a moment tells: that of the curvature would be another's.

        Least squares that take all residuals for equally sure have H^-1 V H^-1, with V the variance of the gradient
        (Huber 1967).
        """
        x = x.astype(np.float64)
        further = self.further(x)
        mean, jacobian = self.model.evaluate(x[0], x[1], further, self.t)
        mean, held = np.maximum(mean, 0), np.concatenate([np.zeros(x.shape, bool), self._held(further)])
        slope = self._residuals(mean)[1] * self.use
        weights = np.stack([slope**2, slope**2 * self._variances(mean)])
        curvature, variance = np.einsum("wmn,pmn,qmn->wnpq", weights, jacobian, jacobian)
        inverse = np.linalg.inv(_damped(_without(curvature, held), np.full(x.shape[1], 1e-9)))
        found: NDArray[Any] = np.sqrt((inverse @ variance @ inverse)[:, 1, 1])
        return found

    def _derivatives(self, x: NDArray[Any], further: NDArray[Any]) -> tuple[Any, Any, Any]:
        mean, jacobian = self.model.evaluate(x[0], x[1], further, self.t)
        value, slope, curvature = self._sample_terms(np.maximum(mean, 0))
        gradient = np.einsum("mn,pmn->pn", slope, jacobian)
        hessian = np.einsum("mn,pmn,qmn->npq", curvature, jacobian, jacobian)
        return value.sum(axis=0), gradient, hessian

    def further(self, x: NDArray[Any]) -> NDArray[Any]:
        """Best further parameters (P, n) at a and r, by damped Newton steps within their bounds."""
        count = len(self.model.parameters)
        best = np.repeat(np.array(self.model.start, float)[:, None], x.shape[1], axis=1)
        if not count:
            return best
        low, high = (np.array(side)[:, None] for side in zip(*self.model.bounds, strict=True))
        value, gradient, hessian = self._derivatives(x, best)
        damping = np.full(x.shape[1], 1e-3)
        for _ in range(NEWTON_STEPS):
            held = ((best <= low) & (gradient[2:] > 0)) | ((best >= high) & (gradient[2:] < 0))
            own = _damped(_without(hessian[:, 2:, 2:], held), damping)
            downhill = np.where(held, 0, gradient[2:]).T[..., None]
            trial = np.clip(best - np.linalg.solve(own, downhill)[..., 0].T, low, high)
            new = self._derivatives(x, trial)
            better = new[0] <= value
            best = np.where(better, trial, best)
            value = np.where(better, new[0], value)
            gradient = np.where(better, new[1], gradient)
            hessian = np.where(better[:, None, None], new[2], hessian)
            damping = np.where(better, damping * 0.3, damping * 10)
        return best

    def _held(self, further: NDArray[Any]) -> NDArray[np.bool_]:
        """Which further parameters (P, n) are at a bound."""
        low, high = (np.reshape([bounds[side] for bounds in self.model.bounds], (-1, 1)) for side in (0, 1))
        return np.asarray((further <= low) | (further >= high))

    def terms(self, x: NDArray[Any]) -> NDArray[Any]:
        """Value, gradient and curvature of each voxel, further parameters profiled out."""
        x = x.astype(np.float64)
        further = self.further(x)
        value, gradient, hessian = self._derivatives(x, further)
        outer = hessian[:, :2, :2]
        if len(self.model.parameters):
            # A further parameter at a bound does not follow a and r, so it takes nothing away.
            held = self._held(further)
            cross = np.where(held.T[:, None, :], 0, hessian[:, :2, 2:])
            own = _damped(_without(hessian[:, 2:, 2:], held), np.full(x.shape[1], 1e-4))
            outer = outer - cross @ np.linalg.solve(own, np.swapaxes(cross, 1, 2))
        return np.stack([value, gradient[0], gradient[1], outer[:, 0, 0], outer[:, 0, 1], outer[:, 1, 1]])

    def redrawn(self, x: NDArray[Any], rng: np.random.Generator) -> Profiled:
        """Return the same with data drawn from the maps x."""
        x = x.astype(np.float64)
        clean = np.maximum(self.model.evaluate(x[0], x[1], self.further(x), self.t)[0], 0)
        return replace(self, s=simulate(clean, self.order, rng))


def _without(hessian: NDArray[Any], held: NDArray[np.bool_]) -> NDArray[Any]:
    """Hessian (n, P, P) with the rows and columns of held parameters (P, n) replaced by those of the identity."""
    out = held.T[:, :, None] | held.T[:, None, :]
    kept: NDArray[Any] = np.where(out, np.eye(hessian.shape[1]), hessian)
    return kept


def _damped(hessian: NDArray[Any], damping: NDArray[Any]) -> NDArray[Any]:
    """Hessian with its diagonal raised, never singular."""
    diagonal = np.einsum("npp->np", hessian) * damping[:, None] + 1e-9
    damped: NDArray[Any] = hessian + np.eye(hessian.shape[1]) * diagonal[:, None, :]
    return damped


def simulate(clean: NDArray[Any], order: float, rng: np.random.Generator) -> NDArray[Any]:
    """Draw data of unit noise around noise-free signals; ``order`` N - 1 or GAUSSIAN."""
    noisy = clean + rng.standard_normal(clean.shape, np.float32).astype(clean.dtype)
    if order != GAUSSIAN:
        across = _across(order, clean.shape, rng).astype(clean.dtype)
        noisy = np.sqrt(noisy * noisy + across)
    drawn: NDArray[Any] = noisy
    return drawn


def _across(order: float, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Sum of squares of the 2 N - 1 channels that hold no signal: chi-square; of one, a square is the quicker way."""
    if order:
        return 2 * rng.standard_gamma(order + 0.5, shape, np.float32)
    return np.square(rng.standard_normal(shape, np.float32))
