"""What the finder says of a series: masks, how sure it is, what speaks against them, and which finder it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One thing that speaks against the region: decisions read the code, people the sentence."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class LiverFinding:
    """The liver of a series; masks (slices, K, L) lie as the images came.

    ``mask`` is the whole liver, ``parenchyma`` is without vessels, bile, lesions and zones disturbed by air or metal,
    ``region`` is that without a rim. ``probability`` is that of whole liver. A slice that does not count has no mask
    and says why in ``notes``. ``confidence`` is the chance that the region is right: nine tenths of it liver, and
    the region's R2* within 5 % of the liver's. ``scene`` holds the probabilities of what the images show at all.
    """

    mask: Mask
    parenchyma: Mask
    region: Mask
    probability: NDArray[np.float32]
    slice_confidence: tuple[float, ...]
    notes: tuple[str, ...]
    rim_mm: tuple[float, ...]
    confidence: float
    doubts: tuple[Doubt, ...]
    finder: Mapping[str, Any]
    scene: Mapping[str, float]
