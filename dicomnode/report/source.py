"""What a result takes over from the headers of its source images."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DSfloat, PersonName, format_number_as_ds, validate_value

from dicomnode.model import Component
from dicomnode.report.codes import ACQUISITION_EQUIPMENT, concept
from dicomnode.report.identity import uid
from dicomnode.report.references import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dicomnode.model import EchoImage, EchoStack, Plane

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
UTF8 = "ISO_IR 192"

# Patient, Clinical Trial Subject, General Study, Patient Study (PS3.3 C.7.1, C.7.2).
IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDs", "OtherPatientIDsSequence"),
    *("EthnicGroup", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    *("ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription", "ClinicalTrialCoordinatingCenterName"),
    *("StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence", "StudyID"),
    *("StudyDescription", "ReferringPhysicianName", "PatientAge", "PatientSize", "PatientWeight"),
    *("AdmissionID", "TimezoneOffsetFromUTC", "InstitutionName"),
    "InstitutionalDepartmentName",
)
# Type 2: present in every result, empty where the source has none.
ALWAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
# MR Image and the acquisition part of General Image (PS3.3 C.8.3.1, C.7.6.1): what was scanned, for the MR maps.
PROTOCOL = (
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName"),
    *("RepetitionTime", "EchoTrainLength", "FlipAngle", "MagneticFieldStrength", "ImagedNucleus"),
    *("ImagingFrequency", "NumberOfAverages", "PixelBandwidth", "InPlanePhaseEncodingDirection"),
    *("AcquisitionDate", "AcquisitionTime", "AcquisitionNumber", "ProtocolName", "PatientPosition"),
    *("SliceThickness", "ReceiveCoilName", "SAR"),
)
SCANNER = (
    *("Manufacturer", "InstitutionName", "InstitutionAddress", "StationName", "InstitutionalDepartmentName"),
    *("ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
)
COMPRESSION = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
# What pydicom raises at a damaged element, by what is damaged.
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, NotImplementedError, struct.error)
_TEXT = {"LO", "SH", "LT", "ST", "UT", "UC"}
_PARAGRAPHS = {"LT", "ST", "UT"}
# Enumerated values; any other makes the whole object invalid (PS3.3 C.7.1.1, C.8.3.1).
_ALLOWED = {
    "PatientSex": {"M", "F", "O"},
    "PatientIdentityRemoved": {"YES", "NO"},
    "LossyImageCompression": {"00", "01"},
    "ScanningSequence": {"SE", "IR", "GR", "EP", "RM"},
    "MRAcquisitionType": {"2D", "3D"},
    "InPlanePhaseEncodingDirection": {"ROW", "COL"},
}
_CLASSIC_WORD = {"COLUMN": "COL"}  # where enhanced objects say it differently (PS3.3 C.8.13.4.1)


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice of the source: where it lies, how it was scanned, which images hold its echoes."""

    plane: Plane
    protocol: Dataset
    echoes: tuple[Reference, ...]  # ascending echo time; then those of a second component that was used


