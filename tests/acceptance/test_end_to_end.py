"""From a scanner's C-STORE to the PACS, with real data and real peers."""

import io
import json
import statistics
import subprocess
import sys

import pydicom
import pytest

from tests.acceptance.conftest import wait_for

pytestmark = [pytest.mark.shared_data, pytest.mark.peer, pytest.mark.timeout(600)]

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture(scope="module")
def ge_series(shared_data):
    return sorted(path for path in (shared_data / "dicom" / "ge_mr750_12echo_abdomen").rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def processed(shared_data, tmp_path_factory):
    """The same series through `dicomnode process`."""
    output = tmp_path_factory.mktemp("process")
    series = shared_data / "dicom" / "ge_mr750_12echo_abdomen"
    command = [sys.executable, "-m", "dicomnode", "process", str(series), "--output", str(output), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary == json.loads((output / "summary.json").read_text())
    return output, summary


def all_done(node):
    entries = node.status()
    return entries if entries and all(entry["status"] == "done" for entry in entries) else None


def numbers(report):
    """Every NUM of a structured report: (concept, derivation) -> values."""
    found = {}

    def walk(item):
        for content in item.get("ContentSequence", []):
            if content.ValueType == "NUM" and content.get("MeasuredValueSequence"):
                name = content.ConceptNameCodeSequence[0].CodeMeaning
                modifiers = [
                    child.ConceptCodeSequence[0].CodeMeaning
                    for child in content.get("ContentSequence", [])
                    if child.ValueType == "CODE" and child.ConceptNameCodeSequence[0].CodeMeaning == "Derivation"
                ]
                value = float(content.MeasuredValueSequence[0].NumericValue)
                found.setdefault((name, *modifiers), []).append(value)
            walk(content)

    walk(report)
    return found


def test_the_real_series_is_processed_from_files(processed):
    _, summary = processed
    (series,) = [one for one in summary["series"] if one["status"] == "done"]
    assert (len(series["echo_times_ms"]), series["slices"], series["rows"], series["columns"]) == (12, 5, 256, 256)
    assert {"parametric_map_t2star", "parametric_map_r2star", "structured_report"} <= {
        one["kind"] for one in series["outputs"]
    }


def test_the_liver_box_reads_what_the_data_say(processed):
    output, summary = processed
    (path,) = [o["path"] for o in summary["series"][0]["outputs"] if o["kind"] == "parametric_map_r2star"]
    boxes = pydicom.dcmread(output / path).pixel_array[:, 75:95, 60:90]
    assert len(boxes) == 5
    for box in boxes:
        assert 38 <= statistics.median(box.ravel().tolist()) <= 52


def test_every_written_object_is_valid(processed, peer):
    output, summary = processed
    for one in summary["series"][0]["outputs"]:
        said = subprocess.run([peer("dciodvfy"), output / one["path"]], capture_output=True, text=True, check=False)
        errors = [line for line in said.stderr.splitlines() if line.startswith("Error")]
        assert errors == [], one["kind"]


def test_a_scan_is_in_the_pacs_with_the_numbers_of_the_summary(orthanc, serve, storescu, ge_series, processed):
    node = serve({"pacs": orthanc.dicom_port})
    storescu(node, ge_series)
    wait_for(lambda: all_done(node), 240, "the result")

    maps = orthanc.instances(SOPClassUID=PARAMETRIC_MAP)
    assert len(maps) == 2
    (report,) = orthanc.instances(SOPClassUID=COMPREHENSIVE_SR)
    content = pydicom.dcmread(io.BytesIO(orthanc.file(report["ID"])))
    said = {round(value, 3) for values in numbers(content).values() for value in values}
    rois = processed[1]["series"][0]["rois"]
    assert rois[0]["r2star_per_s"] is not None
    for roi in rois:
        for quantity in ("t2star_ms", "r2star_per_s"):
            for value in (roi[quantity][name] for name in ("mean", "sd", "median", "iqr") if roi[quantity]):
                assert any(abs(value - one) <= 0.001 * abs(value) + 5e-4 for one in said), (
                    roi["name"],
                    quantity,
                    value,
                )
    # The same input, settings and version give the same objects, whichever way they came.
    uids = {one["sop_instance_uid"] for one in processed[1]["series"][0]["outputs"]}
    assert {tags["SOPInstanceUID"] for tags in orthanc.instances()} == uids
    # Whoever asks at a terminal is told the same, in the words of the report.
    (entry,) = all_done(node)
    shown = node.command("show", entry["key"])
    assert f"result {entry['key']}" in shown
    for roi in rois:
        assert f"{roi['name']}: R2* {roi['words']['r2star_per_s']}" in shown

    before = orthanc.get("/statistics")["CountInstances"]
    storescu(node, ge_series)
    wait_for(lambda: all_done(node), 60, "a settled status")
    assert orthanc.get("/statistics")["CountInstances"] == before


STORY = ["association_released", "series_ready", "result_made", "delivery_ended", "job_ended"]


def test_a_study_is_five_lines_of_the_log_under_one_identifier(orthanc, serve, storescu, ge_series):
    node = serve({"pacs": orthanc.dicom_port})
    storescu(node, ge_series)
    (entry,) = wait_for(lambda: all_done(node), 240, "the result")
    said = [json.loads(line) for line in node.log.read_text().splitlines() if line.startswith("{")]
    lines = [one for one in said if one.get("study") == entry["study_instance_uid"]]
    assert [(one["event"], one["level"]) for one in lines] == [(name, "info") for name in STORY]
    released, _, made, delivered, _ = lines
    assert (released["calling"], released["peer"], released["instances"]) == ("STORESCU", "127.0.0.1", len(ge_series))
    assert made["status"] == "done"
    assert all(one["seconds"] > 0 for one in (released, made, delivered))


def test_a_missing_echo_is_waited_for_and_named(orthanc, serve, storescu, ge_series):
    node = serve({"pacs": orthanc.dicom_port})
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in ge_series}
    magnitude = [path for path, header in headers.items() if header[0x0043, 0x102F].value == 0]
    late = [path for path in magnitude if float(headers[path].EchoTime) == 32.272]
    storescu(node, [path for path in ge_series if path not in late[:1]])

    def waiting():
        return [entry for entry in node.status() if entry["status"] == "waiting" and entry["code"] != "arriving"]

    (entry,) = wait_for(waiting, 60, "the naming of the hole")
    assert "echo 7" in entry["reason"]
    assert "echo 7" in node.command("status")
    assert orthanc.get("/statistics")["CountInstances"] == 0

    storescu(node, late[:1])
    wait_for(lambda: all_done(node), 240, "the result")
    assert len(orthanc.instances(SOPClassUID=PARAMETRIC_MAP)) == 2
