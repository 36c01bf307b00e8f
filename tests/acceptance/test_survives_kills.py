"""kill -9 at any point, then start again: every study is finished once, with the same identity."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from dicomnode import simulate
from dicomnode.config import Settings
from dicomnode.operate import offline
from tests.acceptance.conftest import wait_for

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

PATIENCE = "[grouping]\nunreleased_quiet_seconds = 2.0\n"  # for what was cut off by the kill
MOMENTS = ["series_waiting", "series_ready", "fitting", "measuring", "reporting", "delivering"]


FINISHED = ("done", "no_number")  # the study is coarse, so that no liver need be found in it


def make_study(folder, seed):
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1, seed=seed, patient_id=f"SIM-{seed}")
    return list(simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), folder / str(seed)))


def done(node, studies):
    entries = [entry for entry in node.status() if entry["status"] in FINISHED]
    return entries if len(entries) == studies else None


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_node_killed_at_any_step_finishes_the_study_once(orthanc, serve, storescu, tmp_path, moment):
    files = make_study(tmp_path, 1)
    node = serve({"pacs": orthanc.dicom_port}, PATIENCE)
    storescu(node, files)

    def reached():
        said = node.log.read_text()
        states = "".join(path.read_text() for path in (node.config.parent / "dicomnode-data/jobs").glob("*/state.json"))
        return moment in said or moment in states or '"done"' in states

    wait_for(reached, 120, moment)
    node.kill()
    node.start()
    (entry,) = wait_for(lambda: done(node, 1), 120, "the result")
    assert_once_in_the_pacs(orthanc, node, [entry["key"]], tmp_path, [1])


def test_a_node_killed_again_and_again_loses_nothing_and_sends_nothing_else(orthanc, serve, storescu, tmp_path):
    seeds = [11, 12, 13, 14]
    studies = {seed: make_study(tmp_path, seed) for seed in seeds}
    node = serve({"pacs": orthanc.dicom_port}, PATIENCE)
    for number, files in enumerate(studies.values()):
        storescu(node, files)
        wait_for(lambda number=number: len(node.status()) > number, 60, "the record of the study")
        node.kill()
        node.start()
    entries = wait_for(lambda: done(node, len(seeds)), 300, "every result")
    assert_once_in_the_pacs(orthanc, node, [entry["key"] for entry in entries], tmp_path, seeds)


def test_a_node_killed_while_receiving_finishes_when_the_scanner_sends_again(orthanc, serve, storescu, tmp_path):
    files = make_study(tmp_path, 5)
    node = serve({"pacs": orthanc.dicom_port}, PATIENCE)
    sender = subprocess.Popen(
        [sys.executable, "-m", "dicomnode", "simulate", f"127.0.0.1:{node.port}", "--calling", "STORESCU"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    incoming = node.config.parent / "dicomnode-data/incoming"
    wait_for(lambda: list(incoming.rglob("*.dcm")), 60, "the first image")
    node.kill()
    sender.wait(120)
    node.start()
    storescu(node, files)
    wait_for(lambda: any(entry["status"] in FINISHED for entry in node.status()), 120, "the result")


def assert_once_in_the_pacs(orthanc, node, keys, tmp_path, seeds):
    """Exactly the objects that `process` makes of the same files, each once."""
    expected = []
    for seed in seeds:
        output = tmp_path / f"expected{seed}"
        made = offline.process(
            [tmp_path / str(seed)],
            output,
            Settings(),
            created=datetime(2026, 1, 1, tzinfo=UTC),
            progress=lambda _: None,
        )
        expected += [one["sop_instance_uid"] for series in made["series"] for one in series["outputs"]]
    assert sorted(tags["SOPInstanceUID"] for tags in orthanc.instances()) == sorted(expected)
    assert len(set(keys)) == len(seeds)
