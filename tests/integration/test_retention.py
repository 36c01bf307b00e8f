"""What is finished goes when its time is over, images first; nothing else ever goes, and all of it is said."""

import contextlib
import itertools
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicomnode import events
from dicomnode.commitment import Request
from dicomnode.config import DestinationSettings, GroupingSettings, RetentionSettings
from dicomnode.delivery.carrier import Outcome, Sent
from dicomnode.delivery.deliver import Deliveries
from dicomnode.errors import ConfigError, InputError, StorageError
from dicomnode.intake.watch import Watcher
from dicomnode.jobs import drawings, lifecycle, promises, retention, tidy
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.jobs.manifest import Manifest
from dicomnode.jobs.retention import KINDS, Retention
from dicomnode.operate.status import overview
from dicomnode.store import usage
from dicomnode.store.durable import read_json, write_json
from dicomnode.store.spool import Spool
from tests.integration.moments import Moments

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "store")
    made.create()
    return made


class Days:
    """The time that people read; ``pass_by`` lets the node run on every one of some days."""

    def __init__(self, spool):
        self.spool, self.now, self.said = spool, START, []

    def keeper(self, **rules):
        return Retention(self.spool, RetentionSettings(**rules), clock=lambda: self.now, say=self.said.append)

    def pass_by(self, days, **rules):
        keeper = self.keeper(**rules)
        for _ in range(days):
            self.now += timedelta(days=1)
            keeper.round()

    def removed(self):
        return [(one.study, one.kind) for one in self.said if isinstance(one, events.StudyRemoved)]


@pytest.fixture
def days(spool):
    return Days(spool)


def put(spool, number=1, status="done", waits=False, images=True):
    """A study of one series; its job as far as ``status``, None where there is none."""
    study = f"1.2.{number}"
    if images:
        spool.store(study, f"1.3.{number}", b"image")
    key = None
    if status is not None:
        manifest = Manifest(
            sources=(f"1.3.{number}",),
            parameters={},
            software_version="1",
            instances={f"1.3.{number}": f"incoming/{study}/1.3.{number}.dcm"},
        )
        job = spool.job(manifest.key)
        job.folder.mkdir()
        manifests.write(job, manifest)
        (job.folder / "outputs").mkdir()
        (job.folder / "outputs" / "one.dcm").write_bytes(b"object")
        entry = {"path": "outputs/one.dcm", "sop_instance_uid": f"1.4.{number}", "product": "mr_maps", "kind": "x"}
        write_json(job.folder / "outputs.json", [entry])
        write_json(job.folder / "summary.json", {"status": "done"})
        write_json(job.folder / "state.json", {"status": status, "reason": None})
        key = job.key
    group = {"status": "waiting" if waits else "ready", "key": key, "series_instance_uids": [], "code": None}
    group |= {"reason": None, "missing": [], "left_out": [], "echo_times_ms": [], "slices": 1, "images": 1}
    record = {"study_instance_uid": study, "accession_number": "", "groups": {"g": group}, "drawings": {}, "others": []}
    write_json(spool.studies / f"{study}.json", {**record, "settled_ns": 0})
    settle(spool, study)
    for path in (spool.studies / f"{study}.json", *(spool.job(key).folder.glob("state.json") if key else ())):
        os.utime(path, (START.timestamp() + number,) * 2)
    return study, spool.job(key) if key else None


def settle(spool, study):
    """Write down, as the watcher does, that all that lies in the folder of a study was looked at."""
    path, folder = spool.studies / f"{study}.json", spool.incoming / study
    write_json(path, read_json(path) | {"settled_ns": folder.stat().st_mtime_ns if folder.exists() else 1})


def test_nothing_goes_unless_the_configuration_says_so(spool, days):
    study, job = put(spool)
    days.pass_by(400)
    assert (spool.incoming / study).is_dir()
    assert tidy.has_objects(job)
    assert days.removed() == []


def test_images_go_first_then_objects_then_the_record(spool, days):
    study, job = put(spool)
    rules = {"originals_days": 10, "objects_days": 20, "records_days": 30}
    seen = []
    for _ in range(32):
        days.pass_by(1, **rules)
        numbers = job.read("summary.json") if job.folder.exists() else None
        seen.append(
            ((spool.incoming / study).is_dir(), tidy.has_objects(job) and job.folder.exists(), numbers is not None)
        )
    assert [seen.count(one) for one in ((True, True, True), (False, True, True), (False, False, True))] == [9, 10, 10]
    assert seen[-1] == (False, False, False)
    assert days.removed() == [(study, kind) for kind in KINDS]
    assert overview(spool) == []


