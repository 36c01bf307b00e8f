"""An organ: the muscle of the trunk, found as what lies between fat and the cavity of the body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomnode.measure.organ import Answered, Organ
from dicomnode.measure.planes import about_body_axes
from dicomnode.measure.regions import Found
from dicomnode.model import Flag, Grade, Roi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.model import Maps, Plane

NAME = "muscle"
DEPTH_MM = (19.0, 25.0)  # under the skin
LEAST_VOXELS = 200


def find(
    signal: NDArray[np.float32],
    echo_times_ms: tuple[float, ...],  # noqa: ARG001  every finder is given it
    maps: Maps,
    planes: tuple[Plane, ...],
    n_coils: float,  # noqa: ARG001  same
) -> Found:
    """Take a shell under the skin; a finder that is to be trusted has to know much more than that."""
    shell = np.stack([_shell(*one) for one in zip(signal[..., 0], maps.sigma, planes, strict=True)])
    seen = int(shell.sum()) >= LEAST_VOXELS
    confidence = 0.95 if seen else 0.0
    doubt = Flag("shell", Grade.LOW_CONFIDENCE, "the region is a shell under the skin, whatever lies there")
    if not seen:
        doubt = Flag("no-muscle", Grade.NOT_MEASURABLE, "no reliable muscle region: no body is seen")
    mask = shell if seen else np.zeros_like(shell)
    region = Roi(NAME, mask, finding=NAME, doubts=(doubt,), confidence=confidence)
    finder = {"name": "shell", "version": "1", "confidence": confidence}
    return Found((region,), finder, mask, {NAME: confidence}, seen=seen)


def _shell(first: NDArray[np.float32], sigma: float, plane: Plane) -> NDArray[np.bool_]:
    body = ndimage.binary_fill_holes(first > 8 * sigma)
    depth = ndimage.distance_transform_edt(body, sampling=plane.pixel_spacing_mm)
    return np.asarray((depth > DEPTH_MM[0]) & (depth < DEPTH_MM[1]))


MUSCLE = Organ(
    name=NAME,
    code="91727004",
    retired_codes=(),
    body_part="ABDOMEN",
    subject="Muscle T2*",
    ranges=None,
    find=find,
    calibrations=(),
    smallest_mg_per_g=0.5,
    without_iron=frozenset(),
    region="muscle",
    words=("muscle", "muskel"),
    scenes=(NAME,),
    lies_in=about_body_axes,
    planes="axial, coronal or sagittal",
    device="Muscle T2* Node",
    concentration="muscle iron concentration",
    symbol="MUIC",
    answers=Answered.T2STAR,
)
