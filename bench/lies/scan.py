"""A small valid series on its way to disk, for others to lie about."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

SIZE = 56
STUDY, SERIES, FRAME = "1.2.3", "1.2.3.4", "1.2.3.9"
MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass
class Scan:
    """A series on its way to disk: one data set an image, and its values before they are stored."""

    rate: float
    times: tuple[float, ...]
    slices: int
    images: list[Dataset] = field(default_factory=list)
    bare: bool = False
    surplus: int = 0

    def of_echo(self, echo: int) -> list[Dataset]:
        """Return the images that the scanner counts as that echo."""
        return [one for one in self.images if one.EchoNumbers == echo]

    def values(self, one: Dataset) -> Array:
        """Return the stored values of an image (K, L)."""
        return np.frombuffer(one.PixelData, np.uint16).reshape(SIZE, SIZE).astype(float)

    def store(self, one: Dataset, values: Array) -> None:
        """Store values in an image, rounded."""
        one.PixelData = np.clip(np.rint(values), 0, 65535).astype(np.uint16).tobytes()

    def write(self, folder: Path) -> None:
        """Write every image as a file."""
        folder.mkdir(parents=True, exist_ok=True)
        for n, one in enumerate(self.images):
            one.file_meta = FileMetaDataset()
            one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if self.bare else ExplicitVRLittleEndian
            one.PixelData += bytes(self.surplus)
            buffer = io.BytesIO()
            if self.bare:
                dcmwrite(buffer, one, implicit_vr=True, little_endian=True, enforce_file_format=False)
                content = buffer.getvalue()
                at = content.find(b"\x08\x00\x08\x00")  # Image Type, the first element of the data set
                content = content[at:]
            else:
                dcmwrite(buffer, one, enforce_file_format=True)
                content = buffer.getvalue()
            (folder / f"{n:04d}").write_bytes(content)


def liver() -> NDArray[np.bool_]:
    """Where the tissue lies whose rate is known, rim left out."""
    rows, columns = np.indices((SIZE, SIZE))
    return (np.abs(rows - 28) < 9) & (np.abs(columns - 22) < 8)


def scan(rate: float, echoes: int, slices: int, seed: int) -> Scan:
    """A body with a square of iron in it, Rician noise, whole numbers."""
    rng = np.random.default_rng(seed)
    times = tuple(round(1.3 + 1.7 * k, 2) for k in range(echoes))
    rows, columns = np.indices((SIZE, SIZE))
    body = np.hypot(rows - 28, 0.8 * (columns - 28)) < 20
    iron = (np.abs(rows - 28) < 11) & (np.abs(columns - 22) < 10)
    s0 = np.where(iron, 900.0, np.where(body, 1200.0, 0.0)) * np.exp(0.03 * rng.standard_normal((SIZE, SIZE)))
    rates = np.where(iron, rate, 30.0)
    made = Scan(rate, times, slices)
    for s in range(slices):
        for e, te in enumerate(times):
            clean = s0 * np.exp(-rates * te / 1000)
            noisy = np.hypot(clean + 9 * rng.standard_normal(clean.shape), 9 * rng.standard_normal(clean.shape))
            one = image(s, e, te, slices)
            made.store(one, noisy)
            made.images.append(one)
    return made


def image(s: int, e: int, te: float, slices: int) -> Dataset:
    """Return the data set of echo ``e`` of slice ``s``, both from 0, without pixels."""
    one = Dataset()
    one.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    one.SOPClassUID, one.SOPInstanceUID = MR, f"{SERIES}.{s + 1}.{e + 1}"
    one.AcquisitionTime = f"10{s:02d}00.00"
    one.Modality, one.Manufacturer, one.SeriesDescription = "MR", "Esaote", "liver"
    one.ScanningSequence, one.SequenceVariant, one.MRAcquisitionType = "GR", "SP", "2D"
    one.SequenceName, one.RepetitionTime, one.EchoTime = "gre", "120", f"{te:g}"
    one.EchoNumbers, one.FlipAngle, one.MagneticFieldStrength = e + 1, "20", "1.5"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = STUDY, SERIES, FRAME
    one.SeriesNumber, one.InstanceNumber = 4, e * slices + s + 1
    one.ImagePositionPatient, one.ImageOrientationPatient = [-70, -70, 8 * s], [1, 0, 0, 0, 1, 0]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.Rows = one.Columns = SIZE
    one.PixelSpacing = [2.5, 2.5]
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    return one
