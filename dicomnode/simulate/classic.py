"""One MR Image object per image (PS3.3 A.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom.uid import MRImageStorage

from dicomnode.simulate.modules import (
    FLIP_ANGLE_DEG,
    REPETITION_TIME_MS,
    decimal,
    decimals,
    set_pixels,
    set_private,
    set_times,
    start,
    window,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydicom import Dataset

    from dicomnode.simulate.frames import Frame
    from dicomnode.simulate.modules import Exam


def encode(exam: Exam, frames: Sequence[Frame]) -> Iterator[Dataset]:
    """Give the objects of the study, series by series, in the order of their InstanceNumber."""
    for number in sorted({exam.series_number(frame) for frame in frames}):
        series = [frame for frame in frames if exam.series_number(frame) == number]
        series.sort(key=exam.dialect.order)
        for instance_number, frame in enumerate(series, start=1):
            yield _image(exam, frame, instance_number, len(series))


def _image(exam: Exam, frame: Frame, instance_number: int, images_in_series: int) -> Dataset:
    dataset = start(exam, frame, MRImageStorage, instance_number)
    dataset.ImageType = list(frame.kind.image_type)
    set_times(dataset, exam, frame)
    _sequence(dataset, exam, frame)
    _plane(dataset, frame)
    set_pixels(dataset, [frame])
    _values(dataset, frame)
    if exam.dialect.counts_its_frame:
        dataset.NumberOfFrames = 1
    if exam.dialect.promises_images:
        dataset.ImagesInAcquisition = images_in_series
    set_private(dataset, exam.dialect.private, frame)
    return dataset


def _sequence(dataset: Dataset, exam: Exam, frame: Frame) -> None:
    """Set the MR Image module (PS3.3 C.8.3)."""
    dialect = exam.dialect
    dataset.ScanningSequence = dialect.scanning_sequence
    dataset.SequenceVariant = dialect.sequence_variant
    dataset.ScanOptions = dialect.scan_options.split("\\") if dialect.scan_options else ""
    dataset.MRAcquisitionType = "2D"
    dataset.SequenceName = dialect.sequence_name
    dataset.RepetitionTime = decimal(REPETITION_TIME_MS)
    dataset.EchoTime = decimal(frame.echo_time_ms)
    dataset.FlipAngle = decimal(FLIP_ANGLE_DEG)
    dataset.NumberOfAverages = decimal(1)
    dataset.ImagedNucleus = "1H"
    dataset.EchoTrainLength = frame.n_echoes if dialect.echo_train_length is None else dialect.echo_train_length
    if dialect.echo_numbers:
        dataset.EchoNumbers = frame.echo_index + 1
    frequency = dialect.frequency_mhz[exam.plan.field_strength_t]
    if frequency is not None:
        dataset.ImagingFrequency = decimal(frequency)


def _plane(dataset: Dataset, frame: Frame) -> None:
    """Set the Image Plane module (PS3.3 C.7.6.2)."""
    placement = frame.placement
    dataset.ImagePositionPatient = decimals(placement.position)
    dataset.ImageOrientationPatient = decimals(placement.orientation)
    dataset.PixelSpacing = decimals(placement.spacing_mm[:2])
    dataset.SliceThickness = decimal(placement.spacing_mm[2])
    dataset.SpacingBetweenSlices = decimal(placement.spacing_mm[2])
    normal = np.cross(placement.orientation[:3], placement.orientation[3:])
    dataset.SliceLocation = decimal(round(float(np.dot(normal, placement.position)), 5))


def _values(dataset: Dataset, frame: Frame) -> None:
    """Set how stored values become signal, next to how they are shown."""
    centre, width = window(frame.kind, [frame])
    dataset.WindowCenter, dataset.WindowWidth = decimal(centre), decimal(width)
    rescale = frame.kind.rescale
    if rescale:
        dataset.RescaleIntercept = decimal(rescale.intercept)
        dataset.RescaleSlope = decimal(rescale.slope)
        dataset.RescaleType = rescale.kind
