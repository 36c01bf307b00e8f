"""Linear systems of two maps that are each a sum of jumps and a trend, with precisions that differ from place to place.

theta_m = scale_m alpha_m + trend_m B c_m for both maps m: alpha (2, K, L) holds the jumps, c (2, P, Q) the heights of
cubic B-splines, KNOT voxels apart, which make a trend (Lang and Brezger 2004). Given the precisions both are Gaussian:
every link of two neighbours has -ln p = 1/2 links (alpha_j - alpha_i)^2, every knot half its ``knots`` times the
squares of the second differences there, every voxel half the curvature of its likelihood times its distance.
"""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from solver.vector_math import kernel, row_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

KNOT = 6  # voxels
ANCHOR = 1e-4  # precision of the height of a knot itself, in units of the trend: what nothing else says does not drift
TAPS = 4  # splines that reach a voxel


class Basis(NamedTuple):
    """Cubic B-splines along one axis of n voxels: four weights (n, 4) and the first knot (n,) of each voxel."""

    weights: Any
    first: Any


class Precisions(NamedTuple):
    """What decides a system: arrays in the precision of the maps."""

    curvature: Any  # (3, K, L) of -ln likelihood by theta: 00, 01, 11; 0 where a voxel does not take part
    links: Any  # (2, K, L): to the next row, to the next column; 0 where there is none
    knots: Any  # (P, Q)
    scale: Any  # (2,) of the jumps of each map
    trend: Any  # (2,) of its trend


