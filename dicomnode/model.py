"""The values that travel from step to step.

Everything here is frozen and knows nothing of files being open, networks or clocks. Lengths are millimetres in the
patient coordinate system (PS3.3 C.7.6.2), times milliseconds, rates 1/s, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  what is stored as JSON is validated by these annotations
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path  # noqa: TC003  same
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Vector3 = tuple[float, float, float]
DAY_S = 86_400.0


class Component(StrEnum):
    """Which part of the complex signal an image holds (PS3.3 C.8.13.3.1.1)."""

    MAGNITUDE = "magnitude"
    PHASE = "phase"
    REAL = "real"
    IMAGINARY = "imaginary"
    DERIVED = "derived"  # maps, means, subtractions: never an echo


class SequenceKind(StrEnum):
    """What made the echo; only GRADIENT_ECHO decays with T2*."""

    GRADIENT_ECHO = "gradient echo"
    SPIN_ECHO = "spin echo"
    TURBO_SPIN_ECHO = "turbo spin echo"
    ECHO_PLANAR = "echo-planar read-out"
    DIFFUSION = "diffusion"
    INVERSION_RECOVERY = "inversion recovery"
    UNKNOWN = "unknown"


class Encoding(StrEnum):
    """How the instance carries its frames."""

    CLASSIC = "classic"
    ENHANCED = "enhanced"


@dataclass(frozen=True, slots=True)
class Plane:
    """Where an image lies: PS3.3 C.7.6.2 (image plane)."""

    rows: int
    columns: int
    position: Vector3  # centre of the first transmitted pixel
    orientation: tuple[float, float, float, float, float, float]  # row direction, column direction
    pixel_spacing_mm: tuple[float, float]  # between rows, between columns
    frame_of_reference_uid: str

    @property
    def normal(self) -> Vector3:
        """Unit vector across the plane."""
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        n = np.cross(row, column)
        n = n / (np.linalg.norm(n) or 1.0)
        return (float(n[0]), float(n[1]), float(n[2]))

    @property
    def location_mm(self) -> float:
        """Signed distance of the plane from the origin along its normal."""
        return float(np.dot(self.normal, self.position))


@dataclass(frozen=True, slots=True)
class EchoImage:
    """One echo of one slice: a classic object, or one frame of an enhanced one. No pixels."""

    path: Path
    frame: int | None  # index of the frame from 0 in a multi-frame object, None in a single-frame one
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    encoding: Encoding
    component: Component
    sequence_kind: SequenceKind
    echo_time_ms: float | None  # None: the header gives none
    plane: Plane
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    scale_slope: float | None = None  # Philips: from stored to floating-point values, where rescale is for display
    turn: float | None = None  # of a phase: rescaled units in a whole turn; None where the header leaves that open
    repetition: int | None = None  # temporal position, where the header numbers them
    twin: tuple[str, ...] = ()  # facts that keep images apart which look alike: normalised, fat-saturated, ...
    field_strength_t: float | None = None  # from ImagingFrequency where given: 2.89 and 3.0 differ
    manufacturer: str = ""
    model_name: str = ""
    station_name: str = ""
    series_description: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    acquisition_number: int | None = None
    acquired_s: float | None = None  # seconds since midnight, since the first of January of year 1 where a date is said
    promised_images: int | None = None  # what the header says the acquisition holds, all components together
    promised_echoes: int | None = None
    concatenation: tuple[str, int] | None = None  # its UID and number of parts, where one object was sent in several
    echo_number: int | None = None  # how the scanner counts this echo; may be absent, 0 or the same on all
    protocol: tuple[str, ...] = ()  # what the series of one scan have in common: name, sequence, TR, flip angle
    scan: str = ""  # names the scan where the scanner is known to send one series per echo
    protocol_name: str = ""
    body_part: str = ""  # code or meaning of what was examined, as it was registered
    study_description: str = ""
    sender: str = ""  # AE title of what sent it to this node
    patient: tuple[str, str, str] = ("", "", "")  # digests of identifier, birth date and name; empty where not said
    lossy: bool = False  # its values went through a compression that does not give them back

    @property
    def names(self) -> tuple[str, str]:
        """By what a site knows a series: Series Description and Protocol Name."""
        return self.series_description, self.protocol_name


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was refused, waits or failed: a stable code and a sentence an operator can act on."""

    code: str
    sentence: str

    def __str__(self) -> str:
        """Return the sentence."""
        return self.sentence


