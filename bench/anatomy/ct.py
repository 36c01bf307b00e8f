"""A real abdomen from outside the repository, warped at will: CT with labels (tests of wasserth/TotalSegmentator)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from bench.anatomy.geometry import Points, Wave, draw_waves, warped
from bench.anatomy.tissues import LABEL

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

FILES = ("example_ct_sm.nii.gz", "example_seg.nii.gz")
# Classes of TotalSegmentator 2, by what they are here.
_ORGANS = {
    "spleen": (1,),
    "kidney": (2, 3),
    "gallbladder": (4,),
    "liver": (5,),
    "stomach": (6,),
    "pancreas": (7,),
    "muscle": (8, 9, 86, 87, 88, 89),
    "lung": (10, 11, 13, 14),
    "bowel": (18, 19, 20),
    "blood": (52, 63),
    "vessel": (64,),
    "csf": (79,),
    "marrow": tuple(range(25, 51)),
    "bone": (*range(92, 117), 117),
}
_VESSEL_ABOVE_LIVER_HU = 32.0  # after contrast, veins shine over parenchyma


@dataclass(frozen=True, slots=True)
class Ct:
    """Labels on a grid whose axes run to the left, the back and the head; ``spacing_mm`` along each."""

    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]

    @property
    def half_size_mm(self) -> tuple[float, float, float]:
        """Half the extent of the volume."""
        x, y, z = (n * d / 2 for n, d in zip(self.labels.shape, self.spacing_mm, strict=True))
        return x, y, z

    @property
    def half_body_mm(self) -> tuple[float, float]:
        """Half width and depth of the body itself."""
        inside = (self.labels != LABEL["air"]).any(2)
        x, y = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        return float(np.ptp(x)) * self.spacing_mm[0] / 2, float(np.ptp(y)) * self.spacing_mm[1] / 2


@dataclass(frozen=True, slots=True)
class WarpedCt:
    """The CT stretched and bent."""

    ct: Ct
    stretch: tuple[float, float, float]
    warp: tuple[Wave, ...]


def load(folder: Path) -> Ct:
    """Read the CT and its labels; needs nibabel."""
    import nibabel  # noqa: PLC0415 - only whoever has the data needs it

    def canonical(name: str) -> tuple[Array, tuple[float, ...]]:
        image = nibabel.as_closest_canonical(nibabel.load(folder / name))  # type: ignore[no-untyped-call]
        return np.ascontiguousarray(np.asarray(image.dataobj)[::-1, ::-1, :]), image.header.get_zooms()

    (hounsfield, spacing), (classes, _) = canonical(FILES[0]), canonical(FILES[1])
    return Ct(_labelled(hounsfield, classes), (float(spacing[0]), float(spacing[1]), float(spacing[2])))


def _labelled(hounsfield: Array, classes: Array) -> NDArray[np.uint8]:
    body = _body(hounsfield)
    labels = np.zeros(hounsfield.shape, np.uint8)
    for name, where in (
        ("muscle", body),
        ("fat", body & (hounsfield < -30)),
        ("gas", body & (hounsfield < -300)),
        ("bone", body & (hounsfield > 220)),
    ):
        labels[where] = LABEL[name]
    for name, numbers in _ORGANS.items():
        labels[np.isin(classes, numbers)] = LABEL[name]
    labels[np.isin(classes, (6, 18, 19, 20)) & (hounsfield < -200)] = LABEL["gas"]
    liver = classes == 5
    smooth = ndi.gaussian_filter(hounsfield.astype(float), 0.6)
    labels[liver & (smooth > np.median(hounsfield[liver]) + _VESSEL_ABOVE_LIVER_HU)] = LABEL["vessel"]
    return labels


def _body(hounsfield: Array) -> NDArray[np.bool_]:
    slices = [
        ndi.binary_fill_holes(ndi.binary_opening(hounsfield[..., k] > -300, iterations=2))
        for k in range(hounsfield.shape[2])
    ]
    pieces, _ = ndi.label(np.stack(slices, -1))
    largest: NDArray[np.bool_] = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return largest


def draw(rng: np.random.Generator, ct: Ct) -> WarpedCt:
    """Stretch by about 10 % and bend by up to 4.5 mm."""
    x, y, z = np.exp(rng.normal(0, (0.1, 0.1, 0.08)) + rng.normal(0, 0.08))
    return WarpedCt(ct, (float(x), float(y), float(z)), draw_waves(rng, 8, 260, 4.5))


def labels_of(warped_ct: WarpedCt, points: Points) -> NDArray[np.uint8]:
    """Return what lies at points; the volume's centre is the origin, above and below lies what is at its ends."""
    ct, (sx, sy, sz) = warped_ct.ct, warped_ct.stretch
    p = warped(Points(points.x / sx, points.y / sy, points.z / sz), warped_ct.warp)
    centre = [(n - 1) / 2 for n in ct.labels.shape]
    index = [v / d + c for v, d, c in zip((p.x, p.y, p.z), ct.spacing_mm, centre, strict=True)]
    index[2] = np.clip(index[2], 0, ct.labels.shape[2] - 1)
    found: NDArray[np.uint8] = ndi.map_coordinates(ct.labels, index, order=0, cval=0)
    return found