@dataclass(frozen=True, slots=True)
class Source:
    """What every result of one stack takes over."""

    study_instance_uid: str
    frame_of_reference_uid: str
    series_number: int
    identity: Dataset
    scanner: Dataset
    compression: Dataset  # what once was lossy stays so (PS3.3 C.7.6.1.1.5)
    slices: tuple[Slice, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every image that gave a value."""
        return tuple(reference for slice_ in self.slices for reference in slice_.echoes)

    @property
    def spacing_mm(self) -> float | None:
        """Distance between neighbouring slices where it is the same everywhere; never the header's word for it."""
        gaps = np.diff([slice_.plane.location_mm for slice_ in self.slices])
        if len(gaps) == 0 or not np.allclose(gaps, gaps[0], atol=0.01):
            return None
        return abs(float(gaps.mean()))

    @property
    def thickness_mm(self) -> float | None:
        """What the scanner calls the slice thickness, else the spacing: slices without a gap."""
        said = self.slices[0].protocol.get("SliceThickness")
        return float(said) if said else self.spacing_mm


def read(stack: EchoStack) -> Source:
    """Read the headers of the first echo of each slice.

    Damaged or missing attributes are left out or empty, text arrives as Unicode whatever its character set was.
    Raises OSError or pydicom's InvalidDicomError where a file is gone or no longer DICOM.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a scanner's invalid values; what cannot be used is dropped here
        headers = {path: _header(path) for path in {echoes[0].path for echoes in stack.images}}
        first = stack.images[0][0]
        header = headers[first.path]
        return Source(
            study_instance_uid=stack.study_instance_uid,
            frame_of_reference_uid=frame_of_reference(first),
            series_number=_series_number(first.series_number),
            identity=_identity(header),
            scanner=_scanner(header, first),
            compression=_compression(header),
            slices=tuple(_slice(stack, k, headers[stack.images[k][0].path]) for k in range(len(stack.images))),
        )


def _series_number(number: int | None) -> int:
    """Return 0 for what would not fit into the result's own series numbers."""
    return number if number is not None and 0 <= number < 10**7 else 0


def frame_of_reference(image: EchoImage) -> str:
    """Return the image's frame of reference; where the scanner gave none, one that belongs to its series alone."""
    return image.plane.frame_of_reference_uid or uid(image.series_instance_uid, "frame of reference")


def _header(path: Path) -> Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True, force=True)


def _slice(stack: EchoStack, k: int, header: Dataset) -> Slice:
    images = list(stack.images[k])
    if stack.magnitude_from is Component.REAL:
        images += stack.companions[Component.IMAGINARY][k]
    protocol = carried(_lookup(header, stack.images[k][0].frame, PROTOCOL))
    return Slice(stack.images[k][0].plane, protocol, tuple(reference(image) for image in images))


def reference(image: EchoImage) -> Reference:
    """Point at one echo image."""
    frames = () if image.frame is None else (image.frame + 1,)
    return Reference(image.sop_class_uid, image.sop_instance_uid, image.series_instance_uid, frames)


def _identity(header: Dataset) -> Dataset:
    identity = carried(header[keyword] for keyword in IDENTITY if _present(header, keyword))
    for keyword in ALWAYS:
        if keyword not in identity:
            identity.add(DataElement(keyword, dictionary_VR(keyword), None))
    return identity


def _compression(header: Dataset) -> Dataset:
    found = carried(header[keyword] for keyword in COMPRESSION if _present(header, keyword))
    found.setdefault("LossyImageCompression", "00")
    return found


def _scanner(header: Dataset, image: EchoImage) -> Dataset:
    """Return the scanner as an item of the Contributing Equipment Sequence (PS3.3 C.12.1)."""
    item = carried(header[keyword] for keyword in SCANNER if _present(header, keyword))
    if not item.get("Manufacturer"):
        item.Manufacturer = image.manufacturer or "Unknown"
    item.PurposeOfReferenceCodeSequence = [concept(ACQUISITION_EQUIPMENT)]
    item.ContributionDescription = "Acquired the source images"
    return item


def _lookup(header: Dataset, frame: int | None, keywords: Iterable[str]) -> list[DataElement]:
    """Find attributes at the top of a header or in the functional groups of one of its frames (PS3.3 C.7.6.16)."""
    places = [header]
    if frame is not None:
        per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
        places += _macros(per_frame[frame]) if frame < len(per_frame) else []
        places += [macro for group in header.get("SharedFunctionalGroupsSequence") or [] for macro in _macros(group)]
    found = (next((place for place in places if _present(place, keyword)), None) for keyword in keywords)
    return [place[keyword] for place, keyword in zip(found, keywords, strict=True) if place is not None]


def _macros(group: Dataset) -> list[Dataset]:
    return [element.value[0] for element in group if element.VR == "SQ" and element.value]


def _present(dataset: Dataset, keyword: str) -> bool:
    try:
        return keyword in dataset and dataset[keyword].value not in (None, "", [])
    except _UNREADABLE:
        return False


def carried(elements: Iterable[DataElement]) -> Dataset:
    """Return copies of ``elements`` that can be written as UTF-8; what has no valid value is left out."""
    result = Dataset()
    for element in elements:
        copy = _copied(element)
        if copy is not None:
            result.add(copy)
    return result


