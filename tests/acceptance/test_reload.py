"""An operator corrects the configuration while studies wait."""

import json
import signal
import ssl
import urllib.request
from datetime import UTC, datetime

import pytest

from dicomnode import simulate
from tests.acceptance.conftest import free_port, wait_for
from tests.integration.keys import make
from tests.integration.mllp import Receiver

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]


@pytest.fixture
def series(tmp_path):
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
    return list(simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), tmp_path / "series"))


@pytest.fixture
def keys(peer, tmp_path):
    (tmp_path / "keys").mkdir()
    return make(tmp_path / "keys", peer("openssl"))


@pytest.fixture
def ris(keys):
    """A receiver of HL7 v2 over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "node.pem", keys / "node.key")
    receiver = Receiver(context=context)
    yield receiver
    receiver.close()


def correct(node, wrong, right):
    node.config.write_text(node.config.read_text().replace(wrong, right))
    node.process.send_signal(signal.SIGHUP)


def state(node):
    return [(entry["status"], *(one["status"] for one in entry["deliveries"].values())) for entry in node.status()]


def test_a_result_goes_to_a_pacs_whose_port_was_corrected(orthanc, serve, storescu, series):
    wrong = free_port()
    node = serve({"pacs": wrong})
    storescu(node, series)
    wait_for(lambda: state(node) == [("delivering", "delayed")], 120, "a delivery that waits")
    correct(node, f"port = {wrong}", f"port = {orthanc.dicom_port}")
    wait_for(lambda: [one for _, *one in state(node)] == [["delivered"]], 60, "the delivery")
    assert orthanc.get("/statistics")["CountInstances"] > 0
    assert '"[[destination]] pacs port"' in node.log.read_text()


def test_what_is_measured_goes_to_a_receiver_whose_authority_was_corrected(serve, storescu, series, keys, ris):
    table = f'[[destination]]\nname = "ris"\nkind = "hl7"\nhost = "127.0.0.1"\nport = {ris.port}\ntls = true\n'
    table += "retry_first_seconds = 0.5\nretry_longest_seconds = 2.0\n"
    node = serve({}, f'[tls]\nauthority = "{keys}/stranger.pem"\n{table}')
    storescu(node, series)
    wait_for(lambda: state(node) == [("delivering", "delayed")], 120, "a delivery that waits")
    assert ris.messages == []
    correct(node, "stranger.pem", "authority.pem")
    wait_for(lambda: state(node)[0][1:] == ("delivered",), 60, "the delivery")
    assert len(ris.messages) == 1
    assert '"[tls] authority"' in node.log.read_text()


def test_audit_notices_and_the_page_change_while_the_node_runs(serve, tmp_path):
    node = serve({"pacs": free_port()}, "[web]\nenabled = false\n")
    port, trail = free_port(), tmp_path / "audit.log"
    page = f"http://127.0.0.1:{port}/readyz"
    correct(node, "enabled = false", f'port = {port}\n[audit]\nfile = "{trail}"\n[notify]\nrepeat_hours = 2.0')
    wait_for(lambda: answers(page), 60, "the page")
    said = trail.read_text()
    assert "Audit Recording Started" in said
    assert "Security Configuration" in said
    read = [json.loads(line) for line in node.log.read_text().splitlines() if '"configuration_read"' in line]
    assert read[0]["at_once"] == ["[web] enabled", "[web] port", "[audit] file", "[notify] repeat_hours"]
    assert read[0]["after_restart"] == []
    correct(node, f"port = {port}", "enabled = false")
    wait_for(lambda: not answers(page), 60, "its end")


def answers(page):
    try:
        with urllib.request.urlopen(page, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
