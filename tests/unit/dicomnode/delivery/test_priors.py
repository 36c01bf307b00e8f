"""Earlier results are looked for once, where the configuration says, and whoever is silent holds up nothing."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, field, replace

import pydicom
import pytest

from dicomnode import events
from dicomnode.config import DestinationSettings, Settings, TrendSettings
from dicomnode.delivery.archive import Question
from dicomnode.delivery.priors import LookBack, of_reports
from dicomnode.errors import NoAnswer, NotAllowed, NotOffered, StorageError, Unreachable
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs import priors
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.jobs.manifest import Manifest
from dicomnode.report import findings, source, summary
from dicomnode.store.spool import Spool
from dicomnode.trend.values import Origin, Silence
from tests.unit.dicomnode.report.conftest import CREATED, Bench, Scan

NOW = {"StudyDate": "20260601", "StudyInstanceUID": "2.25.99"}


@dataclass
class Archive:
    """Answers with what it was given."""

    answer: list[pydicom.Dataset] | Exception = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    waits: threading.Event | None = None

    def earlier(self, destination, question):
        self.asked.append(question)
        if self.waits is not None:
            self.waits.wait(20)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class Node:
    """A data folder with a job whose report is to be made."""

    spool: Spool
    said: list[events.Event] = field(default_factory=list)

    def look(self, job, trend, archive=None):
        archive = archive or Archive()
        pacs = DestinationSettings(name="pacs", ae_title="P", host="h", port=1)
        settings = Settings(destination=(pacs,), trend=trend)
        LookBack(self.spool, settings, {"dicom": archive}, self.said.append)(job)
        return priors.read(job)

    def finished(self, key, result, header=None, *, supersedes=None, status=JobStatus.DONE):
        """A result as a job leaves it, of a study with that header."""
        job = self.spool.job(key)
        known = source.read(result.stack)
        known.identity.update(header or {})
        trend_of = Bench(self.spool.folder).draft(result).trend
        told = findings.of(result, known, key, CREATED, trend=trend_of).as_json()
        told["study"]["uid"] = (header or {}).get("StudyInstanceUID", told["study"]["uid"])
        report = {"kind": "structured_report", "sop_instance_uid": f"2.25.{len(key)}"}
        manifests.write(job, Manifest(("1.2",), {"fit": {}}, "0.1.0", supersedes=supersedes))
        job.write("findings.json", told)
        job.write("summary.json", summary.of(replace(result, identity=replace(result.identity, key=key)), (), trend_of))
        job.write("outputs.json", [report])
        job.write("state.json", {"status": status.value})
        return job


@pytest.fixture
def node(tmp_path):
    spool = Spool(tmp_path / "data")
    spool.create()
    return Node(spool)


@pytest.fixture
def result(tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    return Bench(folder).result(Scan(folder, header={"StationName": "MR1"}))


@pytest.fixture
def job(node, result):
    """The job of a drawing, which has its patient from the result that was drawn on."""
    node.finished("origin", result, NOW, status=JobStatus.KEPT)
    made = node.spool.job("drawn")
    manifests.write(made, Manifest(("1.2",), {"fit": {}}, "0.1.0", measured_on="origin", drawing="x.dcm"))
    return made


@pytest.fixture
def report(result, tmp_path):
    (output,) = Bench(tmp_path).outputs(result, ("structured_report",))
    return pydicom.dcmread(output.path)


OWN, ASK = TrendSettings(), TrendSettings(own=False, ask=("pacs",), ask_seconds=5.0)


# ---- its own


def test_a_node_knows_what_it_has_made(node, result, job):
    node.finished("before", result)
    (point,) = node.look(job, OWN).points
    assert (point.date, point.lic_mg_per_g, point.origin, point.key) == ("20260304", 3.1, Origin.NODE, "before")
    assert point.conditions.scanner.station == "MR1"
    assert [event.name for event in node.said] == ["priors_read"]


@pytest.mark.parametrize(
    "header",
    [
        {"PatientID": "LIC-10"},
        {"IssuerOfPatientID": "another hospital"},
        {"PatientBirthDate": "19800101"},  # a number that was given twice
        {"StudyInstanceUID": "2.25.99"},  # the same study
        {"StudyDate": "20260602"},  # later
        {"StudyDate": ""},
    ],
)
def test_what_is_of_others_of_this_study_or_later_is_no_earlier_result(node, result, job, header):
    node.finished("before", result, header)
    assert node.look(job, OWN).points == ()


def test_what_was_replaced_or_never_told_is_no_earlier_result(node, result, job):
    node.finished("first", result)
    node.finished("second", result, supersedes="first")
    node.finished("third", result, status=JobStatus.OVERTAKEN)
    node.finished("fourth", result, status=JobStatus.KEPT)
    assert [one.key for one in node.look(job, OWN).points] == ["second"]


def test_results_of_another_organ_are_no_earlier_results(node, result, job):
    node.finished("liver", result)
    hearts = replace(result, settings={**result.settings, "organ": {"name": "heart"}})
    regions = tuple(replace(roi, finding="heart") for roi in hearts.rois)
    node.finished("heart", replace(hearts, rois=regions))
    assert [one.key for one in node.look(job, OWN).points] == ["liver"]
    made = node.spool.job("drawn heart")
    parameters = {"fit": {}, "organ": {"name": "heart"}}
    manifests.write(made, Manifest(("1.2",), parameters, "0.1.0", measured_on="origin", drawing="x.dcm"))
    (point,) = node.look(made, OWN).points
    assert (point.key, point.organ, point.lic_mg_per_g) == ("heart", "heart", None)
    assert point.t2star_ms == result.measurements[0].t2star_ms.median


def test_a_region_of_something_else_is_no_value_of_the_organ(node, result, job):
    other = tuple(replace(roi, finding="spleen") for roi in result.rois)
    node.finished("before", replace(result, rois=other))
    assert node.look(job, OWN).points == ()


def test_a_result_of_a_version_that_kept_no_conditions_is_known_without_them(node, result, job):
    before = node.finished("before", result)
    said = before.read("summary.json")
    before.write("summary.json", {name: value for name, value in said.items() if name not in {"conditions", "trend"}})
    (point,) = node.look(job, OWN).points
    assert point.lic_mg_per_g == 3.1
    assert point.conditions.scanner.label == ""


def test_a_damaged_result_hides_no_other(node, result, job):
    node.finished("before", result)
    broken = node.finished("broken", result)
    (broken.folder / "summary.json").write_text("{")
    assert [one.key for one in node.look(job, OWN).points] == ["before"]


def test_what_is_written_down_says_of_nobody_who_it_is(node, result, job):
    node.finished("before", result)
    node.look(job, OWN)
    text = (job.folder / priors.FILE).read_text()
    for secret in ("LIC-1", "Iron", "Ida", "19700102", "A-77"):
        assert secret not in text
    assert not [event for event in node.said if "LIC-1" in str(event.said())]


# ---- once


def test_it_looks_once_and_what_it_found_stays(node, result, job):
    assert node.look(job, OWN).points == ()
    before = (job.folder / priors.FILE).read_bytes()
    node.finished("before", result)
    assert node.look(job, OWN).points == ()
    assert (job.folder / priors.FILE).read_bytes() == before


def test_of_two_machines_the_first_to_write_is_right(node, job):
    priors.keep(job, priors.read(job))
    before = (job.folder / priors.FILE).read_bytes()
    priors.keep(job, replace(priors.read(job), unasked=()))
    assert (job.folder / priors.FILE).read_bytes() == before
    assert not list(job.folder.glob(".*.part"))


def test_switched_off_it_writes_nothing(node, job):
    node.look(job, TrendSettings(own=False))
    assert not priors.are_known(job)


# ---- a table


def test_a_table_is_asked_for_the_patient(node, job, tmp_path):
    path = tmp_path / "priors.csv"
    path.write_text("patient_id,date,lic_mg_per_g\nLIC-1,2025-01-02,7.5\nLIC-2,2025-01-02,8.5\n")
    (point,) = node.look(job, TrendSettings(table=path)).points
    assert (point.date, point.lic_mg_per_g, point.origin) == ("20250102", 7.5, Origin.TABLE)


def test_a_table_that_cannot_be_read_is_said_to_be(node, job, tmp_path):
    found = node.look(job, TrendSettings(table=tmp_path / "nothing.csv"))
    assert [(one.where, one.why) for one in found.unasked] == [("table", Silence.UNREADABLE)]


# ---- archives


def test_an_archive_is_asked_for_one_patient(node, job, report):
    archive = Archive([report])
    (point,) = node.look(job, ASK, archive).points
    assert (point.origin, point.lic_mg_per_g) == (Origin.ARCHIVE, 3.1)
    (question,) = archive.asked
    assert (question.patient_id, question.study_uid, question.date) == ("LIC-1", "2.25.99", "20260601")
    assert question.wants("1.2", "20260601")
    assert not question.wants("2.25.99", "20250101")
    assert not question.wants("1.2", "20260602")
    assert not question.wants("1.2", "")


def test_what_both_know_is_shown_once(node, result, job, report):
    node.finished(result.identity.key, result)
    (point,) = node.look(job, TrendSettings(ask=("pacs",)), Archive([report])).points
    assert point.origin is Origin.NODE


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Unreachable("secret"), Silence.UNREACHABLE),
        (NotAllowed("secret"), Silence.NOT_ALLOWED),
        (NotOffered("secret"), Silence.NOT_OFFERED),
        (NoAnswer("secret"), Silence.NO_ANSWER),
        (KeyError("secret"), Silence.FAILED),
    ],
)
def test_who_does_not_answer_is_named_with_a_code(node, result, job, fault, why):
    node.finished("before", result)
    found = node.look(job, TrendSettings(ask=("pacs",)), Archive(fault))
    assert [(one.where, one.why) for one in found.unasked] == [("pacs", why)]
    assert len(found.points) == 1  # what others know is shown all the same
    assert "secret" not in (job.folder / priors.FILE).read_text()
    said = [event for event in node.said if isinstance(event, events.PriorsNotAsked)]
    assert [event.code for event in said] == [why.value]
    assert bool([event for event in node.said if isinstance(event, events.PriorsFailed)]) is (why is Silence.FAILED)


def test_an_archive_that_never_ends_is_waited_for_as_long_as_it_may_take(node, job):
    for_ever = threading.Event()
    begin = time.monotonic()
    found = node.look(job, replace_seconds(0.3), Archive(waits=for_ever))
    assert time.monotonic() - begin < 5
    for_ever.set()
    assert [one.why for one in found.unasked] == [Silence.TOO_LATE]


def replace_seconds(seconds):
    return TrendSettings(own=False, ask=("pacs",), ask_seconds=seconds)


@pytest.mark.parametrize("patient_id", ["LIC*", "LIC-?", "A\\B"])
def test_an_identifier_that_would_ask_for_others_is_not_asked_for(node, result, job, patient_id):
    told = node.spool.job("origin").read("findings.json")
    told["patient"]["id"] = patient_id
    node.spool.job("origin").write("findings.json", told)
    archive = Archive()
    found = node.look(job, ASK, archive)
    assert archive.asked == []
    assert [one.why for one in found.unasked] == [Silence.NO_PATIENT]


@pytest.mark.parametrize(
    ("place", "why"), [(("patient", "id"), Silence.NO_PATIENT), (("study", "date"), Silence.NO_DATE)]
)
def test_without_a_patient_or_a_date_nobody_is_asked(node, job, place, why):
    told = node.spool.job("origin").read("findings.json")
    told[place[0]][place[1]] = ""
    node.spool.job("origin").write("findings.json", told)
    archive = Archive()
    assert [one.why for one in node.look(job, ASK, archive).unasked] == [why]
    assert archive.asked == []


def test_where_the_headers_are_not_there_the_report_goes_without(node):
    job = node.spool.job("bare")
    manifests.write(job, Manifest(("1.2",), {"fit": {}}, "0.1.0"))
    assert [one.why for one in node.look(job, OWN).unasked] == [Silence.UNREADABLE]


def test_a_report_of_another_patient_or_one_that_was_replaced_says_nothing(result, report, tmp_path):
    patient = findings.patient(report)
    assert len(of_reports([report], patient)) == 1
    assert of_reports([report], replace(patient, id="LIC-2")) == []
    assert of_reports([report], replace(patient, birth_date="20000101")) == []
    later = replace(result, identity=replace(result.identity, key="f" * 40, supersedes=result.identity.key))
    (output,) = Bench(tmp_path).outputs(later, ("structured_report",))
    assert [one.key for one in of_reports([report, pydicom.dcmread(output.path)], patient)] == ["f" * 40]


def test_of_a_job_that_was_removed_nothing_is_written(node, job):
    shutil.rmtree(job.folder)
    with pytest.raises(StorageError):
        node.look(job, OWN)
    assert not job.folder.exists()
