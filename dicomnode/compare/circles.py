"""Four circles of 4 cm where the paper drew its regions: right lobe, over a vessel, on the edge, left lobe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomnode.model import Roi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.model import Plane

DIAMETER_MM = 40.0
_BRIDGE_MM = 15.0  # half the thickness of what joins an arm to the trunk
# Towards the back and towards the patient's left of the body's centre, in half axes of its outline.
CENTRES = {
    "Right ROI": (0.24, -0.52),
    "Vasc ROI": (-0.02, -0.30),
    "Edge ROI": (0.29, -0.73),
    "Left ROI": (-0.38, 0.05),
}
NOT_AXIAL = "no circles: they are placed in axial slices only"
NO_BODY = "no circles: the outline of the body was not found"
_DOUBT = "provisional region: a circle placed by the outline of the body, not confirmed to be liver"


def place(body: NDArray[np.bool_], planes: tuple[Plane, ...]) -> tuple[tuple[Roi, ...], str | None]:
    """Return the circles in the middle slice, cut to the body, or why there are none.

    ``body`` is (slices, K, L).
    """
    k = len(planes) // 2
    left, back = planes[k].orientation[0], planes[k].orientation[4]
    if min(abs(left), abs(back)) < 0.8:
        return (), NOT_AXIAL
    step = planes[k].pixel_spacing_mm
    trunk = _trunk(body[k], step)
    if not trunk.any():
        return (), NO_BODY
    rows, columns = (np.flatnonzero(trunk.any(axis=axis)) for axis in (1, 0))
    centre = np.array([rows[0] + rows[-1], columns[0] + columns[-1]]) / 2
    half = np.array([np.ptp(rows), np.ptp(columns)]) / 2
    signs = np.sign([back, left])
    y, x = np.indices(trunk.shape)
    rois = []
    for name, towards in CENTRES.items():
        row, column = centre + half * signs * towards
        disc = np.hypot((y - row) * step[0], (x - column) * step[1]) <= DIAMETER_MM / 2
        mask = np.zeros(body.shape, bool)
        mask[k] = disc & trunk
        rois.append(Roi(name, mask, finding="tissue", provisional=True, doubts=(_DOUBT,)))
    return tuple(rois), None


def _trunk(body: NDArray[np.bool_], step_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """Return the thickest piece of the body, without the arms beside it."""
    depth = ndimage.distance_transform_edt(body, sampling=step_mm)
    cores, count = ndimage.label(depth > _BRIDGE_MM)
    if count == 0:
        return np.zeros(body.shape, bool)
    largest = 1 + np.argmax(np.bincount(cores.ravel())[1:])
    reach = ndimage.distance_transform_edt(cores != largest, sampling=step_mm) <= _BRIDGE_MM
    return np.asarray(body & reach, bool)
