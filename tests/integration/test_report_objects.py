"""Every object made from every scanner's dialect and every real series, before the checking tools of others."""

from __future__ import annotations

import copy
import math
import os
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicomnode import group, header, report, simulate
from dicomnode.config import PRODUCTS, GroupingSettings, ReportSettings
from dicomnode.model import (
    DecayCurve,
    EchoStack,
    Estimate,
    FitRecord,
    Flag,
    Grade,
    GroupStatus,
    Identity,
    Limit,
    Maps,
    Output,
    Result,
    Roi,
    RoiMeasurement,
    SliceValue,
    Statistics,
)
from dicomnode.report import point, references, regions, rejection_note, source
from dicomnode.report.identity import result_key
from dicomnode.simulate import DIALECTS, ORIENTATIONS, SeriesPlan
from dicomnode.trend.values import Bound, Origin, Point, Priors, Reference, Silence, Unasked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pydicom import Dataset

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SENT = datetime(2026, 3, 4, 4, 5, 6)  # noqa: DTZ001  scanners write no zone
PLAN = SeriesPlan(rows=48, columns=64, spacing_mm=(6.25, 6.25, 8.0), snr=math.inf, slices=2)
SETTINGS = {"fit": {"method": "admm"}, "measure": {"calibration": "hernando-2023"}}
REAL = (
    "ge_mr750_12echo_abdomen",
    "siemens_prisma_6echo_phantom",
    "siemens_prisma_3d_3echo",
    "siemens_prisma_2echo_fieldmap",
    "siemens_xa30_enhanced_2echo",
    "siemens_xa30_series_per_echo",
    "philips_elition_classic_and_enhanced_2echo",
)


def stacks(paths: Iterable[Path]) -> list[EchoStack]:
    images = [image for path in sorted(paths) for image in header.read(path).images]
    found = group.assemble(images, GroupingSettings(minimum_echoes=2))
    return [g.stack for g in found if g.status is GroupStatus.COMPLETE and g.stack is not None]