@dataclass(frozen=True, slots=True)
class Unused:
    """Why what came beside the magnitudes of a stack was not used: a stable code and a sentence for its report."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class EchoStack:
    """A full echo × slice grid of magnitude images, ready to fit.

    ``images[slice][echo]``; slices ascend along the normal, echoes ascend in time. ``companions`` holds the phase,
    real and imaginary images of the same grid where they arrived too. Where magnitude was not sent, ``images`` is
    empty of magnitudes and ``magnitude_from`` says it is computed from real and imaginary.
    """

    study_instance_uid: str
    series_instance_uids: tuple[str, ...]
    echo_times_ms: tuple[float, ...]
    images: tuple[tuple[EchoImage, ...], ...]
    companions: Mapping[Component, tuple[tuple[EchoImage, ...], ...]] = field(default_factory=dict)
    magnitude_from: Component = Component.MAGNITUDE  # REAL: magnitude = |real + i imaginary|
    incomplete: str = ""  # what is missing of the scan, where it goes all the same
    left_out: tuple[str, ...] = ()  # what of the scan's images is not in the stack, and why

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Slices, rows K, columns L, echoes M."""
        first = self.images[0][0].plane
        return len(self.images), first.rows, first.columns, len(self.echo_times_ms)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The plane of each slice."""
        return tuple(echoes[0].plane for echoes in self.images)

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """Every instance that gives a magnitude value, sorted, each once."""
        used = {image.sop_instance_uid for echoes in self.images for image in echoes}
        if self.magnitude_from is Component.REAL:
            used |= {i.sop_instance_uid for echoes in self.companions[Component.IMAGINARY] for i in echoes}
        return tuple(sorted(used))

    @property
    def field_strength_t(self) -> float | None:
        """The field that the images state, in tesla; None where they contradict each other or none states it."""
        stated = {image.field_strength_t for echoes in self.images for image in echoes}
        known = sorted(field for field in stated if field is not None)
        return known[0] if known and known[-1] - known[0] <= 0.01 * known[0] else None


class GroupStatus(StrEnum):
    """What can be said of a candidate stack now."""

    COMPLETE = "complete"  # the grid is full and nothing promised is missing
    INCOMPLETE = "incomplete"  # holes, named in the reason; more images may cure it
    REFUSED = "refused"  # more images of the same kind cannot cure it


@dataclass(frozen=True, slots=True)
class Group:
    """One candidate stack among the images of a study, and the verdict on it.

    ``group_id`` is stable while images of the group keep arriving and differs between groups of a study.
    ``stack`` is given when the grid is full, also when more was announced than it holds (INCOMPLETE, nothing missing by
    name); ``partial`` is the stack of the slices that are complete, when some are.
    """

    group_id: str
    study_instance_uid: str
    series_instance_uids: tuple[str, ...]
    status: GroupStatus
    reason: Reason | None
    echo_times_ms: tuple[float, ...]
    n_slices: int
    images: tuple[EchoImage, ...]
    stack: EchoStack | None = None
    partial: EchoStack | None = None
    missing: tuple[str, ...] = ()  # "echo 7, slice 12", in the order of the grid
    holes: tuple[tuple[int, int], ...] = ()  # slice and echo of the cells without an image, counted from 0
    left_out: tuple[str, ...] = ()  # what of the images is not in the stack, and why
    counted: bool = False  # the scanner said how many images there are


@dataclass(frozen=True, slots=True)
class FitRecord:
    """Everything needed to say how the maps came about, and to make them again."""

    method: str
    model: str
    noise: str
    converged: bool
    iterations: int
    seconds: float
    verdict: str
    parameters: Mapping[str, Any]  # JSON values only
    software_version: str
    regularised: bool = True  # neighbours share their noise
    phase: Mapping[str, Any] | None = None  # what became of what came beside the magnitudes, JSON values: see ``phase``


@dataclass(frozen=True, slots=True)
class Maps:
    """Fit results of a stack: quantities by name, each (slices, K, L) float32 and 0 where ``valid`` is False."""

    values: Mapping[
        str, NDArray[np.float32]
    ]  # by quantity: "r2star_per_s", "t2star_ms", "s0", "r2star_sd_per_s"; of fat:
    # "fat_fraction" that the others are freed of, "fat_fraction_sd", "plain_r2star_per_s", where it was looked for
    valid: NDArray[np.bool_]
    sigma: tuple[float, ...]  # noise standard deviation in signal units, one value per slice
    record: FitRecord
    beyond: NDArray[np.bool_] | None = None  # (slices, K, L): decays too fast to be measured, so not valid
    sigma_map: NDArray[np.float32] | None = None  # (slices, K, L) where the noise varies over the image

    @property
    def t2star_ms(self) -> NDArray[np.float32]:
        """T2*."""
        return self.values["t2star_ms"]

    @property
    def r2star_per_s(self) -> NDArray[np.float32]:
        """R2*."""
        return self.values["r2star_per_s"]

    @property
    def s0(self) -> NDArray[np.float32]:
        """Signal at echo time 0."""
        return self.values["s0"]

    @property
    def r2star_sd_per_s(self) -> NDArray[np.float32]:
        """Standard deviation of R2*."""
        return self.values["r2star_sd_per_s"]

    @property
    def looked_for_fat(self) -> bool:
        """Whether the echoes could be asked for fat, and were."""
        return "fat_fraction" in self.values

    @property
    def plain(self) -> Maps:
        """The same with the rates of one exponential, as if fat had not been looked for."""
        if not self.looked_for_fat:
            return self
        return replace(self, values={**self.values, "r2star_per_s": self.values["plain_r2star_per_s"]})

    @property
    def one_exponential(self) -> Maps:
        """The same without anything of fat: all that is said of what holds none."""
        if not self.looked_for_fat:
            return self
        rate = self.plain.r2star_per_s
        with np.errstate(divide="ignore"):
            time = np.where(self.valid & (rate > 0), np.float32(1000.0) / rate, np.float32(0.0))
        of_fat = {"fat_fraction", "fat_fraction_sd", "plain_r2star_per_s"}
        kept = {name: values for name, values in self.values.items() if name not in of_fat}
        return replace(self, values={**kept, "r2star_per_s": rate, "t2star_ms": time.astype(np.float32)})


@dataclass(frozen=True, slots=True)
class RicherModel:
    """What a model that knows more than one exponential makes of a region's decay."""

    fat: bool  # looks for fat beside water
    alternation: bool  # knows a factor between odd and even echoes
    shift: float  # of the rate, over that of the model of the maps
    echoes: float | None  # jackknife deviation of its rate over the echoes; None where it needs every one of them
    evidence: float  # by how much it is the likelier, ln of the ratio for the whole region


