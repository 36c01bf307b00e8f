"""The outline of the body: what is compared where no liver is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label

from dicomnode.model import Flag, Grade, Roi

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_LIVER = Flag("no-liver", Grade.INFO, "no liver was found; the whole body is compared")


def region(first: NDArray[np.float32]) -> Roi:
    """Everything that gives signal at the first echo (slices, K, L), in one piece a slice and without holes."""
    return Roi("body", np.stack([_body(image) for image in first]), finding="body", doubts=(NO_LIVER,))


def _body(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    smooth = ndimage.gaussian_filter(image.astype(np.float32), 1.5)
    if not np.any(smooth > 0) or np.ptp(smooth) == 0:
        return np.zeros(image.shape, bool)
    # Half of Otsu's threshold: organs full of iron are dark at the first echo and still the body.
    labels = label(smooth > 0.5 * threshold_otsu(smooth))
    if labels.max() == 0:
        return np.zeros(image.shape, bool)
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return np.asarray(ndimage.binary_fill_holes(largest), bool)
