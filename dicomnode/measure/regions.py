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
_HOMOGENEOUS = 0.12  # local spread over its local mean
_BRIDGE_MM = 6.0
_CERTAIN = 0.25  # standard deviation of R2* over R2*
_SMALLEST_MM2 = 150.0
# Of the inner body, without a valid fit; gas and bone rarely reach the first, a liver does.
_MUCH_INVALID, _TOO_MUCH_INVALID = 0.08, 0.2


def find(signal: NDArray[np.float32], maps: Maps, planes: tuple[Plane, ...]) -> tuple[Roi, ...]:
    """Regions of a stack, both provisional: neither is known to be liver.

    ``signal`` is (slices, K, L, M). A region that cannot be found has an empty mask.
    """
    body = np.stack([_body(image) for image in signal[..., 0]])
    tissue = np.stack([_tissue(body[k], maps, k, plane) for k, plane in enumerate(planes)])
    doubts = ("provisional region: not confirmed to be liver", *_beyond_range(body, maps, planes))
    return (
        Roi("tissue (provisional)", tissue, finding="tissue", provisional=True, doubts=doubts),
        Roi("body (provisional)", body, finding="body", provisional=True, doubts=doubts),
    )


def _beyond_range(body: NDArray[np.bool_], maps: Maps, planes: tuple[Plane, ...]) -> tuple[str, ...]:
    """Say when so much of the body gives no decay that the liver may be what is missing.

    A liver beyond the measurable range has no valid voxel, and the region then lies in some other, mild tissue.
    """
    inner = np.stack([_inner(one, plane) for one, plane in zip(body, planes, strict=True)])
    share = float((inner & ~maps.valid).sum() / max(inner.sum(), 1))
    if share <= _MUCH_INVALID:
        return ()
    verdict = "not measurable" if share > _TOO_MUCH_INVALID else "low confidence"
    return (f"{verdict}: {share:.0%} of the body has no measurable decay; the liver may be beyond the range",)


def _inner(body: NDArray[np.bool_], plane: Plane) -> NDArray[np.bool_]:
    """The body without skin and subcutaneous fat."""
    depth = ndimage.distance_transform_edt(body, sampling=plane.pixel_spacing_mm)
    return np.asarray(depth > _SKIN_AND_FAT_MM)


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


def _tissue(body: NDArray[np.bool_], maps: Maps, k: int, plane: Plane) -> NDArray[np.bool_]:
    """The thickest homogeneous piece whose centre lies on the patient's right of the body's centre."""
    spacing = plane.pixel_spacing_mm
    inside = _inner(body, plane)
    r2star, sd = maps.r2star_per_s[k], maps.r2star_sd_per_s[k]
    certain = maps.valid[k] & (sd < _CERTAIN * np.maximum(r2star, 1e-6))
    certain &= _homogeneous(r2star) & _homogeneous(maps.s0[k])
    # Opened by some millimetres, so that no thin bridge of muscle or vessel joins two organs.
    depth = ndimage.distance_transform_edt(inside & certain, sampling=spacing)
    cores = label(depth > _BRIDGE_MM, connectivity=1)
    centre = _right_mm(plane, ndimage.center_of_mass(body)) if body.any() else 0.0
    pieces = [piece for piece in regionprops(cores, depth) if _right_mm(plane, piece.centroid) > centre]
    if not pieces:
        return np.zeros(body.shape, bool)
    # The liver is the thickest organ on that side: thickness counts more than area.
    thickest = max(pieces, key=lambda piece: (float((piece.image_intensity**2).sum()), -piece.label))
    reach = ndimage.distance_transform_edt(cores != thickest.label, sampling=spacing) <= _BRIDGE_MM
    region = reach & inside & certain
    return region if region.sum() * spacing[0] * spacing[1] >= _SMALLEST_MM2 else np.zeros(body.shape, bool)


def _homogeneous(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the spread within 5 × 5 voxels is small beside the mean."""
    exact = values.astype(np.float64)
    mean = ndimage.uniform_filter(exact, 5)
    variance = np.maximum(ndimage.uniform_filter(exact**2, 5) - mean**2, 0.0)
    return np.asarray(np.sqrt(variance) < _HOMOGENEOUS * np.maximum(mean, 1e-6))


def _right_mm(plane: Plane, pixel: Any) -> float:
    """How far to the patient's right a (row, column) lies; DICOM's x axis points left."""
    row, column = pixel
    along_columns = plane.orientation[0] * plane.pixel_spacing_mm[1] * column
    along_rows = plane.orientation[3] * plane.pixel_spacing_mm[0] * row
    return -float(plane.position[0] + along_columns + along_rows)
