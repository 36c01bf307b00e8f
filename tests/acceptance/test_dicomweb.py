"""A real archive that takes results by STOW-RS over TLS, with a password and the node's certificate."""

import base64
import io
import ssl
from datetime import UTC, datetime

import pydicom
import pytest

from dicomnode import config, simulate
from dicomnode.delivery.carrier import Outcome
from dicomnode.delivery.stow import Stow
from dicomnode.delivery.web import Web
from tests.acceptance.conftest import dicomweb, running_orthanc, wait_for
from tests.integration.front import Front
from tests.integration.keys import make

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]
ANY = '[grouping]\nanatomy = "any"\nquiet_seconds = 1.0\n'
PASSWORD = "a secret of the archive"


@pytest.fixture
def keys(peer, tmp_path):
    (tmp_path / "keys").mkdir()
    return make(tmp_path / "keys", peer("openssl"))


@pytest.fixture
def archive(peer, tmp_path):
    """Orthanc that asks for a password."""
    locked = {"AuthenticationEnabled": True, "RegisteredUsers": {"node": PASSWORD}}
    authorization = "Basic " + base64.b64encode(f"node:{PASSWORD}".encode()).decode()
    with running_orthanc(peer("Orthanc"), tmp_path, authorization, **dicomweb(), **locked) as server:
        yield server


@pytest.fixture
def port(archive, keys):
    """A front that speaks TLS and asks for a certificate: Debian's Orthanc 1.10.1 crashes where it does that itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "node.pem", keys / "node.key")
    context.load_verify_locations(keys / "authority.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    front = Front(context, archive.http_port)
    yield front.port
    front.close()


@pytest.fixture
def destination(port, keys, tmp_path):
    """The archive in a configuration."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return (
        f'[[destination]]\nname = "cloud"\nkind = "dicomweb"\nurl = "https://127.0.0.1:{port}/dicom-web"\n'
        f'user = "node"\npassword_file = "{tmp_path / "password"}"\nrequest_mb = 1\n'
        "retry_first_seconds = 0.5\nretry_longest_seconds = 2.0\n"
        f'[tls]\ncertificate = "{keys / "scanner.pem"}"\nkey = "{keys / "scanner.key"}"\n'
        f'authority = "{keys / "authority.pem"}"\n'
    )


def test_a_study_arrives_whole_and_says_nothing_secret(archive, destination, serve, storescu, tmp_path):
    node = serve({}, ANY + destination)
    scan = simulate.make(simulate.SeriesPlan(rows=48, columns=64, slices=1), datetime(2026, 1, 1, tzinfo=UTC))
    storescu(node, list(simulate.write(scan, tmp_path / "study")))

    def delivered():
        return next((one for entry in node.status() for one in entry["deliveries"].values() if one["delivered"]), None)

    wait_for(lambda: (one := delivered()) and one["status"] == "delivered", 120, "the delivery")
    there = {tags["SOPInstanceUID"]: tags["ID"] for tags in archive.instances()}
    assert set(there) == set(delivered()["delivered"])
    report = next(one for one in archive.instances(Modality="SR"))
    assert pydicom.dcmread(io.BytesIO(archive.file(report["ID"]))).ValueType == "CONTAINER"
    said = node.log.read_text() + node.command("status")
    assert PASSWORD not in said
    assert str(scan.instances[0].PatientID) not in said
    assert "answers QIDO-RS" in node.command("check", ok=False)


def test_objects_that_orthanc_has_already_are_delivered(archive, destination, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(destination)
    settings = config.load(path)
    scan = simulate.make(simulate.SeriesPlan(rows=48, columns=64, slices=1), datetime(2026, 1, 1, tzinfo=UTC))
    files = list(simulate.write(scan, tmp_path / "study"))
    stow = Stow(Web(settings.tls))
    for _ in range(2):
        assert {one.outcome for one in stow.send(settings.destination[0], files)} == {Outcome.DELIVERED}
    assert len(archive.instances()) == len(files)
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(files[0].read_bytes()[:600])
    found = list(stow.send(settings.destination[0], [damaged, files[1]]))
    assert [one.outcome for one in found] == [Outcome.REFUSED, Outcome.DELIVERED]
