"""An operator corrects the configuration while studies wait."""

import signal
from datetime import UTC, datetime

import pytest

from dicomnode import simulate
from tests.acceptance.conftest import free_port, wait_for

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]


def state(node):
    return [(entry["status"], *(one["status"] for one in entry["deliveries"].values())) for entry in node.status()]


def test_a_result_goes_to_a_pacs_whose_port_was_corrected(orthanc, serve, storescu, tmp_path):
    wrong = free_port()
    node = serve({"pacs": wrong})
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
    written = simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), tmp_path / "series")
    storescu(node, sorted(written or (tmp_path / "series").rglob("*.dcm")))
    wait_for(lambda: state(node) == [("delivering", "delayed")], 120, "a delivery that waits")
    node.config.write_text(node.config.read_text().replace(f"port = {wrong}", f"port = {orthanc.dicom_port}"))
    node.process.send_signal(signal.SIGHUP)
    wait_for(lambda: [one for _, *one in state(node)] == [["delivered"]], 60, "the delivery")
    assert orthanc.get("/statistics")["CountInstances"] > 0
    assert '"[[destination]] pacs port"' in node.log.read_text()
