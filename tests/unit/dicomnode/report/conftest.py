"""A small result on real files: three oblique slices, four echoes, two regions, voxels without a fit or beyond it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode import report
from dicomnode.config import PRODUCTS, ReportSettings
from dicomnode.model import (
    Component,
    DecayCurve,
    EchoImage,
    EchoStack,
    Encoding,
    Estimate,
    FitRecord,
    Flag,
    Grade,
    Identity,
    Limit,
    Maps,
    Output,
    Plane,
    Result,
    Roi,
    RoiMeasurement,
    SequenceKind,
    SliceValue,
    Stage,
    Statistics,
)
from dicomnode.report import source
from dicomnode.report.identity import result_key
from dicomnode.report.instance import Draft
from dicomnode.trend.values import (
    NONE_KNOWN,
    Conditions,
    Origin,
    Point,
    Priors,
    Reference,
    Scanner,
    Silence,
    Unasked,
)

ROWS, COLUMNS = 24, 32
ECHOES = (2.5, 5.0, 7.5, 10.0)
CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
# A rotation about no axis of the scanner: nothing is axial, coronal or sagittal.
_ROW = np.array([0.8, 0.48, 0.36])
_COLUMN = np.array([-0.6, 0.64, 0.48])
_NORMAL = np.cross(_ROW, _COLUMN)


@dataclass(frozen=True)
class Scan:
    """What the made-up scanner writes."""

    folder: Path
    slices: int = 3
    series_number: int | None = 5
    enhanced: bool = False
    frame_of_reference: str = "1.2.826.0.1.3680043.8.498.77"
    header: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    descending: bool = False


def position(k: int) -> tuple[float, float, float]:
    p = np.array([-101.5, 33.25, 7.125]) + 6.5 * k * _NORMAL
    return (float(p[0]), float(p[1]), float(p[2]))


def plane(k: int, scan: Scan) -> Plane:
    orientation = tuple(float(v) for v in (*_ROW, *_COLUMN))
    return Plane(ROWS, COLUMNS, position(k), orientation, (1.75, 1.5), scan.frame_of_reference)  # type: ignore[arg-type]


def classic_header(scan: Scan, k: int, echo: int) -> Dataset:
    d = Dataset()
    d.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    d.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.1.{k + 1}.{echo + 1}"
    d.StudyInstanceUID, d.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3"
    d.PatientName, d.PatientID, d.PatientSex, d.PatientBirthDate = "Iron^Ida", "LIC-1", "F", "19700102"
    d.StudyDate, d.StudyTime, d.StudyID, d.AccessionNumber = "20260304", "040506", "1", "A-77"
    d.ReferringPhysicianName, d.StudyDescription = "Ref^Doc", "MR liver"
    d.Modality, d.Manufacturer, d.ManufacturerModelName = "MR", "SIEMENS", "Prisma"
    d.SeriesNumber, d.InstanceNumber = scan.series_number, k * len(ECHOES) + echo + 1
    d.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    d.ScanningSequence, d.SequenceVariant, d.ScanOptions, d.MRAcquisitionType = "GR", "SP", "PFP", "2D"
    d.RepetitionTime, d.EchoTime, d.EchoTrainLength, d.FlipAngle = 200, ECHOES[echo], 4, 20
    d.MagneticFieldStrength, d.ImagingFrequency, d.SliceThickness = 1.5, 63.87, 6
    d.FrameOfReferenceUID, d.PositionReferenceIndicator = scan.frame_of_reference, ""
    d.PatientPosition = "HFS"
    d.ImagePositionPatient = [f"{v:.6f}" for v in position(k)]
    d.ImageOrientationPatient = [float(v) for v in (*_ROW, *_COLUMN)]
    d.PixelSpacing = [1.75, 1.5]
    d.Rows, d.Columns = ROWS, COLUMNS
    return d


def _save(d: Dataset, path: Path) -> Path:
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    d.save_as(path, enforce_file_format=True)
    return path


def _classic(scan: Scan, k: int, echo: int) -> tuple[Path, int | None, Dataset]:
    d = classic_header(scan, k, echo)
    for keyword, value in scan.header.items():
        setattr(d, keyword, value)
    for keyword in scan.without:
        delattr(d, keyword)
    return _save(d, scan.folder / f"{k}-{echo}.dcm"), None, d


def _enhanced(scan: Scan) -> dict[tuple[int, int], tuple[Path, int | None, Dataset]]:
    """One enhanced object for all slices and echoes; what was scanned sits in functional groups."""
    d = classic_header(scan, 0, 0)
    d.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    keys = [(k, echo) for k in range(scan.slices) for echo in range(len(ECHOES))]
    timing = Dataset()
    timing.RepetitionTime, timing.FlipAngle, timing.EchoTrainLength = 200.0, 20.0, 4
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = d.PixelSpacing, 6
    shared = Dataset()
    shared.MRTimingAndRelatedParametersSequence, shared.PixelMeasuresSequence = [timing], [measures]
    d.SharedFunctionalGroupsSequence = [shared]
    d.PerFrameFunctionalGroupsSequence = [Dataset() for _ in keys]
    d.NumberOfFrames = len(keys)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "EchoTime"):
        delattr(d, keyword)
    for keyword in ("RepetitionTime", "FlipAngle", "EchoTrainLength", "ScanningSequence", "SequenceVariant"):
        delattr(d, keyword)
    path = _save(d, scan.folder / "enhanced.dcm")
    return {key: (path, frame, d) for frame, key in enumerate(keys)}


def make_stack(scan: Scan) -> EchoStack:
    enhanced = _enhanced(scan) if scan.enhanced else None

    def image(k: int, echo: int) -> EchoImage:
        path, frame, d = enhanced[k, echo] if enhanced else _classic(scan, k, echo)
        return EchoImage(
            path=path,
            frame=frame,
            sop_class_uid=str(d.SOPClassUID),
            sop_instance_uid=str(d.SOPInstanceUID),
            series_instance_uid=str(d.SeriesInstanceUID),
            study_instance_uid=str(d.StudyInstanceUID),
            encoding=Encoding.ENHANCED if enhanced else Encoding.CLASSIC,
            component=Component.MAGNITUDE,
            sequence_kind=SequenceKind.GRADIENT_ECHO,
            echo_time_ms=ECHOES[echo],
            plane=plane(k, scan),
            field_strength_t=1.5,
            manufacturer="SIEMENS",
            series_number=scan.series_number,
        )

    order = range(scan.slices - 1, -1, -1) if scan.descending else range(scan.slices)
    images = tuple(tuple(image(k, echo) for echo in range(len(ECHOES))) for k in order)
    return EchoStack("1.2.826.0.1.3680043.8.498.2", ("1.2.826.0.1.3680043.8.498.3",), ECHOES, images)


def make_maps(slices: int) -> Maps:
    random = np.random.default_rng(7)
    r2star = random.uniform(30, 900, (slices, ROWS, COLUMNS)).astype(np.float32)
    valid = np.ones(r2star.shape, bool)
    valid[0, 3, 4] = False
    r2star[0, 5, 6] = 0.2  # T2* of 5 s: more than 16 bits of microseconds
    beyond = np.zeros(r2star.shape, bool)
    beyond[1:2, 20:23, 2:8] = True
    valid &= ~beyond
    record = FitRecord("admm", "mono-exponential", "rician", True, 17, 0.4, "converged", {"weights": "auto"}, "0.1.0")
    return Maps(
        {
            "t2star_ms": np.where(valid, 1000 / r2star, 0).astype(np.float32),
            "r2star_per_s": np.where(valid, r2star, 0).astype(np.float32),
            "s0": np.full(r2star.shape, 300, np.float32),
            "r2star_sd_per_s": np.full(r2star.shape, 2, np.float32),
            "fat_fraction": np.linspace(-0.01, 0.4, r2star.size, dtype=np.float32).reshape(r2star.shape),
            "fat_fraction_sd": np.where(r2star > 150, np.float32(np.nan), np.float32(0.01)),
            "plain_r2star_per_s": np.where(valid, 0.9 * r2star, 0).astype(np.float32),
        },
        valid=valid,
        sigma=(3.25,) * slices,
        record=record,
        beyond=beyond,
    )


def make_rois(slices: int) -> tuple[Roi, ...]:
    one, many = (np.zeros((slices, ROWS, COLUMNS), bool) for _ in range(2))
    one[0, 6:14, 5:12] = True
    one[0, 9, 8] = False  # a vessel
    many[:, 10:18, 16:26] = True
    many[0, 2:4, 20:22] = True
    return Roi("Liver circle", one, confidence=0.97), Roi("Whole liver", many)


DOUBT = Flag("few-echoes", Grade.LOW_CONFIDENCE, "2 echoes above the noise")
STOP = Flag("beyond-range", Grade.NOT_MEASURABLE, "1 of 4 echoes above the noise: the decay is too fast")
MEASURED = (
    RoiMeasurement(
        "Liver circle",
        55,
        144.375,
        Statistics(8.123456789, 1.25, 8.0, 1.75),
        Statistics(123.456789, 19.5, 125.0, 27.25),
        3.1,
        "hernando-2023: LIC = -0.16 + 0.02603 · R2* at 1.5 T",
        (DOUBT,),
        r2star=Estimate(125.0, (118.5, 132.25), {"fit": 3.0, "noise": 1.5}),
        lic=Estimate(3.09375, (2.9, 3.3), {"fit": 0.1}),
        reach=Limit(812.0, 21.0),
        slices=(SliceValue(0, 55, 125.0, 3.1, 0.97),),
        confidence=0.97,
        calibration_name="hernando-2023",
        calibration_formula="LIC = -0.16 + 0.02603 · R2* at 1.5 T",
        plain_r2star_per_s=111.5,
        fat_fraction=Estimate(0.184, (0.157, 0.211), {"fit": 0.01, "model": 0.009}),
        stages=(
            Stage("normal", None, 1.8, 0.0),
            Stage("borderline", 1.8, 3.2, 0.856),
            Stage("mild", 3.2, 7.0, 0.144),
            Stage("moderate", 7.0, 15.0, 0.0),
            Stage("severe", 15.0, None, 0.0),
        ),
    ),
    RoiMeasurement(
        "Whole liver",
        244,
        640.5,
        None,
        None,
        None,
        None,
        (STOP,),
        at_least=Limit(812.0, 21.0),
        reach=Limit(812.0, 21.0),
        advice="Scan again with a first echo of 1 ms.",
        slices=(SliceValue(0, 70, None, None, 0.8), SliceValue(1, 80, 300.5, 7.7, 0.9, "beyond the range")),
    ),
)
FINDER = {"name": "liver-finder", "version": 2, "sha256": "ab12"}


def make_priors(now: Point) -> Priors:
    """Earlier results of whoever has the result ``now``: the first two on another scanner, one from a table."""
    assert now.conditions is not None
    here = now.conditions
    there = replace(here, scanner=Scanner("GE MEDICAL SYSTEMS", "Optima MR450w", "MR-OLD", "77"))
    twin = Point("", Origin.NODE, conditions=here, r2star_per_s=1.0)

    def measured(date: str, lic: float, conditions: Conditions, number: int) -> Point:
        rate = (lic + 0.16) / 0.02603
        return replace(
            twin,
            date=date,
            lic_mg_per_g=lic,
            lic_ci95=(0.93 * lic, 1.07 * lic),
            r2star_per_s=rate,
            r2star_ci95=(0.97 * rate, 1.03 * rate),
            conditions=conditions,
            key=f"{number:040d}",
            report=Reference(f"2.25.{number}0", f"2.25.{number}1", f"2.25.{number}2"),
        )

    table = Point("20230614", Origin.TABLE, lic_mg_per_g=9.8, scanner_label="Avanto", field_t=1.5, method="FerriScan")
    return Priors(
        (
            table,
            measured("20240110", 8.1, there, 1),
            measured("20240722", 6.9, there, 2),
            measured("20250205", 4.7, here, 3),
            measured("20250918", 3.3, here, 4),
        ),
        (Unasked("pacs", Silence.TOO_LATE),),
    )


NUMBERS = ("mr_maps", "parametric_maps", "segmentation", "structured_report")  # what takes no drawing


@dataclass(frozen=True)
class Bench:
    """Makes results and writes them."""

    folder: Path

    @staticmethod
    def stack(scan: Scan) -> EchoStack:
        return make_stack(scan)

    def draft(self, result: Result | None = None, priors: Priors = NONE_KNOWN) -> Draft:
        result = result or self.result()
        return Draft(result, source.read(result.stack), ReportSettings(), CREATED, priors)

    def priors(self, result: Result | None = None) -> Priors:
        """Five earlier results on two scanners, one of them by another method, and an archive that was silent."""
        return make_priors(self.draft(result).trend.now)

    def result(self, scan: Scan | None = None, **changes: Any) -> Result:
        scan = scan or Scan(self.folder)
        stack = make_stack(scan)
        settings = {"fit": {"method": "admm", "weights": "auto"}, "measure": {"calibration": "hernando-2023"}}
        result = Result(
            stack=stack,
            maps=make_maps(scan.slices),
            rois=make_rois(scan.slices),
            measurements=tuple(
                replace(one, slices=tuple(s for s in one.slices if s.index < scan.slices)) for one in MEASURED
            ),
            identity=Identity(result_key(stack.sop_instance_uids, settings, "0.1.0"), "0.1.0"),
            settings=settings,
            anatomy=np.random.default_rng(8).uniform(0, 900, (scan.slices, ROWS, COLUMNS)).astype(np.float32),
            finder=FINDER,
            decays=(DecayCurve(ECHOES, (240.0, 178.0, 131.0, 97.0), 4.07, 325.0, 123.0), None),
        )
        return replace(result, **changes)

    def write(self, result: Result | None = None, products: tuple[str, ...] = NUMBERS) -> dict[str, list[Dataset]]:
        return self.read(self.outputs(result, products))

    def outputs(
        self,
        result: Result | None = None,
        products: tuple[str, ...] = PRODUCTS,
        priors: Priors = NONE_KNOWN,
    ) -> tuple[Output, ...]:
        folder = self.folder / "results"
        folder.mkdir(exist_ok=True)
        settings = ReportSettings(products=products)
        return report.write(result or self.result(), folder, created=CREATED, settings=settings, priors=priors)

    @staticmethod
    def read(outputs: tuple[Output, ...]) -> dict[str, list[Dataset]]:
        found: dict[str, list[Dataset]] = {}
        for output in outputs:
            found.setdefault(output.kind, []).append(pydicom.dcmread(output.path))
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Output, ...]:
    """Everything there is of one result, written once for all who only look."""
    return Bench(tmp_path_factory.mktemp("full")).outputs()


@pytest.fixture(scope="session")
def everything(full: tuple[Output, ...]) -> dict[str, list[Dataset]]:
    return Bench.read(full)


@pytest.fixture
def scan(tmp_path: Path) -> Callable[..., Scan]:
    """Describe a scan whose files go to this test's folder."""
    return lambda **what: Scan(tmp_path, **what)
