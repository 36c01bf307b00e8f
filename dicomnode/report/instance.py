"""What every result instance carries besides its own content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicomnode.measure import organs
from dicomnode.measure.organs import LIVER
from dicomnode.report import codes, point
from dicomnode.report.codes import PROCESSING_EQUIPMENT, concept, scheme_identification
from dicomnode.report.identity import uid
from dicomnode.report.quantities import WRITTEN
from dicomnode.report.references import Reference
from dicomnode.report.source import UTF8
from dicomnode.trend import rules
from dicomnode.trend.values import NONE_KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicomnode.config import ReportSettings
    from dicomnode.measure.organ import Organ
    from dicomnode.model import Result
    from dicomnode.report.codes import Iron
    from dicomnode.report.source import Source
    from dicomnode.trend.rules import Trend
    from dicomnode.trend.values import Priors

MODEL_NAME = LIVER.device  # of the software as such
# Of the software that writes the files, not of a result (PS3.10 7.1).
IMPLEMENTATION_CLASS_UID = uid("liver-iron-node", "implementation class")
NOT_FOR_DIAGNOSIS = (
    "For research and clinical evaluation. Not a cleared medical device: no diagnosis, no treatment advice, "
    "not validated against biopsy by this software."
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of result object; each kind is a series of its own."""

    name: str
    product: str  # the group of kinds a destination may ask for: config.PRODUCTS
    sop_class_uid: str
    modality: str
    place: int  # 1 to 99: the last two digits of the series number
    pattern: str  # of its title

    def title(self, organ: Organ = LIVER) -> str:
        """What it is called in a report about that organ."""
        return self.pattern.format(subject=organ.subject, units="ms, 1/s, mg/g" if organ.has_iron else "ms, 1/s")


def _maps() -> Iterator[Kind]:
    """Two kinds of each quantity that is written."""
    for one in WRITTEN:
        title = f"{one.symbol} map [{one.unit_symbol}]"
        yield Kind(one.mr_kind, "mr_maps", MRImageStorage, "MR", 10 + one.place, title)
        yield Kind(one.float_kind, "parametric_maps", ParametricMapStorage, "MR", 30 + one.place, f"{title} float")


KINDS = {
    kind.name: kind
    for kind in (
        *_maps(),
        Kind("segmentation", "segmentation", SegmentationStorage, "SEG", 50, "Measured regions"),
        Kind("structured_report", "structured_report", ComprehensiveSRStorage, "SR", 60, "{subject} report"),
        Kind("picture", "pictures", SecondaryCaptureImageStorage, "OT", 70, "{subject} pages [{units}]"),
        Kind("pdf", "pdf", EncapsulatedPDFStorage, "DOC", 80, "{subject} report PDF"),
    )
}
MAP_KINDS = tuple(kind.name for kind in KINDS.values() if kind.product in {"mr_maps", "parametric_maps"})


