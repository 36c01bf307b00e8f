"""What an operator is told: everything that arrived, where it stands and why."""

import os
import shutil

import pytest

from dicomnode.jobs import lifecycle
from dicomnode.jobs.lifecycle import Delivery, DeliveryStatus
from dicomnode.operate import status
from dicomnode.operate.status import Studies, find, overview, request_retry
from dicomnode.store.durable import write_json
from dicomnode.store.spool import Spool
from tests.integration.moments import Moments

STUDY, SERIES = "1.2.3", "1.2.3.4"


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path)
    made.create()
    return made


def record(spool, study=STUDY, *, groups=None, others=(), accession="A1"):
    spool.study_folder(study).mkdir(exist_ok=True)
    said = {"study_instance_uid": study, "accession_number": accession, "groups": groups or {}, "others": list(others)}
    write_json(spool.studies / f"{study}.json", said)


def group(status="ready", key=None, **more):
    entry = {
        "series_instance_uids": [SERIES],
        "status": status,
        "code": None,
        "reason": None,
        "missing": [],
        "left_out": [],
        "echo_times_ms": [1.0, 2.0, 3.0],
        "slices": 1,
        "images": 3,
        "sources": "s",
        "started": "s",
        "key": key,
    }
    return {**entry, **more}


def job(spool, key, status, reason=None, **deliveries):
    one = spool.job(key)
    one.folder.mkdir(exist_ok=True)
    one.write("manifest.json", {})
    one.write("state.json", {"status": status, "reason": reason})
    for name, delivery in deliveries.items():
        lifecycle.say_delivery(one, name, delivery)


def test_nothing_is_nothing(spool):
    assert overview(spool) == []


def test_a_job_speaks_for_its_series(spool):
    record(spool, groups={"g": group(key="k")})
    job(spool, "k", "failed", "fit: broken", pacs=Delivery(DeliveryStatus.DELAYED, reason="away"))
    (entry,) = overview(spool)
    assert (entry["status"], entry["reason"]) == ("failed", "fit: broken")
    said = entry["deliveries"]["pacs"]
    assert (said["status"], said["reason"], said["delivered"], said["refused"]) == ("delayed", "away", [], {})


def test_a_series_that_waits_again_is_not_hidden_by_its_earlier_result(spool):
    record(spool, groups={"g": group("waiting", key="k", reason="echo 4, slice 1 missing")})
    job(spool, "k", "done")
    assert [entry["status"] for entry in overview(spool)] == ["waiting"]


def test_what_somebody_removed_by_hand_is_said_and_not_waited_for(spool):
    record(spool, groups={"g": group("waiting"), "h": group(key="k")})
    job(spool, "k", "fitting")
    assert [one["status"] for one in overview(spool)] == ["waiting", "fitting"]
    shutil.rmtree(spool.incoming / STUDY)
    shutil.rmtree(spool.job("k").folder)
    found = overview(spool)
    assert [(one["status"], one["code"]) for one in found] == [
        ("removed", "images-removed"),
        ("removed", "result-removed"),
    ]
    assert all("send the series again" in one["reason"] for one in found)


def test_a_job_that_newer_software_began_says_what_it_waits_for(spool):
    record(spool, groups={"g": group(key="k")})
    job(spool, "k", "queued")
    spool.job("k").write("manifest.json", {"version": 99})
    (entry,) = overview(spool)
    assert entry["status"] == "queued"
    assert "waits for newer software: " in entry["reason"]


def test_what_is_no_echo_is_listed_with_its_count(spool):
    record(spool, others=[{"code": "damaged", "reason": "damaged: why", "count": 3}])
    (entry,) = overview(spool)
    assert (entry["status"], entry["code"], entry["images"]) == ("not an echo", "damaged", 3)


def test_what_was_not_taken_in_is_listed_by_reason(spool):
    for content in (b"one", b"two"):
        spool.refuse(content, "unreadable", "StudyInstanceUID is missing")
    (entry,) = overview(spool)
    assert (entry["status"], entry["reason"], entry["images"]) == ("not taken in", "StudyInstanceUID is missing", 2)


@pytest.mark.parametrize("name", [STUDY, SERIES, "A1", "k"])
def test_a_study_is_found_by_each_of_its_names(spool, name):
    record(spool, groups={"g": group(key="k")})
    record(spool, "9.9", accession="B2", groups={"g": group(series_instance_uids=["9.9.1"])})
    assert [entry["study_instance_uid"] for entry in find(spool, name)] == [STUDY]


@pytest.mark.parametrize("name", ["", "1.2", "nothing"])
def test_nothing_else_is_found(spool, name):
    record(spool, groups={"g": group()}, accession="")
    assert find(spool, name) == []


@pytest.mark.parametrize("damaged", ["studies/1.2.3.json", "jobs/k/state.json", "jobs/k/receipts/pacs.json"])
def test_a_damaged_file_hides_no_other_study(spool, damaged):
    record(spool, groups={"g": group(key="k")})
    job(spool, "k", "done", pacs=Delivery(DeliveryStatus.DELIVERED))
    record(spool, "9.9", groups={"g": group("waiting")})
    (spool.folder / damaged).write_text("{")
    entries = {entry["study_instance_uid"]: entry for entry in overview(spool)}
    assert entries["9.9"]["status"] == "waiting"
    assert entries[STUDY]["status"] == "unreadable"
    assert damaged in entries[STUDY]["reason"]