@dataclass(frozen=True, slots=True)
class Grid:
    """Where voxels and knots lie."""

    shape: tuple[int, int]
    rows: Basis
    columns: Basis

    @classmethod
    def of(cls, shape: tuple[int, int], dtype: Any) -> Grid:
        """Knots for a slice of K x L voxels."""
        rows, columns = (_basis(n, dtype) for n in shape)
        return cls(shape, rows, columns)

    @property
    def knots(self) -> tuple[int, int]:
        """Knots down and across, P and Q."""
        down, across = (int(one.first[-1]) + TAPS for one in (self.rows, self.columns))
        return down, across

    def split(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Jumps alpha (2, K, L) and heights c (2, P, Q) of a state, which is one vector; views."""
        n = 2 * self.shape[0] * self.shape[1]
        return x[:n].reshape(2, *self.shape), x[n:].reshape(2, *self.knots)

    def state(self, theta: NDArray[Any], scale: NDArray[Any]) -> NDArray[Any]:
        """Maps (2, K, L) as a state without a trend."""
        x = np.zeros(theta.size + 2 * self.knots[0] * self.knots[1], theta.dtype)
        self.split(x)[0][:] = theta / scale[:, None, None]
        return x

    def maps(self, x: NDArray[Any], scale: NDArray[Any], trend: NDArray[Any]) -> NDArray[Any]:
        """Maps (2, K, L) of a state."""
        alpha, c = self.split(x)
        out = np.empty_like(alpha)
        _maps(alpha, c, self.rows, self.columns, scale, trend, out)
        return out

    def pulled(self, theta: NDArray[Any], scale: NDArray[Any], trend: NDArray[Any]) -> NDArray[Any]:
        """What maps (2, K, L) are to a state: the transpose of ``maps``."""
        x = np.empty(theta.size + 2 * self.knots[0] * self.knots[1], theta.dtype)
        alpha, c = self.split(x)
        _pulled(theta, self.rows, self.columns, scale, trend, alpha, c)
        return x


def _basis(n: int, dtype: Any) -> Basis:
    place = (np.arange(n) + 0.5) / KNOT
    first = np.floor(place).astype(np.int64)
    u = place - first
    weights = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1) / 6
    return Basis(weights.astype(dtype), first)


@row_kernel
def _add_scaled(factor: Any, x: Any, y: Any) -> None:
    for j in range(x.size):
        y[j] += factor * x[j]


@kernel
def _trend_row(c: Any, rows: Any, columns: Any, i: int, along: Any, out: Any) -> None:
    """B c of row i; ``along`` (Q,) is scratch."""
    along[:] = along.dtype.type(0)
    for k in range(4):
        _add_scaled(rows.weights[i, k], c[rows.first[i] + k], along)
    for k in range(along.size - 3):
        c0, c1, c2, c3 = along[k], along[k + 1], along[k + 2], along[k + 3]
        for j in range(k * KNOT, min((k + 1) * KNOT, out.size)):
            w = columns.weights[j]
            out[j] = w[0] * c0 + w[1] * c1 + w[2] * c2 + w[3] * c3


@kernel
def _add_pulled_row(values: Any, rows: Any, columns: Any, i: int, factor: Any, along: Any, c: Any) -> None:
    """Add factor B^T of the values of row i to c."""
    along[:] = along.dtype.type(0)
    for k in range(along.size - 3):
        c0, c1, c2, c3 = along[k], along[k + 1], along[k + 2], along[k + 3]
        for j in range(k * KNOT, min((k + 1) * KNOT, values.size)):
            w, v = columns.weights[j], values[j] * factor
            c0 += w[0] * v
            c1 += w[1] * v
            c2 += w[2] * v
            c3 += w[3] * v
        along[k], along[k + 1], along[k + 2], along[k + 3] = c0, c1, c2, c3
    for k in range(4):
        _add_scaled(rows.weights[i, k], along, c[rows.first[i] + k])


@kernel
def _maps(alpha: Any, c: Any, rows: Any, columns: Any, scale: Any, trend: Any, out: Any) -> None:
    along = np.empty(c.shape[2], c.dtype)
    for m in range(2):
        for i in range(out.shape[1]):
            _trend_row(c[m], rows, columns, i, along, out[m, i])
            for j in range(out.shape[2]):
                out[m, i, j] = scale[m] * alpha[m, i, j] + trend[m] * out[m, i, j]


@kernel
def _pulled(theta: Any, rows: Any, columns: Any, scale: Any, trend: Any, alpha: Any, c: Any) -> None:
    along = np.empty(c.shape[2], c.dtype)
    c[:] = c.dtype.type(0)
    for m in range(2):
        for i in range(theta.shape[1]):
            _add_pulled_row(theta[m, i], rows, columns, i, trend[m], along, c[m])
            for j in range(theta.shape[2]):
                alpha[m, i, j] = scale[m] * theta[m, i, j]


@kernel
def _bends(c: Any, out: Any) -> None:
    """Second differences (3, P, Q) of heights (P, Q): down, across, and root two times the mixed one."""
    f = c.dtype.type
    two, root = f(2), f(np.sqrt(2.0))
    out[:] = f(0)
    for p in range(c.shape[0]):
        for q in range(c.shape[1]):
            if 0 < p < c.shape[0] - 1:
                out[0, p, q] = c[p - 1, q] - two * c[p, q] + c[p + 1, q]
            if 0 < q < c.shape[1] - 1:
                out[1, p, q] = c[p, q - 1] - two * c[p, q] + c[p, q + 1]
            if p < c.shape[0] - 1 and q < c.shape[1] - 1:
                out[2, p, q] = root * (c[p, q] - c[p + 1, q] - c[p, q + 1] + c[p + 1, q + 1])


@kernel
def _add_unbent(bends: Any, out: Any) -> None:
    """Add the transpose of ``_bends``."""
    f = out.dtype.type
    two, root = f(2), f(np.sqrt(2.0))
    rows, columns = out.shape
    for p in range(rows):
        for q in range(columns):
            if 0 < p < rows - 1:
                out[p - 1, q] += bends[0, p, q]
                out[p, q] -= two * bends[0, p, q]
                out[p + 1, q] += bends[0, p, q]
            if 0 < q < columns - 1:
                out[p, q - 1] += bends[1, p, q]
                out[p, q] -= two * bends[1, p, q]
                out[p, q + 1] += bends[1, p, q]
            if p < rows - 1 and q < columns - 1:
                v = root * bends[2, p, q]
                out[p, q] += v
                out[p + 1, q] -= v
                out[p, q + 1] -= v
                out[p + 1, q + 1] += v


def bends(c: NDArray[Any]) -> NDArray[Any]:
    """Second differences (2, 3, P, Q) of the heights (2, P, Q) of both trends; their squares add up at each knot."""
    out = np.empty((2, 3, *c.shape[1:]), c.dtype)
    for m in range(2):
        _bends(c[m], out[m])
    return out


@row_kernel
def _curved(h0: Any, h1: Any, h2: Any, x0: Any, x1: Any, y0: Any, y1: Any) -> None:
    for j in range(h0.size):
        y0[j] = h0[j] * x0[j] + h1[j] * x1[j]
        y1[j] = h1[j] * x0[j] + h2[j] * x1[j]


@row_kernel
def _linked(above: Any, below: Any, x: Any, upper: Any, lower: Any, out: Any) -> None:
    """Add what links to the rows above and below make."""
    for j in range(x.size):
        out[j] += above[j] * (x[j] - upper[j]) + below[j] * (x[j] - lower[j])


@row_kernel
def _linked_along(links: Any, x: Any, out: Any) -> None:
    for j in range(x.size - 1):
        out[j] += links[j] * (x[j] - x[j + 1])
    for j in range(1, x.size):
        out[j] += links[j - 1] * (x[j] - x[j - 1])


@row_kernel
def _summed(scale: Any, trend: Any, alpha: Any, out: Any) -> None:
    for j in range(alpha.size):
        out[j] = scale * alpha[j] + trend * out[j]


@row_kernel
def _times(scale: Any, x: Any, out: Any) -> None:
    for j in range(x.size):
        out[j] = scale * x[j]


@kernel
def _apply(p: Any, rows: Any, columns: Any, alpha: Any, c: Any, to_alpha: Any, to_c: Any) -> None:
    """Multiply a state by the precision matrix, row by row, so that what a row needs stays in the cache."""
    last = alpha.shape[1] - 1
    along = np.empty(c.shape[2], c.dtype)
    theta, curved = (np.empty((2, alpha.shape[2]), c.dtype), np.empty((2, alpha.shape[2]), c.dtype))
    bent = np.empty((3, *c.shape[1:]), c.dtype)
    nothing = np.zeros(alpha.shape[2], c.dtype)
    anchor = c.dtype.type(ANCHOR)
    for m in range(2):
        _bends(c[m], bent)
        for k in range(3):
            bent[k] *= p.knots
        to_c[m] = anchor * c[m]
        _add_unbent(bent, to_c[m])
    for i in range(alpha.shape[1]):
        above = p.links[0, i - 1] if i > 0 else nothing
        upper, lower = max(i - 1, 0), min(i + 1, last)
        for m in range(2):
            _trend_row(c[m], rows, columns, i, along, theta[m])
            _summed(p.scale[m], p.trend[m], alpha[m, i], theta[m])
        h = p.curvature
        _curved(h[0, i], h[1, i], h[2, i], theta[0], theta[1], curved[0], curved[1])
        for m in range(2):
            _add_pulled_row(curved[m], rows, columns, i, p.trend[m], along, to_c[m])
            _times(p.scale[m], curved[m], to_alpha[m, i])
            _linked(above, p.links[0, i], alpha[m, i], alpha[m, upper], alpha[m, lower], to_alpha[m, i])
            _linked_along(p.links[1, i], alpha[m, i], to_alpha[m, i])


@kernel
def _invert(h: Any, diagonal: Any, scale: Any, out: Any) -> None:
    """Inverse (3, ...) of the 2 x 2 blocks of curvature in units of the scales with a diagonal added."""
    for i in range(diagonal.shape[0]):
        for j in range(diagonal.shape[1]):
            a = h[0, i, j] * scale[0] * scale[0] + diagonal[i, j]
            b = h[1, i, j] * scale[0] * scale[1]
            d = h[2, i, j] * scale[1] * scale[1] + diagonal[i, j]
            determinant = a * d - b * b
            inverse = h.dtype.type(1) / determinant if determinant > 0 else h.dtype.type(0)
            out[0, i, j], out[1, i, j], out[2, i, j] = d * inverse, -b * inverse, a * inverse


@kernel
def _blockwise(blocks: Any, x: Any, out: Any) -> None:
    for i in range(x.shape[1]):
        b = blocks[:, i]
        _curved(b[0], b[1], b[2], x[0, i], x[1, i], out[0, i], out[1, i])


@kernel
def _dot(x: Any, y: Any) -> Any:
    total = 0.0
    for k in range(x.size):
        total += x[k] * y[k]
    return total


@row_kernel
def _descend(step: Any, d: Any, q: Any, x: Any, r: Any) -> None:
    for k in range(x.size):
        x[k] += step * d[k]
        r[k] -= step * q[k]


@row_kernel
def _turn(beta: Any, z: Any, d: Any) -> None:
    for k in range(d.size):
        d[k] = z[k] + beta * d[k]


@kernel
def _precondition(of_voxels: Any, of_knots: Any, r: Any, z: Any) -> None:
    n, shape, knots = 2 * of_voxels[0].size, of_voxels.shape, of_knots.shape
    _blockwise(of_voxels, r[:n].reshape(2, shape[1], shape[2]), z[:n].reshape(2, shape[1], shape[2]))
    _blockwise(of_knots, r[n:].reshape(2, knots[1], knots[2]), z[n:].reshape(2, knots[1], knots[2]))


@kernel
def _conjugate_gradients(
    p: Any, rows: Any, columns: Any, of_voxels: Any, of_knots: Any, b: Any, tolerance: float, most: int, x: Any
) -> Any:
    n, shape, knots = 2 * of_voxels[0].size, of_voxels.shape, of_knots.shape
    d, q, z = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    _precondition(of_voxels, of_knots, b, z)
    enough = tolerance * tolerance * _dot(b, z)
    alpha, c = x[:n].reshape(2, shape[1], shape[2]), x[n:].reshape(2, knots[1], knots[2])
    to_alpha, to_c = q[:n].reshape(2, shape[1], shape[2]), q[n:].reshape(2, knots[1], knots[2])
    _apply(p, rows, columns, alpha, c, to_alpha, to_c)
    r = b - q
    _precondition(of_voxels, of_knots, r, d)
    left = _dot(r, d)
    alpha, c = d[:n].reshape(2, shape[1], shape[2]), d[n:].reshape(2, knots[1], knots[2])
    for iteration in range(most):
        if left <= enough:
            return iteration
        _apply(p, rows, columns, alpha, c, to_alpha, to_c)
        _descend(x.dtype.type(left / max(_dot(d, q), 1e-30)), d, q, x, r)
        _precondition(of_voxels, of_knots, r, z)
        new = _dot(r, z)
        _turn(x.dtype.type(new / max(left, 1e-30)), z, d)
        left = new
    return most


@dataclass(frozen=True, slots=True)
class System:
    """A precision matrix with its block diagonal, by which conjugate gradients are preconditioned."""

    grid: Grid
    precisions: Precisions
    of_voxels: NDArray[Any]
    of_knots: NDArray[Any]

    @classmethod
    def of(cls, grid: Grid, p: Precisions) -> System:
        """Make the system of these precisions."""
        of_voxels, of_knots = np.empty_like(p.curvature), np.empty((3, *grid.knots), p.knots.dtype)
        _invert(p.curvature, _degree(p.links), p.scale, of_voxels)
        down, across = (Basis(one.weights**2, one.first) for one in (grid.rows, grid.columns))
        told = np.empty_like(of_knots)
        for k in range(3):
            _pulled_alone(p.curvature[k], down, across, told[k])
        _invert(told, _stiffness(p.knots), p.trend, of_knots)
        return cls(grid, p, of_voxels, of_knots)

    def solve(self, b: NDArray[Any], start: NDArray[Any], tolerance: float, most: int) -> NDArray[Any]:
        """Solve for a state from a start, until the residual is ``tolerance`` of ``b`` or after ``most`` steps."""
        x = start.copy()
        grid = self.grid
        blocks = self.of_voxels, self.of_knots
        _conjugate_gradients(self.precisions, grid.rows, grid.columns, *blocks, b, tolerance, most, x)
        return x

    def times(self, x: NDArray[Any]) -> NDArray[Any]:
        """Product of the matrix and a state."""
        out = np.empty_like(x)
        _apply(self.precisions, self.grid.rows, self.grid.columns, *self.grid.split(x), *self.grid.split(out))
        return out

    def drawn(self, rng: np.random.Generator) -> NDArray[Any]:
        """Right-hand side whose solution is a draw from the Gaussian with this precision and mean 0.

        It is a draw of every term in the precision (Papandreou and Yuille 2010).
        """
        p, dtype, grid = self.precisions, self.precisions.knots.dtype, self.grid

        def normal(*shape: int) -> NDArray[Any]:
            return rng.standard_normal(shape, np.float32).astype(dtype, copy=False)

        h0, h1, h2 = p.curvature
        root = np.sqrt(h0)
        across = np.divide(h1, root, out=np.zeros_like(h1), where=root > 0)
        one, other = normal(2, *grid.shape)
        noise = np.stack([root * one, across * one + np.sqrt(np.maximum(h2 - across * across, 0)) * other])
        b = grid.pulled(noise, p.scale, p.trend)
        alpha, c = grid.split(b)
        links, knots = np.sqrt(p.links), np.sqrt(p.knots)
        for m in range(2):
            down, along = links * normal(2, *grid.shape)
            alpha[m] -= down + along
            alpha[m, 1:] += down[:-1]
            alpha[m, :, 1:] += along[:, :-1]
            _add_unbent(knots * normal(3, *grid.knots), c[m])
            c[m] += dtype.type(ANCHOR**0.5) * normal(*grid.knots)
        return b


def _degree(links: NDArray[Any]) -> NDArray[Any]:
    """Sum of the links of each voxel."""
    out: NDArray[Any] = links[0] + links[1]
    out[1:] += links[0, :-1]
    out[:, 1:] += links[1, :, :-1]
    return out


def _stiffness(knots: NDArray[Any]) -> NDArray[Any]:
    """Diagonal of what bending costs."""
    out = np.full_like(knots, ANCHOR)
    for w, to in ((knots, out), (knots.T, out.T)):
        to[1:-1] += 4 * w[1:-1]
        to[:-2] += w[1:-1]
        to[2:] += w[1:-1]
    mixed = 2 * knots[:-1, :-1]
    for down in (slice(None, -1), slice(1, None)):
        for across in (slice(None, -1), slice(1, None)):
            out[down, across] += mixed
    return out


@kernel
def _pulled_alone(values: Any, rows: Any, columns: Any, out: Any) -> None:
    along = np.empty(out.shape[1], out.dtype)
    out[:] = out.dtype.type(0)
    for i in range(values.shape[0]):
        _add_pulled_row(values[i], rows, columns, i, out.dtype.type(1), along, out)


def linked(alpha: NDArray[Any], spacing: tuple[float, float]) -> NDArray[Any]:
    """Slopes (2 directions, 2 maps, K, L) of jumps (2, K, L) to the next row and column; 0 at the last."""
    out = np.zeros((2, *alpha.shape), alpha.dtype)
    out[0, :, :-1] = np.diff(alpha, axis=1) / alpha.dtype.type(spacing[0])
    out[1, :, :, :-1] = np.diff(alpha, axis=2) / alpha.dtype.type(spacing[1])
    return out
