"""A result made again from the images that are kept: beside the old one, sent only where a person asks."""

import json
import os
import pwd
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicomnode import cli, config, events, simulate
from dicomnode.errors import InputError
from dicomnode.jobs import again, lifecycle, remake
from dicomnode.jobs import manifest as manifests
from dicomnode.node import Node
from dicomnode.operate import removal, reprocess, requests
from dicomnode.operate.status import find, overview, request, request_purge, request_reprocess
from dicomnode.store.durable import write_json
from dicomnode.store.spool import Spool
from tests.acceptance.conftest import wait_for
from tests.integration.archive import Archive
from tests.integration.inline import Inline

# pynetdicom leaves the socket of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
NLS = {"fit.method": "nls"}


class World:
    """One study of one series, and a node of it that can be started again."""

    def __init__(self, folder, archive):
        self.archive, self.said, self.node = archive, [], None
        self.config = folder / "config.toml"
        text = '[node]\nhost = "127.0.0.1"\n[[scanner]]\nae_title = "MR1"\n[storage]\nminimum_free_mb = 0\n'
        text += f'[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {archive.port}\n'
        self.config.write_text(text)
        self.spool = Spool(folder / "dicomnode-data")
        self.spool.create()
        plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
        self.study = ""
        for one in simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances:
            self.study, path = str(one.StudyInstanceUID), folder / f"{one.SOPInstanceUID}.dcm"
            one.save_as(path, enforce_file_format=True)
            self.spool.store(self.study, str(one.SOPInstanceUID), path.read_bytes())
            self.spool.release(self.study, [str(one.SOPInstanceUID)])

    def start(self):
        settings = config.load(self.config)
        free = settings.node.model_construct(**{**dict(settings.node), "port": 0})
        self.node = Node(settings.model_copy(update={"node": free}), children=Inline(), sinks=(self.said.append,))
        self.node.start()

    def stop(self):
        if self.node is not None:
            self.node.stop()
            self.node = None

    def first(self):
        """The result that comes by itself."""
        self.start()
        self.until(lambda: [one["status"] in {"done", "no_number"} for one in overview(self.spool)] == [True])
        (job,) = self.spool.all_jobs()
        return job

    def until(self, condition):
        def look():
            if self.node is not None:
                self.node.turn(0.0)
            return condition()

        return wait_for(look, 60, "the condition")

    def again(self, job, changes=NLS, *, sends=False, name="r"):
        """Ask the node for a result again; the new one, once nothing more comes of it."""
        request_reprocess(self.spool, job.key, changes, by="anna", sends=sends, name=name)
        key = self.until(lambda: next((k for k, one in self.known().items() if one.request == name), None))
        made = self.spool.job(key)
        self.until(lambda: lifecycle.state(made).status.is_end)
        return made

    def settle(self):
        """Wait until the watcher has looked at all that lies in the study's folder: before that it is not finished."""
        record = self.spool.studies / f"{self.study}.json"
        self.until(lambda: json.loads(record.read_text())["settled_ns"] == self.spool.changed_ns(self.study))

    def known(self):
        return again.of_study(self.spool, self.study)

    def refusals(self):
        return [one.reason for one in self.said if isinstance(one, events.RequestRefused)]

    def exported(self, identifier, *options):
        """The table of results that are exported under a name."""
        (path,) = self.command("export", identifier, *options).stdout.split()
        return Path(path).read_text()

    def command(self, *arguments):
        result = CliRunner().invoke(cli.main, [*arguments, "--config", str(self.config)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result


@pytest.fixture
def world(tmp_path):
    archive = Archive()
    made = World(tmp_path, archive)
    yield made
    made.stop()
    archive.close()


def uids(job):
    return {one["sop_instance_uid"] for one in job.outputs}


def test_a_result_made_again_stands_beside_the_old_one_and_goes_nowhere(world):
    first = world.first()
    sent = list(world.archive.stored)
    made = world.again(first)
    assert lifecycle.state(made).status == "kept"
    world.stop()
    world.start()  # nor does a start send it
    assert world.archive.stored == sent
    assert lifecycle.deliveries(made) == {}
    said = made.read("comparison.json")
    assert said["settings"] == {"fit.method": ["admm", "nls"]}
    assert said["regions"][0]["name"] == "liver"
    entries = overview(world.spool)
    assert [(one["key"], one["status"]) for one in entries[1:]] == [(made.key, "kept")]
    assert (entries[0]["key"], entries[1]["beside"]) == (first.key, first.key)
    (event,) = [one for one in world.said if isinstance(one, events.Reprocessed)]
    assert (event.of, event.key, event.by, event.sent) == (first.key, made.key, "anna", False)


def test_one_that_is_sent_replaces_the_old_one_as_late_images_would(world):
    first = world.first()
    made = world.again(first, sends=True)
    assert lifecycle.state(made).status == "done"
    assert manifests.read(made).supersedes == first.key
    assert uids(made) <= set(world.archive.stored)
    (entry,) = overview(world.spool)
    assert (entry["key"], entry["supersedes"]) == (made.key, first.key)


def test_what_was_kept_is_sent_when_a_person_asks_and_says_what_it_replaces_by_then(world):
    first = world.first()
    kept, other = world.again(first), world.again(first, {"measure.calibration": "none"}, sends=True, name="s")
    assert manifests.read(kept).supersedes == first.key
    entries = find(world.spool, kept.key)
    assert "send again" in requests.may(world.spool, entries[0])
    request(world.spool, "send again", entries, by="anna")
    world.until(lambda: lifecycle.state(kept).status == "done")
    assert manifests.read(kept).supersedes == other.key
    assert kept.read("summary.json")["supersedes"] == other.key
    assert uids(kept) <= set(world.archive.stored)
    assert [one["key"] for one in overview(world.spool)] == [kept.key]


def test_to_ask_for_what_is_kept_with_sending_sends_it(world):
    first = world.first()
    kept = world.again(first)
    request_reprocess(world.spool, first.key, NLS, by="anna", sends=True)
    world.until(lambda: lifecycle.state(kept).status == "done")
    assert uids(kept) <= set(world.archive.stored)
    assert list(world.known()) == [kept.key]


def test_to_send_a_study_again_sends_nothing_that_nobody_asked_for(world):
    first = world.first()
    made = world.again(first)
    assert "1 series" in world.command("send-again", world.study).stdout
    world.until(lambda: len(world.archive.stored) == 2 * len(uids(first)))
    assert lifecycle.state(made).status == "kept"
    table = ("--to", "csv", "--output", str(world.config.parent / "table"))
    assert [name in world.exported(world.study, *table) for name in (first.key, made.key)] == [True, False]
    assert made.key in world.exported(made.key, *table)
    assert "leave --to out" in world.command("send-again", made.key, "--to", "pacs").stderr


def test_late_images_replace_what_was_sent_last(world):
    first = world.first()
    made = world.again(first, sends=True)
    later = replace(manifests.read(first), sources=("1.2.3",), supersedes=first.key, created="", report={})
    job = world.spool.job(world.node.recovery.start(later, None))
    assert manifests.read(job).supersedes == made.key


def test_what_was_kept_replaces_nothing_that_came_of_more_images(world):
    first = world.first()
    made = world.again(first)
    path = world.spool.studies / f"{world.study}.json"
    record = json.loads(path.read_text())
    world.node.stop()
    world.node = None
    (group,) = record["groups"].values()
    write_json(path, {**record, "groups": {"g": {**group, "key": "another"}}})
    world.start()
    sent = list(world.archive.stored)
    request(world.spool, "send again", [{"key": made.key, "study_instance_uid": world.study}], by="anna")
    world.until(world.refusals)
    assert "more of its series has come since" in world.refusals()[0]
    assert (lifecycle.state(made).status, world.archive.stored) == ("kept", sent)


def test_equal_settings_give_the_same_result_and_that_is_said(world):
    first = world.first()
    request_reprocess(world.spool, first.key, {}, by="anna", sends=False)
    world.until(world.refusals)
    assert world.refusals() == [
        f"the same result already exists: {first.key}, of equal images, settings and software version"
    ]
    assert world.known() == {}
    assert "the same result already exists" in world.command("reprocess", world.study).stderr


def test_what_is_asked_twice_is_done_once(world):
    """As after a crash between the job and the end of the request."""
    first = world.first()
    made = world.again(first)
    request_reprocess(world.spool, first.key, NLS, by="anna", sends=False, name="r")
    world.until(lambda: not list(world.spool.requests.glob("*.json")))
    assert (list(world.known()), world.refusals()) == ([made.key], [])


def test_without_its_images_it_is_refused_with_what_became_of_them(world):
    first = world.first()
    world.spool.remove_images(world.study)
    write_json(
        world.spool.removed / f"{world.study}.json",
        {"originals": {"at": "2026-02-01T00:00:00+00:00", "why": "older than 30 days"}},
    )
    with pytest.raises(InputError, match=r"no longer kept here \(older than 30 days, 2026-02-01\): send the series"):
        remake.manifest(world.spool, first.key, config.load(world.config), "1")
    assert "reprocess" not in requests.may(world.spool, overview(world.spool)[0])


def test_rules_that_leave_it_out_are_the_reason(world):
    first = world.first()
    settings = config.changed(config.load(world.config), {"grouping.minimum_echoes": "30"})
    with pytest.raises(InputError, match="its images give no result: 8 echoes, minimum is 30"):
        remake.manifest(world.spool, first.key, settings, "1")


def test_what_was_replaced_goes_with_its_study(world):
    first = world.first()
    later = replace(manifests.read(first), software_version="2", supersedes=first.key)
    second = world.spool.job(later.key)
    world.stop()
    manifests.write(second, later)
    second.write("state.json", {"status": "done"})
    path = world.spool.studies / f"{world.study}.json"
    write_json(path, json.loads(path.read_text().replace(first.key, second.key)))
    world.start()
    assert removal.of(world.spool, overview(world.spool)).results == 1
    request_purge(world.spool, overview(world.spool), "a test", undelivered=True, by="anna")
    world.until(lambda: not first.folder.exists() and not second.folder.exists())


def test_what_was_made_again_goes_with_its_study(world):
    first = world.first()
    made = world.again(first, sends=True)
    going = removal.of(world.spool, overview(world.spool))
    assert (going.images, going.results, going.unfinished) == (8, 2, ())
    assert going.stays == {"pacs": len(uids(first)) + len(uids(made))}
    world.settle()
    request_purge(world.spool, overview(world.spool), "a test", undelivered=False, by="anna")
    world.until(lambda: not made.folder.exists())
    assert not first.folder.exists()
    assert not again.path(world.spool, world.study).exists()
    assert {one.by for one in world.said if isinstance(one, events.StudyRemoved)} == {"anna"}


# ---- by command


def test_without_a_node_the_command_makes_it_itself(world):
    first = world.first()
    world.stop()
    result = world.command("reprocess", world.study, "--set", "fit.method=nls")
    assert result.exit_code == 0, result.stderr
    (key,) = world.known()
    head, setting, columns, liver = result.stdout.splitlines()[:4]
    assert head == f"result {key}  kept"
    assert setting == "fit.method: admm -> nls"
    assert columns.split("  ")[0] == "region"
    assert liver.startswith("liver ")
    assert world.known()[key].by == pwd.getpwuid(os.getuid()).pw_name
    shown = world.command("show", world.study).stdout
    assert f"result {key}, made again beside {first.key} and not sent" in shown
    assert setting in shown
    told = json.loads(world.command("show", key, "--json").stdout)
    assert told[0]["comparison"]["of"] == first.key


def test_what_the_command_is_to_send_the_next_node_sends(world):
    world.first()
    world.stop()
    result = world.command("reprocess", world.study, "--set", "fit.method=nls", "--send", "--json")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["status"]) == (0, "delivering")
    made = world.spool.job(said["key"])
    assert said["comparison"] == made.read("comparison.json")
    world.start()
    world.until(lambda: lifecycle.state(made).status == "done")
    assert uids(made) <= set(world.archive.stored)


def test_where_a_node_runs_the_command_waits_for_it(world):
    first = world.first()
    program = [sys.executable, "-m", "dicomnode", "reprocess", first.key, "--set", "fit.method=nls"]
    command = subprocess.Popen([*program, "--config", str(world.config)], stdout=subprocess.PIPE, text=True)
    world.until(lambda: command.poll() is not None)
    assert command.returncode == 0
    (key,) = world.known()
    assert f"result {key}  kept" in command.communicate()[0]
    assert reprocess.outcome(world.spool.job(key)).is_made
    assert world.known()[key].of == first.key


def test_a_command_that_is_killed_loses_nothing_and_sends_nothing(world):
    world.first()
    world.stop()
    sent = list(world.archive.stored)
    program = [sys.executable, "-m", "dicomnode", "reprocess", world.study, "--set", "fit.method=nls"]
    command = subprocess.Popen([*program, "--config", str(world.config)], start_new_session=True)
    wait_for(lambda: any((world.spool.job(key).folder / "manifest.json").exists() for key in world.known()), 60, "it")
    os.killpg(command.pid, signal.SIGKILL)
    command.wait()
    (key,) = world.known()
    world.start()
    world.until(lambda: lifecycle.state(world.spool.job(key)).status == "kept")
    assert world.archive.stored == sent


@pytest.mark.parametrize(
    ("sets", "status", "said"),
    [
        ("fit.methods=nls", 2, "did you mean fit.method?"),
        ("fit.workers=2", 2, "no setting that can change a number"),
        ("fit.method=best", 2, "[fit] method: should be admm or"),
        ("fit.method", 2, "KEY=VALUE is needed"),
    ],
)
def test_a_change_that_is_none_is_said_and_changes_nothing(world, sets, status, said):
    world.first()
    result = world.command("reprocess", world.study, "--set", sets)
    assert (result.exit_code, world.known()) == (status, {})
    assert said in result.stderr
