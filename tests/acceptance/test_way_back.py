"""A radiologist draws a region on the derived map and sends it to the node."""

import io
import shutil
from datetime import UTC, datetime

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from dicomnode import simulate
from tests.acceptance.conftest import wait_for

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]

SR = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture
def study(tmp_path):
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=2, spacing_mm=(6.0, 6.0, 8.0))
    return list(simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), tmp_path / "study"))


def segmentation(images, mask, path):
    description = hd.seg.SegmentDescription(
        1, "my liver", codes.SCT.Organ, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    drawn = hd.seg.Segmentation(
        images, mask[..., None], hd.seg.SegmentationTypeValues.BINARY, [description], hd.UID(), 1, hd.UID(), 1,
        "A viewer", "Drawing", "1", "1", content_creator_name="Reader^Rita",
    )  # fmt: skip
    drawn.save_as(path)
    return drawn


def entries(node, status):
    return [entry for entry in node.status() if entry["status"] == status]


def test_a_region_drawn_on_the_map_is_measured_and_named(orthanc, serve, storescu, study, tmp_path):
    node = serve({"pacs": orthanc.dicom_port})
    storescu(node, study)
    wait_for(lambda: entries(node, "done"), 120, "the first result")
    maps = [one for one in orthanc.instances(Modality="MR") if "R2*" in one["SeriesDescription"] and "Rows" in one]
    images = [pydicom.dcmread(io.BytesIO(orthanc.file(one["ID"]))) for one in maps]
    images = [image for image in images if image.SOPClassUID == "1.2.840.10008.5.1.4.1.1.4"]
    first = {tags["SOPInstanceUID"] for tags in orthanc.instances()}
    mask = np.zeros((len(images), 48, 64), np.uint8)
    mask[0, 20:26, 12:20] = 1
    segmentation(images, mask, tmp_path / "drawn.dcm")

    storescu(node, [tmp_path / "drawn.dcm"])
    wait_for(lambda: len(entries(node, "done")) == 2, 120, "the drawing's result")
    new = [tags for tags in orthanc.instances() if tags["SOPInstanceUID"] not in first]
    assert sorted(tags["Modality"] for tags in new) == ["SEG", "SR"]
    (report,) = [pydicom.dcmread(io.BytesIO(orthanc.file(t["ID"]))) for t in new if t["SOPClassUID"] == SR]
    text = str(report)
    assert "my liver" in text
    assert "Reader^Rita" in text
    assert images[0].SOPInstanceUID in text
    assert "PredecessorDocumentsSequence" not in report
    expected = float(np.median(images[0].pixel_array[20:26, 12:20]))
    numbers = [float(e.value) for e in report.iterall() if e.keyword == "NumericValue"]
    assert any(abs(number - expected) <= 0.5 for number in numbers)


def test_a_region_drawn_on_the_echoes_is_refused_with_where_to_draw(orthanc, serve, storescu, study, tmp_path):
    node = serve({"pacs": orthanc.dicom_port})
    storescu(node, study)
    wait_for(lambda: entries(node, "done"), 120, "the first result")
    images = [pydicom.dcmread(path) for path in study]
    echo = min(image.EchoTime for image in images)
    images = [image for image in images if image.EchoTime == echo]
    segmentation(images, np.ones((len(images), 48, 64), np.uint8), tmp_path / "drawn.dcm")
    storescu(node, [tmp_path / "drawn.dcm"])
    (refused,) = wait_for(lambda: entries(node, "refused"), 60, "the refusal")
    assert "draw it on the R2* map" in refused["reason"]


def test_our_own_objects_sent_back_by_the_pacs_start_nothing(orthanc, serve, storescu, study, tmp_path):
    node = serve({"pacs": orthanc.dicom_port})
    storescu(node, study)
    (entry,) = wait_for(lambda: entries(node, "done"), 120, "the first result")
    outputs = node.config.parent / "dicomnode-data/jobs" / entry["key"] / "outputs"
    copies = [shutil.copy(path, tmp_path) for path in outputs.glob("s*-001.dcm")]
    before = orthanc.get("/statistics")["CountInstances"]
    storescu(node, copies)
    wait_for(lambda: entries(node, "not an echo"), 60, "the record")
    assert len(entries(node, "done")) == 1
    assert orthanc.get("/statistics")["CountInstances"] == before
