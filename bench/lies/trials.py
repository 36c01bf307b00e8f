"""Situations that a trial by fresh eyes found wrong here; as in ``kinds``, but each by itself."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from bench.lies.scan import SERIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom.dataset import Dataset

    from bench.lies.scan import Scan

LATE = 3  # echoes of the first part
GAIN = 0.93  # of another acquisition


def two_patients(made: Scan) -> tuple[str, ...]:
    """Put the later echoes of another patient under the series."""
    for one in made.images:
        one.PatientID, one.PatientBirthDate = ("A", "19800101") if one.EchoNumbers <= LATE else ("B", "19900101")
    return ("several patients",)


def another_day(made: Scan) -> tuple[str, ...]:
    """Acquire the later echoes a day later, at the same hour and with another gain."""
    return _acquired_apart(made, "AcquisitionDate", "20260101", "20260102")


def short_times(made: Scan) -> tuple[str, ...]:
    """Write times of acquisition in hours, of two acquisitions."""
    return _acquired_apart(made, "AcquisitionTime", "10", "11")


def scaled_by_its_percentile(made: Scan) -> tuple[str, ...]:
    """Scale every image by its own 95th percentile: no two maxima are the same."""
    for one in made.images:
        made.store(one, made.values(one) / np.percentile(made.values(one), 95) * 2000)
    return ("scaled on its own",)


def scaled_by_its_mean(made: Scan) -> tuple[str, ...]:
    """Scale every image by its own mean."""
    for one in made.images:
        made.store(one, made.values(one) / made.values(one).mean() * 500)
    return ("scaled on its own",)


def halves_of_a_train(made: Scan) -> tuple[str, ...]:
    """Send the later echoes, which nobody numbered, under another series and frame of reference."""
    for one in made.images:
        if one.EchoNumbers > LATE:
            one.SeriesInstanceUID, one.FrameOfReferenceUID, one.SeriesNumber = f"{SERIES}.9", "1.2.3.99", 5
        del one.EchoNumbers
    return ()


def timing_by_slice(made: Scan) -> tuple[str, ...]:
    """Trigger every slice, so that each has a repetition time of its own."""
    for one in made.images:
        one.RepetitionTime = f"{120 + float(one.ImagePositionPatient[2]):g}"
    return ()


def frame_by_slice(made: Scan) -> tuple[str, ...]:
    """Give every slice a frame of reference of its own."""
    for one in made.images:
        one.FrameOfReferenceUID = f"1.2.3.9.{1 + round(float(one.ImagePositionPatient[2]) / 8)}"
    return ()


def frame_and_series_by_image(made: Scan) -> tuple[str, ...]:
    """Give every image a series and a frame of reference of its own."""
    for one in made.images:
        one.SeriesInstanceUID = f"{SERIES}.{one.InstanceNumber}"
        one.FrameOfReferenceUID = f"1.2.3.9.{one.InstanceNumber}"
    return ()


def series_by_echo_backwards(made: Scan) -> tuple[str, ...]:
    """Send a series per echo, numbered downwards."""
    for one in made.images:
        one.SeriesInstanceUID, one.SeriesNumber = f"{SERIES}.{one.EchoNumbers}", 50 - one.EchoNumbers
    return ()


def copy_of_the_series(made: Scan) -> tuple[str, ...]:
    """Export the whole series again, under other UIDs and another number."""
    for one in list(made.images):
        other = copy.deepcopy(one)
        other.SOPInstanceUID, other.SeriesInstanceUID = f"{one.SOPInstanceUID}.7", f"{SERIES}.7"
        other.SeriesNumber = 7
        made.images.append(other)
    return ()


def epi_in_a_word(made: Scan) -> tuple[str, ...]:
    """Call a gradient echo sequence by a word that holds "epi"."""
    _all(made, lambda one: setattr(one, "SequenceName", "gre_hepiron"))
    return ()


def backwards(made: Scan) -> tuple[str, ...]:
    """Write the echo times in the other order."""
    times = dict(zip(range(1, len(made.times) + 1), reversed(made.times), strict=True))
    _all(made, lambda one: setattr(one, "EchoTime", f"{times[one.EchoNumbers]:g}"))
    return ("brightens from echo to echo", "no echo")


def blank_image(made: Scan) -> tuple[str, ...]:
    """Lose the pixels of one echo, whose image is black."""
    for one in made.of_echo(LATE):
        made.store(one, 0 * made.values(one))
    return ("one value throughout",)


def copied_further_on(made: Scan) -> tuple[str, ...]:
    """Write the second echo again where the fourth belongs."""
    for two, four in zip(made.of_echo(2), made.of_echo(4), strict=True):
        four.PixelData = two.PixelData
    return ("holds the same pixels",)


def nothing_in_the_vendors_place(made: Scan) -> tuple[str, ...]:
    """Leave the place of Image Type empty in which the vendor names the component."""
    for one in made.images:
        one.Manufacturer, one.ImageType = "SIEMENS", ["ORIGINAL", "PRIMARY", "", "ND"]
    return ()


def _acquired_apart(made: Scan, keyword: str, first: str, then: str) -> tuple[str, ...]:
    for one in made.images:
        late = one.EchoNumbers > LATE
        setattr(one, keyword, then if late else first)
        made.store(one, (GAIN if late else 1.0) * made.values(one))
    return ("acquired",)


def _all(made: Scan, change: Callable[[Dataset], None]) -> None:
    for one in made.images:
        change(one)


TRIALS: dict[str, Callable[[Scan], tuple[str, ...]]] = {
    lie.__name__: lie
    for lie in (
        two_patients, another_day, short_times, scaled_by_its_percentile, scaled_by_its_mean, halves_of_a_train,
        timing_by_slice, frame_by_slice, frame_and_series_by_image, series_by_echo_backwards, copy_of_the_series,
        epi_in_a_word, backwards, blank_image, copied_further_on, nothing_in_the_vendors_place,
    )
}  # fmt: skip
