"""The part of the left ventricle's ring that lies against the right ventricle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomnode.measure.heart.ring import REACH_MM, STEP_MM, angles, rays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.measure.heart.ring import Array, Ring
    from dicomnode.model import Plane

TOWARDS = (-0.70, -0.71, 0.0)  # from the left ventricle to the right one: to the patient's right, and forward
OFF_DEG = 40.0  # that the middle of the septum may lie off that
HALF_DEG = 32.0  # that are measured to either side of its middle
MARGIN = 0.18  # of the thickness, left at each edge for what the voxels there hold of blood
LEAST_MARGIN_MM = 1.2
THICKNESS_MM = (4.5, 17.0)  # of a septum: where blood is looked for on its other side
SURE_MM = 3.0  # from the inner edge on, that are muscle


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
    outer = np.array([_other_side(one, edge, ring) for one, edge in zip(seen, ring.inner_mm, strict=True)])
    in_blood = np.isfinite(outer)
    usual = _usual(plane)
    tried = usual + np.radians(np.linspace(-OFF_DEG, OFF_DEG, 17))
    shares = [float(in_blood[_sector(one)].mean()) for one in tried]
    off = np.abs(tried - usual)
    middle = float(tried[int(np.argmax(np.array(shares) - 0.15 * off))])
    ring = replace(ring, outer_mm=_smooth(np.where(in_blood, outer, ring.outer_mm)))
    return Septum(
        middle,
        _mask(image.shape, ring, middle, step),
        float(in_blood[_sector(middle)].mean()),
        float(np.median((ring.outer_mm - ring.inner_mm)[_sector(middle)])),
    )


def _other_side(seen: NDArray[np.float64], inner_mm: float, ring: Ring) -> float:
    """Where a ray comes from muscle into blood again, mm: half-way between both; NaN where it does not."""
    along = np.arange(0.0, REACH_MM, STEP_MM)
    muscle = float(np.median(seen[(along > inner_mm + STEP_MM) & (along < inner_mm + STEP_MM + SURE_MM)]))
    half = (muscle + ring.blood) / 2
    blood = seen > half if ring.bright else seen < half
    found = along[blood & (along > inner_mm + THICKNESS_MM[0]) & (along < inner_mm + THICKNESS_MM[1])]
    return float(found[0] - STEP_MM / 2) if found.size else float("nan")


def _smooth(edge: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ndimage.gaussian_filter1d(ndimage.median_filter(edge, 5, mode="wrap"), 0.8, mode="wrap"))


def ring_mask(shape: tuple[int, ...], ring: Ring, step_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """The muscle all around, (K, L)."""
    radius, inner, outer, _ = _polar(shape, ring, step_mm)
    return np.asarray((radius > inner) & (radius < outer))


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
