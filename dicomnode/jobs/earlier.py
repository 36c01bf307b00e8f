"""The rates of an earlier result, from its files or its objects."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pydicom

from dicomnode.jobs.tidy import content_of
from dicomnode.report.quantities import R2STAR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicomnode.store.job import Job


def rates(job: Job, shape: tuple[int, int, int]) -> NDArray[np.float32] | None:
    """Its R2* in 1/s, (slices, K, L) and 0 where it had none; None where it has no map of that shape any more."""
    found = _of_parametric_map(job)
    if found is None:
        slices = [image.pixel_array.astype(np.float32) for image in _objects(job, R2STAR.mr_kind)]
        found = np.stack(slices) if slices and len({one.shape for one in slices}) == 1 else None
    return found if found is not None and found.shape == shape else None


def _of_parametric_map(job: Job) -> NDArray[np.float32] | None:
    """The frames of a Parametric Map, which ascend as slices do."""
    for image in _objects(job, R2STAR.float_kind):
        values = np.frombuffer(image.FloatPixelData, np.float32)
        return values.reshape(-1, image.Rows, image.Columns)
    return None


def _objects(job: Job, kind: str) -> Iterator[Dataset]:
    for one in job.outputs or ():
        content = content_of(job.folder / one["path"]) if one["kind"] == kind else None
        if content is not None:
            yield pydicom.dcmread(io.BytesIO(content))
