"""Machines of two versions share a folder and a queue: what one began another ends, and neither harms the other."""

import contextlib
import json

import pytest

from bench.faults import database
from bench.faults.scenarios import SHORT
from bench.faults.versions import another_version, software_versions
from bench.faults.world import Node, Pacs, Scanner, Study, all_reported, template, wait_for
from dicomnode import __version__

pytestmark = [
    pytest.mark.peer,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PATIENCE = 120.0


@pytest.fixture
def pacs():
    with Pacs() as one:
        yield one


@pytest.fixture
def machine(peer, pacs, tmp_path):
    """Make a machine of a version; all share a folder and a queue."""
    if database.programs() is None:
        peer("pg_ctl")
    with database.postgresql() as server, contextlib.ExitStack() as running:
        more = f'{SHORT}[engine]\nurl = "{server.url}"\n[storage]\nminimum_free_mb = 1\n'

        def made(name, environment=None, role="serve"):
            where = {"pacs": pacs.port, "more": more, "shared": tmp_path / "shared", "role": role}
            node = Node(tmp_path / name, environment=environment or {}, **where)
            running.callback(node.kill)
            return node

        yield made


def jobs(node):
    return [path.parent for path in node.data.glob("jobs/*/manifest.json")]


def said(node, event):
    return [line for line in map(json.loads, node.log.splitlines()) if line["event"] == event]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_next_version_ends_what_this_one_began_under_its_identity(machine, pacs, tmp_path, end):
    studies = [Study(template(rows=96, columns=128, slices=2)) for _ in range(4)]
    old = machine("old")
    old.start()
    pacs.mood = lambda _: 0xA700
    scanner = Scanner(old.port)
    for study in studies:
        scanner.send(study)
    wait_for(lambda: len(jobs(old)) == len(studies), PATIENCE, "every job is begun")
    getattr(old, end)()
    new = machine("new", another_version(tmp_path / "software", "99.0.0"))
    new.start()
    pacs.mood = lambda _: 0x0000
    wait_for(all_reported(studies, pacs), PATIENCE, "every report")
    assert said(new, "started")[0]["version"] == "99.0.0"
    assert software_versions(new.data) == {__version__: len(studies)}
    made = {one["sop_instance_uid"] for job in jobs(new) for one in json.loads((job / "outputs.json").read_text())}
    assert set(pacs.got) <= made
    assert all(len(reports) == 1 for reports in pacs.reports.values())


@pytest.mark.parametrize("moment", ["manifest.json", "state.json"])  # perhaps not in the queue yet; at work
def test_what_newer_software_began_is_left_alone_and_said_until_that_is_back(machine, pacs, tmp_path, moment):
    theirs, ours = Study(template(rows=256, columns=256, slices=4)), Study(template())
    newer = machine("newer", another_version(tmp_path / "software", "99.0.0", manifest_version=4))
    newer.start()
    Scanner(newer.port).send(theirs)
    wait_for(lambda: list(newer.data.glob(f"jobs/*/{moment}")), PATIENCE, "their job is begun")
    newer.kill()
    (job,) = jobs(newer)
    assert not (job / "outputs.json").exists()
    older = machine("older")
    older.start()
    Scanner(older.port).send(ours)
    wait_for(all_reported([ours], pacs), PATIENCE, "our report")
    wait_for(lambda: said(older, "left_to_newer"), PATIENCE, "that it is left alone")
    (entry,) = [one for one in older.status() if one["study_instance_uid"] == theirs.uid]
    assert "waits for newer software" in entry["reason"]
    assert theirs.uid not in pacs.reports
    newer.start()  # beside the older one, which goes on deciding
    wait_for(all_reported([theirs, ours], pacs), PATIENCE, "their report")
    assert all(len(reports) == 1 for reports in pacs.reports.values())
    assert software_versions(newer.data) == {"99.0.0": 1, __version__: 1}