def test_a_study_without_images_is_still_done_and_says_what_is_gone(spool, days):
    study, _ = put(spool)
    days.pass_by(5, originals_days=3)
    (entry,) = overview(spool)
    assert entry["status"] == "done"
    assert retention.removed(spool, study)["originals"]["why"] == "older than 3 days"


@pytest.mark.parametrize("status", sorted({*JobStatus} - {"done", "refused", "kept", "overtaken"}))
def test_what_is_not_finished_is_kept_whatever_its_age_and_the_room(spool, days, status):
    study, job = put(spool, status=status)
    days.pass_by(50, originals_days=1, objects_days=1, records_days=1, keep_free_gb=1e9)
    assert (spool.incoming / study / "1.3.1.dcm").exists()
    assert tidy.has_objects(job)
    assert days.removed() == []


@pytest.mark.parametrize(("status", "kept"), [("delivering", True), ("failed", False)])
def test_what_was_replaced_and_is_still_on_its_way_is_kept(spool, days, status, kept):
    study, job = put(spool)
    earlier = spool.job("earlier")
    earlier.folder.mkdir()
    earlier.write("manifest.json", {"sources": [], "parameters": {}, "software_version": "1"})
    earlier.write("state.json", {"status": status})
    job.write("manifest.json", {**job.read("manifest.json"), "supersedes": "earlier"})
    days.pass_by(50, originals_days=1, objects_days=1, records_days=1)
    assert (spool.studies / f"{study}.json").exists() == kept
    assert earlier.folder.exists() == kept


def test_a_series_that_waits_for_an_echo_is_kept_and_one_that_is_none_of_ours_is_not(spool, days):
    put(spool, 1, status=None, waits=True)
    put(spool, 2, status=None)
    days.pass_by(3, originals_days=1)
    assert days.removed() == [("1.2.2", "originals")]


def test_days_on_which_the_node_did_not_run_do_not_count(spool, days):
    put(spool)
    days.pass_by(5, originals_days=10)
    days.now += timedelta(days=3650)  # it was off, or somebody set the clock ten years ahead
    days.pass_by(4, originals_days=10)
    assert days.removed() == []
    days.now -= timedelta(days=3655)
    days.pass_by(1, originals_days=10)
    assert days.removed() == []


def test_where_room_is_short_the_oldest_images_go_first_and_then_objects_but_never_numbers(spool, days):
    for number in (3, 1, 2):
        put(spool, number)
    days.pass_by(1, keep_free_gb=1e9)
    assert days.removed() == [(f"1.2.{n}", kind) for kind in KINDS[:2] for n in (1, 2, 3)]
    assert all(job.read("summary.json") for job in spool.all_jobs())


def test_no_more_goes_than_room_is_wanted(spool, days, monkeypatch):
    for number in (1, 2, 3):
        put(spool, number)
    plenty = shutil.disk_usage(spool.folder)
    short = iter([plenty._replace(free=0)] * 3 + [plenty] * 10)  # one for the day's usage
    monkeypatch.setattr(shutil, "disk_usage", lambda _: next(short))
    days.pass_by(1, keep_free_gb=1e-6)
    assert days.removed() == [("1.2.1", "originals"), ("1.2.2", "originals")]


def test_what_a_scanner_was_promised_stays_until_a_person_removes_it(spool, days):
    (study, job), (other, _) = put(spool, 1), put(spool, 2)
    path = spool.incoming / study / "1.3.1.dcm"
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID, image.file_meta = MRImageStorage, "1.3.1", FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)
    asked = promises.judge(spool, Request("1.9", {"1.3.1": str(MRImageStorage)}))
    assert list(asked.committed) == ["1.3.1"]
    settle(spool, study)
    days.pass_by(9, originals_days=1, objects_days=2, records_days=3, keep_free_gb=1e9)
    assert path.exists()
    assert job.read("summary.json")
    assert {one for one, _ in days.removed()} == {study, other}
    assert (study, "originals") not in days.removed()
    days.keeper().purge(study, "it may go", False)
    assert not path.exists()


def test_images_that_somebody_removed_are_said_once(spool, days):
    study, _ = put(spool)
    shutil.rmtree(spool.incoming / study)
    days.pass_by(3)
    assert [(one.study, one.why) for one in days.said] == [(study, retention.BY_HAND)]


