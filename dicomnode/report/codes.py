"""The coded concepts that results are written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodeContentItem, CodedConcept
from pydicom.sr.coding import Code

from dicomnode.measure.organs import HEART, LIVER, ORGANS, PHANTOM
from dicomnode.model import Grade
from dicomnode.report.change import OBSTACLES, OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomnode.model import Flag
    from dicomnode.trend.rules import Obstacle, Outcome

# No standard code exists for some concepts; this scheme is declared in every object (PS3.3 C.12.1.1.5).
SCHEME = "99LIVERIRON"
SCHEME_VERSION = "1"


def private(value: str, meaning: str) -> Code:
    """Return a concept of this node's own scheme; ``value`` has at most 16 characters, ``meaning`` at most 64."""
    return Code(value, SCHEME, meaning, SCHEME_VERSION)


T2STAR = Code("113064", "DCM", "T2*")
R2STAR = Code("126395", "DCM", "R2*")
R2STAR_SD = private("R2S-SD", "R2*, standard deviation")
R2STAR_PLAIN = private("R2S-PLAIN", "R2* by one exponential, fat not allowed for")
FAT = Code("129100", "DCM", "Fat fraction")  # CID 7180; of the signal: no code tells that from proton density
FAT_SD = private("FAT-SD", "Fat fraction, standard deviation")
FAT_LOW = private("FAT-CI95-LOW", "Signal fat fraction, 95 % interval from")
FAT_HIGH = private("FAT-CI95-HIGH", "Signal fat fraction, 95 % interval to")
S0 = private("S0", "Signal at echo time 0")


@dataclass(frozen=True, slots=True)
class Iron:
    """The concepts of an organ's iron concentration, by its symbol."""

    value: Code
    doubted: Code
    amount: Code
    low: Code
    high: Code
    at_least: Code
    of_slice: Code
    # What was measured earlier: nothing that collects values by code can take it for today's.
    prior: Code
    prior_below: Code
    prior_above: Code
    change: Code
    change_limit: Code


def iron(symbol: str) -> Iron:
    """The concepts of the concentration with that symbol, as LIC of the liver."""
    return Iron(
        value=private(symbol, f"{symbol} (dry weight)"),  # short: viewers print the meaning beside the number
        # The same concept: whoever reads codes reads the evaluations too.
        doubted=private(symbol, f"{symbol}, low confidence"),
        amount=private(f"{symbol}-UMOL", f"{symbol} (dry weight), amount of iron"),
        low=private(f"{symbol}-CI95-LOW", f"{symbol}, 95 % interval from"),
        high=private(f"{symbol}-CI95-HIGH", f"{symbol}, 95 % interval to"),
        # A bound has a concept of its own, so that nothing can read it as the value.
        at_least=private(f"{symbol}-MIN", f"{symbol} at least (beyond the range)"),
        of_slice=private(f"{symbol}-SLICE", f"{symbol} of one slice"),
        prior=private(f"{symbol}-PRIOR", f"{symbol} (dry weight), earlier"),
        prior_below=private(f"{symbol}-PRIOR-MAX", f"{symbol} less than, earlier"),
        prior_above=private(f"{symbol}-PRIOR-MIN", f"{symbol} at least, earlier"),
        change=private(f"{symbol}-CHANGE", f"{symbol}, today's less the earlier"),
        change_limit=private(f"{symbol}-CHANGE-MIN", f"{symbol}, least change beyond repeatability"),
    )


