"""Solids that bodies are put together from, in patient coordinates.

Lengths are mm in LPS: x runs to the left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Points:
    """Places in the patient: three float32 arrays of one shape."""

    x: Array
    y: Array
    z: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the coordinates."""
        return self.x.shape

    def moved(self, dx: Array | float, dy: Array | float, dz: Array | float) -> Points:
        """The same points displaced."""
        return Points(self.x + dx, self.y + dy, self.z + dz)

    def box(self) -> tuple[Array, Array]:
        """Lowest and highest coordinates."""
        axes = (self.x, self.y, self.z)
        return np.array([a.min() for a in axes]), np.array([a.max() for a in axes])


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """|Δ/r|^power summed over the axes is below 1 inside."""

    centre: Vector
    radii: Vector
    power: float = 2.0

    def level(self, p: Points) -> Array:
        """0 at the centre, 1 on the surface."""
        d = [(v - c) / r for v, c, r in zip((p.x, p.y, p.z), self.centre, self.radii, strict=True)]
        if self.power == 2.0:
            squares: Array = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
            return squares
        powers: Array = np.abs(d[0]) ** self.power + np.abs(d[1]) ** self.power + np.abs(d[2]) ** self.power
        return powers

    def grown(self, mm: float) -> Ellipsoid:
        """With radii longer by some millimetres."""
        return Ellipsoid(self.centre, tuple(r + mm for r in self.radii), self.power)  # type: ignore[arg-type]

    def meets(self, box: tuple[Array, Array]) -> bool:
        """Whether it can hold a point of the box."""
        centre, radii = np.array(self.centre), np.array(self.radii)
        return bool(np.all(centre + radii >= box[0]) and np.all(centre - radii <= box[1]))


@dataclass(frozen=True, slots=True)
class Tube:
    """All within a radius of the stretch from one end to the other."""

    start: Vector
    end: Vector
    radius: float

    def holds(self, p: Points) -> NDArray[np.bool_]:
        """Whether points lie inside."""
        a, d = np.array(self.start), np.array(self.end) - np.array(self.start)
        x, y, z = p.x - a[0], p.y - a[1], p.z - a[2]
        along = np.clip((x * d[0] + y * d[1] + z * d[2]) / (float(d @ d) + 1e-9), 0, 1)
        away = (x - along * d[0]) ** 2 + (y - along * d[1]) ** 2 + (z - along * d[2]) ** 2
        inside: NDArray[np.bool_] = away < self.radius**2
        return inside

    def meets(self, box: tuple[Array, Array]) -> bool:
        """Whether it can hold a point of the box."""
        ends = np.array([self.start, self.end])
        return bool(np.all(ends.max(0) + self.radius >= box[0]) and np.all(ends.min(0) - self.radius <= box[1]))


@dataclass(frozen=True, slots=True)
class Wave:
    """One smooth displacement: amplitude (mm) times the sine of a plane wave."""

    wave_vector: Vector
    phase: float
    amplitude: Vector


def warped(p: Points, waves: tuple[Wave, ...]) -> Points:
    """Points displaced by every wave."""
    moved = p
    for wave in waves:
        k, a = wave.wave_vector, wave.amplitude
        swing = np.sin(k[0] * p.x + k[1] * p.y + k[2] * p.z + wave.phase)
        moved = moved.moved(a[0] * swing, a[1] * swing, a[2] * swing)
    return moved


def draw_waves(rng: np.random.Generator, count: int, longest_mm: float, largest_mm: float) -> tuple[Wave, ...]:
    """Random smooth displacements."""
    waves = []
    for _ in range(count):
        direction = rng.normal(size=3) / rng.uniform(80, longest_mm) * 2 * np.pi / 1.7
        amplitude = rng.normal(size=3) * rng.uniform(0.3 * largest_mm, largest_mm)
        waves.append(Wave(_vector(direction), float(rng.uniform(0, 2 * np.pi)), _vector(amplitude)))
    return tuple(waves)


def _vector(values: Array) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])