def test_a_damaged_record_holds_up_no_other(spool, days):
    (spool.studies / "1.2.0.json").write_bytes(b"{")
    put(spool)
    days.pass_by(3, originals_days=1)
    assert days.removed() == [("1.2.1", "originals")]


def test_what_a_crash_left_half_removed_is_finished(spool, days):
    study, _ = put(spool)
    (spool.incoming / study).rename(spool.incoming / f".removed-{study}")
    days.pass_by(1)
    assert [path.name for path in spool.incoming.iterdir() if "removed" in path.name] == []


@pytest.mark.parametrize("came", ["another", "the same again"])
@pytest.mark.parametrize("moment", range(6))
@pytest.mark.parametrize("by", ["age", "room", "a person"])
def test_what_comes_while_a_study_is_removed_stays(spool, days, monkeypatch, *, came, moment, by):
    """At whichever moment: its sender was told that it is kept, and nobody has looked at it yet."""
    study, _ = put(spool)
    folder, moments, told = spool.incoming / study, itertools.count(), []
    image = folder / ("1.3.2.dcm" if came == "another" else "1.3.1.dcm")

    def at_this_moment():
        if next(moments) == moment:
            with contextlib.suppress(StorageError):  # its sender tries again
                told.append(spool.store(study, image.stem, b"image"))

    def time_of_day():
        at_this_moment()
        return days.now

    def rename(path, target, give_name=Path.rename):
        at_this_moment()
        given = give_name(path, target)
        at_this_moment()
        return given

    monkeypatch.setattr(Path, "rename", rename)
    days.now += timedelta(days=5)
    rules = {"originals_days": 1} if by == "age" else {"keep_free_gb": 1e9}
    keeper = Retention(spool, RetentionSettings(**rules), clock=time_of_day, say=days.said.append)
    at_this_moment()
    with contextlib.suppress(InputError):
        keeper.purge(study, "it may go", False) if by == "a person" else keeper.round()
    while next(moments) <= moment and not told:
        at_this_moment()
    assert image.exists() or not told
    spool.sweep()
    assert image.exists() or not told


def test_what_a_crash_left_while_it_was_looked_at_is_put_back(spool, days):
    study, _ = put(spool)
    (spool.incoming / study).rename(spool.incoming / f".leaving-{study}")
    spool.store(study, "1.3.2", b"image")  # while it was away
    days.pass_by(1)
    assert sorted(path.name for path in (spool.incoming / study).iterdir()) == ["1.3.1.dcm", "1.3.2.dcm"]


# --- by a person


def test_purge_removes_all_of_a_study_and_of_no_other(spool, days):
    (study, job), (other, _) = put(spool, 1), put(spool, 2)
    days.keeper().purge(study, "a test scan", False)
    left = [path for path in spool.folder.rglob("*") if study in path.name or job.key in str(path)]
    assert left == []
    assert (spool.incoming / other).is_dir()
    assert {one.why for one in days.said} == {"purged: a test scan"}


@pytest.mark.parametrize("status", ["queued", "fitting", "measuring", "reporting"])
def test_what_is_being_made_cannot_be_purged(spool, days, status):
    study, _ = put(spool, status=status)
    with pytest.raises(InputError, match="being processed"):
        days.keeper().purge(study, "why not", True)
    assert (spool.incoming / study).is_dir()


@pytest.mark.parametrize("status", ["delivering", "failed"])
def test_what_is_not_delivered_is_purged_only_when_that_is_said(spool, days, status):
    study, job = put(spool, status=status)
    with pytest.raises(InputError, match="--undelivered"):
        days.keeper().purge(study, "why not", False)
    days.keeper().purge(study, "why not", True)
    pacs = DestinationSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
    late = Deliveries(spool, (pacs,), sender=None).attempt(job.key, "pacs", 3)  # its pause was in the queue
    assert late is None
    assert not job.folder.exists()


class Pacs:
    """Takes everything; ``meanwhile`` happens while it does."""

    def __init__(self):
        self.got, self.meanwhile = 0, lambda: None

    def send(self, _destination, files):
        for _ in files:
            self.got += 1
            self.meanwhile()
            yield Sent("1.4.1", Outcome.DELIVERED)


