"""`process` on what folders really hold."""

import shutil
from datetime import UTC, datetime

import pydicom
import pytest

from dicomnode import simulate
from dicomnode.config import Settings
from dicomnode.operate import offline

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


def test_other_pixels_under_a_known_uid_are_said(series, tmp_path):
    other = pydicom.dcmread(series[0])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(series[0].with_name("zz-other.dcm"))
    summary = process(series[0].parent, tmp_path / "out")
    (said,) = [other for other in summary["others"] if other["code"] == "conflict"]
    assert said["count"] == 1
