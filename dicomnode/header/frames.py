"""The image attributes of a parsed MR object -> one EchoImage per frame."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicomnode.header.envelope import is_uid
from dicomnode.header.evidence import Evidence, component, sequence_kind
from dicomnode.header.scope import Scope, words_of
from dicomnode.header.vendors import TWIN_WORDS, Vendor, vendor_of
from dicomnode.model import DAY_S, Component, EchoImage, Encoding, Plane

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dicomnode.header.elements import Elements

_TIME = re.compile(r"(\d\d)(?::?(\d\d))?(?::?(\d\d(?:\.\d*)?))?(?:[+-]\d{4})?", re.ASCII)
_DATE = re.compile(r"\d{8}", re.ASCII)
_LARMOR_MHZ_PER_T = 42.577478
_SHORTEST_ECHO_MS, _LONGEST_ECHO_MS = 0.02, 10_000.0
_SMALLEST_SLOPE = 1e-9  # beyond it 32-bit floats lose the values
_MOST_BITS = 32
_SAME_TURN = 0.01  # relative: slopes of phases are written for 4095 steps or for 4096


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of the object before its images are looked at."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    encoding: Encoding
    sender: str = ""
    lossy_encoding: bool = False


def images_of(subject: Subject, top: Elements) -> tuple[EchoImage, ...]:
    """Return the images of an object in frame order. Raises DamagedHeader."""
    if subject.encoding is Encoding.CLASSIC:
        if (top.whole("NumberOfFrames") or 1) != 1:
            raise top.damage("NumberOfFrames", "a classic MR object has one frame")
        return (_image(Scope(top), None, _common(subject, Scope(top))),)
    frames = top.items("PerFrameFunctionalGroupsSequence")
    if not frames or len(frames) != (top.whole("NumberOfFrames") or 1):
        raise top.damage("NumberOfFrames", f"{len(frames)} per-frame functional groups are there")
    shared = top.items("SharedFunctionalGroupsSequence")[:1]
    scopes = [Scope(top, (frame, *shared)) for frame in frames]
    common = _common(subject, scopes[0])
    return tuple(_image(scope, index, common) for index, scope in enumerate(scopes))


def _common(subject: Subject, scope: Scope) -> dict[str, Any]:
    """Read what all frames of an object share, once."""
    top = scope.top
    sets = top.character_sets()
    vendor = vendor_of(top.words("Manufacturer", sets))
    words = words_of(top, "ImageType")
    return {
        "path": subject.path,
        "sop_class_uid": subject.sop_class_uid,
        "sop_instance_uid": subject.sop_instance_uid,
        "series_instance_uid": subject.series_instance_uid,
        "study_instance_uid": subject.study_instance_uid,
        "encoding": subject.encoding,
        "sender": subject.sender,
        "lossy": subject.lossy_encoding or top.text("LossyImageCompression") == "01",
        "sequence_kind": sequence_kind(Evidence(scope, vendor, words, subject.encoding)),
        "field_strength_t": _field_strength(scope),
        "manufacturer": top.words("Manufacturer", sets),
        "model_name": top.words("ManufacturerModelName", sets),
        "station_name": top.words("StationName", sets),
        "series_description": top.words("SeriesDescription", sets),
        "series_number": top.whole("SeriesNumber"),
        "instance_number": top.whole("InstanceNumber"),
        "acquisition_number": top.whole("AcquisitionNumber"),
        "promised_images": _count(top.whole("ImagesInAcquisition")),
        "promised_echoes": next(filter(None, (_count(top.whole(place)) for place in vendor.echo_count)), None),
        "concatenation": _concatenation(top),
        "protocol": _protocol(scope, sets),
        "scan": _scan(top, vendor, words),
        "protocol_name": top.words("ProtocolName", sets),
        "body_part": _body_part(scope, sets),
        "patient": _patient(top, sets),
        "study_description": top.words("StudyDescription", sets),
    }


def _image(scope: Scope, index: int | None, common: Mapping[str, Any]) -> EchoImage:
    vendor = vendor_of(common["manufacturer"])
    words = words_of(scope.of("FrameType"), "FrameType") or words_of(scope.top, "ImageType")
    slope = scope.of("RescaleSlope").number("RescaleSlope")
    intercept = scope.of("RescaleIntercept").number("RescaleIntercept")
    if slope is not None and not _SMALLEST_SLOPE <= abs(slope) <= 1 / _SMALLEST_SLOPE:
        raise scope.of("RescaleSlope").damage("RescaleSlope")
    part = component(Evidence(scope, vendor, words, common["encoding"]))
    return EchoImage(
        **common,
        frame=index,
        component=part,
        echo_time_ms=_echo_time(scope),
        plane=_plane(scope),
        rescale_slope=1.0 if slope is None else slope,
        rescale_intercept=0.0 if intercept is None else intercept,
        scale_slope=scope.private(vendor.scale_slope, vendor.frame_items),
        turn=_turn(scope.top, vendor, slope) if part is Component.PHASE else None,
        repetition=_repetition(scope),
        acquired_s=_acquired(scope),
        echo_number=scope.top.whole("EchoNumbers"),
        twin=_twin(scope, vendor, words),
    )


def _turn(top: Elements, vendor: Vendor, slope: float | None) -> float | None:
    """Rescaled units in a whole turn, as the vendor writes it, if all that can be stored is one turn as well."""
    turn, bits = vendor.unscaled_turn if slope is None else vendor.phase_turn, top.whole("BitsStored")
    if turn is None or bits is None or not 0 < bits <= _MOST_BITS:
        return None
    stored = abs(1.0 if slope is None else slope) * 2.0**bits
    return turn if abs(stored - turn) <= _SAME_TURN * turn else None


def _echo_time(scope: Scope) -> float | None:
    """Milliseconds; None where no place gives one or all say 0, which maps do."""
    for keyword in ("EffectiveEchoTime", "EchoTime"):
        place = scope.of(keyword)
        echo_time = place.number(keyword)
        if echo_time is None or echo_time == 0:
            continue
        if not _SHORTEST_ECHO_MS <= echo_time <= _LONGEST_ECHO_MS:
            raise place.damage(keyword, "milliseconds were expected")
        repetition = scope.of("RepetitionTime").lenient("RepetitionTime")
        if repetition and echo_time >= repetition:
            raise place.damage(keyword, f"which is not within the repetition time of {repetition:g} ms")
        return echo_time
    return None


def _plane(scope: Scope) -> Plane:
    position = _vector(scope, "ImagePositionPatient", 3, 1e5)
    orientation = _vector(scope, "ImageOrientationPatient", 6, 1.1)
    spacing = _vector(scope, "PixelSpacing", 2, 1e3)
    row, column = orientation[:3], orientation[3:]
    lengths_and_angle = (
        math.hypot(*row) - 1,
        math.hypot(*column) - 1,
        sum(a * b for a, b in zip(row, column, strict=True)),
    )
    if max(map(abs, lengths_and_angle)) > 0.01:
        place = scope.of("ImageOrientationPatient")
        raise place.damage("ImageOrientationPatient", "two perpendicular unit vectors were expected")
    if min(spacing) <= 0:
        raise scope.of("PixelSpacing").damage("PixelSpacing", "positive millimetres were expected")
    return Plane(
        rows=_size(scope.top, "Rows"),
        columns=_size(scope.top, "Columns"),
        position=(position[0], position[1], position[2]),
        orientation=(orientation[0], orientation[1], orientation[2], orientation[3], orientation[4], orientation[5]),
        pixel_spacing_mm=(spacing[0], spacing[1]),
        frame_of_reference_uid=_frame_of_reference(scope.top),
    )


def _frame_of_reference(top: Elements) -> str:
    uid = top.text("FrameOfReferenceUID")
    if uid and not is_uid(uid):
        raise top.damage("FrameOfReferenceUID", "a UID was expected")
    return uid


def _vector(scope: Scope, keyword: str, length: int, largest: float) -> tuple[float, ...]:
    place = scope.of(keyword)
    numbers = place.numbers(keyword)
    if len(numbers) != length or max(map(abs, numbers)) > largest:
        raise place.damage(keyword, f"{length} numbers of plausible size were expected")
    return numbers


def _size(top: Elements, keyword: str) -> int:
    size = top.whole(keyword)
    if size is None or not 0 < size <= 65535:
        raise top.damage(keyword)
    return size


def _field_strength(scope: Scope) -> float | None:
    """Tesla from the proton frequency; None where that and the stated field contradict each other."""
    stated = scope.top.lenient("MagneticFieldStrength")
    if stated is not None and stated > 100:
        stated /= 10_000  # gauss
    megahertz = scope.of("TransmitterFrequency").lenient("TransmitterFrequency") or scope.top.lenient(
        "ImagingFrequency"
    )
    nucleus = scope.top.text("ImagedNucleus") or scope.top.text("ResonantNucleus")
    if megahertz is None or not 1 < megahertz < 1000 or nucleus not in ("1H", "H1", "H", ""):
        return stated if stated and 0 < stated < 25 else None
    measured = megahertz / _LARMOR_MHZ_PER_T
    return None if stated and abs(stated - measured) > 0.15 * measured else measured


def _repetition(scope: Scope) -> int | None:
    index = scope.of("TemporalPositionIndex").whole("TemporalPositionIndex")
    return index if index is not None else scope.top.whole("TemporalPositionIdentifier")


def _twin(scope: Scope, vendor: Vendor, words: tuple[str, ...]) -> tuple[str, ...]:
    facts = {TWIN_WORDS[word] for word in words if word in TWIN_WORDS}
    options = set(words_of(scope.top, "ScanOptions"))
    suppression = scope.of("SpectrallySelectedSuppression").text("SpectrallySelectedSuppression").upper()
    spir = bool(vendor.fat_saturation) and scope.top.text(vendor.fat_saturation or "").upper() == "Y"
    if options & {"FS", "SFS", "FATSAT", "FAT_SAT"} or suppression in ("FAT", "FAT_AND_WATER") or spir:
        facts.add("fat saturated")
    if suppression == "WATER" or options & {"WS"}:
        facts.add("water saturated")
    if "MT" in words_of(scope.top, "SequenceVariant"):
        facts.add("magnetisation transfer")
    return tuple(sorted(facts))


def _protocol(scope: Scope, sets: tuple[str, ...]) -> tuple[str, ...]:
    """Facts that the series of one scan have in common; rounded, because objects of one scan differ in digits."""
    top = scope.top
    numbers = (scope.of(k).lenient(k) for k in ("RepetitionTime", "FlipAngle"))
    rounded = tuple("" if number is None else f"{number:.1f}" for number in numbers)
    name = (top.text("SequenceName") or top.text("PulseSequenceName")).strip("*").lower()
    return (top.words("ProtocolName", sets), name, top.text("MRAcquisitionType"), *rounded)


def _body_part(scope: Scope, sets: tuple[str, ...]) -> str:
    """Body Part Examined, or the meaning of the code that newer objects give in its place."""
    regions = scope.of("AnatomicRegionSequence").items("AnatomicRegionSequence")
    coded = (region.words("CodeMeaning", sets) for region in regions[:1])
    return scope.top.words("BodyPartExamined", sets) or next(coded, "")


def _acquired(scope: Scope) -> float | None:
    """When a frame was acquired (PS3.5 6.2, DA, TM and DT), in seconds as of ``EchoImage``; None where nothing says."""
    top = scope.top
    whole = scope.of("FrameAcquisitionDateTime").text("FrameAcquisitionDateTime") or top.text("AcquisitionDateTime")
    date, time = (whole[:8], whole[8:]) if whole else (top.text("AcquisitionDate"), top.text("AcquisitionTime"))
    found = _TIME.fullmatch(time)
    if found is None:
        return None
    seconds = 3600 * int(found[1]) + 60 * int(found[2] or 0) + float(found[3] or 0)
    return seconds + DAY_S * _days(date)


def _days(date: str) -> int:
    try:
        return dt.date.fromisoformat(date).toordinal() if _DATE.fullmatch(date) else 0
    except ValueError:
        return 0


def _patient(top: Elements, sets: tuple[str, ...]) -> tuple[str, str, str]:
    """Whom an image is of, as digests: they are only compared."""
    issuer = top.words("IssuerOfPatientID", sets)
    said = (top.words("PatientID", sets), top.text("PatientBirthDate"), top.words("PatientName", sets))
    identifier, birth, name = (text.strip(" ^").casefold() for text in said)
    return (_digest(f"{identifier}|{issuer}") if identifier else "", _digest(birth), _digest(name))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


def _scan(top: Elements, vendor: Vendor, words: tuple[str, ...]) -> str:
    """Name of the scan an image belongs to where the scanner split it into one series per echo, else nothing."""
    number = top.whole("SeriesNumber")
    if vendor.split_word is None or vendor.split_word not in words or number is None or number < 1000:
        return ""
    return str(number // 1000)  # series 9 is sent as 9001, 9002, ...


def _concatenation(top: Elements) -> tuple[str, int] | None:
    """PS3.3 C.7.6.16.1.3: the parts of one multi-frame object, and how many there are where that is said."""
    total = _count(top.whole("InConcatenationTotalNumber"))
    return None if total is None else (top.text("ConcatenationUID"), total)


def _count(number: int | None) -> int | None:
    return number if number is not None and number > 0 else None