def _copied(element: DataElement) -> DataElement | None:
    vr = dictionary_VR(element.tag)
    if (vr == "SQ") != (element.VR == "SQ"):
        return None
    if vr == "SQ":
        items = [carried(_public(item)) for item in element.value]
        return DataElement(element.tag, vr, [_without_character_set(item) for item in items if len(item)])
    values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
    valid = [value for value in (_valid(element.keyword, vr, value) for value in values) if value is not None]
    if not valid:
        return None
    alone = len(valid) == 1 or (vr not in _TEXT and dictionary_VM(element.tag) == "1")
    return DataElement(element.tag, vr, valid[0] if alone else valid, validation_mode=config.IGNORE)


def _public(item: Dataset) -> list[DataElement]:
    """Return the standard attributes of a sequence item that can be read."""
    keywords = [keyword_for_tag(tag) for tag in item.keys()]  # noqa: SIM118  iterating a Dataset decodes it
    return [item[keyword] for keyword in keywords if keyword and _present(item, keyword)]


def _without_character_set(item: Dataset) -> Dataset:
    if "SpecificCharacterSet" in item:
        del item.SpecificCharacterSet
    return item


def _valid(keyword: str, vr: str, value: Any) -> Any:
    """Return the value in a form the standard allows, or None.

    Names and identifiers stay as they were sent even where they are too long: the archive files results by them.
    """
    if vr == "PN":
        return PersonName(_printable(str(value)))
    if vr in _TEXT:
        return _printable(str(value), keep="\r\n\t\f" if vr in _PARAGRAPHS else "")
    if vr in {"DS", "IS"}:
        return _number(vr, value)
    text = str(value).strip().replace(".", "" if vr == "DA" else ".").replace(":", "" if vr == "TM" else ":")
    text = _CLASSIC_WORD.get(text, text)
    if text not in _ALLOWED.get(keyword, {text}):
        return None
    try:
        validate_value(vr, text, config.RAISE)
    except _UNREADABLE:
        return None
    return (float(value) if vr in {"FD", "FL"} else int(value)) if vr in {"FD", "FL", "US", "UL"} else text


def _number(vr: str, value: Any) -> str | None:
    try:
        number = float(value)
        return format_number_as_ds(number) if vr == "DS" else str(int(number))
    except _UNREADABLE:
        return None


def _printable(text: str, keep: str = "") -> str:
    return "".join(c for c in text if c in keep or (ord(c) >= 0x20 and ord(c) != 0x7F)).rstrip()


def decimal(value: float) -> DSfloat:
    """Return ``value`` as a decimal string of at most 16 characters."""
    return DSfloat(value, auto_format=True)


def stand_ins(source: Source, key: str) -> list[Dataset]:
    """Return one bare classic MR header per slice, for libraries that expect source images to be just that.

    They carry geometry only. What a vendor wrote, and who the patient is, never meets the library: both are
    written over its output afterwards.
    """
    return [_stand_in(source, key, k) for k in range(len(source.slices))]


def _stand_in(source: Source, key: str, k: int) -> Dataset:
    header = Dataset()
    for keyword in ALWAYS:
        setattr(header, keyword, None)
    header.StudyInstanceUID = source.study_instance_uid
    header.SeriesInstanceUID = uid(key, "stand-in")
    header.SOPInstanceUID = uid(key, f"stand-in/{k}")
    header.SOPClassUID = MR_IMAGE
    header.Modality = "MR"
    header.FrameOfReferenceUID = source.frame_of_reference_uid
    place(header, source.slices[k].plane, source.slices[0].plane.orientation)
    header.SliceThickness = source.thickness_mm
    return header


def place(header: Dataset, plane: Plane, orientation: tuple[float, ...] | None = None) -> None:
    """Write the Image Plane module and the matrix size."""
    header.Rows, header.Columns = plane.rows, plane.columns
    header.PixelSpacing = [decimal(v) for v in plane.pixel_spacing_mm]
    header.ImagePositionPatient = [decimal(v) for v in plane.position]
    header.ImageOrientationPatient = [decimal(v) for v in orientation or plane.orientation]
