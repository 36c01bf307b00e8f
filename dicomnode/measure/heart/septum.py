"""The part of the left ventricle's ring that lies against the right ventricle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomnode.measure.heart.ring import STEP_MM, angles, rays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.measure.heart.ring import Array, Ring
    from dicomnode.model import Plane

TOWARDS = (-0.70, -0.71, 0.0)  # from the left ventricle to the right one: to the patient's right, and forward
OFF_DEG = 40.0  # that the middle of the septum may lie off that
HALF_DEG = 32.0  # that are measured to either side of its middle
MARGIN = 0.18  # of the thickness, left at each edge for what the voxels there hold of blood
LEAST_MARGIN_MM = 1.2
THICKNESS_MM = (4.0, 18.0)  # of a septum between blood and blood
CORE_MM = 9.0  # of the inner edge: where its middle is looked for


@dataclass(frozen=True, slots=True)
class Septum:
    """Where the septum is: its middle in radians, a mask (K, L), and what it was told by."""

    middle: float
    mask: NDArray[np.bool_]
    beside_blood: float  # share of its rays that end in blood
    thickness_mm: float


def find(image: Array, ring: Ring, plane: Plane) -> Septum:
    """Choose the sector that ends in blood, near where the septum lies in people."""
    step = plane.pixel_spacing_mm
    (seen,) = rays(np.asarray(image, np.float64), np.array([ring.middle]), step)
    ends = np.array([_across(one, edge, ring) for one, edge in zip(seen, ring.inner_mm, strict=True)])
    in_blood = np.all(np.isfinite(ends), axis=1)
    inner, outer = np.where(in_blood[:, None], ends, np.stack([ring.inner_mm, ring.outer_mm], axis=1)).T
    usual = _usual(plane)
    tried = usual + np.radians(np.linspace(-OFF_DEG, OFF_DEG, 17))
    shares = [float(in_blood[_sector(one)].mean()) for one in tried]
    off = np.abs(tried - usual)
    middle = float(tried[int(np.argmax(np.array(shares) - 0.15 * off))])
    ring = replace(ring, inner_mm=_smooth(inner), outer_mm=_smooth(outer))
    return Septum(
        middle,
        _mask(image.shape, ring, middle, step),
        float(in_blood[_sector(middle)].mean()),
        float(np.median((ring.outer_mm - ring.inner_mm)[_sector(middle)])),
    )


def _across(seen: NDArray[np.float64], inner_mm: float, ring: Ring) -> tuple[float, float]:
    """Where a ray comes from blood into muscle and into blood again, mm: half-way between both.

    NaN where it does not within the thickness of a septum. Slow blood among the trabeculae is none of the muscle.
    """
    muscle = seen if not ring.bright else -seen
    first, last = round(inner_mm / STEP_MM), round((inner_mm + CORE_MM) / STEP_MM) + 1
    core = first + int(np.argmax(muscle[first:last]))
    half = (float(np.median(seen[max(core - 1, 0) : core + 2])) + ring.blood) / 2
    blood = seen > half if ring.bright else seen < half
    before, after = np.flatnonzero(blood[:core]), core + np.flatnonzero(blood[core:])
    if not before.size or not after.size:
        return float("nan"), float("nan")
    ends = _crossing(seen, int(before[-1]), half), _crossing(seen, int(after[0]) - 1, half)
    thick = THICKNESS_MM[0] <= ends[1] - ends[0] <= THICKNESS_MM[1]
    return ends if thick else (float("nan"), float("nan"))


def _crossing(seen: NDArray[np.float64], before: int, level: float) -> float:
    """Where a ray passes a level between a sample and the next, mm."""
    change = seen[before + 1] - seen[before]
    part = 0.5 if change == 0 else (level - seen[before]) / change
    return float((before + min(max(part, 0.0), 1.0)) * STEP_MM)


def _smooth(edge: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ndimage.gaussian_filter1d(ndimage.median_filter(edge, 5, mode="wrap"), 0.8, mode="wrap"))


def ring_mask(shape: tuple[int, ...], ring: Ring, step_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """The muscle all around, (K, L)."""
    radius, inner, outer, _ = _polar(shape, ring, step_mm)
    return np.asarray((radius > inner) & (radius < outer))


def pool_mask(shape: tuple[int, ...], ring: Ring, step_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """The blood within the muscle, (K, L)."""
    radius, inner, _, _ = _polar(shape, ring, step_mm)
    return np.asarray(radius < inner)


def _mask(shape: tuple[int, ...], ring: Ring, middle: float, step_mm: tuple[float, float]) -> NDArray[np.bool_]:
    radius, inner, outer, angle = _polar(shape, ring, step_mm)
    margin = np.maximum(MARGIN * (outer - inner), LEAST_MARGIN_MM)
    within = np.abs(np.angle(np.exp(1j * (angle - middle)))) <= np.radians(HALF_DEG)
    return np.asarray((radius > inner + margin) & (radius < outer - margin) & within)


def _polar(
    shape: tuple[int, ...], ring: Ring, step_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each voxel its distance from the middle, both edges on its way, and its angle."""
    rows, columns = np.indices(shape[:2])
    down, right = (rows - ring.middle[0]) * step_mm[0], (columns - ring.middle[1]) * step_mm[1]
    angle = np.arctan2(down, right)
    inner, outer = (np.interp(angle, angles(), edge, period=2 * np.pi) for edge in (ring.inner_mm, ring.outer_mm))
    return np.hypot(down, right), inner, outer, angle


def _sector(middle: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(np.angle(np.exp(1j * (angles() - middle)))) <= np.radians(HALF_DEG))


def _usual(plane: Plane) -> float:
    """The direction of the right ventricle in the image."""
    right, down = (np.dot(TOWARDS, plane.orientation[part]) for part in (slice(0, 3), slice(3, 6)))
    return float(np.arctan2(down, right))