def result_of(stack: EchoStack) -> Result:
    """A result whose values are different at every voxel, so that a swapped one is found."""
    slices, rows, columns, _ = stack.shape
    r2star = np.random.default_rng(3).uniform(20, 900, (slices, rows, columns)).astype(np.float32)
    valid = r2star > 30
    beyond = r2star > 850
    valid &= ~beyond
    record = FitRecord("admm", "mono-exponential", "rician", True, 12, 0.3, "converged", {}, "0.1.0")
    t2star = np.where(valid, 1000 / r2star, 0).astype(np.float32)
    sd = np.ones_like(r2star)
    values = {"t2star_ms": t2star, "r2star_per_s": np.where(valid, r2star, 0), "s0": sd * 100, "r2star_sd_per_s": sd}
    of_fat = {"fat_fraction": sd * 0.1, "fat_fraction_sd": sd * 0.01, "plain_r2star_per_s": values["r2star_per_s"]}
    maps = Maps(values | of_fat, valid, (3.0,) * slices, record, beyond)
    whole, part = np.zeros_like(valid), np.zeros_like(valid)
    whole[:, rows // 4 : rows // 2, columns // 4 : columns // 2] = True
    part[slices // 2, rows // 2 : rows // 2 + 6, 4:12] = True
    numbers = Statistics(8.5, 1.25, 8.25, 1.5), Statistics(120.25, 20.5, 121.5, 30.0)
    return Result(
        stack,
        maps,
        (Roi("liver", whole, confidence=0.93), Roi("liver edge", part)),
        (
            RoiMeasurement(
                "liver",
                100,
                250.0,
                *numbers,
                3.0,
                "hernando-2023: LIC = -0.16 + 0.02603 · R2*",
                (Flag("few-echoes", Grade.LOW_CONFIDENCE, "2 echoes above the noise"),),
                r2star=Estimate(121.5, (118.0, 125.25)),
                lic=Estimate(3.0, (2.9, 3.1)),
                reach=Limit(850.0, 22.0),
                slices=tuple(SliceValue(k, 50, 120.0 + k, 3.0, 0.9) for k in range(slices)),
                confidence=0.93,
            ),
            RoiMeasurement(
                "liver edge",
                48,
                90.0,
                None,
                None,
                None,
                None,
                (Flag("beyond-range", Grade.NOT_MEASURABLE, "R2* > 900/s"),),
                at_least=Limit(900.0, 23.3),
            ),
        ),
        Identity(result_key(stack.sop_instance_uids, SETTINGS, "0.1.0"), "0.1.0"),
        SETTINGS,
        (DecayCurve(stack.echo_times_ms, tuple(300 * math.exp(-t / 8) for t in stack.echo_times_ms), 4.0), None),
    )


def written(stack: EchoStack, folder: Path, products: tuple[str, ...] = PRODUCTS) -> tuple[Output, ...]:
    folder.mkdir()
    return report.write(result_of(stack), folder, created=CREATED, settings=ReportSettings(products=products))


def real(folder: Path) -> list[EchoStack]:
    """The stacks of a real series, three slices of each: the other thirty say nothing new."""
    found = stacks(path for path in folder.rglob("*") if path.is_file())
    assert found
    return [replace(stack, images=stack.images[:3]) for stack in found]


def simulated(folder: Path, **options: object) -> EchoStack:
    plan = replace(PLAN, **options)  # type: ignore[arg-type]
    [stack] = stacks(simulate.write(simulate.make(plan, SENT), folder))
    return stack


@pytest.fixture
def errors(peer: Callable[[str], str]) -> Callable[[Iterable[Output]], list[str]]:
    """What dciodvfy calls an error, object by object."""

    def check(outputs: Iterable[Output]) -> list[str]:
        found = []
        for output in outputs:
            run = subprocess.run([peer("dciodvfy"), output.path], capture_output=True, check=False)
            lines = run.stderr.decode("utf-8", "replace").splitlines()
            found += [f"{output.path.name}: {line}" for line in lines if line.startswith("Error")]
        return found

    return check


@pytest.fixture
def sr_messages(peer: Callable[[str], str]) -> Callable[[Path], str]:
    """What PixelMed's validator says of a report."""

    def check(path: Path) -> str:
        limits = "TotalOp", "ExprOp", "ExprGrp"  # Java 17 stops at the size of the validator's own style sheets
        options = " ".join(f"-Djdk.xml.xpath{limit}Limit=0" for limit in limits)
        environment = {**os.environ, "JAVA_TOOL_OPTIONS": f"{options} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
        command = [peer("DicomSRValidator"), path]
        run = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=200)
        return (run.stdout + run.stderr).decode("utf-8", "replace")

    return check


@pytest.mark.peer
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_object_of_every_dialect_is_valid(dialect, tmp_path, errors):
    assert errors(written(simulated(tmp_path / "in", dialect=dialect), tmp_path / "out")) == []


@pytest.mark.peer
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_object_of_every_orientation_is_valid(orientation, tmp_path, errors):
    assert errors(written(simulated(tmp_path / "in", orientation=orientation), tmp_path / "out")) == []


@pytest.mark.peer
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_note_that_rejects_a_replaced_result_is_valid(dialect, tmp_path, errors):
    outputs = written(simulated(tmp_path / "in", dialect=dialect), tmp_path / "out")
    rejected = [references.to(pydicom.dcmread(one.path, stop_before_pixels=True)) for one in outputs]
    note = rejection_note.build(pydicom.dcmread(outputs[0].path), outputs[0].kind, "a" * 40, rejected)
    path = tmp_path / "note.dcm"
    note.save_as(path, enforce_file_format=True)
    uids = str(note.SOPClassUID), str(note.SOPInstanceUID)
    assert errors([Output("rejection_note", *uids, path)]) == []


@pytest.mark.peer
def test_a_name_in_three_scripts_stays_valid_and_readable(tmp_path, errors):
    patient = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    stack = simulated(tmp_path / "in", patient_name=patient, character_set="\\ISO 2022 IR 87")
    outputs = written(stack, tmp_path / "out")
    assert errors(outputs) == []
    assert {str(pydicom.dcmread(output.path).PatientName) for output in outputs} == {patient}


@pytest.mark.peer
def test_one_slice_is_valid(tmp_path, errors):
    assert errors(written(simulated(tmp_path / "in", slices=1), tmp_path / "out")) == []


@pytest.mark.peer
@pytest.mark.timeout(600)
def test_the_report_of_every_dialect_keeps_to_its_template(tmp_path, sr_messages):
    stacks = {dialect: simulated(tmp_path / dialect / "in", dialect=dialect) for dialect in DIALECTS}
    assert _departures(stacks, tmp_path, sr_messages) == {}


@pytest.mark.shared_data
@pytest.mark.peer
@pytest.mark.timeout(600)
def test_the_report_of_every_real_series_keeps_to_its_template(shared_data, tmp_path, sr_messages):
    stacks = {name: real(shared_data / "dicom" / name)[0] for name in REAL}
    assert _departures(stacks, tmp_path, sr_messages) == {}


@pytest.mark.peer
@pytest.mark.timeout(600)
def test_a_report_beside_earlier_results_is_valid_and_keeps_to_its_template(tmp_path, errors, sr_messages):
    stack = simulated(tmp_path / "in")
    folder = tmp_path / "out"
    folder.mkdir()
    result, settings = result_of(stack), ReportSettings(products=("structured_report", "pdf"))
    now = point.of(result, source.read(stack))
    earlier = replace(
        now, date="20250704", key="e" * 40, lic_mg_per_g=5.5, report=Reference("2.25.7", "2.25.8", "2.25.9")
    )
    above = replace(earlier, date="20240102", key="a" * 40, bound=Bound.ABOVE, lic_mg_per_g=20.0)
    table = Point("20230614", Origin.TABLE, r2star_per_s=210.0, method="elsewhere")
    priors = Priors((table, above, earlier), (Unasked("pacs", Silence.NO_ANSWER),))
    outputs = report.write(result, folder, created=CREATED, settings=settings, priors=priors)
    assert errors(outputs) == []
    said = sr_messages(outputs[0].path)
    assert [line for line in said.splitlines() if line.startswith("Error")] == []
    assert "IOD validation complete" in said


def _departures(stacks: dict[str, EchoStack], folder: Path, sr_messages: Callable[[Path], str]) -> dict[str, list[str]]:
    """Errors in the reports of stacks by name; of reports of one shape one is judged, which takes half a minute."""
    paths = {
        name: written(stack, folder / f"{name}-out", ("structured_report",))[0].path for name, stack in stacks.items()
    }
    shapes = {name: _shape(pydicom.dcmread(path)) for name, path in paths.items()}
    for name, shape in shapes.items():
        if shape not in _judged:
            _judged[shape] = sr_messages(paths[name])
    said = {name: _judged[shape] for name, shape in shapes.items()}
    errors = {name: [line for line in text.splitlines() if line.startswith("Error")] for name, text in said.items()}
    unfinished = {name: [text[-200:]] for name, text in said.items() if "IOD validation complete" not in text}
    return {name: lines for name, lines in errors.items() if lines} | unfinished


_judged: dict[tuple[object, ...], str] = {}  # what was said, by the shape of the report


def _shape(item: Dataset) -> tuple[object, ...]:
    """All of a report that a template speaks of: relations, kinds, concepts, codes, units; no number, text or UID."""
    codes = [
        (keyword, *((one.CodeValue, one.CodingSchemeDesignator, one.CodeMeaning) for one in item.get(keyword, ())))
        for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence", "NumericValueQualifierCodeSequence")
    ]
    units = [
        (one.CodeValue, one.CodeMeaning)
        for value in item.get("MeasuredValueSequence", ())
        for one in value.MeasurementUnitsCodeSequence
    ]
    referred = [str(one.ReferencedSOPClassUID) for one in item.get("ReferencedSOPSequence", ())]
    template = [one.TemplateIdentifier for one in item.get("ContentTemplateSequence", ())]
    own = (
        item.get("RelationshipType"),
        item.get("ValueType"),
        item.get("GraphicType"),
        item.get("ContinuityOfContent"),
    )
    return (own, *codes, *units, *referred, *template, *(_shape(one) for one in item.get("ContentSequence", ())))


def test_the_shape_of_a_report_tells_what_a_template_speaks_of(tmp_path):
    """Else one report would be judged for another."""
    [output] = written(simulated(tmp_path / "in"), tmp_path / "out", ("structured_report",))
    report = pydicom.dcmread(output.path)
    shape = _shape(report)
    for item in [one for one in _items(report) if one is not report]:
        whole = copy.deepcopy(item)
        item.ConceptNameCodeSequence[0].CodeValue += "0"
        assert _shape(report) != shape
        item.ConceptNameCodeSequence = whole.ConceptNameCodeSequence
        item.RelationshipType = "HAS NOTHING"
        assert _shape(report) != shape
        item.RelationshipType = whole.RelationshipType
        if item.ValueType in {"UIDREF", "TEXT"}:
            item[{"UIDREF": "UID", "TEXT": "TextValue"}[item.ValueType]].value = "1.2.3"
    assert _shape(report) == shape


def _items(item: Dataset) -> list[Dataset]:
    return [item, *(one for child in item.get("ContentSequence", ()) for one in _items(child))]


@pytest.mark.peer
def test_dcmtk_shows_the_report_with_its_units(tmp_path, peer):
    [output] = written(simulated(tmp_path / "in"), tmp_path / "out", ("structured_report",))
    page = tmp_path / "report.html"
    subprocess.run([peer("dsr2html"), output.path, page], check=True, capture_output=True)
    text = re.sub(r"<[^>]+>", "", page.read_text())
    for expected in ("8.5 ms", "120.25 /s", "3 mg/g{DryWeight}", "250 mm2", "100 {voxels}"):
        assert expected in text


@pytest.mark.shared_data
@pytest.mark.peer
@pytest.mark.parametrize("name", REAL)
def test_every_object_of_every_real_series_is_valid(name, shared_data, tmp_path, errors):
    for number, stack in enumerate(real(shared_data / "dicom" / name)):
        assert errors(written(stack, tmp_path / str(number))) == []


@pytest.mark.shared_data
@pytest.mark.parametrize("name", REAL)
def test_values_of_every_real_series_come_back_in_their_place(name, shared_data, tmp_path):
    _assert_values_in_place(real(shared_data / "dicom" / name)[0], tmp_path / "out")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("dialect", ["ge", "philips-enhanced"])
def test_values_come_back_in_their_place(dialect, orientation, tmp_path):
    _assert_values_in_place(simulated(tmp_path / "in", dialect=dialect, orientation=orientation), tmp_path / "out")


def _assert_values_in_place(stack: EchoStack, folder: Path) -> None:
    result = result_of(stack)
    maps = result.maps
    for output in written(stack, folder, ("mr_maps", "parametric_maps")):
        if output.kind == "parametric_map_t2star":
            _assert_frames(hd.pm.ParametricMap.from_file(output.path), stack, maps.t2star_ms)
        if output.kind == "mr_map_r2star":
            d = pydicom.dcmread(output.path)
            k = _slice_at(stack, d.ImagePositionPatient)
            expected = np.where(regions.beyond(result)[k], 65535, np.rint(maps.r2star_per_s[k]))
            np.testing.assert_array_equal(d.pixel_array, expected)


def _assert_frames(image: hd.pm.ParametricMap, stack: EchoStack, expected: np.ndarray) -> None:
    frames = image.get_frames(apply_real_world_transform=True)
    for frame, item in zip(frames, image.PerFrameFunctionalGroupsSequence, strict=True):
        k = _slice_at(stack, item.PlanePositionSequence[0].ImagePositionPatient)
        np.testing.assert_array_equal(frame, expected[k])


def _slice_at(stack: EchoStack, position: Iterable[float]) -> int:
    [k] = [k for k, plane in enumerate(stack.planes) if np.allclose(plane.position, list(position), atol=1e-3)]
    return k