@dataclass(frozen=True, slots=True)
class Draft:
    """One result on its way to becoming DICOM objects."""

    result: Result
    source: Source
    settings: ReportSettings
    created: datetime  # aware
    priors: Priors = NONE_KNOWN

    @property
    def organ(self) -> Organ:
        """What is reported on: the organ, or the phantom that it turned out to be."""
        return organs.of_result(self.result.settings)

    @property
    def device(self) -> str:
        """The name under which results of that organ are made."""
        return self.organ.device

    @property
    def manufacturer(self) -> str:
        """As the site says, or else the device's own name."""
        return self.settings.manufacturer or self.device

    @property
    def iron(self) -> Iron:
        """The concepts of the organ's iron concentration."""
        return codes.iron(self.organ.symbol)

    def title(self, kind: str) -> str:
        """What a kind of result is called."""
        return KINDS[kind].title(self.organ)

    @property
    def key(self) -> str:
        """The digest every UID follows from."""
        return self.result.identity.key

    @property
    def trend(self) -> Trend:
        """The result beside those before it."""
        return rules.trend(point.of(self.result, self.source), self.priors, self.organ)

    @property
    def software_version(self) -> str:
        """The version of this software that made the numbers."""
        return self.result.identity.software_version

    @property
    def local_time(self) -> datetime:
        """``created`` in the time zone of the source's dates, which the results share (PS3.3 C.12.1.1.8)."""
        zone = _zone(str(self.source.identity.get("TimezoneOffsetFromUTC") or ""))
        return self.created if zone is None else self.created.astimezone(zone)

    @property
    def author(self) -> str | None:
        """Who drew the regions, as a person name (PS3.5 6.2): a name without parts is a family name."""
        author = self.result.drawn.author if self.result.drawn else None
        if not author or not author.strip("^ "):
            return None
        printable = "".join(c for c in author if c.isprintable() and c != "\\")[:64]
        return printable if "^" in printable else f"{printable}^"

    def earlier(self) -> Draft | None:
        """Return the result this one replaces, as far as UIDs go."""
        superseded = self.result.identity.supersedes
        if superseded is None:
            return None
        identity = replace(self.result.identity, key=superseded, supersedes=None)
        return replace(self, result=replace(self.result, identity=identity))

    def series_uid(self, kind: str) -> str:
        """Return the series UID of a kind of result."""
        return uid(self.key, f"{kind}/series")

    def instance_uid(self, kind: str, number: int = 1) -> str:
        """Return the UID of the instance ``number``, from 1, of a kind of result."""
        return uid(self.key, f"{kind}/{number}")

    def reference(self, kind: str, number: int = 1) -> Reference:
        """Point at an instance of a kind of result, whether or not it is made yet."""
        return Reference(KINDS[kind].sop_class_uid, self.instance_uid(kind, number), self.series_uid(kind))

    def series_number(self, kind: str) -> int:
        """Return a number that sorts behind the source, and beside it where a study has several."""
        return self.settings.series_number_offset + 100 * self.source.series_number + KINDS[kind].place

    def description(self, kind: str) -> str:
        """Return the Series Description: what, in which unit, by which version."""
        drawn = ", drawn" if self.result.drawn else ""
        return f"{self.title(kind)}{drawn} | {self.device} {self.software_version}"[:64]


def _zone(offset: str) -> timezone | None:
    """Read "+0100" (PS3.3 C.12.1.1.8); None where there is nothing to read."""
    if len(offset) != 5 or not offset[1:].isdigit():
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def stamp(instance: Dataset, draft: Draft, kind: str, number: int = 1) -> None:
    """Write patient, study, series, equipment and SOP Common over whatever ``instance`` holds of them."""
    instance.update(draft.source.identity)
    _sop_common(instance, draft, kind, number)
    _series(instance, draft, kind)
    _equipment(instance, draft)
    file_meta(instance, draft.device)


def _sop_common(instance: Dataset, draft: Draft, kind: str, number: int) -> None:
    instance.SpecificCharacterSet = UTF8
    instance.StudyInstanceUID = draft.source.study_instance_uid
    instance.SOPClassUID = KINDS[kind].sop_class_uid
    instance.SOPInstanceUID = draft.instance_uid(kind, number)
    instance.InstanceNumber = number
    instance.CodingSchemeIdentificationSequence = [scheme_identification(draft.device)]
    date, time = f"{draft.local_time:%Y%m%d}", f"{draft.local_time:%H%M%S}"
    instance.InstanceCreationDate = instance.ContentDate = date
    instance.InstanceCreationTime = instance.ContentTime = time


def _series(instance: Dataset, draft: Draft, kind: str) -> None:
    instance.Modality = KINDS[kind].modality
    instance.SeriesInstanceUID = draft.series_uid(kind)
    instance.SeriesNumber = draft.series_number(kind)
    instance.SeriesDescription = draft.description(kind)
    instance.SeriesDate, instance.SeriesTime = instance.ContentDate, instance.ContentTime


def _equipment(instance: Dataset, draft: Draft) -> None:
    instance.Manufacturer = draft.manufacturer
    instance.ManufacturerModelName = draft.device
    instance.DeviceSerialNumber = draft.settings.device_serial_number
    instance.SoftwareVersions = draft.software_version
    node = Dataset()
    node.PurposeOfReferenceCodeSequence = [concept(PROCESSING_EQUIPMENT)]
    node.Manufacturer = draft.manufacturer
    node.ManufacturerModelName = draft.device
    node.DeviceSerialNumber = draft.settings.device_serial_number
    node.SoftwareVersions = draft.software_version
    node.ContributionDateTime = f"{draft.created:%Y%m%d%H%M%S%z}"
    node.ContributionDescription = "Fitted T2*/R2*, measured regions, wrote this object"
    instance.ContributingEquipmentSequence = [draft.source.scanner, node]


def file_meta(instance: Dataset, device: str = MODEL_NAME) -> None:
    """Write the File Meta Information of an instance (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(instance.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(instance.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = device.upper().replace(" ", "_")[:16]
    instance.file_meta = meta
