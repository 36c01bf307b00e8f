"""Signals of slices joined over small squares of voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.vector_math import kernel, row_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE = 4  # voxels a side: small enough for narrow air, large enough that its power is known to a tenth
VOXELS = TILE * TILE


@dataclass(frozen=True, slots=True)
class Tiles:
    """Means over the n tiles of all slices, row by row, slice by slice; what does not fill a tile is left out."""

    magnitude: NDArray[Any]  # (M, n): mean of |m|
    power: NDArray[Any]  # (M, n): mean of m^2
    zeros: NDArray[Any]  # (n,): share of samples that are 0
    sound: NDArray[np.bool_]  # (n,): every voxel may be used
    grid: tuple[int, int]  # tiles down and across, of one slice
    late_power: NDArray[Any]  # (n,): mean power of the late echoes

    @property
    def echoes(self) -> int:
        """Number of echoes."""
        return len(self.power)

    @property
    def late(self) -> slice:
        """The last third of the echoes, in which iron has left nothing: at least two where there are three."""
        return slice(_first_late(self.echoes), self.echoes)

    def around(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sum of the values (n,) of the eight tiles around each, fewer at borders."""
        out = np.empty(values.size)
        _sum_neighbours(values.astype(np.float64), *self.grid, out)
        return out

    def leading(self, above: float) -> NDArray[np.int64]:
        """How many of the first echoes of each tile lie above a magnitude."""
        out = np.empty(self.sound.size, np.int64)
        _count_leading(self.magnitude, self.magnitude.dtype.type(above), out)
        return out

    def corners(self, tiles: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Slice, first row and first column of each tile."""
        down, across = self.grid
        which, rest = np.divmod(tiles, down * across)
        row, column = np.divmod(rest, across)
        return which, row * TILE, column * TILE


def _first_late(echoes: int) -> int:
    return echoes - (max(2, echoes // 3) if echoes > 2 else 1)


@row_kernel
def _add_row(row: Any, magnitude: Any, power: Any, zeros: Any) -> None:
    one, none = row.dtype.type(1), row.dtype.type(0)
    for x in range(row.size):
        v = row[x]
        magnitude[x] += abs(v)
        power[x] += v * v
        zeros[x] += one if v == none else none


@kernel
def _join(s: Any, magnitude: Any, power: Any, zeros: Any) -> None:
    down, across = s.shape[1] // TILE, s.shape[2] // TILE
    lines = np.empty((3, s.shape[2]), s.dtype)
    share = s.dtype.type(1 / VOXELS)
    zeros[:] = s.dtype.type(0)
    for e in range(s.shape[0]):
        for i in range(down):
            lines[:] = s.dtype.type(0)
            for y in range(i * TILE, (i + 1) * TILE):
                _add_row(s[e, y], lines[0], lines[1], lines[2])
            for j in range(across):
                a, b, c = s.dtype.type(0), s.dtype.type(0), s.dtype.type(0)
                for x in range(j * TILE, (j + 1) * TILE):
                    a += lines[0, x]
                    b += lines[1, x]
                    c += lines[2, x]
                magnitude[e, i * across + j] = a * share
                power[e, i * across + j] = b * share
                zeros[i * across + j] += c * share


@row_kernel
def _add_three(row: Any, total: Any) -> None:
    for j in range(row.size):
        total[j] += row[j]
    for j in range(1, row.size):
        total[j] += row[j - 1]
    for j in range(row.size - 1):
        total[j] += row[j + 1]


@kernel
def _sum_neighbours(values: Any, down: int, across: int, out: Any) -> None:
    for line in range(values.size // across):
        row = line % down
        total = out[line * across : (line + 1) * across]
        total[:] = -values[line * across : (line + 1) * across]
        for i in range(line - min(row, 1), line + min(down - 1 - row, 1) + 1):
            _add_three(values[i * across : (i + 1) * across], total)


@kernel
def _count_leading(magnitude: Any, above: Any, out: Any) -> None:
    for tile in range(out.size):
        e = 0
        while e < magnitude.shape[0] and magnitude[e, tile] > above:
            e += 1
        out[tile] = e


@kernel
def _mean_echoes(power: Any, start: int, stop: int, out: Any) -> None:
    out[:] = power.dtype.type(0)
    for e in range(start, stop):
        for i in range(out.size):
            out[i] += power[e, i]
    out *= power.dtype.type(1 / (stop - start))


def mean_echoes(power: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    """Mean over echoes from start to stop, of (M, n)."""
    out = np.empty(power.shape[1], power.dtype)
    _mean_echoes(power, start, stop, out)
    return out


def quantile(values: NDArray[Any], share: float) -> float:
    """Quantile of a vector that is not empty; numpy's takes ten times as long."""
    place = share * (values.size - 1)
    low = int(place)
    ordered = np.sort(values)
    return float(ordered[low] + (place - low) * (ordered[min(low + 1, values.size - 1)] - ordered[low]))


def tiles_of(stacks: list[NDArray[Any]], usable: list[NDArray[np.bool_]]) -> Tiles:
    """Join slices (M, K, L) with their usable voxels (K, L)."""
    echoes, rows, columns = stacks[0].shape
    down, across = rows // TILE, columns // TILE
    n, count = down * across, len(stacks)
    magnitude, power = (np.empty((echoes, count * n), stacks[0].dtype) for _ in range(2))
    zeros, sound = np.empty(count * n, stacks[0].dtype), np.empty(count * n, bool)
    for k, (s, u) in enumerate(zip(stacks, usable, strict=True)):
        part = slice(k * n, (k + 1) * n)
        _join(s, magnitude[:, part], power[:, part], zeros[part])
        blocks = u[: down * TILE, : across * TILE].reshape(down, TILE, across, TILE)
        sound[part] = True if u.all() else blocks.all(axis=(1, 3)).ravel()
    late = mean_echoes(power, _first_late(echoes), echoes)
    return Tiles(magnitude, power, zeros / echoes, sound, (down, across), late)
