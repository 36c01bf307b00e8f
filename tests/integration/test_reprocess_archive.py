"""A whole archive made again in one command: behind new studies, killed and called again, with what moved and why."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dicomnode import cli, config, simulate
from dicomnode.jobs import again, lifecycle
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.node import Node
from dicomnode.operate import archive
from dicomnode.operate.status import overview
from dicomnode.store.spool import Spool
from tests.acceptance.conftest import wait_for
from tests.integration.inline import Inline

# pynetdicom leaves the socket of a failed connection to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"), pytest.mark.timeout(600)]
NLS = ("--set", "fit.method=nls")


class Archive:
    """Results of three studies, made by a node that does not run any more."""

    def __init__(self, folder):
        self.folder, self.config = folder, folder / "config.toml"
        text = '[node]\nhost = "127.0.0.1"\n[[scanner]]\nae_title = "MR1"\n[storage]\nminimum_free_mb = 0\n'
        self.config.write_text(text)
        self.spool = Spool(folder / "dicomnode-data")
        self.spool.create()
        for seed in (1, 2, 3):
            plan = simulate.SeriesPlan(rows=48, columns=64, slices=1, seed=seed)
            for one in simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances:
                one.save_as(path := folder / f"{one.SOPInstanceUID}.dcm", enforce_file_format=True)
                self.spool.store(str(one.StudyInstanceUID), str(one.SOPInstanceUID), path.read_bytes())
                self.spool.release(str(one.StudyInstanceUID), [str(one.SOPInstanceUID)])
        settings = config.load(self.config)
        free = settings.node.model_construct(**{**dict(settings.node), "port": 0})
        node = Node(settings.model_copy(update={"node": free}), children=Inline())
        node.start()

        def done():
            node.turn(0.0)
            return len([one for one in overview(self.spool) if one["status"] in {"done", "no_number"}]) == 3

        wait_for(done, 120, "three results")
        node.stop()
        self.keys = archive.candidates(self.spool, None)

    def command(self, *arguments):
        return CliRunner().invoke(cli.main, ["reprocess", *arguments, "--config", str(self.config)])

    def made(self):
        studies = {one["study_instance_uid"] for one in overview(self.spool)}
        return {key: one for uid in studies for key, one in again.of_study(self.spool, uid).items()}


@pytest.fixture
def kept(tmp_path):
    return Archive(tmp_path)


def test_every_result_is_made_again_compared_and_nothing_is_sent(kept, tmp_path):
    said = kept.command("--all", *NLS, "--report", str(tmp_path / "r.csv"))
    assert said.exit_code == 0, said.output
    assert "3 made" in said.output
    lines = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert [one["before"] for one in lines] == kept.keys
    assert {one["state"] for one in lines} == {"made"}
    assert {lifecycle.state(kept.spool.job(one["after"])).status for one in lines} == {JobStatus.KEPT}
    picture = Image.open(kept.spool.job(lines[0]["after"]).folder / "difference.png")
    assert np.asarray(picture).std() > 10
    assert archive.candidates(kept.spool, None) == kept.keys, "what was made again is no candidate"


def test_it_is_called_again_where_it_was_killed_and_makes_nothing_twice(kept, tmp_path):
    report = tmp_path / "r.json"
    command = [sys.executable, "-m", "dicomnode", "reprocess", "--all", *NLS, "--report", str(report)]
    with subprocess.Popen([*command, "--config", str(kept.config)], start_new_session=True) as running:
        wait_for(report.exists, 240, "the first result")
        os.killpg(running.pid, signal.SIGKILL)
    before = set(kept.made())
    said = kept.command("--all", *NLS, "--report", str(report))
    assert said.exit_code == 0, said.output
    known = kept.made()
    assert before <= set(known)
    assert sorted(one.of for one in known.values()) == sorted(kept.keys), "each once"
    entries = json.loads(report.read_text())
    assert [(one["before"], one["state"]) for one in entries] == [(key, "made") for key in kept.keys]


def test_the_same_settings_and_software_are_the_same_results(kept, tmp_path):
    said = kept.command("--all", "--report", str(tmp_path / "r.html"))
    assert "3 same" in said.output
    assert "<script" not in (tmp_path / "r.html").read_text()
    assert kept.made() == {}


def test_only_results_since_a_day_are_meant(kept, tmp_path):
    said = kept.command("--all", "--since", "2999-01-01", "--report", str(tmp_path / "r.csv"))
    assert "nothing to make again" in said.output


@pytest.mark.parametrize(
    "wrong", [("--all",), ("--all", "--report", "r.txt"), ("--all", "ID", "--report", "r.csv"), ()]
)
def test_what_is_missing_of_the_command_is_said(kept, wrong):
    assert kept.command(*wrong).exit_code == 2


def test_new_studies_go_first(kept, tmp_path):
    job = kept.spool.job(kept.keys[0])
    (job.folder / "outputs.json").rename(tmp_path / "outputs.json")
    lifecycle.say(job, JobStatus.QUEUED)
    assert archive.is_busy(kept.spool)
    (tmp_path / "outputs.json").rename(job.folder / "outputs.json")
    assert not archive.is_busy(kept.spool)
