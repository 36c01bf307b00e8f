"""A bundle is made also where little is there to be told."""

import json
import os
import tarfile

import pytest
from click.testing import CliRunner

from dicomnode.cli import main
from dicomnode.store.spool import Spool

WHOLE = """# for Quellenhofer
[[scanner]]
ae_title = "MR1"
[[destination]]
name = "pacs"
ae_title = "PACS"
host = "192.0.2.1"
port = 104
[web]
enabled = false
"""


@pytest.fixture
def bundle(tmp_path):
    config, target, log = tmp_path / "config.toml", tmp_path / "b.tar.gz", tmp_path / "log"
    log.touch()

    def make(text=WHOLE, options=("--log", str(log))):
        config.write_text(text)
        arguments = ["support-bundle", str(target), *options, "--config", str(config)]
        done = CliRunner().invoke(main, arguments)
        if done.exit_code:
            return done.output, {}
        with tarfile.open(target) as archive:
            return done.output, {one.name: archive.extractfile(one).read().decode() for one in archive}

    return make


def test_of_a_configuration_that_cannot_be_used_there_is_what_can_be_had(bundle, tmp_path):
    Spool(tmp_path / "dicomnode-data").create()
    said, members = bundle(WHOLE + '[grouping]\nquiet_seconds = "QUELLENHOFER"\n[Quellenhofer]\nx = "Quellenhofer"\n')
    assert "quellenhofer" not in "".join(members.values()).lower()
    assert "not in it: jobs.json" in said
    faults = json.loads(members["dicomnode-support/check.json"])["syntax"]
    assert any("[grouping] quiet_seconds" in fault for fault in faults)
    told = json.loads(members["dicomnode-support/configuration.json"])
    assert told["grouping"] == {"quiet_seconds": "[removed]"}
    assert told["[removed]"] == {"x": "[removed]"}


def test_a_file_that_is_no_toml_is_said_and_not_quoted(bundle):
    said, members = bundle("quellenhofer = = 1")
    assert "not in it: configuration.json" in said
    assert "quellenhofer" not in "".join(members.values())
    assert "not TOML" in members["dicomnode-support/check.json"]


def test_a_node_that_never_ran_has_a_bundle_too(bundle):
    said, members = bundle()
    assert "not in it: status.json: NodeError: there is no data folder" in said
    assert "[web] enabled is false" in members["dicomnode-support/README.txt"]
    assert json.loads(members["dicomnode-support/check.json"])["syntax"] == "the configuration is valid"
    assert json.loads(members["dicomnode-support/versions.json"])["libraries"]["pydicom"]


def test_only_its_owner_may_read_it_and_it_overwrites_nothing(bundle, tmp_path):
    bundle()
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "b.tar.gz").read_bytes()
    said, _ = bundle()
    assert "is there already: name another file" in said
    assert (tmp_path / "b.tar.gz").read_bytes() == before


def test_a_study_that_is_removed_for_a_typed_reason_and_old_lines(bundle, tmp_path):
    lines = [
        {"event": "study_removed", "timestamp": "2099-01-01T00:00:00Z", "study": "1.2.3", "why": "the wood is gone"},
        {"event": "study_removed", "timestamp": "2001-01-01T00:00:00Z", "study": "1.2.3", "why": "x"},
        {"event": "asked", "timestamp": "2099-01-01T00:00:00Z", "level": "info", "by": "anna", "studies": ["1.2.3"]},
        {
            "event": "reprocessed",
            "timestamp": "2099-01-01T00:00:00Z",
            "study": "1.2.3",
            "key": "a1",
            "of": "b2",
            "by": "anna",
        },
        {"event": "request_refused", "timestamp": "2099-01-01T00:00:00Z", "key": "b2", "reason": "fit.erna: no key"},
        {"event": "started", "timestamp": "2099-01-01T00:00:00"},
    ]
    (tmp_path / "log").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    _, members = bundle()
    head, removed, asked, again, refused = map(json.loads, members["dicomnode-support/log.jsonl"].splitlines())
    assert (head["lines"], head["other_lines_left_out"]) == (4, 1)
    assert removed["why"].startswith("text-")
    assert asked["by"].startswith("user-")
    assert asked["studies"] == [removed["study"]]
    assert removed["study"].startswith("uid-")
    assert (again["of"], again["by"]) == (refused["key"], asked["by"])
    assert again["of"].startswith("id-")
    assert "erna" not in refused["reason"]


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """A journalctl that knows a service which has said something, or nothing."""

    def says(line):
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "journalctl"
        program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/asked\nprintf '%s' '{line}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    return says


def test_the_log_is_that_of_the_services_journal(bundle, journal, tmp_path):
    journal('{"event": "stopped", "level": "info", "timestamp": "2099-01-01T00:00:00Z"}')
    _, members = bundle(options=("--days", "3"))
    assert '"event": "stopped"' in members["dicomnode-support/log.jsonl"]
    assert "--since=-3d" in (tmp_path / "asked").read_text()


def test_a_journal_that_shows_nothing_is_said(bundle, journal):
    journal("")
    said, _ = bundle(options=("--json",))
    assert "ask as root, or name a log by --log" in json.loads(said)["missing"]["log.jsonl"]
