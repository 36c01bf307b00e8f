"""Situations from public issue threads of tools that convert and sort such series, with the thread that tells of each.

As in ``kinds``: each changes a scan and returns the words that may withhold its number; none: it must be right.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from bench.lies.scan import SERIES, SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.lies.scan import Scan

TWICE = ("different images at echo", "repetitions at one position")
UNCOUNTED = ("missing by the scanner's own count", "minimum is")


def time_of_the_first(made: Scan) -> tuple[str, ...]:
    """Write the first echo's time and number on every echo."""
    for one in made.images:
        one.EchoTime, one.EchoNumbers = f"{made.times[0]:g}", 1
    return TWICE


def no_numbers(made: Scan) -> tuple[str, ...]:
    """Do not number the echoes."""
    for one in made.images:
        del one.EchoNumbers
    return ()


def no_number_on_one(made: Scan) -> tuple[str, ...]:
    """Number all echoes but the third."""
    for one in made.of_echo(3):
        del one.EchoNumbers
    return ()


def numbers_in_another_order(made: Scan) -> tuple[str, ...]:
    """Count the echoes in another order than that of their times."""
    order = {1: 3, 2: 1, 3: 2}
    for one in made.images:
        one.EchoNumbers = order.get(one.EchoNumbers, one.EchoNumbers)
    return ()


def numbers_from_zero(made: Scan) -> tuple[str, ...]:
    """Count the echoes from 0."""
    for one in made.images:
        one.EchoNumbers -= 1
    return ()


def acquisition_counts_echoes(made: Scan) -> tuple[str, ...]:
    """Give every echo an acquisition number of its own."""
    for one in made.images:
        one.AcquisitionNumber = one.EchoNumbers
    return ()


def instance_numbers_begin_again(made: Scan) -> tuple[str, ...]:
    """Count the instances of every echo from 1."""
    for one in made.images:
        one.InstanceNumber = 1 + (one.InstanceNumber - 1) % made.slices
    return ()


def coils_apart(made: Scan) -> tuple[str, ...]:
    """Send the images of two coils side by side."""
    for one in list(made.images):
        other = _copy(one, 7)
        made.store(other, 0.6 * made.values(one))
        made.images.append(other)
    return TWICE


def mean_by_name(made: Scan) -> tuple[str, ...]:
    """Put a mean over the echoes into the series that Image Type names."""
    for one in made.of_echo(2):
        mean = _copy(one, 8)
        mean.ImageType = ["DERIVED", "SECONDARY", "M", "MEAN"]
        made.store(mean, 1.4 * made.values(one))
        made.images.append(mean)
    return ()


def real_world_values(made: Scan) -> tuple[str, ...]:
    """Map to real world values with a slope of their own in every image."""
    for one in made.images:
        mapping = Dataset()
        mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, 65535
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5 + 0.1 * one.InstanceNumber, 0.0
        one.RealWorldValueMappingSequence = Sequence([mapping])
    return ()


def slope_per_image(made: Scan) -> tuple[str, ...]:
    """Use the whole range of the stored values in every image, and say by which slope."""
    for one in made.images:
        values = made.values(one)
        slope = values.max() / 60000
        made.store(one, values / slope)
        one.RescaleSlope, one.RescaleIntercept = f"{slope:.10f}", "0"
    return ()


def positions_by_the_tenth(made: Scan) -> tuple[str, ...]:
    """Round positions to a tenth of a millimetre, each image by itself."""
    for one in made.images:
        x, y, z = (float(v) for v in one.ImagePositionPatient)
        one.ImagePositionPatient = [f"{x + 0.1 * (one.InstanceNumber % 2):.1f}", f"{y:.1f}", f"{z + 0.04:.2f}"]
    return ()


def orientation_in_digits(made: Scan) -> tuple[str, ...]:
    """Let the orientation differ in its last digits from image to image."""
    for one in made.images:
        tilt = 1e-5 * (one.InstanceNumber % 3)
        one.ImageOrientationPatient = [1, tilt, 0, -tilt, 1, 0]
    return ()


def study_per_echo(made: Scan) -> tuple[str, ...]:
    """Give every echo a study of its own."""
    for one in made.images:
        one.StudyInstanceUID = f"1.2.3.{one.EchoNumbers}"
        one.SeriesInstanceUID = f"1.2.3.{one.EchoNumbers}.4"
    return UNCOUNTED


def series_per_slice(made: Scan) -> tuple[str, ...]:
    """Give every slice a series of its own, as one vendor's classic export does."""
    for one in made.images:
        one.SeriesInstanceUID = f"{SERIES}.{1 + round(float(one.ImagePositionPatient[2]) / 8)}"
    return ()


def series_per_image(made: Scan) -> tuple[str, ...]:
    """Give every image a series of its own, as some anonymisers do."""
    for one in made.images:
        one.SeriesInstanceUID = f"{SERIES}.{one.InstanceNumber}"
    return ()


def localizer_inside(made: Scan) -> tuple[str, ...]:
    """Put an image of another plane into the series."""
    other = _copy(made.images[0], 9)
    other.ImageOrientationPatient, other.ImagePositionPatient = [0, 1, 0, 0, 0, -1], [0, -70, 70]
    made.images.append(other)
    return ()


