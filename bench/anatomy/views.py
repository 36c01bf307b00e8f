"""Where slices are put through a patient, with what the header says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.anatomy.geometry import Points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

PLANES = ("axial", "coronal", "sagittal", "oblique")
SHARES = (0.56, 0.24, 0.08, 0.12)
# What a row and a column run along (LPS): as radiologists look at axial, coronal and sagittal images.
DIRECTIONS = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}
HEIGHTS_MM = (-80.0, 72.0)  # of axial slices of an adult, most of which hold liver
# What may have been done to images without telling the header.
FAULTS = ("none", "mirrored", "turned", "upside down", "wrong plane")


@dataclass(frozen=True, slots=True)
class View:
    """A stack of slices: centre of the first one, directions, step between slices, matrix and pixel (mm)."""

    plane: str
    centre: tuple[float, ...]
    row: tuple[float, ...]  # along which a row's pixels run
    column: tuple[float, ...]
    step_mm: float
    thickness_mm: float
    slices: int
    matrix: tuple[int, int]
    pixel_mm: float
    fault: str = "none"

    def points(self, index: int, over: int) -> Points:
        """Where the samples of a slice lie, ``over`` along each side of a pixel, spread over the thickness."""
        k, n = (size * over for size in self.matrix)
        fine = self.pixel_mm / over
        i = ((np.arange(k) - (k - 1) / 2) * fine).astype(np.float32)[:, None]
        j = ((np.arange(n) - (n - 1) / 2) * fine).astype(np.float32)[None, :]
        through = self._through(over, (k, n)) + np.float32(index * self.step_mm)
        u, v, w = (np.array(d, np.float32) for d in (self.row, self.column, self.normal))
        c = np.array(self.centre, np.float32)
        return Points(*(c[a] + u[a] * j + v[a] * i + w[a] * through for a in range(3)))

    def _through(self, over: int, shape: tuple[int, int]) -> Array:
        """Each sample of a pixel lies at its own depth of the slice: partial volume at no further cost."""
        if over == 1:
            return np.zeros(shape, np.float32)
        depth = ((np.arange(over * over) + 0.5) / over**2 - 0.5) * self.thickness_mm
        order = depth.reshape(over, over)
        order[1::2] = order[1::2, ::-1]
        return np.tile(order.astype(np.float32), (shape[0] // over, shape[1] // over))

    @property
    def normal(self) -> tuple[float, ...]:
        """Across the slices."""
        return tuple(np.cross(self.row, self.column))


def draw(rng: np.random.Generator, half_width: float, half_depth: float, scale: float, **fixed: Any) -> View:
    """Put slices through a body of that size; ``fixed`` may give plane, slices, pixel_mm, fault, z, matrix."""
    u = rng.uniform
    plane = str(rng.choice(PLANES, p=SHARES))
    plane = fixed.get("plane", plane)
    base = str(rng.choice(("axial", "axial", "coronal", "sagittal"))) if plane == "oblique" else plane
    tilt = float(u(12, 38)) if plane == "oblique" else abs(float(rng.normal(0, 4)))
    row, column = _turned(rng, base, tilt)
    extent = _field_of_view(rng, base, half_width, half_depth)
    pixel = float(fixed.get("pixel_mm", max(max(extent) / 320, min(max(extent) / 96, u(1.25, 2.6)))))
    matrix = tuple(int(np.clip(2 * round(e / pixel / 2), 64, 320)) for e in extent)
    slices = int(fixed.get("slices", rng.choice([1, 1, 3, 5, 8, 12], p=[0.25, 0.15, 0.2, 0.2, 0.12, 0.08])))
    thickness = float(u(4, 10))
    step = thickness * float(u(1.0, 2.2)) * (1 if u() < 0.7 else -1)
    within = fixed.get("heights_mm", HEIGHTS_MM)
    middle = np.array(fixed.get("middle", _middle(rng, base, (half_width, half_depth, scale), within)))
    view = View(plane, (0.0, 0.0, 0.0), row, column, step, thickness, slices, matrix, pixel)  # type: ignore[arg-type]
    first = middle - np.array(view.normal) * step * (slices - 1) / 2
    fault = str(fixed.get("fault", "none"))
    return replace(view, centre=tuple(float(c) for c in first), fault=fault)


def _middle(
    rng: np.random.Generator, base: str, size: tuple[float, float, float], within: tuple[float, float]
) -> tuple[float, float, float]:
    """Where the middle of the stack is put: mostly through the liver, at times far from it."""
    a, b, scale = size
    u = rng.uniform
    off = u() < 0.5
    x, y = (u(-25, 25), u(-18, 18)) if off else (0.0, 0.0)
    z = u(*within) * scale if u() < 0.88 else u(-190, 190) * scale
    if base == "coronal":
        return x, u(-0.6, 0.6) * b, u(-50, 60) * scale
    if base == "sagittal":
        return (u(-0.75, 0.0) if u() < 0.8 else u(0.0, 0.8)) * a, y, u(-50, 60) * scale
    return x, y, z


def _field_of_view(rng: np.random.Generator, base: str, a: float, b: float) -> tuple[float, float]:
    """Rows and columns in mm: usually wider than the body, at times cropped."""
    u = rng.uniform
    cropped = u() < 0.12
    margin = u(0.72, 0.97) if cropped else u(1.03, 1.5)
    width, depth, height = 2 * a * margin, 2 * b * (u(0.8, 1) if cropped else u(1.05, 1.6)), u(260, 440)
    return {"axial": (depth, width), "coronal": (height, width), "sagittal": (height, depth)}[base]


def _turned(rng: np.random.Generator, base: str, degrees: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The directions of a plane, tilted about a random axis and turned a little within itself."""
    axis = rng.normal(size=3)
    row, column = (_rotated(np.array(d), axis, degrees) for d in DIRECTIONS[base])
    spin = float(rng.normal(0, 5))
    normal = np.cross(row, column)
    row, column = _rotated(row, normal, spin), _rotated(column, normal, spin)
    return tuple(float(v) for v in row), tuple(float(v) for v in column)


def _rotated(vector: Array, axis: Array, degrees: float) -> Array:
    """Rodrigues' rotation."""
    k, angle = axis / np.linalg.norm(axis), np.deg2rad(degrees)
    turned: Array = (
        vector * np.cos(angle) + np.cross(k, vector) * np.sin(angle) + k * (k @ vector) * (1 - np.cos(angle))
    )
    return turned
