"""How well a fitted rate is known, and up to where it can be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cramer_rao(a: NDArray[Any], r: NDArray[Any], t: NDArray[Any], n_coils: float) -> NDArray[Any]:
    """Cramér-Rao standard deviations (2, n) of amplitude and rate of a exp(-r t); a in units of sigma."""
    haa, har, hrr = (np.zeros(a.shape, np.float64) for _ in range(3))
    for tm in t:
        e = np.exp(-np.asarray(r, np.float64) * tm)
        mean = a * e
        information = mean**2 / (mean**2 + n_coils) if n_coils else 1.0
        slope = -tm * mean
        haa += information * e * e
        har += information * e * slope
        hrr += information * slope * slope
    with np.errstate(divide="ignore", invalid="ignore"):
        determinant = haa * hrr - har * har
        return np.sqrt(np.stack([hrr, haa]) / determinant)
