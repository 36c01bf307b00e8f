"""What each vendor writes, as one table.

The values were seen in real headers; where a vendor's header was not at hand the entry is left out, not guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomnode.model import Component

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicomnode.simulate.frames import Frame

EXPLICIT_LITTLE_ENDIAN = ExplicitVRLittleEndian
IMPLICIT_LITTLE_ENDIAN = ImplicitVRLittleEndian


class Layout(StrEnum):
    """How the images of a series are packed into objects."""

    CLASSIC = "one object per image"
    ENHANCED_PER_ECHO = "one multi-frame object per echo"
    ENHANCED_WHOLE = "one multi-frame object for everything"


def echo_by_echo(frame: Frame) -> tuple[int, ...]:
    """InstanceNumber runs over the slices of an echo, then on to the next echo."""
    return frame.kind_index, frame.echo_index, frame.slice_index


def slice_by_slice(frame: Frame) -> tuple[int, ...]:
    """InstanceNumber runs over the echoes of a slice, then on to the next slice."""
    return frame.kind_index, frame.slice_index, frame.echo_index


def components_innermost(frame: Frame) -> tuple[int, ...]:
    """InstanceNumber runs over the components of an echo, then over the echoes of a slice."""
    return frame.slice_index, frame.echo_index, frame.kind_index


@dataclass(frozen=True, slots=True)
class Rescale:
    """Modality value = slope × stored + intercept."""

    slope: float
    intercept: float = 0.0
    kind: str = "US"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of image of a dialect."""

    component: Component
    image_type: tuple[str, ...]
    rescale: Rescale | None = None  # None: the attributes are absent
    scale: float = 1.0  # modality value per natural unit: signal, radian, hertz or 1/s
    series: int = 0  # kinds of the same number share a series
    series_description: str = ""  # added to that of the magnitude
    frame_contrast: str = ""  # (0008,9209) of an enhanced frame
    codes: Mapping[str, int] = field(default_factory=dict)  # of private attributes
    echo_time_ms: float | None = None  # written instead of the true one


