"""How a signal of any leading shape lies in slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

APART = 5  # voxels between decays that are no neighbours: farther than anything here looks around itself


@dataclass(frozen=True, slots=True)
class Layout:
    """Slices (n, K, L) of a leading shape: (..., K, L) as it is; a lone decay or a list of them in one row, apart."""

    shape: tuple[int, ...]

    @property
    def alone(self) -> bool:
        """Whether decays have no neighbours."""
        return len(self.shape) < 2

    def slices(self, values: NDArray[Any], fill: Any = 0) -> NDArray[Any]:
        """Lay out values of the leading shape and what follows it; what lies between decays is ``fill``."""
        rest = values.shape[len(self.shape) :]
        if not self.alone:
            return values.reshape(-1, *self.shape[-2:], *rest)
        decays = values.reshape(-1, *rest)
        row = np.full((1, 1, APART * len(decays), *rest), fill, values.dtype)
        row[0, 0, APART // 2 :: APART] = decays
        return row

    def back(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Maps (n, K, L) in the leading shape."""
        return (maps[0, 0, APART // 2 :: APART] if self.alone else maps).reshape(self.shape)