def every_image_twice(made: Scan) -> tuple[str, ...]:
    """Export every image twice, under two instance UIDs."""
    made.images += [_copy(one, 7) for one in made.images]
    return TWICE


def overlay_in_the_high_bits(made: Scan) -> tuple[str, ...]:
    """Store 12 bits, and an overlay in those above."""
    rng = np.random.default_rng(0)
    for one in made.images:
        one.BitsStored, one.HighBit = 12, 11
        values = np.minimum(made.values(one), 4095).astype(np.uint16)
        one.PixelData = (values | (rng.integers(0, 2, values.shape) << 12).astype(np.uint16)).tobytes()
    return ()


def signed(made: Scan) -> tuple[str, ...]:
    """Store signed values of 13 bits without extending their sign."""
    for one in made.images:
        one.BitsStored, one.HighBit, one.PixelRepresentation = 13, 12, 1
    return ()


def over_32767(made: Scan) -> tuple[str, ...]:
    """Fill all of 16 bits."""
    most = max(made.values(one).max() for one in made.images)
    for one in made.images:
        made.store(one, made.values(one) * 64000 / most)
    return ()


def no_time(made: Scan) -> tuple[str, ...]:
    """Say no echo time."""
    for one in made.images:
        del one.EchoTime
    return ("no image gives an echo time",)


def stopped_early(made: Scan) -> tuple[str, ...]:
    """Stop the scan in its last slice: the later echoes of it are not there."""
    last = 8 * (made.slices - 1)
    made.images = [one for one in made.images if one.EchoNumbers < 4 or float(one.ImagePositionPatient[2]) < last]
    return ("missing", "minimum is")


def times_in_digits(made: Scan) -> tuple[str, ...]:
    """Let the echo times of slices differ in their last digits."""
    for one in made.images:
        one.EchoTime = f"{float(one.EchoTime) + 2e-4 * (one.InstanceNumber % 3):.4f}"
    return ()


def phase_as_magnitude(made: Scan) -> tuple[str, ...]:
    """Export the phase, 0 to 4095, under the words of a magnitude."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 6 * np.pi, SIZE)[None, :] + np.linspace(0, 2 * np.pi, SIZE)[:, None]
    for one in made.images:
        turns = ramp + 0.9 * one.EchoNumbers + np.where(made.values(one) < 60, rng.uniform(0, 7, (SIZE, SIZE)), 0.0)
        made.store(one, np.mod(turns, 2 * np.pi) / (2 * np.pi) * 4095)
    return ("scaled on its own", "no echo", "brighter", "no magnitude")


def lossy(made: Scan) -> tuple[str, ...]:
    """Say that the images were compressed with loss, 10 to 1."""
    for one in made.images:
        one.LossyImageCompression, one.LossyImageCompressionRatio = "01", "10"
    return ("compressed with loss",)


def _copy(one: Dataset, number: int) -> Dataset:
    other = copy.deepcopy(one)
    other.SOPInstanceUID = f"{one.SOPInstanceUID}.{number}"
    return other


THREADS: dict[str, tuple[Callable[[Scan], tuple[str, ...]], str]] = {
    lie.__name__: (lie, thread)
    for lie, thread in (
        (time_of_the_first, "rordenlab/dcm2niix#359"),
        (no_numbers, "rordenlab/dcm2niix#568"),
        (no_number_on_one, "rordenlab/dcm2niix#350"),
        (numbers_in_another_order, "nipy/heudiconv#39"),
        (numbers_from_zero, "rordenlab/dcm2niix#821"),
        (acquisition_counts_echoes, "lamyj/dicomifier#36"),
        (instance_numbers_begin_again, "rordenlab/dcm2niix#349"),
        (coils_apart, "rordenlab/dcm2niix#631"),
        (mean_by_name, "rordenlab/dcm2niix#300"),
        (real_world_values, "rordenlab/dcm2niix#493"),
        (slope_per_image, "rordenlab/dcm2niix#363"),
        (positions_by_the_tenth, "icometrix/dicom2nifti#31"),
        (orientation_in_digits, "ImagingDataCommons/highdicom#405"),
        (study_per_echo, "rordenlab/dcm2niix#394"),
        (series_per_slice, "rordenlab/dcm2niix#495"),
        (series_per_image, "medInria/medInria-public#156"),
        (localizer_inside, "DIAGNijmegen/rse-panimg#126"),
        (every_image_twice, "AustralianCancerDataNetwork/pydicer#76"),
        (overlay_in_the_high_bits, "dgobbi/vtk-dicom#134"),
        (signed, "icometrix/dicom2nifti#13"),
        (over_32767, "rordenlab/dcm2niix#251"),
        (no_time, "CMRR-C2P/MB#214"),
        (stopped_early, "rordenlab/dcm2niix#742"),
        (times_in_digits, "MRtrix3/mrtrix3#1531"),
        (phase_as_magnitude, "MRtrix3/mrtrix3#3009"),
        (lossy, "PS3.3 C.7.6.1.1.5"),
    )
}