@dataclass(frozen=True, slots=True)
class HiddenFat:
    """What fat that the echoes cannot tell would do."""

    fraction: float  # of the signal
    shift: float  # of the rate, relative; 0 where the decay denies that there is so much
    evidence: float = 0.0  # by how much it is likelier than none, ln of the ratio for the whole region


@dataclass(frozen=True, slots=True)
class Dephasing:
    """What a field that changes across the slice would make of a region's decay."""

    hz: float  # from one face of the slice to the other
    shift: float  # by how much it makes the rate too high, relative
    evidence: float  # by how much it is likelier than every other model, ln of the ratio for the whole region


@dataclass(frozen=True, slots=True)
class Statistics:
    """Distribution of one quantity over the valid voxels of a region; sd is the sample standard deviation."""

    mean: float
    sd: float
    median: float
    iqr: float


class Grade(StrEnum):
    """What a flag means for the number it stands beside."""

    INFO = "info"  # to be known, takes nothing away
    LOW_CONFIDENCE = "low confidence"  # the number stands, with doubt
    NOT_MEASURABLE = "not measurable"  # no number is given


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing that must be read with a number: decisions read the grade and the code, people the sentence."""

    code: str  # stable, lower case with hyphens
    grade: Grade
    sentence: str

    def __str__(self) -> str:
        """Return the sentence with what it means for the number, as it stands in a report."""
        return self.sentence if self.grade is Grade.INFO else f"{self.grade.value}: {self.sentence}"


HALF_95 = 1.96  # standard deviations: 95 % of a normal deviate lie within so many on both sides


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the interval that holds the truth in 95 of 100 cases; ``parts`` are standard deviations by cause."""

    value: float
    ci95: tuple[float, float]
    parts: Mapping[str, float] = field(default_factory=dict)  # "fit", "noise", "region", "slices", "calibration"