@dataclass(frozen=True, slots=True)
class Private:
    """One private attribute; ``value`` computes it from the image."""

    group: int
    creator: str
    element: int
    vr: str
    value: Callable[[Frame], Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one vendor's software writes a multi-echo gradient-echo series."""

    manufacturer: str
    model: str
    software: tuple[str, ...]
    frequency_mhz: Mapping[float, float | None]  # by class of scanner; None: not written
    magnitude: Kind
    companions: tuple[Kind, ...] = ()  # the rest of the complex signal
    r2star_map: Kind | None = None
    field_map: Kind | None = None
    localiser: Kind | None = None
    layout: Layout = Layout.CLASSIC
    order: Callable[[Frame], tuple[int, ...]] = echo_by_echo  # of InstanceNumber within a series
    series_number: int = 6
    series_per_echo: bool = False
    transfer_syntax: str = EXPLICIT_LITTLE_ENDIAN
    signed: bool = False
    scanning_sequence: str = "GR"
    sequence_variant: str = "SP"
    scan_options: str = ""
    sequence_name: str = ""
    echo_numbers: bool = True
    echo_train_length: int | None = None  # None: the number of echoes
    series_description: str = "t2star_liver"
    promises_images: bool = False  # ImagesInAcquisition (0020,1002)
    counts_its_frame: bool = False  # NumberOfFrames 1 in a single-frame object
    private: tuple[Private, ...] = ()


def _magnitude(*values: str, rescale: Rescale | None = None, contrast: str = "T1", **codes: int) -> Kind:
    return Kind(Component.MAGNITUDE, ("ORIGINAL", "PRIMARY", *values), rescale, frame_contrast=contrast, codes=codes)


_SIEMENS_FREQUENCY = {1.5: 63.625, 3.0: 123.259}  # 1.494 T and 2.895 T
_SIEMENS_PHASE = Rescale(2.0, -4096.0)  # −4096 … 4094 is one turn
_PHILIPS_SIGNAL = Rescale(1.2366300366300, 0.0, "normalized")
_PHILIPS_PHASE = Rescale(1.53455433455433, -3142.0, "mrad")
_PHILIPS_SIGNED = Rescale(2.4732600732600, -5064.0, "normalized")
_PHILIPS_FIELD = Rescale(0.24420024420024, -500.0, "Hz")
_PHILIPS_SCALE_SLOPE = 0.000237988992


def _philips_field_map(image_type: tuple[str, ...], echo_time_ms: float | None) -> Kind:
    return Kind(
        Component.REAL,
        image_type,
        _PHILIPS_FIELD,
        frame_contrast="T1",
        codes={"dimension": 5},
        echo_time_ms=echo_time_ms,
    )


def _gems(group: int, creator: str, element: int, vr: str, value: Callable[[Frame], Any]) -> Private:
    return Private(group, f"GEMS_{creator}_01", element, vr, value)


_GE_PRIVATE = (
    _gems(0x0019, "ACQU", 0x7E, "SS", lambda f: f.n_echoes),  # number of echoes
    _gems(0x0019, "ACQU", 0x9C, "LO", lambda _: "mfgre"),  # pulse sequence name
    _gems(0x0019, "ACQU", 0xA2, "SL", lambda _: 17408),  # raw data run number
    _gems(0x0021, "RELA", 0x4F, "SS", lambda f: f.plan.slices),  # locations in acquisition
    _gems(0x0043, "PARM", 0x2F, "SS", lambda f: f.kind.codes["component"]),
    _gems(0x0043, "PARM", 0x30, "SS", lambda f: f.kind.codes.get("vascular", 0)),  # 2 on a B0 map
)
_PHILIPS_PRIVATE = (
    Private(0x2001, "Philips Imaging DD 001", 0x0A, "IS", lambda f: f.slice_index + 1),
    Private(0x2001, "Philips Imaging DD 001", 0x14, "SL", lambda f: f.n_echoes),
    Private(0x2001, "Philips Imaging DD 001", 0x18, "SL", lambda f: f.plan.slices),
    Private(0x2005, "Philips MR Imaging DD 001", 0x0D, "FL", lambda _: 0.0),
    Private(0x2005, "Philips MR Imaging DD 001", 0x0E, "FL", lambda _: _PHILIPS_SCALE_SLOPE),
    Private(0x2005, "Philips MR Imaging DD 001", 0x11, "CS", lambda f: f.kind.image_type[3]),
)
_XA_PRIVATE = (
    Private(0x0021, "SIEMENS MR SDI 02", 0x75, "CS", lambda f: [*f.kind.image_type[:3], "NONE"]),
    Private(0x0021, "SIEMENS MR SDI 02", 0x77, "LO", lambda _: "*fl2d8"),
)
_UIH_PRIVATE = (Private(0x0065, "Image Private Header", 0x05, "LO", lambda _: "A->P"),)

DIALECTS: Mapping[str, Dialect] = {
    "siemens-ve": Dialect(
        manufacturer="SIEMENS",
        model="Prisma_fit",
        software=("syngo MR E11",),
        frequency_mhz=_SIEMENS_FREQUENCY,
        magnitude=_magnitude("M", "ND"),
        companions=(
            Kind(Component.PHASE, ("ORIGINAL", "PRIMARY", "P", "ND"), _SIEMENS_PHASE, 4096 / math.pi, series=1),
        ),
        r2star_map=Kind(
            Component.DERIVED,
            ("DERIVED", "PRIMARY", "R2_STAR MAP", "ND"),
            series=2,
            series_description="_R2Star_Images",
        ),
        localiser=Kind(
            Component.MAGNITUDE,
            ("ORIGINAL", "PRIMARY", "M", "ND"),
            series=-5,
            series_description="_localizer",
            echo_time_ms=5.0,
        ),
        sequence_name="fl2d8",
        counts_its_frame=True,
    ),
    "siemens-xa-enhanced": Dialect(
        manufacturer="Siemens Healthineers",
        model="MAGNETOM Prisma Fit",
        software=("syngo MR XA30",),
        frequency_mhz=_SIEMENS_FREQUENCY,
        magnitude=_magnitude("M", "NONE", rescale=Rescale(1.0), contrast="UNKNOWN"),
        companions=(
            Kind(
                Component.PHASE,
                ("ORIGINAL", "PRIMARY", "P", "NONE"),
                _SIEMENS_PHASE,
                4096 / math.pi,
                series=1,
                frame_contrast="UNKNOWN",
            ),
        ),
        r2star_map=Kind(
            Component.DERIVED,
            ("DERIVED", "PRIMARY", "T2_STAR", "NONE"),
            Rescale(1.0),
            series=2,
            series_description="_R2Star_Images",
            frame_contrast="T2_STAR",
        ),
        layout=Layout.ENHANCED_PER_ECHO,
        series_number=8,
        sequence_name="*fl2d8",
        echo_train_length=0,
    ),
    "siemens-xa-classic": Dialect(
        manufacturer="Siemens Healthineers",
        model="MAGNETOM Prisma Fit",
        software=("syngo MR XA30",),
        frequency_mhz=_SIEMENS_FREQUENCY,
        magnitude=_magnitude("M", "DIS2D", "MFSPLIT", rescale=Rescale(1.0)),
        companions=(
            Kind(
                Component.PHASE,
                ("ORIGINAL", "PRIMARY", "P", "DIS2D", "MFSPLIT"),
                _SIEMENS_PHASE,
                4096 / math.pi,
                series=1000,
            ),
        ),
        r2star_map=Kind(
            Component.DERIVED,
            ("DERIVED", "PRIMARY", "R2_STAR MAP", "DIS2D", "MFSPLIT"),
            Rescale(1.0),
            series=2000,
            series_description="_R2Star_Images",
        ),
        series_number=9001,
        series_per_echo=True,
        sequence_variant="SK",
        scan_options="PER",
        sequence_name="*fl2d8",
        echo_numbers=False,
        echo_train_length=0,
        private=_XA_PRIVATE,
    ),
    "ge": Dialect(
        manufacturer="GE MEDICAL SYSTEMS",
        model="DISCOVERY MR750",
        software=("27", "LX", "MR Software release:DV26.0_R03_1831.b"),
        frequency_mhz={1.5: 63.8625, 3.0: 127.77703},
        magnitude=_magnitude("OTHER", component=0),
        companions=(
            Kind(Component.REAL, ("ORIGINAL", "PRIMARY", "OTHER"), codes={"component": 2}),
            Kind(Component.IMAGINARY, ("ORIGINAL", "PRIMARY", "OTHER"), codes={"component": 3}),
        ),
        field_map=Kind(
            Component.DERIVED,
            ("ORIGINAL", "PRIMARY", "OTHER"),
            series=-14,
            series_description=" B0Map",
            codes={"component": 0, "vascular": 2},
        ),
        localiser=Kind(
            Component.MAGNITUDE,
            ("ORIGINAL", "PRIMARY", "OTHER"),
            series=-15,
            series_description=" localizer",
            codes={"component": 0},
            echo_time_ms=1.4,
        ),
        order=components_innermost,
        series_number=16,
        transfer_syntax=IMPLICIT_LITTLE_ENDIAN,
        signed=True,
        scanning_sequence="RM",
        sequence_variant="NONE",
        scan_options="EDR_GEMS\\ACC_GEMS",
        series_description="InPhase R2* Mapping BH",
        promises_images=True,
        private=_GE_PRIVATE,
    ),
    "philips-classic": Dialect(
        manufacturer="Philips",
        model="Ingenia Elition X",
        software=("5.7.1", "5.7.1.1"),
        frequency_mhz={1.5: 63.891, 3.0: 127.748512},
        magnitude=_magnitude("M_FFE", "M", "FFE", rescale=_PHILIPS_SIGNAL),
        companions=(
            Kind(Component.PHASE, ("ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"), _PHILIPS_PHASE, 1000.0),
            Kind(Component.REAL, ("ORIGINAL", "PRIMARY", "R_FFE", "R", "FFE"), _PHILIPS_SIGNED),
            Kind(Component.IMAGINARY, ("ORIGINAL", "PRIMARY", "I_FFE", "I", "FFE"), _PHILIPS_SIGNED),
        ),
        r2star_map=Kind(
            Component.DERIVED,
            ("ORIGINAL", "PRIMARY", "T2_STAR_UNSPECIF", "T2_STAR", "UNSPECIFIED"),
            _PHILIPS_SIGNAL,
        ),
        field_map=_philips_field_map(("ORIGINAL", "PRIMARY", "B0 MAP", "B0", "UNSPECIFIED"), None),
        order=slice_by_slice,
        series_number=2001,
        scan_options="FC",
        series_description="mFFE liver T2star",
        private=_PHILIPS_PRIVATE,
    ),
    "philips-enhanced": Dialect(
        manufacturer="Philips",
        model="Ingenia Elition X",
        software=("5.7.1", "5.7.1.1"),
        frequency_mhz={1.5: 63.891, 3.0: 127.748512},
        magnitude=_magnitude("T1", "M", rescale=Rescale(_PHILIPS_SIGNAL.slope), dimension=1),
        companions=(
            Kind(
                Component.PHASE,
                ("ORIGINAL", "PRIMARY", "T1", "P"),
                Rescale(_PHILIPS_PHASE.slope, _PHILIPS_PHASE.intercept),
                1000.0,
                frame_contrast="T1",
                codes={"dimension": 2},
            ),
            Kind(
                Component.REAL,
                ("ORIGINAL", "PRIMARY", "T1", "R"),
                Rescale(_PHILIPS_SIGNED.slope, _PHILIPS_SIGNED.intercept),
                frame_contrast="T1",
                codes={"dimension": 3},
            ),
            Kind(
                Component.IMAGINARY,
                ("ORIGINAL", "PRIMARY", "T1", "I"),
                Rescale(_PHILIPS_SIGNED.slope, _PHILIPS_SIGNED.intercept),
                frame_contrast="T1",
                codes={"dimension": 4},
            ),
        ),
        field_map=_philips_field_map(("ORIGINAL", "PRIMARY", "T1", "FIELD_MAP"), 0.0),
        layout=Layout.ENHANCED_WHOLE,
        series_number=2001,
        scan_options="FC",
        sequence_name="T1FFE",
        echo_train_length=1,
        series_description="mFFE liver T2star",
    ),
    "canon": Dialect(
        manufacturer="CANON_MEC",
        model="Galan 3T",
        software=("V6.0SP2000*",),
        frequency_mhz={1.5: None, 3.0: 123.208},
        magnitude=_magnitude("GDC"),
        sequence_variant="NONE",
        series_number=10000,
        echo_train_length=1,
        series_description="FE multi echo T2star",
    ),
    "uih": Dialect(
        manufacturer="UIH",
        model="uMR 770",
        software=("R002",),
        frequency_mhz={1.5: None, 3.0: None},
        magnitude=_magnitude("M", "UCA", "IF"),
        order=slice_by_slice,
        series_number=2,
        sequence_variant="NONE",
        sequence_name="gre",
        series_description="gre_t2star_liver",
        private=_UIH_PRIVATE,
    ),
}
