"""`process` on what folders really hold."""

import json
import os
import shutil
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest

from dicomnode import analyse, simulate
from dicomnode.config import GroupingSettings, Settings
from dicomnode.operate import offline
from dicomnode.report import findings
from solver import fit_t2star

WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def series(tmp_path):
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1, spacing_mm=(6.0, 6.0, 8.0))
    return simulate.write(simulate.make(plan, WRITTEN), tmp_path / "series")


def process(folder, output):
    return offline.process([folder], output, Settings(), created=WRITTEN, progress=lambda _: None)


def test_a_copy_of_a_file_is_nothing_to_speak_of(series, tmp_path):
    shutil.copy(series[0], series[0].with_name("copy.dcm"))
    summary = process(series[0].parent, tmp_path / "out")
    assert summary["series"][0]["status"] == "done"
    assert "conflict" not in {other["code"] for other in summary["others"]}


def test_the_parameters_that_a_result_records_make_its_maps_again(series):
    settings = Settings()
    ((candidate,), _) = offline.find([series[0].parent], settings.grouping, lambda _: None)
    signal, maps = analyse.fit_stack(offline.stack_of(candidate, settings.grouping), settings.fit)
    again = fit_t2star(signal, **maps.record.parameters)
    np.testing.assert_array_equal(np.where(again.valid, again.r2star_per_s, 0), maps.r2star_per_s)
    np.testing.assert_array_equal(again.valid, maps.valid)


def test_other_pixels_under_a_known_uid_are_said(series, tmp_path):
    other = pydicom.dcmread(series[0])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(series[0].with_name("zz-other.dcm"))
    summary = process(series[0].parent, tmp_path / "out")
    (said,) = [other for other in summary["others"] if other["code"] == "conflict"]
    assert said["count"] == 1


def test_the_findings_are_those_that_a_node_tells(series, tmp_path):
    (one,) = process(series[0].parent, tmp_path / "out")["series"]
    (path,) = (tmp_path / "out").glob("*/findings.json")
    told = findings.read(json.loads(path.read_text()))
    assert told.patient.id == str(pydicom.dcmread(series[0]).PatientID)
    assert told.answer == one["answer"]
    assert told.key.startswith(path.parent.name)
    assert not told.corrects


def test_the_summary_of_an_earlier_run_is_kept(series, tmp_path):
    output = tmp_path / "out"
    process(series[0].parent, output)
    first = (output / "summary.json").read_bytes()
    os.utime(output / "summary.json", (0, 0))
    for path in series[1:]:
        path.unlink()
    process(series[0].parent, output)
    assert (output / "summary-19700101T000000Z.json").read_bytes() == first
    os.utime(output / "summary.json", (0, 0))
    last = process(series[0].parent, output)
    assert json.loads((output / "summary.json").read_text()) == last
    assert last["series"][0]["status"] != "done"
    assert len(list(output.glob("summary-19700101T000000Z*.json"))) == 2


@pytest.mark.parametrize(
    ("t2star_ms", "field_t", "snr"),
    [(25.0, 1.5, 40), (7.0, 1.5, 60), (4.0, 3.0, 60), (1.6, 3.0, 80), (1.4, 1.5, 120)],
)
def test_from_mild_to_severe_there_is_a_number_and_it_is_right(tmp_path, t2star_ms, field_t, snr):
    plan = simulate.SeriesPlan(slices=1, liver_t2star_ms=t2star_ms, field_strength_t=field_t, snr=snr)
    simulate.write(simulate.make(plan, WRITTEN), tmp_path / "series")
    (one,) = process(tmp_path / "series", tmp_path / "out")["series"]
    assert one["status"] == "done", one["reason"]
    measured = one["rois"][0]
    assert measured["r2star_per_s"]["median"] == pytest.approx(1000 / t2star_ms, rel=0.04)


def test_beyond_what_the_echoes_can_tell_there_is_a_true_bound(tmp_path):
    plan = simulate.SeriesPlan(slices=1, liver_t2star_ms=0.9)
    simulate.write(simulate.make(plan, WRITTEN), tmp_path / "series")
    (one,) = process(tmp_path / "series", tmp_path / "out")["series"]
    assert one["status"] == "no_number"
    assert one["rois"][0]["at_least"]["r2star_per_s"] < 1000 / 0.9


def words_of(one, folder, kind):
    """Every text of a report."""
    (path,) = [folder / output["path"] for output in one["outputs"] if output["kind"] == kind]
    texts = []
    pydicom.dcmread(path).walk(lambda _, element: texts.append(str(element.value)) if element.VR == "UT" else None)
    return "\n".join(texts)


def test_what_is_missing_of_a_scan_and_what_was_left_out_stands_in_every_result(tmp_path):
    plan = simulate.SeriesPlan(slices=2, rows=48, columns=64, spacing_mm=(6.0, 6.0, 8.0), with_phase=True)
    paths = simulate.write(simulate.make(plan, WRITTEN), tmp_path / "series")
    phases = 0
    for path in paths:
        image = pydicom.dcmread(path)
        is_phase = "P" in image.ImageType
        if image.EchoNumbers == 4 or (is_phase and phases):
            path.unlink()  # an echo of every slice, and all phases but one
        phases += is_phase and image.EchoNumbers != 4
    settings = Settings(grouping=GroupingSettings(when_given_up="process_complete_slices"))
    summary = offline.process(
        [tmp_path / "series"], tmp_path / "out", settings, created=WRITTEN, progress=lambda _: None
    )
    (one,) = summary["series"]
    assert "echo 4 missing by the scanner's own count" in one["incomplete"]
    assert one["left_out"] == ["1 image: phase that does not fill the grid"]
    assert any(flag["code"] == "incomplete" for flag in one["rois"][0]["flags"])
    report = words_of(one, tmp_path / "out", "structured_report")
    assert "Missing of the scan: echo 4 missing" in report
    assert "Left out of the scan: 1 image: phase that does not fill the grid." in report
