"""Ways in which files lie, met in trials.

Each changes a scan and returns the words of a reason that may withhold its number; none: the number must be right.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from bench.lies.scan import SERIES, SIZE, image

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.lies.scan import Scan

PHILIPS_SCALE = 0.25


def microseconds(made: Scan) -> tuple[str, ...]:
    """Write echo times in microseconds."""
    for one in made.images:
        one.EchoTime = f"{float(one.EchoTime) * 1000:g}"
    return ("EchoTime",)


def seconds(made: Scan) -> tuple[str, ...]:
    """Write echo times in seconds."""
    for one in made.images:
        one.EchoTime = f"{float(one.EchoTime) / 1000:g}"
    return ("EchoTime", "different images at echo")


def first_echoes_lost(made: Scan) -> tuple[str, ...]:
    """Lose the first two echoes on the way."""
    made.images = [one for one in made.images if one.EchoNumbers > 2]
    return ("missing by the scanner's own count", "minimum is")


def inner_echo_lost(made: Scan) -> tuple[str, ...]:
    """Lose the third echo on the way."""
    made.images = [one for one in made.images if one.EchoNumbers != 3]
    return ("missing by the scanner's own count", "minimum is")


def one_image_lost(made: Scan) -> tuple[str, ...]:
    """Lose one image on the way."""
    del made.images[1]
    return ("missing",)


def stretched(made: Scan) -> tuple[str, ...]:
    """Window every image on its own, as exporters do."""
    for one in made.images:
        values = made.values(one)
        made.store(one, np.minimum(values / np.percentile(values, 99.5), 1.0) * 4095)
    return ("scaled on its own",)


def clipped(made: Scan) -> tuple[str, ...]:
    """Turn the gain up until the tissue is clipped."""
    top = 0.55 * max(made.values(one).max() for one in made.images)
    for one in made.images:
        made.store(one, np.minimum(made.values(one), top))
    return ("clipped", "has no valid fit", "no voxel")


def combined(made: Scan) -> tuple[str, ...]:
    """Put a root of the sum of squares among the echoes, with a time of its own."""
    place = 4
    for s in range(made.slices):
        members = [one for one in made.images if one.SOPInstanceUID.split(".")[-2] == str(s + 1)]
        root = np.sqrt(np.sum([made.values(one) ** 2 for one in members], axis=0))
        extra = copy.deepcopy(members[0])
        extra.SOPInstanceUID = f"{SERIES}.{s + 1}.99"
        extra.EchoTime, extra.EchoNumbers = f"{made.times[place - 1] - 0.6:g}", 99
        made.store(extra, root)
        made.images.append(extra)
    return ("no echo", "not all of them are echoes")


def real_part(made: Scan) -> tuple[str, ...]:
    """Export the real part, without a word of it."""
    turn = np.cos(np.linspace(0, 5 * np.pi, SIZE))[None, :]
    for one in made.images:
        one.PixelRepresentation = 1
        one.PixelData = np.rint(made.values(one) * turn).astype(np.int16).tobytes()
    return ("below zero",)


def copied(made: Scan) -> tuple[str, ...]:
    """Write the second echo again where the third belongs."""
    for two, three in zip(made.of_echo(2), made.of_echo(3), strict=True):
        three.PixelData = two.PixelData
    return ("holds the same pixels",)


def padded(made: Scan) -> tuple[str, ...]:
    """Pad the corners and say so."""
    rows, columns = np.indices((SIZE, SIZE))
    outside = np.hypot(rows - 28, columns - 28) > 26
    for one in made.images:
        values = made.values(one)
        values[outside] = 65535
        made.store(one, values)
        one.add_new("PixelPaddingValue", "US", 65535)
    return ()


def display_slopes(made: Scan) -> tuple[str, ...]:
    """Give every echo a display slope of its own, beside one private scale."""
    for one in made.images:
        one.Manufacturer, one.ImageType = "Philips", ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
        one.RescaleSlope, one.RescaleIntercept = f"{1 + 0.3 * one.EchoNumbers:g}", "0"
        one.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", PHILIPS_SCALE)
    return ()


def scale_on_some(made: Scan) -> tuple[str, ...]:
    """Lose the private scale of one echo."""
    display_slopes(made)
    for one in made.of_echo(2):
        del one[one.private_block(0x2005, "Philips MR Imaging DD 001").get_tag(0x0E)]
    return ("lack the private scale slope",)


def two_protocols(made: Scan) -> tuple[str, ...]:
    """Put a scan of another flip angle and repetition time into the series."""
    for s in range(made.slices):
        for k, te in enumerate((2.0, 4.4)):
            other = image(s, k, te, made.slices)
            other.SOPInstanceUID, other.RepetitionTime, other.FlipAngle = f"{SERIES}.{s + 1}.{k + 50}", "9", "8"
            made.store(other, made.values(made.images[0]) * 3)
            made.images.append(other)
    return ()


def frame_lost(made: Scan) -> tuple[str, ...]:
    """Empty the frame of reference of half of the images."""
    for one in made.images[len(made.images) // 2 :]:
        one.FrameOfReferenceUID = ""
    return ()


def breath_holds(made: Scan) -> tuple[str, ...]:
    """Acquire the later echoes in another breath-hold."""
    for one in made.images:
        if one.EchoNumbers > 3:
            one.AcquisitionTime = one.AcquisitionTime[:4] + "45.00"
    return ("acquired",)


def beside(made: Scan) -> tuple[str, ...]:
    """Move the later echoes within their plane."""
    for one in made.images:
        if one.EchoNumbers > 3:
            one.ImagePositionPatient = [-66, -70, one.ImagePositionPatient[2]]
    return ("apart (Image Position)",)


def above(made: Scan) -> tuple[str, ...]:
    """Move the later echoes across their plane."""
    for one in made.images:
        if one.EchoNumbers > 3:
            one.ImagePositionPatient = [-70, -70, one.ImagePositionPatient[2] + 1.5]
    return ("apart (Image Position)",)


def surplus(made: Scan) -> tuple[str, ...]:
    """Append bytes to the pixels."""
    made.surplus = 512
    return ()


def bare(made: Scan) -> tuple[str, ...]:
    """Write no preamble and no file meta information."""
    made.bare = True
    return ()


def frame_type(made: Scan) -> tuple[str, ...]:
    """Keep the Frame Type of an enhanced object as Image Type."""
    for one in made.images:
        one.ImageType = ["ORIGINAL", "PRIMARY", "T2_STAR", "NONE"]
        one.ComplexImageComponent = "MAGNITUDE"
    return ()


def damaged(made: Scan) -> tuple[str, ...]:
    """Break an attribute of the last echo."""
    for one in made.of_echo(len(made.times)):
        one.PixelSpacing = [0, 2.5]
    return ("cannot be used", "missing", "minimum is")


def shuffled(made: Scan) -> tuple[str, ...]:
    """Send the images in another order."""
    made.images.reverse()
    return ()


KINDS: dict[str, Callable[[Scan], tuple[str, ...]]] = {
    kind.__name__: kind
    for kind in (
        microseconds, seconds, first_echoes_lost, inner_echo_lost, one_image_lost, stretched, clipped, combined,
        real_part, copied, padded, display_slopes, scale_on_some, two_protocols, frame_lost, breath_holds, beside,
        above, surplus, bare, frame_type, damaged, shuffled,
    )
}  # fmt: skip
# Those that change values go first: they read them as they were stored.
CHANGES_VALUES = ("stretched", "clipped", "combined", "copied", "padded", "real_part", "two_protocols")
# What cannot be told apart or undone where both are done.
NEVER_TOGETHER = (
    {"real_part", "padded"}, {"real_part", "stretched"}, {"real_part", "clipped"}, {"real_part", "combined"},
    {"real_part", "two_protocols"}, {"real_part", "copied"}, {"microseconds", "seconds"}, {"stretched", "padded"},
    {"microseconds", "two_protocols"}, {"seconds", "two_protocols"}, {"frame_type", "display_slopes"},
    {"frame_type", "scale_on_some"}, {"display_slopes", "scale_on_some"}, {"beside", "above"},
    {"two_protocols", "display_slopes"}, {"two_protocols", "scale_on_some"}, {"two_protocols", "frame_type"},
    {"two_protocols", "padded"}, {"clipped", "padded"}, {"clipped", "stretched"}, {"combined", "damaged"},
)  # fmt: skip
