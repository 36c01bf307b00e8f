"""Images turned to how anatomists look at them, by what the header says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.model import Plane

    Array = NDArray[Any]

# Of each plane: the patient's axis (LPS) and the sense in which rows go down and columns go right.
# Axial: front on top, the patient's right on the left. Coronal: head on top. Sagittal: head on top, front on the left.
CANONICAL = {
    "axial": ((1, 1), (0, 1)),
    "coronal": ((2, -1), (0, 1)),
    "sagittal": ((2, -1), (1, 1)),
}
_ACROSS = ("sagittal", "coronal", "axial")  # by the patient's axis nearest to the normal


@dataclass(frozen=True, slots=True)
class View:
    """How one image is turned: swapped first, then its rows and columns reversed; ``spacing_mm`` after turning."""

    kind: str  # axial, coronal, sagittal: the nearest of them
    swapped: bool
    rows_reversed: bool
    columns_reversed: bool
    spacing_mm: tuple[float, float]
    tilt_degrees: float  # between the plane and the nearest of the three

    def turn(self, image: Array) -> Array:
        """Rows, columns (and whatever follows) as an anatomist looks at them."""
        seen = np.swapaxes(image, 0, 1) if self.swapped else image
        seen = seen[::-1] if self.rows_reversed else seen
        return seen[:, ::-1] if self.columns_reversed else seen

    def turn_back(self, image: Array) -> Array:
        """Undo ``turn``."""
        stored = image[:, ::-1] if self.columns_reversed else image
        stored = stored[::-1] if self.rows_reversed else stored
        return np.swapaxes(stored, 0, 1) if self.swapped else stored


def view_of(plane: Plane) -> View:
    """Choose the turn that brings an image nearest to the canonical one of its plane."""
    across = np.abs(plane.normal)
    kind = _ACROSS[int(np.argmax(across))]
    along_row, along_column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    (down, down_sense), (right, right_sense) = CANONICAL[kind]
    swapped = abs(along_row[right]) + abs(along_column[down]) < abs(along_row[down]) + abs(along_column[right])
    going_down, going_right = (along_row, along_column) if swapped else (along_column, along_row)
    between_rows, between_columns = plane.pixel_spacing_mm
    return View(
        kind=kind,
        swapped=bool(swapped),
        rows_reversed=bool(going_down[down] * down_sense < 0),
        columns_reversed=bool(going_right[right] * right_sense < 0),
        spacing_mm=(between_columns, between_rows) if swapped else (between_rows, between_columns),
        tilt_degrees=float(np.degrees(np.arccos(np.clip(across.max(), 0, 1)))),
    )
