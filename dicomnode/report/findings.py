"""What a system is told of a result that takes no DICOM objects."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from dicomnode.errors import StepError
from dicomnode.measure import iron
from dicomnode.measure.organ import Answered
from dicomnode.measure.organs import ORGANS, of_result, taken_for
from dicomnode.model import Grade
from dicomnode.report import change, codes, wording
from dicomnode.report.instance import NOT_FOR_DIAGNOSIS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from pydicom import Dataset
    from pydicom.sr.coding import Code

    from dicomnode.measure.organ import Organ
    from dicomnode.model import Estimate, Result, Roi, RoiMeasurement
    from dicomnode.report.source import Source
    from dicomnode.trend.rules import Change, Trend
    from dicomnode.trend.values import Point

UNVERIFIED = "Made by software alone: no person has verified this result."  # as the report's flags say
_NO_REGION = "no region was found or drawn"
_IRON, _R2STAR, _T2STAR = "lic", "r2star", "t2star"
# What is told of every region: concept, for iron that of the liver, and unit by name.
QUANTITIES: Mapping[str, tuple[Code, Code]] = {
    _IRON: (codes.LIC, codes.MILLIGRAM_PER_GRAM),
    _R2STAR: (codes.R2STAR, codes.PER_SECOND),
    _T2STAR: (codes.T2STAR, codes.MILLISECOND),
}


@dataclass(frozen=True, slots=True)
class Concept:
    """A code, the designator of its scheme (PS3.16 8) and its meaning."""

    value: str
    scheme: str
    meaning: str

    @classmethod
    def of(cls, code: Code) -> Concept:
        """The same without pydicom."""
        return cls(code.value, code.scheme_designator, code.meaning)


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of the 95 % interval of a value, in its unit."""

    concept: Concept
    value: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One quantity of a region as the report prints it; without a value, why there is none."""

    name: str  # of QUANTITIES
    concept: Concept
    unit: Concept
    value: str | None = None
    comparator: str = ""  # "<" or ">": a bound, and no measurement
    interval: tuple[Bound, ...] = ()
    method: Concept | None = None
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """A region, its quantities and what has to be read with them."""

    name: str
    site: Concept
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who gave an identifier: a local name, a universal one and its type (ISO, DNS), as far as the images say."""

    name: str = ""
    universal_id: str = ""
    universal_type: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """Whose result it is, as the source images say; for a configured destination and nothing else."""

    id: str
    issuer: Issuer
    name: str  # a DICOM person name (PS3.5 6.2)
    birth_date: str  # YYYYMMDD
    sex: str


