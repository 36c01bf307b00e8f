"""Quadratic smoothness of maps: the squared graph Laplacian, and the linear system it makes.

(L x)_i is the sum of x_i - x_j over the neighbours j that are free too. It smooths without flat steps and blurs edges,
which total variation keeps.
"""

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


def solve_smooth(u: NDArray[Any], c: NDArray[Any], w: NDArray[Any], free: NDArray[np.bool_], most: int) -> NDArray[Any]:
    """Minimise 1/2 (x-u)' C^-1 (x-u) + 1/2 sum (w L x)^2 by conjugate gradients on x = u - C y.

    Shapes as in ``total_variation.solve_coupled``; where C is 0 x stays at u. In y the system is C + C P C with
    P = L w^2 L, symmetric and not negative.
    """

    def by_c(v: NDArray[Any]) -> NDArray[Any]:
        return np.stack([c[0] * v[0] + c[1] * v[1], c[1] * v[0] + c[2] * v[1]])

    def by_p(v: NDArray[Any]) -> NDArray[Any]:
        return laplacian(w * w * laplacian(v, free), free)

    y = np.zeros_like(u)
    residual = by_c(by_p(u))
    direction = residual
    energy = float(np.vdot(residual, residual))
    first = energy
    for _ in range(4 * most):
        if energy <= 1e-10 * first or energy == 0:
            break
        image = by_c(direction)
        image = image + by_c(by_p(image))
        length = energy / float(np.vdot(direction, image))
        y = y + length * direction
        residual = residual - length * image
        new = float(np.vdot(residual, residual))
        direction = residual + (new / energy) * direction
        energy = new
    smooth: NDArray[Any] = u - by_c(y)
    return smooth
