"""A radiologist draws a region on the derived map and sends it to the node."""

import io
from datetime import UTC, datetime

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pynetdicom import AE

from dicomnode import simulate
from tests.acceptance.conftest import wait_for

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]

SR = "1.2.840.10008.5.1.4.1.1.88.33"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


@pytest.fixture
def study(tmp_path):
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=2, spacing_mm=(6.0, 6.0, 8.0))
    return list(simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), tmp_path / "study"))


ROWS, COLUMNS = slice(20, 26), slice(12, 20)
CORNERS = np.array(
    [(12, 20), (20, 20), (20, 26), (12, 26), (12, 20)], float
)  # column, row from the corner of the image


def segmentation(images, mask, path, kind=hd.seg.SegmentationTypeValues.BINARY):
    description = hd.seg.SegmentDescription(
        1, "my liver", codes.SCT.Organ, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    pixels = mask if kind is hd.seg.SegmentationTypeValues.LABELMAP else mask[..., None]
    drawn = hd.seg.Segmentation(
        images, pixels, kind, [description], hd.UID(), 1, hd.UID(), 1,
        "A viewer", "Drawing", "1", "1", content_creator_name="Reader^Rita",
    )  # fmt: skip
    drawn.save_as(path)
    return drawn


def structure_set(image, path):
    """A contour through the centres of the outermost voxels, as treatment planning writes it."""
    row, column = np.array(image.ImageOrientationPatient[:3]), np.array(image.ImageOrientationPatient[3:])
    place = np.array(image.ImagePositionPatient)
    inside = CORNERS[:-1] - np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    points = [place + c * image.PixelSpacing[1] * row + r * image.PixelSpacing[0] * column for c, r in inside]
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
    contour.ContourData = [f"{v:.4f}" for v in np.ravel(points)]
    contour.ContourImageSequence = [reference(image)]
    structure, drawn, made = Dataset(), Dataset(), Dataset()
    structure.ROINumber, structure.ROIName = 1, "my liver"
    structure.ReferencedFrameOfReferenceUID = image.FrameOfReferenceUID
    structure.ROIGenerationAlgorithm = "MANUAL"
    drawn.ReferencedROINumber, drawn.ContourSequence = 1, [contour]
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(made, name, image[name].value)
    made.SOPClassUID, made.SOPInstanceUID, made.SeriesInstanceUID = RTSTRUCT, hd.UID(), hd.UID()
    made.Modality, made.OperatorsName = "RTSTRUCT", "Reader^Rita"
    made.StructureSetLabel, made.StructureSetROISequence, made.ROIContourSequence = "drawn", [structure], [drawn]
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.save_as(path, enforce_file_format=True)


def reference(image):
    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return found


def structured_report(image, path):
    region = hd.sr.ImageRegion(
        hd.sr.GraphicTypeValues.POLYLINE, CORNERS, hd.sr.SourceImageForRegion.from_source_image(image)
    )
    area = hd.sr.Measurement(codes.SCT.Area, 1.0, codes.UCUM.SquareMillimeter)
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        hd.sr.TrackingIdentifier(hd.UID(), "my liver"), region, finding_type=codes.SCT.Liver, measurements=[area]
    )
    person = hd.sr.PersonObserverIdentifyingAttributes("Reader^Rita")
    context = hd.sr.ObservationContext(hd.sr.ObserverContext(codes.DCM.Person, person))
    content = hd.sr.MeasurementReport(context, codes.LN.CTUnspecifiedBodyRegion, [group])
    hd.sr.ComprehensiveSR([image], content, hd.UID(), 1, hd.UID(), 1, "A viewer").save_as(path)


def presentation_state(image, path):
    layer = hd.pr.GraphicLayer("DRAWN", order=1)
    graphic = hd.pr.GraphicObject("POLYLINE", CORNERS, "PIXEL")
    text = hd.pr.TextObject("my liver", "PIXEL", anchor_point=(30.0, 30.0), anchor_point_visible=False)
    note = hd.pr.GraphicAnnotation([image], layer, graphic_objects=[graphic], text_objects=[text])
    hd.pr.GrayscaleSoftcopyPresentationState(
        [image], hd.UID(), 1, hd.UID(), 1, "A viewer", "Drawing", "1", "1", "DRAWN",
        graphic_layers=[layer], graphic_annotations=[note], content_creator_name="Reader^Rita",
    ).save_as(path)  # fmt: skip


def export(node, files):
    """Send from a viewer; dcmtk's storescu does not know Label Map Segmentation."""
    sets = [pydicom.dcmread(path) for path in files]
    viewer = AE("STORESCU")
    for one in sets:
        viewer.add_requested_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
    association = viewer.associate("127.0.0.1", node.port, ae_title="LIVERIRON")
    assert [association.send_c_store(one).Status for one in sets] == [0] * len(sets)
    association.release()


