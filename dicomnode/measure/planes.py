"""Along which directions of the body slices are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dicomnode.model import Vector3

# From the base of the left ventricle to its apex: left, forward, down, in LPS; hearts differ by up to 30 degrees.
LONG_AXIS = (0.62, -0.60, -0.50)
_ABOUT_LONG_AXIS_DEG = 38.0
_ABOUT_BODY_AXIS_DEG = 40.0  # tilted more than that, no slab of the trunk is
_DOUBLE_OBLIQUE_DEG = 20.0  # a short axis lies at least as far from every axis of the body


def about_body_axes(normal: Vector3) -> bool:
    """Whether slices are axial, coronal or sagittal, tilted or not."""
    return _off_body_axes_deg(normal) <= _ABOUT_BODY_AXIS_DEG


def about_short_axis(normal: Vector3) -> bool:
    """Whether slices are cut across the left ventricle: double oblique, across the usual direction of its long axis."""
    axis = np.array(LONG_AXIS) / np.linalg.norm(LONG_AXIS)
    off = np.degrees(np.arccos(min(abs(float(axis @ np.array(normal))), 1.0)))
    return bool(off <= _ABOUT_LONG_AXIS_DEG) and _off_body_axes_deg(normal) >= _DOUBLE_OBLIQUE_DEG


def any_plane(_normal: Vector3) -> bool:
    """What may be scanned however it lies."""
    return True


def _off_body_axes_deg(normal: Vector3) -> float:
    return float(np.degrees(np.arccos(min(float(np.abs(normal).max()), 1.0))))
