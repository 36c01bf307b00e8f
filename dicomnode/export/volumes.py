"""Parametric Maps and Segmentations as arrays that know where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.errors import DamagedHeader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's axes point left, back and up, those of NIfTI right, front and up
SAME_MM = 0.01  # steps between slices that differ by less are the same
SAME_VOXELS = 0.05  # slices that lie nearer to each other are the same


@dataclass(frozen=True, slots=True)
class Volume:
    """Values (columns, rows, slices) and the matrix (4, 4) from their indices to mm: right, front, up."""

    values: NDArray[Any]
    affine: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame and where it lies: PS3.3 C.7.6.2.1.1."""

    values: NDArray[Any]  # (rows, columns)
    position: NDArray[np.float64]  # of the centre of the first voxel, mm
    across: NDArray[np.float64]  # from column to column, mm
    down: NDArray[np.float64]  # from row to row, mm
    thickness_mm: float

    @property
    def normal(self) -> NDArray[np.float64]:
        """Of length 1, the way in which slices are stacked."""
        normal = np.cross(self.across, self.down)
        return np.asarray(normal / np.linalg.norm(normal))


def maps(image: Dataset) -> tuple[Volume, ...]:
    """The volumes of a Parametric Map, NaN where it says that nothing is valid; raises DamagedHeader."""
    values = np.array(image.pixel_array, np.float32).reshape(-1, image.Rows, image.Columns)
    values[values == np.float32(image.FloatPixelPaddingValue)] = np.nan
    return _stacked(_frames(image, values))


def regions(image: Dataset) -> Iterator[tuple[str, tuple[Volume, ...]]]:
    """Name and volumes of every region of a Segmentation, of slices only those that it has; raises DamagedHeader."""
    values = np.asarray(image.pixel_array, np.uint8).reshape(-1, image.Rows, image.Columns)
    frames = _frames(image, values)
    numbers = [
        _group(image, index, "SegmentIdentificationSequence").ReferencedSegmentNumber for index in range(len(frames))
    ]
    for segment in image.SegmentSequence:
        of_it = [frame for frame, number in zip(frames, numbers, strict=True) if number == segment.SegmentNumber]
        if of_it:
            yield str(segment.SegmentLabel), _stacked(of_it)


def laid_out(region: Sequence[Volume], like: Sequence[Volume]) -> tuple[Volume, ...]:
    """A region on the grid of maps, 0 where it has no slice; where a slice lies in none of them it is left out."""
    return tuple(_on_grid(region, grid) for grid in like)


def _on_grid(region: Sequence[Volume], grid: Volume) -> Volume:
    count = grid.values.shape[2]
    values = np.zeros(grid.values.shape, np.uint8)
    to_index = np.linalg.inv(grid.affine)
    for part in region:
        for k, of_slice in enumerate(np.moveaxis(part.values, 2, 0)):
            column, row, slice_ = (to_index @ (part.affine[:, 3] + k * part.affine[:, 2]))[:3]
            nearest = round(float(slice_))
            if 0 <= nearest < count and np.allclose([column, row, slice_ - nearest], 0, atol=SAME_VOXELS):
                values[:, :, nearest] = of_slice
    return Volume(values, grid.affine)


def _frames(image: Dataset, values: NDArray[Any]) -> list[_Frame]:
    return [_frame(image, index, one) for index, one in enumerate(values)]


def _frame(image: Dataset, index: int, values: NDArray[Any]) -> _Frame:
    measures = _group(image, index, "PixelMeasuresSequence")
    directions = _group(image, index, "PlaneOrientationSequence").ImageOrientationPatient
    between_rows, between_columns = (float(one) for one in measures.PixelSpacing)
    position = np.array(_group(image, index, "PlanePositionSequence").ImagePositionPatient, float)
    across, down = np.array(directions, float).reshape(2, 3) * [[between_columns], [between_rows]]
    return _Frame(values, position, across, down, float(measures.get("SliceThickness") or 1.0))


def _group(image: Dataset, index: int, name: str) -> Dataset:
    """A functional group of a frame, its own or the one that all share (PS3.3 C.7.6.16)."""
    for groups in (image.PerFrameFunctionalGroupsSequence[index], image.SharedFunctionalGroupsSequence[0]):
        if name in groups:
            found: Dataset = groups[name][0]
            return found
    raise DamagedHeader(f"frame {index + 1} of {image.SOPInstanceUID} has no {name}; make the result again")


def _stacked(frames: Iterable[_Frame]) -> tuple[Volume, ...]:
    """Volumes of frames, several where slices are not at even distances: NIfTI knows one step."""
    ordered = sorted(frames, key=lambda one: float(one.position @ one.normal))
    stacks = [[ordered[0]]]
    for before, one in pairwise(ordered):
        stack = stacks[-1]
        even = len(stack) == 1 or np.allclose(one.position - before.position, _step(stack), atol=SAME_MM)
        if even:
            stack.append(one)
        else:
            stacks.append([one])
    return tuple(_volume(stack) for stack in stacks)


def _step(stack: Sequence[_Frame]) -> NDArray[np.float64]:
    """From slice to slice, mm; of a lone slice its thickness."""
    if len(stack) == 1:
        return stack[0].normal * stack[0].thickness_mm
    return np.asarray((stack[-1].position - stack[0].position) / (len(stack) - 1))


def _volume(stack: Sequence[_Frame]) -> Volume:
    first = stack[0]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = first.across, first.down, _step(stack), first.position
    return Volume(np.stack([one.values.T for one in stack], axis=-1), LPS_TO_RAS @ affine)
