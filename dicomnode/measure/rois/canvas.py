"""What a region may be drawn on: the maps of one result, with the slices they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.model import Plane, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray
    from pydicom import Dataset

WHERE_TO_DRAW = "draw it on the R2* map of the results and send it again"
IN_PLANE_TOLERANCE = 1e-3  # of direction cosines and of the pixel spacing
POSITION_TOLERANCE_MM = 0.1
CONTOUR_TOLERANCE_MM = 0.5  # writers round contour points


@dataclass(frozen=True, slots=True)
class Canvas:
    """The maps of one result.

    ``planes`` are those of the result's slices in their order; ``slices`` gives the slice that each frame of each map
    shows, by SOP Instance UID; ``sources`` are the images the maps were made from, where geometry is lost.
    """

    planes: tuple[Plane, ...]
    slices: Mapping[str, tuple[int, ...]]
    sources: frozenset[str] = frozenset()

    @classmethod
    def of(cls, planes: tuple[Plane, ...], maps: Iterable[Dataset], sources: Iterable[str] = ()) -> Canvas:
        """Find by plane position which slice each frame of ``maps`` shows; a frame that shows none is a ValueError."""
        found = cls(planes, {}, frozenset(sources))
        slices = {
            str(one.SOPInstanceUID): tuple(found._slice_shown(position) for position in _positions(one)) for one in maps
        }
        return cls(planes, slices, found.sources)

    def _slice_shown(self, position: NDArray[np.float64]) -> int:
        index = self.slice_at(position)
        if index is None:
            raise ValueError("a map does not lie on the slices of its result")
        return index

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows K, columns L: the shape of a mask."""
        return len(self.planes), self.planes[0].rows, self.planes[0].columns

    def empty(self) -> NDArray[np.bool_]:
        """Return a mask without a voxel."""
        return np.zeros(self.shape, dtype=bool)

    def slice_at(self, position: Any) -> int | None:
        """The slice whose first pixel lies there, in mm; None where there is no such slice."""
        distances = [float(np.linalg.norm(np.subtract(plane.position, position))) for plane in self.planes]
        nearest = int(np.argmin(distances))
        return nearest if distances[nearest] <= POSITION_TOLERANCE_MM else None

    def slice_of(self, reference: Dataset, region: str) -> int | Reason:
        """The slice that an item of a reference to an image means (PS3.3 10.8)."""
        uid = str(reference.ReferencedSOPInstanceUID)
        if uid in self.sources:
            return drawn_on_source(region)
        frames = self.slices.get(uid)
        if frames is None:
            return Reason(
                "drawn-elsewhere", f"{region} was drawn on an image that is not of this result; {WHERE_TO_DRAW}"
            )
        return _frame(frames, reference.get("ReferencedFrameNumber"), region)

    def same_grid(self, orientation: Any, spacing_mm: Any, shape: tuple[int, ...]) -> bool:
        """Tell whether an image has the pixels of the maps."""
        plane = self.planes[0]
        return (
            shape == (plane.rows, plane.columns)
            and np.allclose(np.asarray(orientation, float), plane.orientation, rtol=0, atol=IN_PLANE_TOLERANCE)
            and np.allclose(np.asarray(spacing_mm, float), plane.pixel_spacing_mm, rtol=IN_PLANE_TOLERANCE, atol=0)
        )

    def on_a_slice(self, points_mm: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]] | None:
        """Return the slice that points (n, 3) of the patient all lie on, and their (column, row) in it."""
        for index, plane in enumerate(self.planes):
            row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
            away = points_mm - np.array(plane.position)
            if np.abs(away @ np.array(plane.normal)).max() <= CONTOUR_TOLERANCE_MM:
                between_rows, between_columns = plane.pixel_spacing_mm
                return index, np.stack([away @ row / between_columns, away @ column / between_rows], axis=-1)
        return None


def drawn_on_source(region: str) -> Reason:
    """Say that a region lies on the images that the maps were made from."""
    return Reason(
        "drawn-on-source",
        f"{region} was drawn on the multi-echo images, where viewers lose the slice; {WHERE_TO_DRAW}",
    )


def _frame(frames: tuple[int, ...], number: Any, region: str) -> int | Reason:
    """Return the slice of the frame that is meant: a multi-frame map needs exactly one number, from 1."""
    numbers = [] if number is None else np.atleast_1d(number).tolist()
    if not numbers and len(frames) == 1:
        return frames[0]
    if len(numbers) != 1 or not 1 <= int(numbers[0]) <= len(frames):
        return Reason("no-slice", f"{region} does not say which slice of the map it was drawn on; {WHERE_TO_DRAW}")
    return frames[int(numbers[0]) - 1]


def _positions(image: Dataset) -> list[NDArray[np.float64]]:
    groups = image.get("PerFrameFunctionalGroupsSequence")
    holders = [image] if groups is None else [group.PlanePositionSequence[0] for group in groups]
    return [np.array(holder.ImagePositionPatient, dtype=float) for holder in holders]
