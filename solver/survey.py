"""Passes over whole images that must not take longer than the fit: what samples are like, sums over squares."""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.vector_math import kernel, row_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

LANES = 512  # samples looked at side by side, within the first-level cache
LARGEST = 3e38  # what is beyond it is not finite in single precision


@dataclass(frozen=True, slots=True)
class Survey:
    """What the samples of an image are like."""

    peak: float  # largest finite size
    negatives: int
    finite: bool  # all
    whole: bool  # all finite ones are whole numbers


@row_kernel
def _look(v: Any, largest: Any, peak: Any, negatives: Any, broken: Any, odd: Any) -> None:
    zero, one = v.dtype.type(0), v.dtype.type(1)
    for i in range(v.size):
        x = v[i]
        size = abs(x)
        good = size <= largest
        peak[i] = max(peak[i], size if good else zero)
        negatives[i] += one if x < zero else zero
        broken[i] += zero if good else one
        odd[i] += one if (np.floor(x) != x) & good else zero


@kernel
def _look_at_all(v: Any, largest: Any, found: Any) -> None:
    """Write peak, count of negatives, of what is not finite, and of what is not whole, in lanes that run side by side.

    A lane counts in the precision of the samples, which is exact up to 16 million of them.
    """
    found[:] = v.dtype.type(0)
    for start in range(0, v.size, LANES):
        part = v[start : min(start + LANES, v.size)]
        n = part.size
        _look(part, largest, found[0, :n], found[1, :n], found[2, :n], found[3, :n])


def survey(s: NDArray[Any]) -> Survey:
    """Look at every sample once."""
    if s.dtype.kind in "uib":
        low, high = (int(one) for one in (s.min(), s.max()))
        return Survey(float(max(-low, high)), int(np.count_nonzero(s < 0)) if low < 0 else 0, finite=True, whole=True)
    flat = np.ascontiguousarray(s).reshape(-1)
    flat = flat if flat.dtype in (np.float32, np.float64) else flat.astype(np.float64)
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    largest = flat.dtype.type(LARGEST if flat.dtype == np.float32 else np.finfo(np.float64).max)
    found = np.empty((4, LANES), flat.dtype)
    _look_at_all(flat, largest, found)
    negatives, broken, odd = found[1:].sum(axis=1, dtype=np.float64)
    return Survey(float(found[0].max()), int(negatives), finite=broken == 0, whole=odd == 0)


@row_kernel
def _add(row: Any, sign: Any, total: Any) -> None:
    for x in range(row.size):
        total[x] += sign * row[x]


@kernel
def _sum_squares(v: Any, reach: int, out: Any) -> None:
    """Running sums down the rows, then along them; beyond the border the nearest value goes on."""
    rows, columns = v.shape
    one = v.dtype.type(1)
    column = np.zeros(columns, v.dtype)
    for k in range(-reach, reach):
        _add(v[min(max(k, 0), rows - 1)], one, column)
    for i in range(rows):
        _add(v[min(i + reach, rows - 1)], one, column)
        total = v.dtype.type(0)
        for k in range(-reach, reach + 1):
            total += column[min(max(k, 0), columns - 1)]
        for j in range(columns):
            out[i, j] = total
            total += column[min(j + reach + 1, columns - 1)] - column[max(j - reach, 0)]
        _add(v[max(i - reach, 0)], -one, column)


def sums_around(values: NDArray[Any], width: int) -> NDArray[np.float64]:
    """Sums over squares of odd ``width`` about each voxel of (..., K, L)."""
    v = np.ascontiguousarray(values, np.float64)
    out = np.empty_like(v)
    for one, to in zip(v.reshape(-1, *v.shape[-2:]), out.reshape(-1, *v.shape[-2:]), strict=True):
        _sum_squares(one, width // 2, to)
    return out
