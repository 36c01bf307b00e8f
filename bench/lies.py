"""Fuzz by meaning: small valid series, the ways in which files lie, and what is right then: ``make fuzz``.

Each kind changes the data sets of a series and says which words may withhold its number; where it says none, the number
must be right. What comes out is a right number, a reason that names the cause, or a fault of this software.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode import analyse, pixels, region
from dicomnode.compare.tables import Table
from dicomnode.config import FitSettings, GroupingSettings, MeasureSettings
from dicomnode.errors import NodeError
from dicomnode.measure.organs import LIVER
from dicomnode.model import Roi
from dicomnode.operate import offline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

SIZE = 56
STUDY, SERIES, FRAME = "1.2.3", "1.2.3.4", "1.2.3.9"
MR = "1.2.840.10008.5.1.4.1.1.4"
PHILIPS_SCALE = 0.25


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
            one = _image(s, e, te, slices)
            made.store(one, noisy)
            made.images.append(one)
    return made


def _image(s: int, e: int, te: float, slices: int) -> Dataset:
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


# ---- the kinds: each changes a scan; returns words of the reason that may withhold it, none: the value must be right


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
        members = made.images[s::1]
        members = [one for one in made.images if one.SOPInstanceUID.split(".")[-2] == str(s + 1)]
        root = np.sqrt(np.sum([made.values(one) ** 2 for one in members], axis=0))
        extra = Dataset()
        extra.update(members[0])
        extra.SOPInstanceUID = f"{SERIES}.{s + 1}.99"
        extra.EchoTime, extra.EchoNumbers = f"{made.times[place - 1] - 0.6:g}", 99
        made.store(extra, root)
        made.images.append(extra)
    return ("no echo", "not all of them are echoes", "missing by the scanner's own count")


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
            other = _image(s, k, te, made.slices)
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
RATES = (40.0, 90.0, 180.0, 320.0)
RIGHT = 0.05  # of the true rate


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a series with lies: the rates that were given, what was said, which words might withhold one."""

    rate: float
    kinds: tuple[str, ...]
    given: tuple[float, ...]
    said: str
    words: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """One of "right", "named", "wrong", "twice", "withheld for another reason"."""
        if len(self.given) > 1:
            return "twice"
        if self.given:
            return "right" if abs(self.given[0] / self.rate - 1) <= RIGHT else "wrong"
        return "named" if any(word in self.said for word in self.words) else "withheld for another reason"


def go_together(kinds: Sequence[str]) -> bool:
    """Whether lies can be done to one series, and what is right then is known."""
    return set(kinds) not in NEVER_TOGETHER


def outcome(rate: float, shape: tuple[int, int], kinds: tuple[str, ...], seed: int) -> Outcome:
    """Make a series of ``shape`` (echoes, slices), lie, and let the node's own code judge and measure it."""
    made = scan(rate, *shape, seed)
    ordered = sorted(kinds, key=lambda kind: (kind not in CHANGES_VALUES, list(KINDS).index(kind)))
    words = tuple(word for kind in ordered for word in KINDS[kind](made))
    with tempfile.TemporaryDirectory() as folder:
        made.write(Path(folder))
        given, reasons = _measured(Path(folder))
    return Outcome(rate, kinds, tuple(given), " | ".join(reasons), words)


def _measured(folder: Path) -> tuple[list[float], list[str]]:
    """The rates that a folder gives in the known tissue, and every reason that was said."""
    rules = GroupingSettings()
    groups, others = offline.find([folder], rules, lambda _: None)
    reasons, rates = [str(other["reason"]) for other in others], []
    for group in groups:
        reasons += [group.reason.sentence] if group.reason else []
        stack = offline.stack_of(group, rules)
        if stack is None:
            continue
        try:
            signal = pixels.load(stack)
            maps = analyse.fit_signal(stack, signal, FitSettings(method="nls"))
        except NodeError as fault:
            reasons.append(str(fault))
            continue
        roi = Roi("liver", np.stack([liver()] * len(signal)), finding=LIVER.name, automatic=False)
        one, _ = region.measure(roi, region.Images.of(stack, signal, maps), MeasureSettings())
        reasons += [flag.sentence for flag in one.flags]
        rates += [one.r2star.value] if one.r2star is not None else []
    return rates, reasons


def main() -> int:
    """Print what came of many series, by kind; fail where one was silently wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    faults = []
    while seen["all"].total() < options.examples:
        kinds = tuple(str(k) for k in rng.choice(sorted(KINDS), size=int(rng.integers(1, 3)), replace=False))
        if not go_together(kinds):
            continue
        shape = (int(rng.integers(6, 10)), int(rng.integers(1, 4)))
        found = outcome(float(rng.choice(RATES)), shape, kinds, int(rng.integers(1 << 30)))
        for name in (*kinds, "all"):
            seen[name][found.verdict] += 1
        if found.verdict not in {"right", "named"}:
            faults.append(found)
    verdicts = ("right", "named", "withheld for another reason", "twice", "wrong")
    rows = [
        [name, str(count.total()), *(str(count[verdict]) for verdict in verdicts)]
        for name, count in sorted(seen.items(), key=lambda item: (item[0] != "all", item[0]))
    ]
    sys.stdout.write(Table("Series with one or two lies", ("lie", "series", *verdicts), rows).markdown() + "\n")
    for fault in faults:
        sys.stdout.write(f"{fault.verdict}: {fault.kinds}, {fault.given} for {fault.rate}: {fault.said}\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
