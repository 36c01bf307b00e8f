"""A node's folder is moved, or comes back from a backup, beside a PACS that went on."""

import shutil
from datetime import UTC, datetime

import pytest

from dicomnode import simulate
from tests.acceptance.conftest import free_port, wait_for

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]


@pytest.fixture
def study(tmp_path):
    def make(seed):
        plan = simulate.SeriesPlan(rows=48, columns=64, slices=2, spacing_mm=(6.0, 6.0, 8.0), seed=seed)
        return list(simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), tmp_path / f"study{seed}"))

    return make


def point_at(node, before, after):
    """Let a stopped node's destination listen at another port."""
    text = node.config.read_text()
    assert f"port = {before}\n" in text
    node.config.write_text(text.replace(f"port = {before}\n", f"port = {after}\n"))


def done(node, studies):
    entries = node.status()
    return len(entries) == studies and all(entry["status"] == "done" for entry in entries)


def is_delayed(node):
    return any(one["status"] == "delayed" for entry in node.status() for one in entry["deliveries"].values())


def in_pacs(orthanc):
    return sorted(tags["SOPInstanceUID"] for tags in orthanc.instances())


def ended_deliveries(node):
    return node.log.read_text().count('"delivery_ended"')


def test_the_folder_of_a_stopped_node_goes_on_elsewhere(orthanc, serve, storescu, study, tmp_path):
    away = free_port()
    node = serve({"pacs": away})
    storescu(node, study(1))
    wait_for(lambda: is_delayed(node), 120, "a first attempt")
    node.stop()
    shutil.move(node.config.parent, tmp_path / "elsewhere")
    node.config, node.log = tmp_path / "elsewhere" / "config.toml", tmp_path / "elsewhere" / "log.jsonl"
    point_at(node, away, orthanc.dicom_port)

    node.start()
    wait_for(lambda: done(node, 1), 120, "the delivery")
    assert {tags["Modality"] for tags in orthanc.instances()} == {"MR", "SEG", "SR", "OT", "DOC"}
    assert not (tmp_path / "node0").exists()


@pytest.mark.parametrize("with_queue", [True, False])
def test_yesterdays_backup_beside_todays_pacs_loses_nothing_and_doubles_nothing(
    orthanc, serve, storescu, study, with_queue
):
    """One study was finished when the backup was made, one waited for the PACS, one came afterwards."""
    node = serve({"pacs": orthanc.dicom_port})
    data, backup = node.config.parent / "dicomnode-data", node.config.parent / "backup"
    storescu(node, study(1))
    wait_for(lambda: done(node, 1), 120, "the finished study")
    node.stop()
    away = free_port()
    point_at(node, orthanc.dicom_port, away)
    node.start()
    storescu(node, study(2))
    wait_for(lambda: is_delayed(node), 120, "a first attempt")
    node.stop()
    shutil.copytree(data, backup, ignore=None if with_queue else shutil.ignore_patterns("engine.sqlite*"))

    point_at(node, away, orthanc.dicom_port)
    node.start()
    afterwards = study(3)
    storescu(node, afterwards)
    wait_for(lambda: done(node, 3), 120, "all three")
    node.stop()
    today, ended = in_pacs(orthanc), ended_deliveries(node)
    assert ended == 3

    shutil.rmtree(data)
    shutil.move(backup, data)
    node.start()
    wait_for(lambda: done(node, 2), 120, "what the backup knows")
    assert in_pacs(orthanc) == today
    assert ended_deliveries(node) == ended + 1  # what waited; what was finished is not sent again

    storescu(node, afterwards)
    wait_for(lambda: done(node, 3), 120, "what came after the backup, sent again")
    assert in_pacs(orthanc) == today