@dataclass(frozen=True, slots=True)
class Study:
    """Which order and examination it belongs to."""

    uid: str
    accession_number: str
    accession_issuer: Issuer
    date: str  # YYYYMMDD
    time: str  # HHMMSS


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier value as a report shows it, and the verdict on it in codes of ``trend.rules``."""

    date: str  # YYYYMMDD
    value: str | None
    comparator: str
    outcome: str
    obstacles: tuple[str, ...]
    quantity: str = _IRON  # of QUANTITIES


@dataclass(frozen=True, slots=True)
class Findings:
    """All that is told of one result; ``first_key`` is the result that it and others before it replace."""

    key: str
    first_key: str
    corrects: bool
    created: str  # ISO 8601
    device: str
    software_version: str
    patient: Patient
    study: Study
    answer: str
    regions: tuple[Region, ...]
    notes: tuple[str, ...] = ()
    replaced_regions: int = 0  # the most that a result had which it replaces
    earlier: tuple[Earlier, ...] = ()  # the oldest first

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)


_ADAPTER = TypeAdapter(Findings)


def read(said: Any) -> Findings:
    """The findings that ``as_json`` gave; raises StepError where they are none."""
    try:
        return _ADAPTER.validate_python(said)
    except ValidationError as fault:  # its words would repeat what is in there
        raise StepError(f"{fault.error_count()} values of the findings of this result cannot be read") from None


def of(
    result: Result,
    source: Source,
    first_key: str,
    created: datetime,
    *,
    trend: Trend,
    replaced: Findings | None = None,
) -> Findings:
    """What a result says: of what was found by itself the region of the answer, of what a person drew every region."""
    pairs = list(zip(result.rois, result.measurements, strict=True))
    told = pairs if result.drawn is not None else pairs[:1]
    first, organ, before = wording.lead(result), of_result(result.settings), taken_for(result.settings)
    advice = first[1].advice if first else ""
    notes = (NOT_FOR_DIAGNOSIS, UNVERIFIED, advice, wording.history(result), *change.remarks(trend))
    return Findings(
        key=result.identity.key,
        first_key=first_key,
        corrects=result.identity.supersedes is not None,
        created=created.isoformat(),
        device=organ.device,
        software_version=result.identity.software_version,
        patient=patient(source.identity),
        study=study(source),
        answer=str(wording.headline(result)),
        regions=tuple(_region(before, *pair) for pair in told) or (_no_region(organ),),
        notes=tuple(note for note in notes if note),
        replaced_regions=0 if replaced is None else max(len(replaced.regions), replaced.replaced_regions),
        earlier=tuple(_earlier(organ, *entry) for entry in trend.entries),
    )


# ---- whose


def patient(identity: Dataset) -> Patient:
    """Whose an object is."""
    return Patient(
        id=_text(identity, "PatientID"),
        issuer=_issuer(identity, "IssuerOfPatientIDQualifiersSequence", _text(identity, "IssuerOfPatientID")),
        name=_text(identity, "PatientName"),
        birth_date=_text(identity, "PatientBirthDate"),
        sex=_text(identity, "PatientSex"),
    )


def study(source: Source) -> Study:
    """Which order and examination a result belongs to."""
    identity = source.identity
    return Study(
        uid=source.study_instance_uid,
        accession_number=_text(identity, "AccessionNumber"),
        accession_issuer=_issuer(identity, "IssuerOfAccessionNumberSequence"),
        date=_text(identity, "StudyDate"),
        time=_text(identity, "StudyTime")[:6],
    )


def _issuer(identity: Dataset, sequence: str, name: str = "") -> Issuer:
    """HL7v2 Hierarchic Designator (PS3.3 10.14)."""
    for item in identity.get(sequence) or ():
        return Issuer(
            name or _text(item, "LocalNamespaceEntityID"),
            _text(item, "UniversalEntityID"),
            _text(item, "UniversalEntityIDType"),
        )
    return Issuer(name)


def _text(data_set: Dataset, keyword: str) -> str:
    return str(data_set.get(keyword) or "").strip()


# ---- what


def _region(organ: Organ, roi: Roi, numbers: RoiMeasurement) -> Region:
    findings = (_iron(ORGANS.get(roi.finding, organ), roi, numbers), _r2star(roi, numbers), _t2star(roi, numbers))
    notes = (str(flag) for flag in wording.flags_by_grade(numbers.flags))
    return Region(roi.name, Concept.of(codes.finding(roi.finding, roi.name)), findings, tuple(notes))


def _no_region(organ: Organ) -> Region:
    concepts = {_IRON: codes.iron(organ.symbol).value}
    empty = (_finding(name, concept=concepts.get(name), absent=_NO_REGION) for name in QUANTITIES)
    return Region(organ.name, Concept.of(codes.finding(organ.name)), tuple(empty), (_NO_REGION,))


def _iron(organ: Organ, roi: Roi, numbers: RoiMeasurement) -> Finding:
    """The concentration, a bound of it, or why there is neither: what the report says, no more."""
    bound = None if numbers.at_least is None else numbers.at_least.lic_mg_per_g
    ranges, concepts = wording.ranges_of(roi, numbers), codes.iron(organ.symbol)
    method = codes.calibration(numbers.calibration_name, numbers.calibration_formula, organ.symbol)
    if wording.is_under_range(numbers):
        return _finding(_IRON, f"{iron.SMALLEST_MG_PER_G:g}", "<", concept=concepts.value, method=method)
    if numbers.measurable and numbers.lic_mg_per_g is not None:
        doubted = concepts.doubted if wording.is_doubted(numbers) else concepts.value
        ends = _ends(concepts.low, concepts.high, numbers.lic, lambda value: f"{value:.1f}")
        return _finding(_IRON, f"{numbers.lic_mg_per_g:.1f}", concept=doubted, interval=ends, method=method)
    if bound is not None and ranges is not None and (ranges.of_rate or bound >= ranges.least):
        return _finding(_IRON, f"{bound:.1f}", ">", concept=concepts.value, method=method)
    return _finding(_IRON, concept=concepts.value, absent=_why(roi, numbers, "no-calibration"))


def _r2star(roi: Roi, numbers: RoiMeasurement) -> Finding:
    if numbers.measurable and numbers.r2star_per_s is not None:
        ends = _ends(codes.R2STAR_LOW, codes.R2STAR_HIGH, numbers.r2star, wording.number)
        value = wording.number(numbers.r2star_per_s.median)
        return _finding(_R2STAR, value, interval=ends, method=codes.R2STAR_FIT)
    if numbers.at_least is not None:
        return _finding(_R2STAR, wording.number(numbers.at_least.r2star_per_s), ">", method=codes.R2STAR_FIT)
    return _finding(_R2STAR, absent=_why(roi, numbers))


def _t2star(roi: Roi, numbers: RoiMeasurement) -> Finding:
    if numbers.measurable and numbers.t2star_ms is not None:
        return _finding(_T2STAR, wording.number(numbers.t2star_ms.median), method=codes.R2STAR_FIT)
    return _finding(_T2STAR, absent=_why(roi, numbers, "t2star-long"))


def _earlier(organ: Organ, then: Point, verdict: Change) -> Earlier:
    value = None if then.value is None else change.printed(then.value, organ)
    quantity = _T2STAR if organ.answers is Answered.T2STAR else _IRON
    obstacles = tuple(one.value for one in verdict.obstacles)
    return Earlier(then.date, value, then.bound.value, verdict.outcome.value, obstacles, quantity)


def _finding(
    name: str,
    value: str | None = None,
    comparator: str = "",
    *,
    concept: Code | None = None,
    interval: tuple[Bound, ...] = (),
    method: Code | None = None,
    absent: str = "",
) -> Finding:
    usual, unit = QUANTITIES[name]
    return Finding(
        name=name,
        concept=Concept.of(concept or usual),
        unit=Concept.of(unit),
        value=value,
        comparator=comparator,
        interval=interval,
        method=None if method is None else Concept.of(method),
        absent=absent,
    )


def _ends(low: Code, high: Code, estimate: Estimate | None, printed: Callable[[float], str]) -> tuple[Bound, ...]:
    if estimate is None:
        return ()
    ends = zip((low, high), estimate.ci95, strict=True)
    return tuple(Bound(Concept.of(code), printed(max(float(value), 0.0))) for code, value in ends)


def _why(roi: Roi, numbers: RoiMeasurement, code: str = "") -> str:
    """Why a quantity has no value: what forbids it, else the flag that speaks of it."""
    return next(_reasons(roi, numbers, code), "the region could not be measured")


def _reasons(roi: Roi, numbers: RoiMeasurement, code: str) -> Iterator[str]:
    if not roi.mask.any():
        yield f"no reliable {roi.name} region"
    if numbers.vial is not None and code == "no-calibration":
        yield wording.NO_IRON
    yield from (flag.sentence for flag in numbers.flags if flag.grade is Grade.NOT_MEASURABLE)
    yield from (flag.sentence for flag in numbers.flags if flag.code == code)
    if numbers.measurable and numbers.r2star_per_s is not None:
        yield "no calibration is configured"
