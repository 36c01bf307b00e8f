"""What each vendor writes, one table entry a vendor (facts: PS3.3 C.8.3, C.8.13; conformance statements; real files).

To add a vendor, add an entry to VENDORS, a dialect to the simulator and a row to the table tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicomnode.header.elements import Private
from dicomnode.model import Component

if TYPE_CHECKING:
    from collections.abc import Mapping

M, P, R, I = Component.MAGNITUDE, Component.PHASE, Component.REAL, Component.IMAGINARY  # noqa: E741

# Words of Image Type and Frame Type that mean the same wherever they stand, whoever wrote them.
COMPONENT_WORDS: Mapping[str, Component] = {
    "M": M, "MAGNITUDE": M, "M_FFE": M, "M_SE": M, "M_PCA": M,
    "P": P, "PHASE": P, "PHASE MAP": P, "PHASE_MAP": P, "VELOCITY": P, "VELOCITY MAP": P,
    "R": R, "REAL": R, "R_FFE": R, "REAL PART": R,
    "I": I, "IMAGINARY": I, "I_FFE": I, "IMAGINARY PART": I,
}  # fmt: skip

# Words that make an image a map, a mean or a subtraction: never an echo, whatever the first value says.
DERIVED_WORDS = frozenset({
    "B0", "B0 MAP", "B0_MAP", "B1", "B1 MAP", "FIELD_MAP", "FIELD MAP", "FIELDMAP",
    "R2_STAR", "R2_STAR MAP", "R2_STAR_MAP", "R2STAR", "R2*", "R2 STAR", "R2", "R2 MAP", "R2_MAP",
    "T2_STAR", "T2_STAR MAP", "T2_STAR_MAP", "T2STAR", "T2*", "T2_STAR_UNSPECIF",
    "T2 MAP", "T2_MAP", "T1 MAP", "T1_MAP",
    "WATER", "FAT", "FF", "PDFF", "FAT_FRACTION", "FAT FRACTION", "FATFRACTION", "WATER_FRACTION", "IRON",
    "MEAN", "RMS", "SOS", "SUM", "ADD", "AVERAGE", "AVE", "SUB", "SUBTRACTION",
    "MIP", "MINIP", "MPR", "MAX_IP", "MIN_IP",
    "PROJECTION IMAGE", "REFORMATTED", "RESAMPLED", "ADC", "TRACEW", "FA MAP", "SWI", "QSM", "PHASE_DIFF", "ERROR MAP",
    "SECONDARY", "DERIVED", "SCREEN SAVE", "SCREENSAVE",
})  # fmt: skip

# Words of Image Type that are kept because they tell two otherwise equal images apart.
TWIN_WORDS: Mapping[str, str] = {
    "NORM": "normalised", "UCA": "normalised",
    "DIS2D": "distortion corrected", "DIS3D": "distortion corrected in 3D", "GDC": "distortion corrected",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vendor:
    """How one vendor says what an image is."""

    name: str
    manufacturer: tuple[str, ...]  # lower-case beginnings of Manufacturer (0008,0070)
    component_at: int | None = None  # index of the component in Image Type; any other word there is a map
    component_private: Private | None = None  # a number, looked up in component_numbers
    component_numbers: Mapping[int, Component] = field(default_factory=dict)
    gradient_words: frozenset[str] = frozenset({"GR"})  # Scanning Sequence of a gradient echo
    sequence_name: tuple[Private, ...] = ()  # further places where the pulse sequence is named
    epi_factor: Private | None = None  # above 1: echo-planar
    diffusion_b: Private | None = None  # above 0: diffusion
    fat_saturation: Private | None = None  # "Y"
    scale_slope: Private | None = None  # stored values per signal unit, beside Rescale
    phase_turn: float | None = None  # rescaled units in a whole turn of phase
    unscaled_turn: float | None = None  # the same where the header gives no Rescale
    frame_items: Private | None = None  # sequence in which a frame of an enhanced object keeps the private elements
    echo_count: tuple[Private, ...] = ()  # how many echoes the scanner says it acquired
    split_word: str | None = None  # Image Type word of a multi-echo scan that is sent as one series per echo


GENERIC = Vendor("generic", ())

VENDORS = (
    Vendor(
        "Siemens",
        ("siemens",),
        component_at=2,
        sequence_name=(Private(0x0021, "SIEMENS MR SDI 02", 0x77, "LO", "SequenceName"),),
        diffusion_b=Private(0x0019, "SIEMENS MR HEADER", 0x0C, "IS", "BValue"),
        phase_turn=8192.0,  # 2 × stored − 4096, where 4096 is half a turn
        unscaled_turn=4096.0,
        split_word="MFSPLIT",
    ),
    Vendor(
        "GE",
        ("ge ", "ge_", "general electric"),
        component_private=Private(0x0043, "GEMS_PARM_01", 0x2F, "SS", "ImageTypeRealImaginaryPhaseMagnitude"),
        component_numbers={0: M, 1: P, 2: R, 3: I},
        gradient_words=frozenset({"GR", "RM"}),  # research mode: every R2* series seen says so
        sequence_name=(Private(0x0019, "GEMS_ACQU_01", 0x9C, "LO", "PulseSequenceName"),),
        echo_count=(Private(0x0019, "GEMS_ACQU_01", 0x7E, "SS", "NumberOfEchoes"),),
    ),
    Vendor(
        "Philips",
        ("philips",),
        component_at=3,
        sequence_name=(Private(0x2001, "Philips Imaging DD 001", 0x20, "LO", "ScanningTechniqueDescription"),),
        epi_factor=Private(0x2001, "Philips Imaging DD 001", 0x13, "SL", "EPIFactor"),
        diffusion_b=Private(0x2001, "Philips Imaging DD 001", 0x03, "FL", "DiffusionBFactor"),
        fat_saturation=Private(0x2001, "Philips Imaging DD 001", 0x21, "CS", "SPIR"),
        scale_slope=Private(0x2005, "Philips MR Imaging DD 001", 0x0E, "FL", "ScaleSlope"),
        phase_turn=2000 * math.pi,  # mrad
        frame_items=Private(0x2005, "Philips MR Imaging DD 005", 0x0F, "SQ", "FrameAttributes"),
        echo_count=(Private(0x2001, "Philips Imaging DD 001", 0x14, "SL", "NumberOfEchoes"),),
    ),
    Vendor("United Imaging", ("uih", "united imaging"), component_at=2),
    Vendor("Canon", ("canon", "toshiba"), gradient_words=frozenset({"GR", "RM"})),
)


def vendor_of(manufacturer: str) -> Vendor:
    """Return the table entry of a manufacturer, the generic one where there is none."""
    name = f"{manufacturer.strip().lower()} "
    return next((vendor for vendor in VENDORS if name.startswith(vendor.manufacturer)), GENERIC)
