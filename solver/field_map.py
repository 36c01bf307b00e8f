"""Which way the field turns each voxel: labels that agree with their neighbours.

For every label ψ, and a few rates, variable projection says what the best water and fat leave. Equal distances of
echoes alias, so labels lie on a circle. Neighbours are made to agree by semi-global matching (Hirschmüller, IEEE TPAMI
2008;30:328): dynamic programming along eight directions with a truncated linear penalty, the sum of all decides.
"""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from solver.vector_math import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATES_PER_S = (20.0, 40.0, 70.0, 110.0, 170.0, 260.0, 400.0, 620.0, 1000.0)
FAST_PER_S = 130.0  # adipose tissue has no such rate: much fat beside one costs
IRON_RIDGE = 0.06  # of the energy of water
LABELS_A_TURN = 6.0  # of the last echo
WITHIN = 3  # fields within a label, of which the best counts
WIDEST_HZ = 900.0  # looked for where distances differ, so that nothing aliases
EQUAL = 0.02  # relative: distances of echoes that alias
MODEL = 0.02  # of the signal: what the model leaves beside the noise
MOST_COST = 30.0  # ln of the likelihood that one voxel may lose
SLOPE_PER_HZ, CAP = 0.06, 25.0  # penalty of neighbours that differ, ln of the likelihood
CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields that are asked for."""

    hz: NDArray[np.float64]
    circular: bool  # the last is next to the first

    @classmethod
    def of(cls, t_s: NDArray[np.float64]) -> Fields:
        """Choose them for a train: one turn between equal distances, or a range that is wide enough."""
        steps = np.diff(t_s)
        circular = bool(np.ptp(steps) < EQUAL * steps.mean())
        width = 1.0 / float(steps.mean()) if circular else WIDEST_HZ
        count = int(np.ceil(width * t_s[-1] * LABELS_A_TURN))
        return cls((np.arange(count) / count - 0.5) * width, circular)

    @property
    def step_hz(self) -> float:
        """From one to the next."""
        return float(self.hz[1] - self.hz[0])


def costs(
    s: NDArray[Any], t_s: NDArray[np.float64], fat: NDArray[np.complex128], fields: Fields
) -> NDArray[np.float32]:
    """(n, labels): energy of samples ``s`` (n, M) that water and fat (M,) leave at each field, best rate."""
    banks = _banks(t_s, fat, fields)
    count = fields.hz.size
    left = np.empty((len(s), count), np.float32)
    energy = (np.abs(s) ** 2).sum(1)
    for begin in range(0, len(s), CHUNK):
        some = s[begin : begin + CHUNK]
        best = np.zeros((len(some), count * WITHIN), np.float32)
        for water, beside in banks:
            explained = np.abs(some @ water) ** 2
            explained += np.abs(some @ beside) ** 2
            np.maximum(best, explained, out=best)
        left[begin : begin + CHUNK] = energy[begin : begin + CHUNK, None] - best.reshape(len(some), count, -1).max(-1)
    return np.maximum(left, 0)


def _banks(
    t_s: NDArray[np.float64], fat: NDArray[np.complex128], fields: Fields
) -> list[tuple[NDArray[np.complex64], NDArray[np.complex64]]]:
    """For each rate two filters (M, fields), whose power together is what water and fat explain."""
    fine = fields.hz[:, None] + (np.arange(WITHIN) - (WITHIN - 1) / 2) * fields.step_hz / WITHIN
    turn = np.exp(-2j * np.pi * np.outer(t_s, fine.ravel()))
    banks = []
    for rate in RATES_PER_S:
        basis = np.exp(-rate * t_s)[:, None] * np.stack([np.ones_like(fat), fat], 1)
        ridge = IRON_RIDGE * float((np.abs(basis[:, 0]) ** 2).sum()) if rate > FAST_PER_S else 0.0
        gram = basis.conj().T @ basis + np.diag([0.0, ridge])
        white = basis @ np.linalg.inv(np.linalg.cholesky(gram)).conj().T
        water, beside = ((turn * np.conj(white[:, [k]])).astype(np.complex64) for k in (0, 1))
        banks.append((water, beside))
    return banks


def smooth_field(
    left: NDArray[np.float32], power: NDArray[Any], body: NDArray[np.bool_], sigma: float, fields: Fields
) -> NDArray[np.float64]:
    """Field (K, L) in Hz from what each label leaves, (n, labels) of the voxels of ``body`` (K, L).

    ``power`` (n,) is their mean square.
    """
    cost = np.zeros((*body.shape, fields.hz.size), np.float32)
    cost[body] = np.minimum(
        (left - left.min(1, keepdims=True)) / (sigma**2 + MODEL**2 * power)[:, None], np.float32(MOST_COST)
    )
    cost = ndimage.uniform_filter(cost, (3, 3, 0))
    total = np.zeros_like(cost)
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        _walk(cost, total, down, right, np.float32(SLOPE_PER_HZ * fields.step_hz), np.float32(CAP), fields.circular)
    field: NDArray[np.float64] = fields.hz[total.argmin(-1)]
    return field


@kernel
def _spread(v: Any, slope: Any, cap: Any, circular: Any) -> None:
    """v[l] becomes the least of v[k] + min(slope |l - k|, cap), less the least of v."""
    n = v.size
    low = v.min()
    for _ in range(2 if circular else 1):
        for k in range(1, n):
            v[k] = min(v[k], v[k - 1] + slope)
        if circular:
            v[0] = min(v[0], v[n - 1] + slope)
        for k in range(n - 2, -1, -1):
            v[k] = min(v[k], v[k + 1] + slope)
        if circular:
            v[n - 1] = min(v[n - 1], v[0] + slope)
    for k in range(n):
        v[k] = min(v[k], low + cap) - low


@kernel
def _walk(cost: Any, total: Any, down: Any, right: Any, slope: Any, cap: Any, circular: Any) -> None:
    """Add to ``total`` the costs of the best path to each voxel that comes from one direction."""
    height, width, count = cost.shape
    before = np.empty((width, count), cost.dtype)
    line = np.empty((width, count), cost.dtype)
    for a in range(height):
        y = a if down >= 0 else height - 1 - a
        for b in range(width):
            x = b if right >= 0 else width - 1 - b
            come = x - right
            if 0 <= come < width and (a > 0 or down == 0):
                line[x] = line[come] if down == 0 else before[come]
                _spread(line[x], slope, cap, circular)
                line[x] += cost[y, x]
            else:
                line[x] = cost[y, x]
            total[y, x] += line[x]
        before[:] = line
