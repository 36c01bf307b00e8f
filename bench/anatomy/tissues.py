"""What digital bodies are made of: names of labels with the ranges of their signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.uint8]
    Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Range:
    """From where to where a tissue's S0 (relative), R2* at 1.5 T (1/s) and fat fraction are drawn."""

    s0: tuple[float, float]
    r2star_per_s: tuple[float, float]
    fat: tuple[float, float] = (0.0, 0.0)


TISSUES = {
    "air": Range((0.0, 0.0), (0.0, 0.0)),
    "fat": Range((0.7, 2.2), (18, 40), (0.85, 0.97)),
    "muscle": Range((0.45, 1.0), (25, 45), (0, 0.06)),
    "lung": Range((0.02, 0.16), (250, 900)),
    "heart": Range((0.5, 1.1), (20, 40)),
    "bowel": Range((0.4, 1.3), (12, 60), (0, 0.25)),
    "gas": Range((1e-3, 0.03), (300, 900)),
    "kidney": Range((0.6, 1.3), (12, 28)),
    "pancreas": Range((0.6, 1.2), (18, 60), (0, 0.3)),
    "spleen": Range((0.5, 1.2), (15, 50)),
    "stomach": Range((0.3, 1.4), (8, 60), (0, 0.05)),
    "liver": Range((0.65, 1.25), (20, 60)),
    "gallbladder": Range((0.2, 1.7), (3, 20)),
    "vessel": Range((0.25, 1.6), (8, 40)),
    "blood": Range((0.2, 1.8), (6, 35)),
    "marrow": Range((0.5, 1.3), (60, 180), (0.2, 0.6)),
    "csf": Range((0.2, 1.6), (3, 15)),
    "bone": Range((0.02, 0.25), (100, 500), (0, 0.1)),
    "lesion": Range((0.4, 1.6), (8, 60)),
    "ascites": Range((0.2, 1.6), (2, 12)),
    "cyst": Range((0.2, 1.7), (2, 12)),
    "implant": Range((1e-3, 0.01), (400, 900)),
    "brain": Range((0.6, 1.1), (14, 28)),
    "fluid": Range((0.4, 1.6), (2, 60)),
    "tube": Range((0.4, 1.4), (10, 900)),
}
NAMES = tuple(TISSUES)
LABEL = {name: index for index, name in enumerate(NAMES)}
# What is inside the outline of a liver.
WHOLE_LIVER = ("liver", "vessel", "lesion", "cyst")
GASEOUS = ("gas", "lung")


def is_any(labels: Labels, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Where a label is one of the names."""
    table = np.zeros(len(NAMES), bool)
    table[[LABEL[name] for name in names]] = True
    chosen: NDArray[np.bool_] = table[labels]
    return chosen