@dataclass(frozen=True, slots=True)
class Stage:
    """A published range and how likely it is that the concentration lies in it; None: nothing is known of that."""

    name: str  # the scheme's own word
    low_mg_per_g: float | None  # None: it is the first
    high_mg_per_g: float | None  # None: it is the last
    probability: float | None


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate and the iron it stands for, as a bound: of what is there, or of what a protocol can measure."""

    r2star_per_s: float
    lic_mg_per_g: float | None


@dataclass(frozen=True, slots=True)
class SliceValue:
    """What one slice of a region gives by itself: medians over its valid voxels, None where there are too few."""

    index: int  # from 0, in the order of the stack
    n_voxels: int
    r2star_per_s: float | None
    lic_mg_per_g: float | None
    confidence: float | None = None  # that this slice's region is right; None where a person drew it
    note: str = ""  # why the slice does not count, where it does not


@dataclass(frozen=True, slots=True)
class Roi:
    """A region: ``mask`` is (slices, K, L) bool."""

    name: str
    mask: NDArray[np.bool_]
    finding: str = "liver"  # key into report/codes
    automatic: bool = True
    doubts: tuple[Flag, ...] = ()  # why it may be the wrong place to measure; flags of its measurement
    confidence: float | None = None  # chance that it is what its name says; None where a person says so
    slice_confidence: tuple[float, ...] = ()  # the same for each slice
    covers: float = 1.0  # share of what it stands for in these slices: a region without rim and vessels is a sample
    moved: float = 0.0  # of R2*: by how much what its finder saw beside it may have moved the rate


@dataclass(frozen=True, slots=True)
class Vial:
    """What is measured of a phantom's region beside its rate: where it lies, mm, and its signal at echo time 0."""

    centre_mm: Vector3  # in the patient's system, of all its slices
    radius_mm: float  # of a circle of its area
    s0: float | None  # of the median decay, in the units of the images


@dataclass(frozen=True, slots=True)
class RoiMeasurement:
    """The numbers of one region. A quantity that is not measurable is None and a flag says why."""

    name: str
    n_voxels: int  # valid voxels that were measured
    area_mm2: float
    t2star_ms: Statistics | None
    r2star_per_s: Statistics | None
    lic_mg_per_g: float | None  # to one decimal; None where no number is given
    calibration: str | None  # in words, with field and source
    flags: tuple[Flag, ...] = ()
    unregularised_r2star_per_s: float | None = None  # of the median decay, by the model of the map: a check on it
    r2star: Estimate | None = None  # the median rate with its interval
    lic: Estimate | None = None  # in mg/g, not rounded
    at_least: Limit | None = None  # beyond the measurable range: what is there at the least
    reach: Limit | None = None  # up to where this protocol could have measured this region
    advice: str = ""  # how to scan again where no number could be given
    slices: tuple[SliceValue, ...] = ()  # the slices that the region lies in
    confidence: float | None = None  # as of its Roi
    calibration_name: str | None = None
    calibration_formula: str | None = None
    plain_r2star_per_s: float | None = None  # median of one exponential, where fat was looked for
    fat_fraction: Estimate | None = None  # of the signal, 0 to 1; None where its interval is too wide or nothing tells
    vial: Vial | None = None  # of a phantom: what else is measured of it
    stages: tuple[
        Stage, ...
    ] = ()  # the published ranges, ascending; empty where no concentration, nor a bound, is given

    @property
    def measurable(self) -> bool:
        """Whether nothing forbids a number."""
        return all(flag.grade is not Grade.NOT_MEASURABLE for flag in self.flags)


@dataclass(frozen=True, slots=True)
class DecayCurve:
    """The median signal of a region over the echoes and the decay that describes it, for the report's figure."""

    echo_times_ms: tuple[float, ...]
    signal: tuple[float, ...]  # median over the region's valid voxels, one value per echo
    noise_floor: float  # expected magnitude where nothing is left of the signal, same unit
    s0: float | None = None
    r2star_per_s: float | None = None  # None: no decay was measurable
    beat: tuple[tuple[float, float], ...] = ()  # echo time in ms and factor of fat on the decay; empty: none


@dataclass(frozen=True, slots=True)
class Identity:
    """What every UID of a result is derived from, and which result it replaces."""

    key: str  # digest of the source SOP Instance UIDs, the settings and the software version
    software_version: str
    supersedes: str | None = None  # key of an earlier result of the same group


@dataclass(frozen=True, slots=True)
class Drawn:
    """The object in which a person drew the regions of a result."""

    sop_class_uid: str
    sop_instance_uid: str
    author: str | None  # as the object names them; never for a log
    made_with: str  # manufacturer and model of the software
    refused: tuple[str, ...] = ()  # why others of its regions could not be measured


@dataclass(frozen=True, slots=True)
class Result:
    """All that a report is made from."""

    stack: EchoStack
    maps: Maps
    rois: tuple[Roi, ...]
    measurements: tuple[RoiMeasurement, ...]  # in the order of rois
    identity: Identity
    settings: Mapping[str, Any]  # JSON values: every parameter that made the numbers
    decays: tuple[DecayCurve | None, ...] = ()  # in the order of rois; empty: the report draws no decay
    drawn: Drawn | None = None  # None: the regions were found automatically
    anatomy: NDArray[np.float32] | None = None  # (slices, K, L): the first echo, to draw outlines on
    finder: Mapping[str, Any] = field(default_factory=dict)  # JSON values: name, version, hash of what found the liver


@dataclass(frozen=True, slots=True)
class Output:
    """A DICOM object that was written."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
