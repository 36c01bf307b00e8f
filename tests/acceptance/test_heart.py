"""A heart from the scanner's C-STORE to the PACS, beside a liver, and the septum that a reader draws."""

import io
import subprocess
from datetime import UTC, datetime

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from dicomnode import simulate
from tests.acceptance.conftest import wait_for

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SR, MR = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.4"
CONFIG = """
[grouping]
organs = ["liver", "heart"]
[measure]
organ_calibrations = { heart = "carpenter-2011" }
"""
HEART = simulate.SeriesPlan(
    echo_times_ms=simulate.HEART_ECHO_TIMES_MS,
    slices=1,
    field_strength_t=1.5,
    orientation="short-axis",
    patient_name="HEART^SIMULATED",
    patient_id="SIM-0002",
    heart=simulate.HeartPlan(t2star_ms=14.0, blood="black"),
)
LIVER = simulate.SeriesPlan(rows=48, columns=64, slices=1, spacing_mm=(6.0, 6.0, 8.0), field_strength_t=1.5)


def written(plan, folder):
    made = simulate.make(plan, NOW)
    return made, list(simulate.write(made, folder))


def done(node, count):
    entries = node.status()
    return entries if len(entries) == count and all(one["status"] in {"done", "no_number"} for one in entries) else None


def of_study(orthanc, study_uid, sop_class):
    found = orthanc.instances(SOPClassUID=sop_class, StudyInstanceUID=study_uid)
    return [pydicom.dcmread(io.BytesIO(orthanc.file(one["ID"]))) for one in found]


def numbers(report):
    found = {}

    def walk(item):
        for content in item.get("ContentSequence", ()):
            if content.ValueType == "NUM":
                code = content.ConceptNameCodeSequence[0].CodeValue
                found.setdefault(code, float(content.MeasuredValueSequence[0].NumericValue))
            walk(content)

    walk(report)
    return found


def test_a_heart_and_a_liver_each_come_back_as_what_they_are(orthanc, serve, storescu, peer, tmp_path):
    node = serve({"pacs": orthanc.dicom_port}, CONFIG)
    heart, heart_files = written(HEART, tmp_path / "heart")
    liver, liver_files = written(LIVER, tmp_path / "liver")
    storescu(node, heart_files)
    storescu(node, liver_files)
    wait_for(lambda: done(node, 2), 300, "both results")

    (report,) = of_study(orthanc, heart.instances[0].StudyInstanceUID, SR)
    found, true_ms = numbers(report), heart.truth.regions["septum"].t2star_ms
    assert found["113064"] == pytest.approx(true_ms, rel=0.03)
    assert found["MIC"] == pytest.approx(45.0 * true_ms**-1.22, rel=0.1)
    assert "LIC" not in found
    assert report.SeriesDescription.startswith("Cardiac T2* report | Cardiac Iron Node")
    (other,) = of_study(orthanc, liver.instances[0].StudyInstanceUID, SR)
    assert "MIC" not in numbers(other)
    assert other.SeriesDescription.startswith("Liver iron report | Liver Iron Node")

    for entry in orthanc.instances(StudyInstanceUID=heart.instances[0].StudyInstanceUID):
        path = tmp_path / f"{entry['ID']}.dcm"
        path.write_bytes(orthanc.file(entry["ID"]))
        said = subprocess.run([peer("dciodvfy"), path], capture_output=True, text=True, check=False)
        assert [line for line in said.stderr.splitlines() if line.startswith("Error")] == [], entry["SeriesDescription"]


def test_the_septum_that_a_reader_draws_is_measured_as_one(orthanc, serve, storescu, tmp_path):
    node = serve({"pacs": orthanc.dicom_port}, CONFIG)
    heart, files = written(HEART, tmp_path / "heart")
    storescu(node, files)
    wait_for(lambda: done(node, 1), 300, "the result")
    study_uid = heart.instances[0].StudyInstanceUID
    maps = [one for one in of_study(orthanc, study_uid, MR) if one.SeriesDescription.startswith("R2* map")]
    septum = heart.truth.regions["septum"].mask
    description = hd.seg.SegmentDescription(
        1, "my septum", codes.SCT.Organ, codes.SCT.InterventricularSeptum, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    drawn = hd.seg.Segmentation(
        maps, septum[..., None].astype(np.uint8), "BINARY", [description], hd.UID(), 1, hd.UID(), 1,
        "A viewer", "Drawing", "1", "1", content_creator_name="Reader^Rita",
    )  # fmt: skip
    drawn.save_as(tmp_path / "drawn.dcm")
    storescu(node, [tmp_path / "drawn.dcm"])
    wait_for(lambda: done(node, 2), 300, "the drawing's result")
    reports = wait_for(lambda: len(found := of_study(orthanc, study_uid, SR)) == 2 and found, 60, "its report")
    (report,) = [one for one in reports if "drawn" in one.SeriesDescription]
    assert numbers(report)["113064"] == pytest.approx(heart.truth.regions["septum"].t2star_ms, rel=0.05)
    words = " ".join(str(one.value) for one in report.iterall() if one.keyword == "TextValue")
    assert "Cardiac T2* in the drawn region “my septum”" in words
    assert "mild to moderate (10 to 20 ms, Anderson 2001, Kirk 2009)" in words