IRONS: Mapping[str, Iron] = {organ.symbol: iron(organ.symbol) for organ in (LIVER, HEART)}
LIC = IRONS[LIVER.symbol].value
# The ends of the 95 % interval. The standard's own (CID 225) are distances without a meaning of 95 %, highdicom writes
# them without a unit, and PixelMed's validator finds their relationship wrong.
R2STAR_LOW = private("R2S-CI95-LOW", "R2*, 95 % interval from")
R2STAR_HIGH = private("R2S-CI95-HIGH", "R2*, 95 % interval to")
# A bound has a concept of its own, so that nothing can read it as the value.
R2STAR_AT_LEAST = private("R2S-MIN", "R2* at least (beyond the range)")
T2STAR_LOW = private("T2S-CI95-LOW", "T2*, 95 % interval from")
T2STAR_HIGH = private("T2S-CI95-HIGH", "T2*, 95 % interval to")
R2STAR_OF_SLICE = private("R2S-SLICE", "R2* of one slice")
R2STAR_PRIOR = private("R2S-PRIOR", "R2*, earlier")
T2STAR_PRIOR = private("T2S-PRIOR", "T2*, earlier")
T2STAR_PRIOR_BELOW = private("T2S-PRIOR-MAX", "T2* less than, earlier")
CONFIDENCE = private("CONFIDENCE", "Confidence of the region")
VOXELS = private("NVOX", "Voxels")
AREA = Code("42798000", "SCT", "Area")

DAY = Code("d", "UCUM", "days")
MILLISECOND = Code("ms", "UCUM", "ms")
PER_SECOND = Code("/s", "UCUM", "/s")
SQUARE_MILLIMETRE = Code("mm2", "UCUM", "mm2")
VOXEL_COUNT = Code("{voxels}", "UCUM", "voxels")
ARBITRARY = Code("[arb'U]", "UCUM", "arbitrary unit")
PERCENT = Code("%", "UCUM", "%")
MICROMOLE_PER_GRAM_DRY = Code("umol/g{DryWt}", "UCUM", "umol/g dry weight")  # a longer code value is another attribute
MILLIGRAM_PER_GRAM = Code("mg/g", "UCUM", "mg/g dry weight")  # for receivers that know no annotations of units
MILLIGRAM_PER_GRAM_DRY = Code("mg/g{DryWeight}", "UCUM", "mg/g dry weight")

MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
MEDIAN = Code("373099004", "SCT", "Median")
INTERQUARTILE_RANGE = Code("WR0O", "IBSI", "Interquartile range")

QUANTITY = Code("246205007", "SCT", "Quantity")
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
R2STAR_FIT = private("R2S-FIT", "R2* from multi-echo gradient-echo magnitude")
FAT_FIT = private("FAT-FIT", "Signal fat fraction from multi-echo magnitude, not PDFF")

MEASUREMENT_FAILURE = Code("114006", "DCM", "Measurement failure")

SOURCE_FOR_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")
ALTERNATE_INSTANCE = Code("121326", "DCM", "Alternate SOP Class instance")
SEGMENTATION = Code("113076", "DCM", "Segmentation")
AUTOMATIC_FAMILY = Code("123104", "DCM", "Morphological Operations")
MANUAL_FAMILY = Code("123109", "DCM", "Manual Processing")
REJECTED = Code("113001", "DCM", "Rejected for Quality Reasons")
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")

TIME_POINT = Code("C2348792", "UMLS", "Time Point")
THIS_STUDY = private("THIS-STUDY", "The study of this report")
PRIOR_REPORT = Code("122075", "DCM", "Prior report for current patient")
CHANGE = private("CHANGE", "Change since")
OBSTACLE = private("NOT-COMPARABLE", "Not comparable because")
DIFFERENCE = private("DIFFERS", "Measured otherwise")  # where no change is judged
FINDING_SITE = Code("363698007", "SCT", "Finding Site")

