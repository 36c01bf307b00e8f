"""Quadratic smoothness of maps: the squared graph Laplacian, and the linear system it makes.

(L x)_i is the sum of x_i - x_j over the neighbours j that are free too. It smooths without flat steps and blurs edges,
which total variation keeps.
"""
# ruff: noqa: PLR0917  arrays one by one

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def laplacian(x: NDArray[Any], free: NDArray[np.bool_]) -> NDArray[Any]:
    """L x of maps (..., K, L) over the free voxels."""
    out = np.zeros_like(x)
    down = (x[..., 1:, :] - x[..., :-1, :]) * (free[1:] & free[:-1])
    right = (x[..., 1:] - x[..., :-1]) * (free[:, 1:] & free[:, :-1])
    out[..., 1:, :] += down
    out[..., :-1, :] -= down
    out[..., 1:] += right
    out[..., :-1] -= right
    return out


def roughness(x: NDArray[Any], w: NDArray[Any], free: NDArray[np.bool_]) -> float:
    """1/2 sum (w L x)^2 of maps (2, K, L)."""
    return float(0.5 * np.sum(np.square(w * laplacian(x, free), dtype=np.float64)))


def solve_smooth(
    u: NDArray[Any],
    c: NDArray[Any],
    w: NDArray[Any],
    free: NDArray[np.bool_],
    moves: NDArray[np.bool_],
    start: NDArray[Any],
    tolerance: float,
    most: int,
) -> tuple[NDArray[Any], float]:
    """Minimise 1/2 (x-u)' H (x-u) + 1/2 sum (w L x)^2 with H = C^-1: (H + P) d = -P u, x = u + d, P = L w^2 L.

    Conjugate gradients from ``start``, preconditioned by the 2x2 blocks of the diagonal of H + P, until about
    ``tolerance`` is left to gain. Shapes as in ``total_variation.solve_coupled``; a voxel that is not ``free`` keeps
    u, one that only does not move keeps its start. Returns x and what is left.
    """
    of = u.dtype
    u, c, w, start = (m.astype(np.float64) for m in (u, c, w, start))  # C is nearly singular where a and r go together
    h = _inverse(c, free)
    blocks = _inverse(h + np.stack([_diagonal(w[0], free), np.zeros_like(w[0]), _diagonal(w[1], free)]), moves)

    def by_p(v: NDArray[Any]) -> NDArray[Any]:
        return laplacian(w * w * laplacian(v, free), free)

    d: NDArray[Any] = np.where(free, start - u, 0)
    residual = -by_p(u + d) - _apply(h, d)
    ahead = _apply(blocks, residual)
    direction = ahead
    energy = float(np.vdot(residual, ahead))
    for _ in range(most):
        if energy <= tolerance:
            break
        image = _apply(h, direction) + by_p(direction)
        length = energy / float(np.vdot(direction, image))
        d = d + length * direction
        residual = residual - length * image
        ahead = _apply(blocks, residual)
        new = float(np.vdot(residual, ahead))
        direction = ahead + (new / energy) * direction
        energy = new
    return (u + d).astype(of), 0.5 * energy


def _apply(m: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Multiply two maps by symmetric 2x2 blocks (3, K, L)."""
    product: NDArray[Any] = np.stack([m[0] * v[0] + m[1] * v[1], m[1] * v[0] + m[2] * v[1]])
    return product


def _inverse(m: NDArray[Any], free: NDArray[np.bool_]) -> NDArray[Any]:
    """Inverse of symmetric 2x2 blocks, 0 where a voxel is not free."""
    determinant = np.where(free, m[0] * m[2] - m[1] * m[1], 1)
    inverse: NDArray[Any] = np.where(free, np.stack([m[2], -m[1], m[0]]) / determinant, 0)
    return inverse


def _diagonal(w: NDArray[Any], free: NDArray[np.bool_]) -> NDArray[Any]:
    """Diagonal of L w^2 L: (degree w)^2 of a voxel and w^2 of its neighbours."""
    square = w * w
    around = np.zeros_like(square)
    degree = np.zeros_like(square)
    for axis in (0, 1):
        n = free.shape[axis]
        low, high = (np.arange(n - 1), np.arange(1, n))
        both = np.take(free, low, axis) & np.take(free, high, axis)
        for here, there in ((low, high), (high, low)):
            at = (here, slice(None)) if axis == 0 else (slice(None), here)
            degree[at] += both
            around[at] += both * np.take(square, there, axis)
    diagonal: NDArray[Any] = degree * degree * square + around
    return diagonal
