"""What a result takes over from the headers of its source images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from dicomnode.model import Component
from dicomnode.report.attributes import carried, present
from dicomnode.report.codes import ACQUISITION_EQUIPMENT, concept
from dicomnode.report.identity import uid
from dicomnode.report.references import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
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


def header(path: Path) -> Dataset:
    """Read the header of a file."""
    return pydicom.dcmread(path, stop_before_pixels=True, force=True)


def read(stack: EchoStack, header_of: Callable[[Path], Dataset] = header) -> Source:
    """Read the headers of the first echo of each slice.

    Damaged or missing attributes are left out or empty, text arrives as Unicode whatever its character set was.
    Raises OSError or pydicom's InvalidDicomError where a file is gone or no longer DICOM.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a scanner's invalid values; what cannot be used is dropped here
        headers = {path: header_of(path) for path in {echoes[0].path for echoes in stack.images}}
        first = stack.images[0][0]
        top = headers[first.path]
        return Source(
            study_instance_uid=stack.study_instance_uid,
            frame_of_reference_uid=frame_of_reference(first),
            series_number=_series_number(first.series_number),
            identity=_identity(top),
            scanner=_scanner(top, first),
            compression=_compression(top),
            slices=tuple(_slice(stack, k, headers[stack.images[k][0].path]) for k in range(len(stack.images))),
        )


def _series_number(number: int | None) -> int:
    """Return 0 for what would not fit into the result's own series numbers."""
    return number if number is not None and 0 <= number < 10**7 else 0


def frame_of_reference(image: EchoImage) -> str:
    """Return the image's frame of reference; where the scanner gave none, one that belongs to its series alone."""
    return image.plane.frame_of_reference_uid or uid(image.series_instance_uid, "frame of reference")


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
    identity = carried(header[keyword] for keyword in IDENTITY if present(header, keyword))
    for keyword in ALWAYS:
        if keyword not in identity:
            identity.add(DataElement(keyword, dictionary_VR(keyword), None))
    return identity


def _compression(header: Dataset) -> Dataset:
    found = carried(header[keyword] for keyword in COMPRESSION if present(header, keyword))
    found.setdefault("LossyImageCompression", "00")
    return found


def _scanner(header: Dataset, image: EchoImage) -> Dataset:
    """Return the scanner as an item of the Contributing Equipment Sequence (PS3.3 C.12.1)."""
    item = carried(header[keyword] for keyword in SCANNER if present(header, keyword))
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
    found = (next((place for place in places if present(place, keyword)), None) for keyword in keywords)
    return [place[keyword] for place, keyword in zip(found, keywords, strict=True) if place is not None]


def _macros(group: Dataset) -> list[Dataset]:
    return [element.value[0] for element in group if element.VR == "SQ" and element.value]


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