PERSON = Code("121006", "DCM", "Person")
DEVICE = Code("121007", "DCM", "Device")
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
MRI = Code("25056-3", "LN", "MRI unspecified body region")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
LIMITATION = private("LIMITS", "Limits of use")
PROVENANCE = private("PROVENANCE", "How the result came about")
REMARK = private("REMARK", "Remark on a region")
QUALITY = private("QUALITY", "Quality of the measurement")
NO_FLAG = private("NO-FLAG", "Nothing speaks against the numbers")
FLAGGED = private("FLAGGED", "Flagged: read the remarks before the numbers")
REGION = private("REGION", "How the region was drawn")
AUTOMATIC = private("AUTOMATIC", "Automatic")
MANUAL = private("MANUAL", "Drawn by hand")
ANSWER = private("ANSWER", "Answer")
OF_SLICE = private("SLICE", "Values of one slice")
EARLIER = private("EARLIER", "Earlier results")
NOT_MEASURABLE = private("FLAG-STOP", "Not measurable")
_GRADES: Mapping[Grade, Code] = {
    Grade.NOT_MEASURABLE: NOT_MEASURABLE,
    Grade.LOW_CONFIDENCE: private("FLAG-DOUBT", "Low confidence"),
    Grade.INFO: private("FLAG-NOTE", "To be known"),
}

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
TISSUE = Code("85756007", "SCT", "Body tissue structure")
PHYSICAL_OBJECT = Code("260787004", "SCT", "Physical object")

_OTHERS: Mapping[str, Code] = {
    "spleen": Code("78961009", "SCT", "Spleen"),
    "kidney": Code("64033007", "SCT", "Kidney"),
    "vessel": Code("59820001", "SCT", "Blood vessel"),
    "tissue": TISSUE,
    PHANTOM.name: Code(PHANTOM.code, "SCT", PHANTOM.subject),
}


def finding(key: str, region: str = "") -> Code:
    """Return what a region is of, and as which part of it; an unknown ``Roi.finding`` claims no more than tissue."""
    organ = ORGANS.get(key)
    if organ is None:
        return _OTHERS.get(key, TISSUE)
    site = organ.site(region)
    return Code(site.code, "SCT", site.meaning)


def category(key: str) -> Code:
    """Return what kind of thing that is (CID 7150)."""
    return PHYSICAL_OBJECT if key == PHANTOM.name else ANATOMY


def grade(of: Flag) -> Code:
    """Return what a flag means for the number."""
    return _GRADES[of.grade]


def flag(of: Flag) -> Code:
    """Return what a flag says: its own code, and as much of its sentence as a code's meaning holds."""
    sentence = of.sentence if len(of.sentence) <= 64 else f"{of.sentence[:63].rsplit(' ', 1)[0]}…"
    return private(of.code.upper()[:16], sentence)


def outcome(of: Outcome) -> Code:
    """Return the verdict on an earlier value."""
    return private(of.value.upper()[:16], OUTCOMES[of].capitalize())


def obstacle(of: Obstacle) -> Code:
    """Return why an earlier value cannot be compared."""
    return private(of.value.upper()[:16], OBSTACLES[of].capitalize()[:64])


def calibration(name: str | None, formula: str | None, symbol: str = "LIC") -> Code:
    """Return the calibration as a method."""
    if not name:
        return private(f"{symbol}-R2S", f"{symbol} from R2*")
    return private(name.upper()[:16], f"{name}: {formula}"[:64].rstrip())


def in_range(name: str, symbol: str, scheme: str) -> Code:
    """The probability that a concentration lies in a published range."""
    return private(f"P-{name.upper().replace(' ', '-')}"[:16], f"Probability of {symbol} {name} ({scheme})"[:64])


def concept(code: Code) -> CodedConcept:
    """Return ``code`` as an item of a code sequence."""
    return CodedConcept.from_code(code)


def quantity(what: Code, method: Code) -> list[CodeContentItem]:
    """Return the Quantity Definition Sequence of a real world value mapping (PS3.3 C.7.6.16.2.11)."""
    return [CodeContentItem(name=QUANTITY, value=what), CodeContentItem(name=MEASUREMENT_METHOD, value=method)]


def scheme_identification(device: str) -> CodingSchemeIdentificationItem:
    """Declare the private scheme."""
    return CodingSchemeIdentificationItem(
        designator=SCHEME,
        name=f"{device} codes",
        version=SCHEME_VERSION,
        responsible_organization=device,
    )
