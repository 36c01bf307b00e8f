"""A vendor is sent a bundle of a node that knows patients, and learns of none."""

import gzip
import json
import re
import tarfile
from datetime import UTC, datetime

import pytest

from dicomnode import simulate
from dicomnode.jobs import lifecycle
from dicomnode.jobs.lifecycle import Delivery, DeliveryStatus, JobStatus
from dicomnode.store.durable import make_folder, write_json
from dicomnode.store.spool import Spool
from tests.acceptance.conftest import free_port, wait_for
from tests.integration.mllp import Receiver, ack

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]
# Each is in a place of its own: headers, then what people and programs say of them.
NAME, NUMBER, ACCESSION, BIRTH = "QUELLENHOFER^HEDWIG", "PID-778899", "ACC550011", "19610203"
REASON, DESTINATION, CALLER, FILE, COMMENT = "ZWIEBELKOPF", "KNOLLE-99", "EIGENSINN", "TRAUGOTT.dcm", "NEPOMUK"
USER, PASSWORD, TYPED, LINE, ADDRESS = "schwesterirmgard", "c2FsdHNhbHRzYWx0", "WUNDERLICH", "ADELGUNDE", "oberarzt"
PLANTED = (*NAME.split("^"), "778899", "550011", BIRTH, "1961-02-03", "03.02.1961", "TRAUGOTT", "KNOLLE", "ZWIEBEL")
PLANTED = (*PLANTED, CALLER, COMMENT, USER, PASSWORD, TYPED, LINE, ADDRESS, "geheim")


@pytest.fixture
def ris():
    receiver = Receiver(lambda message: ack(message, "AE") + f"\rERR|||207|E||||{DESTINATION}")
    yield receiver
    receiver.close()


@pytest.fixture
def node(serve, storescu, tmp_path, ris):
    """A node that has measured a study, whose receiver refuses it, and whose files name people all over."""
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1, patient_name=NAME, patient_id=NUMBER)
    scan = simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC))
    for image in scan.instances:
        image.AccessionNumber, image.PatientBirthDate = ACCESSION, BIRTH
        image.SeriesDescription = f"liver of {NAME}"
    more = f"""
# asked for by {COMMENT}, for {NAME}
[grouping]
anatomy = "any"
quiet_seconds = 1.0
exclude_series_description = "{COMMENT}"
[web]
port = {free_port()}
[[web.users]]
name = "{USER}"
password = "$argon2id$v=19$m=65536,t=3,p=4${PASSWORD}$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo"
[notify]
webhook = "http://127.0.0.1:9/{PASSWORD}"
webhook_token_file = "credential:hook"
email_to = ["{ADDRESS}@example.org"]
[[destination]]
name = "ris"
kind = "hl7"
host = "127.0.0.1"
port = {ris.port}
retry_first_seconds = 0.5
[[destination]]
name = "record"
kind = "fhir"
url = "http://127.0.0.1:9/geheim"
"""
    node = serve({}, more)
    storescu(node, simulate.write(scan, tmp_path / "study"))
    spool = Spool(node.config.parent / "dicomnode-data")
    (spool.drop / FILE).write_bytes(f"no DICOM, but {NAME}".encode())
    wait_for(lambda: ris.messages, 120, "a message")
    wait_for(lambda: any(one["deliveries"].get("ris", {}).get("reason") for one in node.status()), 30, "its refusal")
    plant(spool)
    with node.log.open("a") as log:
        log.write(f"{LINE} was here\n")
        for said in ({"event": f"{LINE} spoke"}, {"event": "association_rejected", "calling": "KIOSK", LINE: LINE}):
            said |= {"timestamp": datetime.now(UTC).isoformat(), "level": "info", "reason": f"{NAME} of {BIRTH}"}
            log.write(json.dumps(said) + "\n")
    return node