def test_every_entry_has_the_same_keys(spool):
    record(spool, groups={"g": group()}, others=[{"code": "damaged", "reason": "why", "count": 1}])
    record(spool, "9.9")
    (spool.studies / "9.9.json").write_text("{")
    spool.refuse(b"x", "unreadable", "why")
    first, *rest = [set(entry) - {"count"} for entry in overview(spool)]
    assert len(rest) == 3
    assert all(keys == first for keys in rest)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for another")
def test_a_request_by_root_can_be_read_by_the_service(spool):
    shutil.chown(spool.requests, "nobody")
    record(spool, groups={"g": group(key="k")})
    request_retry(spool, find(spool, STUDY))
    (path,) = spool.requests.glob("*.json")
    assert path.stat().st_uid == spool.requests.stat().st_uid
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_result_that_replaces_another_says_which(spool):
    record(spool, groups={"g": group(key="k")})
    job(spool, "k", "done")
    spool.job("k").write("summary.json", {"status": "done", "supersedes": "before"})
    (entry,) = overview(spool)
    assert (entry["status"], entry["supersedes"]) == ("done", "before")


@pytest.mark.parametrize("at", range(12))
def test_what_changes_while_it_is_read_is_not_believed_to_have_settled(spool, monkeypatch, at):
    """As where a result is sent again while somebody looks."""
    record(spool, groups={"g": group(key="k")})
    job(spool, "k", "done")
    moments = Moments(monkeypatch)
    moments.interrupt(at, lambda: spool.job("k").write("state.json", {"status": "delivering", "reason": None}))
    overview(spool)
    moments.end()
    spool.job("k").write("state.json", {"status": "delivering", "reason": None}) if moments.count <= at else None
    assert [entry["status"] for entry in overview(spool)] == ["delivering"]


def test_what_has_settled_is_not_read_again_until_it_changes(spool, monkeypatch):
    """Ten thousand finished studies are to be told of in half a second."""
    for number in range(20):
        record(spool, f"1.2.{number}", groups={"g": group(key=f"k{number}")})
        job(spool, f"k{number}", "done", pacs=Delivery(DeliveryStatus.DELIVERED, delivered=("1.9",)))
    record(spool, "1.3", groups={"g": group("waiting")})
    first = overview(spool)
    read = []
    real = status.read_json
    monkeypatch.setattr(status, "read_json", lambda path: (read.append(path.name), real(path))[1])
    assert overview(spool) == first
    assert sorted(read) == ["1.3.json", "status-index.json"]
    lifecycle.say(spool.job("k7"), lifecycle.JobStatus.FAILED, "the disk is gone")
    (entry,) = find(spool, "1.2.7")
    assert (entry["status"], entry["reason"]) == ("failed", "the disk is gone")
    record(spool, "1.2.8", groups={"g": group("waiting", key="k8")})
    assert [entry["status"] for entry in find(spool, "1.2.8")] == ["waiting"]


def test_one_look_after_the_other_reads_only_what_is_under_way(spool, monkeypatch):
    for number in range(20):
        record(spool, f"1.2.{number}", groups={"g": group(key=f"k{number}")})
        job(spool, f"k{number}", "done")
    record(spool, "1.3", groups={"g": group("waiting")})
    studies = Studies(spool)
    first = studies.look()
    assert (len(first), first[-1].entries[0]["status"]) == (21, "waiting")
    read = []
    real = status.read_json
    monkeypatch.setattr(status, "read_json", lambda path: (read.append(path.name), real(path))[1])
    assert studies.look() == first
    assert read == ["1.3.json"]
    lifecycle.say(spool.job("k7"), lifecycle.JobStatus.FAILED, "the disk is gone")
    assert "failed" in [study.entries[0]["status"] for study in studies.look()]


def test_what_a_person_holds_back_says_by_whom(spool):
    record(spool, groups={"g": group(key="k")})
    job(spool, "k", "delivering")
    lifecycle.hold(spool.job("k"), "anna")
    assert [entry["held"] for entry in overview(spool)] == ["anna"]


def test_an_index_that_is_damaged_or_of_another_version_is_made_again(spool):
    record(spool, groups={"g": group(key="k")})
    job(spool, "k", "done")
    whole = overview(spool)
    for content in ("{", "[]", '{"version": "0", "studies": {"1.2.3.json": 7}}'):
        (spool.folder / "status-index.json").write_text(content)
        assert overview(spool) == whole


def test_what_was_made_on_a_persons_order_says_whose(spool):
    record(spool, groups={"g": group(key="k")})
    job(spool, "k", "done")
    order = {"by": "anna", "at": "2026-01-01T12:00:00+00:00", "code": "other-anatomy"}
    spool.job("k").write("summary.json", {"status": "done", "ordered": order})
    (entry,) = overview(spool)
    assert (entry["group"], entry["ordered"]) == ("g", order)
