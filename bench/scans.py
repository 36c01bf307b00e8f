"""A digital exam becomes the DICOM files a scanner would send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

if TYPE_CHECKING:
    from pathlib import Path

    from bench.anatomy import Exam

MR_IMAGE = UID("1.2.840.10008.5.1.4.1.1.4")
MHZ_PER_T = 42.577
LARGEST = 4095  # of 12 bits, to which values that are no whole numbers are scaled


def write(exam: Exam, folder: Path, number: int) -> list[Path]:
    """Write every echo of every slice as a classic MR image; ``number`` tells the series of a folder apart."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = np.issubdtype(exam.signal.dtype, np.integer)
    scale = 1.0 if whole else LARGEST / max(float(exam.signal.max()), 1e-9)
    pixels = np.clip(np.rint(exam.signal * scale), 0, 65535).astype(np.uint16)
    paths = []
    for k in range(pixels.shape[0]):
        for m in range(pixels.shape[-1]):
            image = _image(exam, number, k, m)
            image.PixelData = pixels[k, ..., m].tobytes()
            path = folder / f"{k:02d}-{m:02d}.dcm"
            image.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def _image(exam: Exam, number: int, k: int, m: int) -> Dataset:
    root = f"1.2.826.0.1.3680043.8.498.900.{number + 1}"
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = MR_IMAGE, f"{root}.{k + 1}.{m + 1}"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = (
        f"{root}.91",
        f"{root}.92",
        f"{root}.93",
    )
    image.Modality, image.Manufacturer, image.ManufacturerModelName = "MR", "SIEMENS", "Digital"
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions, image.MRAcquisitionType = "GR", "SP", "", "2D"
    image.PatientName, image.PatientID, image.StudyDate, image.StudyTime = "", f"EXAM-{number}", "20260101", "120000"
    image.SeriesNumber, image.InstanceNumber, image.EchoNumbers = 1, k * exam.signal.shape[-1] + m + 1, m + 1
    image.EchoTime, image.RepetitionTime, image.FlipAngle = f"{exam.echo_times_ms[m]:.4f}", 200, 20
    image.MagneticFieldStrength = f"{exam.field_t:.4f}"
    image.ImagingFrequency = f"{exam.field_t * MHZ_PER_T:.6f}"
    image.ImagePositionPatient = [f"{v:.5f}"[:16] for v in exam.positions_mm[k]]
    image.ImageOrientationPatient = [f"{v:.8f}"[:16] for v in exam.orientation]
    image.PixelSpacing = [f"{v:.6f}" for v in exam.spacing_mm[:2]]
    image.SliceThickness = f"{exam.spacing_mm[2]:.4f}"
    image.Rows, image.Columns = exam.signal.shape[1:3]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = MR_IMAGE
    image.file_meta.MediaStorageSOPInstanceUID = UID(str(image.SOPInstanceUID))
    return image