def plant(spool):
    """What a broken file, an archive and an administrator might have left."""
    job = spool.job("0123456789abcdef" * 4)
    make_folder(job.folder)
    job.write("manifest.json", {"sources": [], "parameters": {}, "software_version": f"0.1.0-{CALLER}"})
    why = f"fit: {FILE} of {REASON} (born 03.02.1961, ID {NUMBER}) cannot be decoded"
    lifecycle.say(job, JobStatus.FAILED, why, code="damaged")
    refused = {"1.2.3.4.5.6.7": f"0xC000 {NAME} is unknown"}
    lifecycle.say_delivery(job, "ris", Delivery(DeliveryStatus.DEAD_LETTER, refused=refused, reason=why))
    write_json(spool.refused / "0123.json", {"code": "not-dicom", "reason": f"{FILE} of {NAME} is no DICOM object"})
    write_json(spool.removed / "1.2.3.4.5.6.json", {"why": f"{TYPED} wanted it"})
    (spool.folder / CALLER).mkdir()


def bundle(node, *options):
    """The members of a bundle, and every byte of it."""
    target = node.config.parent.parent / f"bundle{len(options)}.tar.gz"
    said = node.command("support-bundle", str(target), "--log", str(node.log), *options)
    with tarfile.open(target) as archive:
        members = {one.name.partition("/")[2]: archive.extractfile(one).read().decode() for one in archive}
    return said, members, target.read_bytes() + gzip.decompress(target.read_bytes())


def test_a_bundle_names_nobody_and_tells_what_a_vendor_needs(node):
    said, members, everything = bundle(node)
    found = [one for one in PLANTED if one.lower().encode() in everything.lower()]
    assert found == []
    uids = {one["study_instance_uid"] for one in node.status()} | {one["key"] or "" for one in node.status()}
    assert not any(uid.encode() in everything for uid in uids - {""})
    assert "not in it" not in said
    assert "read it before you send it" in said
    assert all(name in members["README.txt"] for name in set(members) - {"README.txt"})
    of_this = json.loads(members["jobs.json"])
    refused = next(one for one in of_this if one["status"] == "delivering")
    assert refused["deliveries"]["ris"]["reason"] == "acknowledged with AE, error 207"
    failed = next(one for one in of_this if one["status"] == "failed")
    assert failed["reason"] == "fit: [removed] of [removed] (born [removed], ID [removed]) cannot be decoded"
    log = [json.loads(line) for line in members["log.jsonl"].splitlines()]
    assert log[0]["other_lines_left_out"] == 2
    assert {one["study"] for one in log[1:] if one["event"] == "result_made"} == {refused["study"]}
    assert [one["calling"] for one in log[1:] if one["event"] == "association_rejected"] == ["KIOSK"]
    settings = json.loads(members["configuration.json"])
    assert settings["notify"]["webhook"] == "http://127.0.0.1/[removed]"
    assert settings["notify"]["webhook_token_file"] == "credential:hook"
    assert settings["grouping"] == {"anatomy": "any", "quiet_seconds": 1.0, "exclude_series_description": "[removed]"}
    assert 'dicomnode_images_received_total{scanner="STORESCU"} 8.0' in members["metrics.txt"]
    assert json.loads(members["database.json"])["quick_check"] == "ok"
    assert json.loads(members["fits.json"])[0]["rows"] == 48
    assert json.loads(members["disk.json"])["folders"]["jobs"]["entries"] == 2
    assert json.loads(members["members.json"])["running"] is True
    _without_the_network(node)


def _without_the_network(node):
    _, members, everything = bundle(node, "--anonymous-network")
    named = ("STORESCU", "KIOSK", "127.0.0.1", '"ris"', '"record"')
    assert [one for one in named if one.encode() in everything] == []
    scanners = re.findall(r'images_received_total{scanner="(peer-\w+)"} 8.0', members["metrics.txt"])
    assert len(scanners) == 1
    assert scanners[0] in members["log.jsonl"]