def maps_in(orthanc):
    """The R2* map's images in the PACS."""
    found = [one for one in orthanc.instances(Modality="MR") if "R2*" in one["SeriesDescription"] and "Rows" in one]
    images = [pydicom.dcmread(io.BytesIO(orthanc.file(one["ID"]))) for one in found]
    return [image for image in images if image.SOPClassUID == "1.2.840.10008.5.1.4.1.1.4"]


def reports(orthanc, known):
    new = [tags for tags in orthanc.instances() if tags["SOPInstanceUID"] not in known and tags["SOPClassUID"] == SR]
    return [pydicom.dcmread(io.BytesIO(orthanc.file(tags["ID"]))) for tags in new]


def numbers(report):
    return [float(e.value) for e in report.iterall() if e.keyword == "NumericValue"]


def entries(node, *statuses):
    return [entry for entry in node.status() if entry["status"] in statuses]


def test_a_region_drawn_on_the_map_is_measured_and_named_whatever_the_viewer_exports(
    orthanc, serve, storescu, study, tmp_path
):
    node = serve({"pacs": orthanc.dicom_port})
    storescu(node, study)
    wait_for(lambda: entries(node, "done"), 120, "the first result")
    images = maps_in(orthanc)
    first = {tags["SOPInstanceUID"] for tags in orthanc.instances()}
    mask = np.zeros((len(images), 48, 64), np.uint8)
    mask[0, ROWS, COLUMNS] = 1
    segmentation(images, mask, tmp_path / "segmentation.dcm")
    segmentation(images, mask, tmp_path / "label_map.dcm", hd.seg.SegmentationTypeValues.LABELMAP)
    structure_set(images[0], tmp_path / "structures.dcm")
    structured_report(images[0], tmp_path / "report.dcm")
    presentation_state(images[0], tmp_path / "presentation.dcm")
    drawings = sorted(tmp_path.glob("*.dcm"))

    export(node, drawings)
    wait_for(lambda: len(entries(node, "done")) == 1 + len(drawings), 240, "the drawings' results")
    new = [tags for tags in orthanc.instances() if tags["SOPInstanceUID"] not in first]
    pages = ["OT"] * 5  # of the slice that was drawn on
    assert sorted(tags["Modality"] for tags in new) == ["DOC"] * 5 + pages + ["SEG"] * 5 + ["SR"] * 5
    expected = float(np.median(images[0].pixel_array[ROWS, COLUMNS]))
    named = set()
    for report in reports(orthanc, first):
        text = str(report)
        assert "my liver" in text
        assert "Reader^Rita" in text
        assert images[0].SOPInstanceUID in text
        assert "PredecessorDocumentsSequence" not in report
        assert any(abs(number - expected) <= 0.5 for number in numbers(report))
        remarks = " ".join(str(e.value) for e in report.iterall() if e.keyword == "TextValue")
        named |= {path.name for path in drawings if pydicom.dcmread(path).SOPInstanceUID in remarks}
    assert named == {path.name for path in drawings}


def test_a_drawing_replaces_the_automatic_report_where_the_configuration_asks(
    orthanc, serve, storescu, study, tmp_path
):
    node = serve({"pacs": orthanc.dicom_port}, "[report]\ndrawing_replaces_result = true\n")
    storescu(node, study)
    wait_for(lambda: entries(node, "done"), 120, "the first result")
    first = {tags["SOPInstanceUID"] for tags in orthanc.instances()}
    (automatic,) = reports(orthanc, set())
    presentation_state(maps_in(orthanc)[0], tmp_path / "drawn.dcm")
    storescu(node, [tmp_path / "drawn.dcm"])
    (drawn,) = wait_for(lambda: reports(orthanc, first), 120, "the drawing's report")
    replaced = [
        e.value for e in drawn.PredecessorDocumentsSequence[0].iterall() if e.keyword.endswith("SOPInstanceUID")
    ]
    assert replaced == [automatic.SOPInstanceUID]


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
    assert entry["key"]
    copies = []
    for number, tags in enumerate(one for one in orthanc.instances() if one["Modality"] in ("SEG", "SR")):
        copies.append(tmp_path / f"{number}.dcm")
        copies[-1].write_bytes(orthanc.file(tags["ID"]))
    before = orthanc.get("/statistics")["CountInstances"]
    storescu(node, copies)
    wait_for(lambda: entries(node, "not an echo"), 60, "the record")
    assert len(entries(node, "done")) == 1
    assert orthanc.get("/statistics")["CountInstances"] == before
