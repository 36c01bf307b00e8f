"""A volume as the bytes of a NIfTI-1 file (Cox et al. 2004, nifti1.h), compressed."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.export.volumes import Volume

DATA_TYPES = {"float32": 16, "uint8": 2}
SCANNER_ANATOMICAL = 1  # of qform and sform: coordinates of the scanner
MM = 2  # xyzt_units
HEADER, OFFSET = 348, 352
# Little endian. What is 0 is padding: unused fields of older formats, intents, times, texts that could name somebody.
_LAYOUT = struct.Struct("<i36x8h14x3h8f3f3xB24x80s24x2h6f12f16x4s")


def encoded(volume: Volume, description: str) -> bytes:
    """Return the file; the same volume gives the same bytes. ``description`` has at most 79 letters."""
    values = np.asfortranarray(volume.values)
    header = _header(volume, description.encode("ascii")[:79])
    samples = values.astype(values.dtype.newbyteorder("<")).tobytes("F")
    return gzip.compress(header + bytes(OFFSET - HEADER) + samples, mtime=0)


def _header(volume: Volume, description: bytes) -> bytes:
    steps = np.linalg.norm(volume.affine[:3, :3], axis=0)
    handedness, quaternion = _rotation(volume.affine[:3, :3] / steps)
    return _LAYOUT.pack(
        HEADER,
        *(3, *volume.values.shape, 1, 1, 1, 1),
        *(DATA_TYPES[volume.values.dtype.name], 8 * volume.values.dtype.itemsize, 0),
        *(handedness, *steps, 0.0, 0.0, 0.0, 0.0),
        *(float(OFFSET), 1.0, 0.0, MM),  # where samples begin, their slope and intercept
        description,
        *(SCANNER_ANATOMICAL, SCANNER_ANATOMICAL),
        *quaternion,
        *volume.affine[:3, 3],
        *volume.affine[:3].ravel(),
        b"n+1\0",
    )


def _rotation(axes: NDArray[np.float64]) -> tuple[float, tuple[float, float, float]]:
    """Handedness and the vector part of the unit quaternion of three axes of length 1.

    NIfTI keeps a rotation and, where the axes are left-handed, turns the third around. Axes that are not at right
    angles have none; the nearest is kept, and the matrix beside it stays exact.
    """
    handedness = 1.0 if np.linalg.det(axes) > 0 else -1.0
    turned = axes * [1.0, 1.0, handedness]
    left, _, right = np.linalg.svd(turned)
    r = left @ right
    # The eigenvector of the largest eigenvalue (Bar-Itzhack 2000) needs no cases for half turns.
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    b, c, d, a = np.linalg.eigh(k)[1][:, -1]
    sign = 1.0 if a >= 0 else -1.0
    return handedness, (sign * b, sign * c, sign * d)
