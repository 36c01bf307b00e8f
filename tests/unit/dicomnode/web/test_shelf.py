"""The node in numbers, and what of them is an alarm."""

import os
import shutil
import time
from datetime import date

import pytest

from dicomnode import config
from dicomnode.jobs import lifecycle
from dicomnode.jobs.lifecycle import Delivery, DeliveryStatus
from dicomnode.store import usage
from dicomnode.store.durable import write_json
from dicomnode.store.spool import Spool
from dicomnode.web import alarms, shelf
from dicomnode.web.metrics import Metrics
from dicomnode.web.shelf import Shelf
from dicomnode.web.tally import Tally

DAY = 86400.0


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "config.toml").write_text(
        '[[scanner]]\nae_title = "MR1"\n[storage]\nminimum_free_mb = 0\n'
        '[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n'
    )
    return config.load(tmp_path / "config.toml")


@pytest.fixture
def spool(settings):
    made = Spool(settings.storage_folder())
    made.create()
    return made


def study(spool, uid, *, status="ready", state="delivering", delivery=None, sender="MR1", summary=None):
    key = f"{int(uid.rpartition('.')[2]):08x}"
    group = {
        "series_instance_uids": [f"{uid}.1"],
        "status": status,
        "code": None,
        "reason": None,
        "missing": [],
        "left_out": [],
        "echo_times_ms": [1.0, 2.0],
        "slices": 1,
        "images": 2,
        "sources": "s",
        "started": "s",
        "key": key,
    }
    record = {"study_instance_uid": uid, "accession_number": "A", "groups": {"g": group}, "others": []}
    write_json(spool.studies / f"{uid}.json", record)
    job = spool.job(key)
    job.folder.mkdir(exist_ok=True)
    manifest = {"sources": [], "parameters": {}, "software_version": "1", "version": 2, "sender": sender}
    job.write("manifest.json", manifest)
    job.write("state.json", {"status": state, "reason": None})
    if delivery is not None:
        lifecycle.say_delivery(job, "pacs", delivery)
    if summary is not None:
        job.write("summary.json", summary)
    return job


def codes(found):
    return [alarm.code for alarm in alarms.of(found)]


def test_what_waits_for_a_destination_is_its_backlog(settings, spool):
    study(spool, "1.2.1")
    delayed = Delivery(DeliveryStatus.DELAYED, 3, reason="away", first=time.time() - 7200)
    study(spool, "1.2.2", delivery=delayed)
    study(spool, "1.2.3", state="done", delivery=Delivery(DeliveryStatus.DELIVERED, delivered=("1.9",)))
    found = Shelf(settings, spool)
    (pacs,) = found.figures().destinations
    assert (pacs.backlog, pacs.given_up, pacs.reason) == (2, 0, "away")
    assert time.time() - pacs.oldest == pytest.approx(7200, abs=10)
    assert pacs.last_success == pytest.approx(time.time(), abs=10)
    assert codes(found) == ["backlog"]


def test_a_destination_that_does_not_take_results_now_is_said(settings, spool):
    study(spool, "1.2.1", delivery=Delivery(DeliveryStatus.DELAYED, 3, reason="away", first=time.time()))
    (alarm,) = alarms.of(Shelf(settings, spool))
    assert (alarm.code, alarm.tone) == ("destination", "doubt")
    assert "away" in alarm.what


def test_what_a_person_holds_back_is_no_fault_of_its_destination(settings, spool):
    held = Delivery(DeliveryStatus.DELAYED, 3, reason="held back by a person")
    lifecycle.hold(study(spool, "1.2.1", delivery=held), "anna")
    assert codes(Shelf(settings, spool)) == []


def test_what_was_given_up_is_an_alarm(settings, spool):
    dead = Delivery(DeliveryStatus.DEAD_LETTER, 3, reason="refused")
    study(spool, "1.2.1", state="failed", delivery=dead)
    found = Shelf(settings, spool)
    assert found.figures().destinations[0].given_up == 1
    assert codes(found) == ["dead-letter"]


def test_a_scanner_that_fell_silent_is_said_also_after_a_restart(settings, spool):
    job = study(spool, "1.2.1", state="done")
    long_ago = time.time() - 9 * DAY
    for path in (spool.studies / "1.2.1.json", job.folder / "state.json"):
        os.utime(path, (long_ago, long_ago))
    found = Shelf(settings, spool)
    assert codes(found) == ["scanner"]
    found.count(Tally("images_received", ("MR1",), 3))
    assert codes(found) == []


def test_a_sender_that_is_no_scanner_of_ours_names_nothing(settings, spool):
    study(spool, "1.2.1", sender="STRANGER")
    assert list(Shelf(settings, spool).last_images()) == ["other"]


def test_a_disk_that_fills_says_for_how_long_it_lasts(settings, spool, monkeypatch):
    for day in range(1, 6):
        disk = shutil._ntuple_diskusage(10**9, day * 10_000_000, 50_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, disk=disk: disk)
        usage.note(spool, date(2026, 3, day))
    found = Shelf(settings, spool)
    assert found.disk().days_left == pytest.approx(5.0)  # ten megabytes a day
    assert "disk" in codes(found)


def test_of_a_first_day_nobody_says_how_long_the_disk_lasts(settings, spool):
    usage.note(spool, date(2026, 3, 1))
    assert Shelf(settings, spool).disk().days_left is None


def test_a_node_that_falls_silent_is_ill(settings, spool, monkeypatch):
    found = Shelf(settings, spool)
    assert found.ailments() == {}
    found.examined({"queue": "away"})
    assert found.ailments() == {"queue": "away"}
    later = time.monotonic() + 60.0
    monkeypatch.setattr(shelf.time, "monotonic", lambda: later)
    assert list(found.ailments()) == ["node"]


def test_metrics_hold_no_uid_and_no_name(settings, spool):
    """Prometheus' own parser reads them."""
    from prometheus_client.parser import text_string_to_metric_families

    flags = [{"code": "fat", "grade": "info", "sentence": "DOE^JANE"}]
    job = study(spool, "1.2.77", summary={"status": "no_number", "rois": [{"flags": flags}]})
    metrics = Metrics(settings, Shelf(settings, spool))
    metrics.count_result(job.key)
    metrics.count_result("never made")
    metrics.count(Tally("images_received", ("MR1",), 12))
    metrics.count(Tally("step_seconds", ("fit",), 2.5))
    text = metrics.text().decode()
    samples = {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }
    assert samples["dicomnode_images_received_total", "MR1"] == 12
    assert samples["dicomnode_step_seconds_count", "fit"] == 1
    assert samples["dicomnode_flags_total", "fat", "info"] == 1
    assert samples["dicomnode_results_total", "no_number"] == 1
    assert samples["dicomnode_series", "delivering"] == 1
    assert samples["dicomnode_backlog", "pacs"] == 1
    assert samples["dicomnode_ready",] == 1
    for hidden in ("1.2.77", "DOE", job.key):
        assert hidden not in text
