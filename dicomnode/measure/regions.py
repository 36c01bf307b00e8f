"""First automatic regions: the body, and a homogeneous tissue region on the patient's right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from dicomnode.model import Roi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.model import Maps, Plane

_SKIN_AND_FAT_MM = 15.0
_HOMOGENEOUS = 0.25  # local spread of R2* over its local mean
_CERTAIN = 0.25  # standard deviation of R2* over R2*
_SMALLEST_MM2 = 150.0


def find(signal: NDArray[np.float32], maps: Maps, planes: tuple[Plane, ...]) -> tuple[Roi, ...]:
    """Regions of a stack, both provisional: neither is known to be liver.

    ``signal`` is (slices, K, L, M). A region that cannot be found has an empty mask.
    """
    body = np.stack([_body(image) for image in signal[..., 0]])
    slices = zip(body, maps.r2star_per_s, maps.r2star_sd_per_s, maps.valid, planes, strict=True)
    tissue = np.stack([_tissue(*one) for one in slices])
    return (
        Roi("tissue (provisional)", tissue, finding="tissue", provisional=True),
        Roi("body (provisional)", body & maps.valid, finding="body", provisional=True),
    )


def _body(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Everything that gives signal at the first echo, in one piece and without holes."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), 1.5)
    if not np.any(smooth > 0) or np.ptp(smooth) == 0:
        return np.zeros(image.shape, bool)
    # Half of Otsu's threshold: organs full of iron are dark at the first echo and still the body.
    above = smooth > 0.5 * threshold_otsu(smooth)
    labels = label(above)
    if labels.max() == 0:
        return np.zeros(image.shape, bool)
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return np.asarray(ndimage.binary_fill_holes(largest), bool)


def _tissue(
    body: NDArray[np.bool_],
    r2star: NDArray[np.float32],
    sd: NDArray[np.float32],
    valid: NDArray[np.bool_],
    plane: Plane,
) -> NDArray[np.bool_]:
    """The largest homogeneous piece whose centre lies on the patient's right of the body's centre."""
    inside = ndimage.distance_transform_edt(body, sampling=plane.pixel_spacing_mm) > _SKIN_AND_FAT_MM
    mean = ndimage.uniform_filter(r2star.astype(np.float64), 5)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(r2star.astype(np.float64) ** 2, 5) - mean**2, 0.0))
    certain = valid & (sd < _CERTAIN * np.maximum(r2star, 1e-6)) & (spread < _HOMOGENEOUS * np.maximum(mean, 1e-6))
    pieces = regionprops(label(ndimage.binary_opening(inside & certain, iterations=2), connectivity=1))
    smallest = _SMALLEST_MM2 / (plane.pixel_spacing_mm[0] * plane.pixel_spacing_mm[1])
    pieces = [piece for piece in pieces if piece.area >= smallest]
    if not pieces:
        return np.zeros(body.shape, bool)
    centre = _right_mm(plane, ndimage.center_of_mass(body))
    on_the_right = [piece for piece in pieces if _right_mm(plane, piece.centroid) > centre] or pieces
    largest = max(on_the_right, key=lambda piece: (piece.area, -piece.label))
    region = np.zeros(body.shape, bool)
    region[tuple(largest.coords.T)] = True
    return region


def _right_mm(plane: Plane, pixel: Any) -> float:
    """How far to the patient's right a (row, column) lies; DICOM's x axis points left."""
    row, column = pixel
    along_columns = plane.orientation[0] * plane.pixel_spacing_mm[1] * column
    along_rows = plane.orientation[3] * plane.pixel_spacing_mm[0] * row
    return -float(plane.position[0] + along_columns + along_rows)
