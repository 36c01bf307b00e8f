"""From the liver's mask to the regions that are measured: the whole of it, and four circles a reader would draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from dicomnode.measure import liver, overlooked
from dicomnode.model import Flag, Grade, Roi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dicomnode.model import Maps, Plane

LIVER, RIGHT, VESSEL, EDGE, LEFT = "liver", "liver right lobe", "liver vessel", "liver edge", "liver left"
WITHOUT_IRON = frozenset({VESSEL, EDGE})  # they show what vessels and the border do to a circle, and give no LIC
TRUSTED = 0.9  # chance of being right from which on a region is measured
FORBIDDING = frozenset(
    {"no-liver", "mirrored", "orientation", "not-an-abdomen", "phantom", "slices-apart"}
)  # doubts: no liver is measured
HARMLESS = frozenset({"cut-off", "thin"})
RADIUS_MM, LEAST_RADIUS_MM = 20.0, 7.5  # of a circle; where the liver is thinner it is smaller, or there is none
VESSEL_MM2 = 12.0  # of vessel in a slice, at least, for a circle about it
LEFT_PART = 0.7  # quantile of the liver, from right to left, beyond which its left lobe is sought
LEAST_RIGHT = 0.5  # of the row or column direction that points to the patient's left, to tell the lobes in a slice


@dataclass(frozen=True, slots=True)
class Found:
    """The regions of a stack and what found them."""

    rois: tuple[Roi, ...]
    finder: Mapping[str, Any]  # JSON values
    organ: NDArray[np.bool_]  # (slices, K, L): the whole liver with vessels and rim; empty where it was not trusted
    scene: Mapping[str, float]  # probabilities of what the images show at all
    seen: bool  # whether anything looks like the organ, trusted or not


def find(
    signal: NDArray[np.float32],
    echo_times_ms: tuple[float, ...],
    maps: Maps,
    planes: tuple[Plane, ...],
    n_coils: float,
) -> Found:
    """Find the liver and the regions in it; ``signal`` is (slices, K, L, M).

    Where no region can be trusted the liver is there with an empty mask and says why.
    """
    sigma: Any = maps.sigma_map if maps.sigma_map is not None else float(np.median(maps.sigma))
    found = liver.find(signal, echo_times_ms, planes, sigma, n_coils, maps=maps)
    finder = {**found.finder, "confidence": round(found.confidence, 3)}
    trusted = found.confidence >= TRUSTED and bool(found.region.any())
    trusted = trusted and not any(doubt.code in FORBIDDING for doubt in found.doubts)
    doubts = tuple(_flag(doubt, trusted=trusted) for doubt in found.doubts)
    if not trusted:
        nothing = np.zeros(found.mask.shape, bool)
        if not any(flag.grade is Grade.NOT_MEASURABLE for flag in doubts):
            doubts += (Flag("no-liver", Grade.NOT_MEASURABLE, _why(found)),)
        rois: tuple[Roi, ...] = (Roi(LIVER, nothing, doubts=doubts, confidence=found.confidence),)
        return Found(rois, finder, nothing, found.scene, seen=bool(found.mask.any()))
    doubts += overlooked.flags(signal, maps, planes, found.region, found.mask)
    whole = Roi(
        LIVER,
        found.region,
        doubts=doubts,
        confidence=found.confidence,
        slice_confidence=found.slice_confidence,
        covers=float(found.region.sum() / found.mask.sum()),
    )
    return Found((whole, *_circles(found, planes)), finder, found.mask, found.scene, seen=True)


def _flag(doubt: liver.Doubt, *, trusted: bool) -> Flag:
    if doubt.code in FORBIDDING:
        grade = Grade.NOT_MEASURABLE
    else:
        grade = Grade.LOW_CONFIDENCE if trusted and doubt.code not in HARMLESS else Grade.INFO
    return Flag(doubt.code, grade, doubt.sentence.rstrip("."))


def _why(found: liver.LiverFinding) -> str:
    if not found.region.any():
        return "no reliable liver region: nothing in these images looks like a liver that can be measured"
    return f"no reliable liver region: what looks like one is right with a chance of {found.confidence:.0%} only"


def _circles(found: liver.LiverFinding, planes: tuple[Plane, ...]) -> tuple[Roi, ...]:
    """The circles, each in the slice that holds most of the liver; those that find no place are left out."""
    k = int(np.argmax(found.region.sum(axis=(1, 2))))
    rois = []
    for name, disc in circles(found.mask[k], found.parenchyma[k], planes[k]).items():
        mask = np.zeros(found.mask.shape, bool)
        mask[k] = disc
        rois.append(Roi(name, mask, confidence=found.slice_confidence[k]))
    return tuple(rois)


def circles(mask: NDArray[np.bool_], parenchyma: NDArray[np.bool_], plane: Plane) -> dict[str, NDArray[np.bool_]]:
    """The circles by name that find a place in one slice (K, L) of a liver and of its parenchyma."""
    slice_ = _Slice(mask, parenchyma, plane)
    made = {RIGHT: slice_.right(), VESSEL: slice_.vessel(), EDGE: slice_.edge(), LEFT: slice_.left()}
    return {name: disc for name, disc in made.items() if disc is not None and disc.any()}


@dataclass(frozen=True, slots=True)
class _Slice:
    """One slice of a liver, where circles are placed."""

    mask: NDArray[np.bool_]
    parenchyma: NDArray[np.bool_]
    plane: Plane

    def right(self) -> NDArray[np.bool_] | None:
        """The largest circle of parenchyma in the right half of the liver."""
        side = self._towards_left()
        return self._largest(np.ones_like(self.mask) if side is None else side <= self._middle(side))

    def left(self) -> NDArray[np.bool_] | None:
        """The largest circle of parenchyma in the part of the liver furthest to the patient's left."""
        side = self._towards_left()
        if side is None or not self.mask.any():
            return None
        return self._largest(side > np.quantile(side[self.mask], LEFT_PART))

    def vessel(self) -> NDArray[np.bool_] | None:
        """A circle about the vessel that has most parenchyma around it, vessel and all."""
        depth = self._depth(self.mask)
        inside = self.mask & ~self.parenchyma & (depth > LEAST_RADIUS_MM)
        pieces, count = ndimage.label(ndimage.binary_opening(inside))
        if not count:
            return None
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.max() * np.prod(self.plane.pixel_spacing_mm) < VESSEL_MM2:
            return None
        return self._disc(np.where(pieces == 1 + np.argmax(sizes), depth, 0.0)) & self.mask

    def edge(self) -> NDArray[np.bool_] | None:
        """A circle that touches the border of the liver furthest to the patient's right."""
        side, depth = self._towards_left(), self._depth(self.mask)
        if side is None or depth.max(initial=0) < LEAST_RADIUS_MM:
            return None
        radius = min(RADIUS_MM, float(depth.max()))
        rim = np.abs(depth - radius) <= max(self.plane.pixel_spacing_mm)
        centre = np.unravel_index(np.argmin(np.where(rim & self.mask, side, np.inf)), side.shape)
        return self._about(centre, radius) & self.mask

    def _largest(self, where: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        return self._disc(np.where(where, self._depth(self.parenchyma), 0.0)) & self.parenchyma

    def _disc(self, depth: NDArray[np.float64]) -> NDArray[np.bool_]:
        """The circle at the deepest point, as large as it is deep."""
        radius = min(float(depth.max()), RADIUS_MM)
        if radius < LEAST_RADIUS_MM:
            return np.zeros_like(self.mask)
        return self._about(np.unravel_index(np.argmax(depth), depth.shape), radius)

    def _about(self, centre: tuple[Any, ...], radius_mm: float) -> NDArray[np.bool_]:
        rows, columns = np.indices(self.mask.shape)
        height, width = self.plane.pixel_spacing_mm
        return np.asarray(np.hypot((rows - centre[0]) * height, (columns - centre[1]) * width) <= radius_mm)

    def _depth(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        padded = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=self.plane.pixel_spacing_mm)
        return np.asarray(padded[1:-1, 1:-1])

    def _towards_left(self) -> NDArray[np.float64] | None:
        """How far to the patient's left each voxel lies, mm; None in a plane that does not tell."""
        along_row, along_column = self.plane.orientation[0], self.plane.orientation[3]
        if max(abs(along_row), abs(along_column)) < LEAST_RIGHT:
            return None
        rows, columns = np.indices(self.mask.shape)
        height, width = self.plane.pixel_spacing_mm
        return np.asarray(self.plane.position[0] + along_row * width * columns + along_column * height * rows)

    def _middle(self, side: NDArray[np.float64]) -> float:
        return float(np.median(side[self.mask])) if self.mask.any() else 0.0
