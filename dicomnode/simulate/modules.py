"""The modules that every object of a synthetic study shares (PS3.3 C.7)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from dicomnode.simulate.dialects import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicomnode.simulate.dialects import Dialect, Kind, Private
    from dicomnode.simulate.frames import Frame
    from dicomnode.simulate.plan import SeriesPlan

NAMESPACE = uuid.UUID("6f1c1f0a-5d0c-5b1e-9a37-2f3c5a9d4e10")
IMPLEMENTATION_CLASS_UID = "2.25.147637853915226343331187349158353239824"
REPETITION_TIME_MS = 150.0
FLIP_ANGLE_DEG = 20.0


@dataclass(frozen=True, slots=True)
class _Said:
    """Words that stand for themselves where what holds them is written out."""

    words: str

    def __repr__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class Exam:
    """One synthetic examination: what was planned, whose scanner it is, and when it is said to have happened."""

    plan: SeriesPlan
    dialect: Dialect
    created: datetime

    def uid(self, *role: object) -> str:
        """Return a UID that the plan and the role alone decide (PS3.5 B.2: 2.25 and a UUID)."""
        text = repr((_Said(self.plan.identity), *role))
        return f"2.25.{uuid.uuid5(NAMESPACE, text).int}"

    @property
    def words(self) -> tuple[str, str, str]:
        """Series Description, Body Part Examined and Study Description."""
        if self.plan.heart is not None:
            return f"T2* heart {self.plan.heart.blood} blood", "HEART", "SIMULATED HEART"
        return self.dialect.series_description, "ABDOMEN", "SIMULATED ABDOMEN"

    def series_number(self, frame: Frame) -> int:
        """Siemens XA numbers the series of later echoes on from that of the first."""
        number = self.dialect.series_number + frame.kind.series
        return number + frame.echo_index if self.dialect.series_per_echo else number


def decimal(value: float) -> DSfloat:
    """Return a decimal string of at most 16 characters (PS3.5 6.2)."""
    return DSfloat(float(value), auto_format=True)


def decimals(values: Sequence[float]) -> list[DSfloat]:
    """Return decimal strings of at most 16 characters each."""
    return [decimal(value) for value in values]


def item(**attributes: Any) -> Dataset:
    """Return a sequence item with these attributes."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return an item of a code sequence (PS3.3 8.8)."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def start(exam: Exam, frame: Frame, sop_class_uid: str, instance_number: int) -> Dataset:
    """Return an object with its patient, study, series, equipment and frame of reference, ready for its image."""
    dataset = Dataset()
    _patient(dataset, exam)
    _study(dataset, exam)
    _series(dataset, exam, frame)
    _equipment(dataset, exam)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = exam.uid("instance", dataset.SeriesNumber, instance_number)
    dataset.InstanceNumber = instance_number
    _file_meta(dataset, exam)
    return dataset


def _patient(dataset: Dataset, exam: Exam) -> None:
    dataset.SpecificCharacterSet = exam.plan.character_set.split("\\")
    dataset.PatientName = exam.plan.patient_name
    dataset.PatientID = exam.plan.patient_id
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.PatientWeight = decimal(70)


def _study(dataset: Dataset, exam: Exam) -> None:
    dataset.StudyInstanceUID = exam.uid("study")
    dataset.StudyDate, dataset.StudyTime = _date(exam.created), _time(exam.created)
    dataset.StudyID = "1"
    dataset.AccessionNumber = f"SIM{exam.plan.seed:06d}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = exam.words[2]


def _series(dataset: Dataset, exam: Exam, frame: Frame) -> None:
    number = exam.series_number(frame)
    dataset.Modality = "MR"
    dataset.SeriesInstanceUID = exam.uid("series", number)
    dataset.SeriesNumber = number
    dataset.SeriesDescription = exam.words[0] + frame.kind.series_description
    dataset.ProtocolName = exam.words[0]
    dataset.SeriesDate, dataset.SeriesTime = _date(exam.created), _time(exam.created)
    dataset.BodyPartExamined = exam.words[1]
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = exam.uid("frame of reference")
    dataset.PositionReferenceIndicator = ""


def _equipment(dataset: Dataset, exam: Exam) -> None:
    dialect = exam.dialect
    dataset.Manufacturer = dialect.manufacturer
    dataset.ManufacturerModelName = dialect.model
    dataset.SoftwareVersions = list(dialect.software)
    dataset.InstitutionName = "SIMULATED"
    dataset.StationName = "SIMULATED"
    dataset.DeviceSerialNumber = "SIMULATED"
    dataset.MagneticFieldStrength = decimal(exam.plan.field_strength_t)


def _file_meta(dataset: Dataset, exam: Exam) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(str(dataset.SOPClassUID))
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(str(dataset.SOPInstanceUID))
    dataset.file_meta.TransferSyntaxUID = UID(exam.dialect.transfer_syntax)
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)


def acquired_at(exam: Exam, frame: Frame) -> datetime:
    """Return when this image was taken; the time differs between the echoes of a slice, as it does in real series."""
    since_start = timedelta(seconds=frame.slice_index * 20.0, milliseconds=frame.echo_time_ms)
    return exam.created + since_start


def set_times(dataset: Dataset, exam: Exam, frame: Frame) -> None:
    """Set when the image was taken and made."""
    taken = acquired_at(exam, frame)
    dataset.ContentDate, dataset.ContentTime = _date(taken), _time(taken)
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = _date(taken), _time(taken)
    dataset.AcquisitionNumber = 1
    if exam.dialect.layout is Layout.CLASSIC:
        dataset.AcquisitionDate, dataset.AcquisitionTime = _date(taken), _time(taken)
    else:
        dataset.AcquisitionDateTime = date_time(taken)


def _date(moment: datetime) -> str:
    return moment.strftime("%Y%m%d")


def _time(moment: datetime) -> str:
    return moment.strftime("%H%M%S.%f")


def date_time(moment: datetime) -> str:
    """Return the moment as PS3.5 DT, without a zone."""
    return moment.strftime("%Y%m%d%H%M%S.%f")


def set_pixels(dataset: Dataset, frames: Sequence[Frame]) -> None:
    """Set the pixel data of one or more images of one shape (PS3.3 C.7.6.3)."""
    signed = frames[0].stored.dtype.kind == "i"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = frames[0].stored.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16 if signed else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.add_new(
        "PixelData", "OW", b"".join(frame.stored.astype("<i2" if signed else "<u2").tobytes() for frame in frames)
    )


def set_private(dataset: Dataset, private: Sequence[Private], frame: Frame) -> None:
    """Set the vendor's private attributes, each in the block of its creator."""
    for attribute in private:
        block = dataset.private_block(attribute.group, attribute.creator, create=True)
        block.add_new(attribute.element, attribute.vr, attribute.value(frame))


def window(kind: Kind, frames: Sequence[Frame]) -> tuple[float, float]:
    """Return centre and width, in modality values, that show these images from black to their brightest."""
    slope, intercept = (kind.rescale.slope, kind.rescale.intercept) if kind.rescale else (1.0, 0.0)
    low = slope * float(min(frame.stored.min() for frame in frames)) + intercept
    high = slope * float(max(frame.stored.max() for frame in frames)) + intercept
    return (low + high) / 2, max(high - low, 1.0)
