"""Asking a DICOMweb archive that answers in every way for earlier reports, over real HTTP."""

import io
import time

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.config import DestinationSettings, TlsSettings
from dicomnode.delivery.archive import MOST_STUDIES, Question, TooLate
from dicomnode.delivery.stow import Stow
from dicomnode.delivery.wado import parts
from dicomnode.delivery.web import Web
from dicomnode.errors import NoAnswer, NotAllowed, NotOffered
from dicomnode.report.reading import SOP_CLASS_UID
from tests.integration.web_service import WebService

JSON = {"Content-Type": "application/dicom+json"}


@pytest.fixture
def serve():
    running = []

    def begin(answer):
        running.append(WebService(answer))
        return running[-1]

    yield begin
    for one in running:
        one.close()


def ask(service, seconds=10.0, patient_id="P1"):
    pacs = DestinationSettings(name="cloud", kind="dicomweb", url=service.url, timeout_seconds=5.0)
    question = Question(patient_id, "1.9", "20260601", time.monotonic() + seconds)
    return Stow(Web(TlsSettings())).earlier(pacs, question)


def item(**values):
    tags = {"patient": "00100020", "date": "00080020", "modality": "00080060", "kind": "00080016"}
    tags |= {"study": "0020000D", "series": "0020000E", "sop": "00080018"}
    return {tags[name]: {"vr": "LO", "Value": [value]} for name, value in values.items()}


def document(uid):
    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.SOPClassUID, report.SOPInstanceUID = SOP_CLASS_UID, uid
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, report, enforce_file_format=True)
    return buffer.getvalue()


def body(*contents):
    pieces = [b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" for content in contents]
    return b"".join([*pieces, b"--edge--\r\n"])


def archive(studies, **more):
    """Answers as an archive with one report a study; ``more`` are answers by the end of a path."""

    def answer(asked):
        path = asked.path.partition("?")[0]
        special = next((said for end, said in more.items() if path.endswith(end)), None)
        if special is not None:
            return special
        if path == "/studies":
            return 200, JSON, studies
        if path.endswith("/series"):
            return 200, JSON, [item(series="1.2", modality="SR"), item(series="1.3", modality="MR")]
        if path.endswith("/instances"):
            return 200, JSON, [item(sop="7", kind=SOP_CLASS_UID), item(sop="8", kind="1.2.840.10008.5.1.4.1.1.4")]
        return 200, {"Content-Type": "multipart/related"}, body(document("7"))

    return answer


def test_reports_of_earlier_studies_of_the_patient_are_fetched(serve):
    found = [
        item(study="1.1", date="20250101", patient="P1"),
        item(study="1.9", date="20250101", patient="P1"),  # the new study itself
        item(study="1.4", date="20260602", patient="P1"),  # later
        item(study="1.5", date="20250101", patient="P10"),  # of an archive that matches as it likes
    ]
    service = serve(archive(found))
    assert [str(one.SOPInstanceUID) for one in ask(service)] == ["7"]
    paths = [one.path for one in service.asked]
    assert "PatientID=P1&" in paths[0]
    assert all("/studies/1.1/series" in path for path in paths[1:])
    assert not any("1.3" in path for path in paths)


def test_of_very_many_studies_the_newest_are_asked_for(serve):
    many = [item(study=f"1.{year}", date=f"{year}0101", patient="P1") for year in range(1900, 1900 + MOST_STUDIES + 5)]
    service = serve(archive(many, instances=(204, {}, b"")))
    assert ask(service) == []
    asked = [one.path for one in service.asked if one.path.endswith("series?Modality=SR")]
    assert len(asked) == MOST_STUDIES
    assert "1904" not in "".join(asked)


def test_nothing_found_is_no_fault(serve):
    assert ask(serve(lambda _: (204, {}, b""))) == []


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((404, {}, b""), NotOffered),
        ((200, JSON, b"no JSON"), NotOffered),
        ((401, {}, b""), NotAllowed),
        (None, NoAnswer),
    ],
)
def test_what_is_no_answer_is_named(serve, answer, fault):
    with pytest.raises(fault):
        ask(serve(lambda _: answer))


def test_a_report_that_is_not_given_is_left_out_and_one_that_is_none_is_a_fault(serve):
    study = [item(study="1.1", date="20250101", patient="P1")]
    assert ask(serve(archive(study, **{"/7": (410, {}, b"")}))) == []
    with pytest.raises(NoAnswer):
        ask(serve(archive(study, **{"/7": (200, {}, body(b"words"))})))


def test_an_archive_that_goes_on_for_ever_is_left_in_time(serve):
    def slowly(_):
        time.sleep(0.3)
        return 200, JSON, [item(study=f"1.{n}", date="20250101", patient="P1") for n in range(10)]

    begin = time.monotonic()
    with pytest.raises((TooLate, NoAnswer)):
        ask(serve(slowly), seconds=1.0)
    assert time.monotonic() - begin < 5


def test_the_parts_of_a_body_are_whatever_lies_between_its_boundaries():
    assert list(parts(body(b"one\r\n\r\ntwo", b"three"))) == [b"one\r\n\r\ntwo", b"three"]
    assert list(parts(b"")) == list(parts(b"no boundary")) == []