@pytest.mark.parametrize("at", range(47))
def test_what_is_purged_while_it_is_delivered_is_all_gone_and_is_delivered_again_when_it_comes_again(
    spool, days, monkeypatch, at
):
    """At any moment of the attempt, the last of them while an object is on its way."""
    study, job = put(spool, status="delivering")
    destination = DestinationSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
    pacs, moments = Pacs(), Moments(monkeypatch)
    deliveries = Deliveries(spool, (destination,), pacs, say=days.said.append)

    def purge():
        days.keeper().purge(study, "it may go", True)

    if at == 46:
        pacs.meanwhile = purge
    moments.interrupt(at, purge)
    assert deliveries.attempt(job.key, "pacs", 0) is None
    assert moments.count <= 46, "there are more moments than were looked at"
    moments.end()
    if spool.changed_ns(study):  # the attempt was over before
        purge()
    assert list(spool.jobs.iterdir()) == []
    before, pacs.meanwhile = pacs.got, lambda: None
    put(spool, status="delivering")
    assert deliveries.attempt(job.key, "pacs", 0) is None
    assert pacs.got == before + 1
    assert not [one for one in days.said if isinstance(one, events.DeliveryCrashed)]


# --- what comes later


def test_an_attempt_to_send_what_is_no_longer_kept_ends_with_that_reason(spool):
    _, job = put(spool, status="delivering")
    tidy.remove_objects(job)
    pacs = DestinationSettings(name="new", ae_title="PACS", host="127.0.0.1", port=1)
    assert Deliveries(spool, (pacs,), sender=None).attempt(job.key, "new", 0) is None
    assert lifecycle.state(job).status is JobStatus.FAILED
    assert "no longer kept" in lifecycle.state(job).reason


def test_a_late_file_of_a_study_whose_images_are_gone_hides_no_result(spool, days):
    study, job = put(spool)
    days.pass_by(3, originals_days=1)
    spool.store(study, "1.3.99", b"no image at all")
    rules = GroupingSettings()
    watcher = Watcher(
        rules,
        spool,
        parameters={},
        software_version="1",
        rules_of=lambda *_: rules,
        bringing=lambda _: frozenset(),
        start=lambda *_: pytest.fail("nothing is to be started"),
        clock=time.monotonic,
    )
    watcher.turn(1e12)
    assert ("done", job.key) in [(one["status"], one["key"]) for one in overview(spool)]


@pytest.mark.parametrize("gone", ["images", "objects"])
def test_a_drawing_on_what_is_no_longer_kept_is_refused_with_what_to_do(spool, tmp_path, monkeypatch, gone):
    study, job = put(spool)
    monkeypatch.setattr(drawings.rois, "referenced_uids", lambda _: {"1.4.1"})
    if gone == "images":
        spool.remove_images(study)
    else:
        tidy.remove_objects(job)
    found = drawings.manifest(spool, tmp_path / "drawing.dcm", "1.5", [job.key])
    assert found is drawings.NO_LONGER_KEPT


# --- how long the disk lasts


def test_days_left_follow_from_what_the_last_days_took(spool, monkeypatch):
    room = 10_000_000_000
    for day in range(5):
        used = shutil.disk_usage(spool.folder)._replace(used=day * 1_000_000_000, free=room)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, used=used: used)
        usage.note(spool, (START + timedelta(days=day)).date())
    assert usage.days_left(spool) == pytest.approx(10.0)


def test_a_disk_that_does_not_fill_lasts(spool):
    for day in range(5):
        usage.note(spool, (START + timedelta(days=day)).date())
    assert usage.days_left(spool) is None or usage.days_left(spool) > 0
    assert usage.days_left(Spool(spool.folder / "elsewhere")) is None


def test_rules_in_the_wrong_order_are_a_fault_that_says_the_order(tmp_path):
    from dicomnode import config

    path = tmp_path / "node.toml"
    path.write_text("[retention]\noriginals_days = 30\nobjects_days = 10\n")
    with pytest.raises(ConfigError, match="originals_days <= objects_days"):
        config.load(path)


@pytest.mark.parametrize("before", [True, False])
def test_a_result_that_two_tidy_at_once_is_tidy(spool, monkeypatch, before):
    _, job = put(spool)
    write, begun = tidy.write_durably, []

    def meanwhile():
        if not begun:
            begun.append(True)
            tidy.tidy(spool, job)

    def written(path, content):
        if before:
            meanwhile()
        write(path, content)
        if not before:
            meanwhile()

    monkeypatch.setattr(tidy, "write_durably", written)
    tidy.tidy(spool, job)
    assert [path.name for path in (job.folder / "outputs").iterdir()] == ["one.dcm.gz"]
    assert tidy.content_of(job.folder / "outputs" / "one.dcm") == b"object"
