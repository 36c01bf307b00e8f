"""A real PACS that commits on an association of its own and is read back; and a node that is killed meanwhile."""

import contextlib
import io
import json
import time
import urllib.request
from datetime import UTC, datetime

import pydicom
import pytest

from bench.faults.database import postgresql, programs
from bench.faults.world import Node, Scanner, Study, template
from dicomnode import simulate
from dicomnode.commitment import Report
from tests.acceptance.conftest import wait_for
from tests.conftest import absent
from tests.integration.archive import Archive

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ANY = '[grouping]\nanatomy = "any"\nquiet_seconds = 1.0\n'
COMMITMENT = 'storage_commitment = "separate"\nread_back = true\n'


@pytest.fixture
def files(tmp_path):
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
    return list(simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), tmp_path / "study"))


def put(orthanc, path, value):
    request = urllib.request.Request(
        f"http://127.0.0.1:{orthanc.http_port}{path}", json.dumps(value).encode(), method="PUT"
    )
    urllib.request.urlopen(request, timeout=30).close()


def post(orthanc, path, value):
    url = f"http://127.0.0.1:{orthanc.http_port}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(value).encode()), timeout=30) as answer:
        return json.loads(answer.read())


def knows(orthanc, node, ae_title="LIVERIRON"):
    """Tell Orthanc where the node listens, so that it can report and ask."""
    put(orthanc, "/modalities/node", {"AET": ae_title, "Host": "127.0.0.1", "Port": node.port})


def delivery(node, status):
    for entry in node.status():
        for one in entry["deliveries"].values():
            if one["status"] == status:
                return one
    return None


@pytest.mark.peer
def test_orthanc_commits_to_every_object_and_is_read_back(orthanc, serve, storescu, files):
    node = serve({"pacs": orthanc.dicom_port}, ANY, COMMITMENT)
    knows(orthanc, node)
    storescu(node, files)
    done = wait_for(lambda: delivery(node, "delivered"), 120, "the commitment")
    there = {tags["SOPInstanceUID"] for tags in orthanc.instances()}
    assert set(done["committed"]) == set(done["delivered"]) == there
    assert "commitment_reported" in node.log.read_text()


@pytest.mark.peer
def test_an_object_that_orthanc_has_lost_is_sent_again(orthanc, serve, storescu, files):
    """Orthanc does not know the node at first, so that it cannot report; by then it has lost an object."""
    node = serve({"pacs": orthanc.dicom_port}, ANY, COMMITMENT + "commitment_seconds = 5.0\n")
    storescu(node, files)
    wait_for(lambda: delivery(node, "awaiting commitment"), 120, "the waiting")
    assert "awaiting commitment" in node.command("status")
    (study,) = {entry["study_instance_uid"] for entry in node.status()}
    assert "commits to 0 of them" in node.command("show", study)
    (lost, *_) = orthanc.instances()
    orthanc.delete(f"/instances/{lost['ID']}")
    knows(orthanc, node)
    done = wait_for(lambda: delivery(node, "delivered"), 120, "the commitment")
    assert set(done["committed"]) == {tags["SOPInstanceUID"] for tags in orthanc.instances()}
    assert lost["SOPInstanceUID"] in done["committed"]
    assert "object_missing" in node.log.read_text()


@pytest.mark.peer
def test_orthanc_as_a_scanner_is_told_what_is_kept(orthanc, serve, files):
    """Orthanc hears reports on associations of their own."""
    scanner = f'[[scanner]]\nae_title = "ORTHANC"\naddress = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
    node = serve({}, ANY + scanner + '[[destination]]\nname = "x"\nae_title = "X"\nhost = "127.0.0.1"\nport = 9\n')
    knows(orthanc, node)
    for file in files:
        request = urllib.request.Request(f"http://127.0.0.1:{orthanc.http_port}/instances", file.read_bytes())
        urllib.request.urlopen(request, timeout=30).close()
    kept, *others = orthanc.get("/instances")
    post(orthanc, "/modalities/node/store", [kept])
    asked = post(orthanc, "/modalities/node/storage-commitment", {"Resources": [kept, others[0]]})

    def told():
        report = orthanc.get(asked["Path"])
        return report if report["Status"] != "Pending" else None

    report = wait_for(told, 60, "the report")
    uids = {one: orthanc.get(f"/instances/{one}/simplified-tags")["SOPInstanceUID"] for one in (kept, others[0])}
    assert report["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in report["Success"]] == [uids[kept]]
    assert [one["SOPInstanceUID"] for one in report["Failures"]] == [uids[others[0]]]


def test_a_node_killed_while_it_awaits_commitment_settles_it_after_its_restart(serve, storescu, files):
    archive = Archive(report=lambda _: [])
    node = serve({"pacs": archive.port}, ANY, 'storage_commitment = "separate"\n', ae_title="PACS")
    storescu(node, files)
    wait_for(lambda: delivery(node, "awaiting commitment"), 120, "the waiting")
    stored = list(archive.stored)
    node.kill()
    node.start()
    (request,) = archive.requests
    assert archive.tell(Report(request.transaction_uid, request.objects), to=node.port, called="LIVERIRON") == 0x0000
    done = wait_for(lambda: delivery(node, "delivered"), 30, "the end")
    assert set(done["committed"]) == set(request.objects)
    assert archive.stored == stored
    assert len(archive.requests) == 1
    node.stop()
    archive.close()


@pytest.mark.peer
def test_a_result_that_replaces_another_rejects_it_in_the_pacs(orthanc, serve, storescu, files):
    node = serve({"pacs": orthanc.dicom_port}, ANY, COMMITMENT + "rejection_notes = true\n")
    knows(orthanc, node)
    storescu(node, files[:-1])
    first = set(wait_for(lambda: delivery(node, "delivered"), 120, "the first result")["delivered"])
    storescu(node, files[-1:])
    notes = wait_for(lambda: orthanc.instances(Modality="KO"), 120, "the note")
    note = pydicom.dcmread(io.BytesIO(orthanc.file(notes[0]["ID"])))
    series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {one.ReferencedSOPInstanceUID for item in series for one in item.ReferencedSOPSequence}
    assert named == first
    done = wait_for(lambda: delivery(node, "delivered"), 60, "the second result")
    assert note.SOPInstanceUID in done["delivered"]
    assert len(orthanc.instances(Modality="KO")) == 1


@pytest.mark.peer
@pytest.mark.parametrize("killed", [0, 1])
def test_a_report_is_taken_by_the_machine_that_is_left(tmp_path, killed):
    if programs() is None:
        absent("PostgreSQL is not installed (Debian: postgresql)")
    archive, study = Archive(report=lambda _: []), Study(template())
    with postgresql() as server, contextlib.ExitStack() as running:
        more = f'storage_commitment = "separate"\n{ANY}[engine]\nurl = "{server.url}"\n[storage]\nminimum_free_mb = 1\n'
        shared = tmp_path / "shared"
        nodes = [Node(tmp_path / f"node{k}", pacs=archive.port, more=more, shared=shared) for k in range(2)]
        for node in nodes:
            running.enter_context(node)
        Scanner(nodes[killed].port).send(study)
        wait_for(lambda: delivery(nodes[0], "awaiting commitment"), 120, "the waiting")
        nodes[killed].kill()
        (request,) = archive.requests
        assert archive.tell(Report(request.transaction_uid, request.objects), to=nodes[1 - killed].port) == 0x0000
        done = wait_for(lambda: delivery(nodes[0], "delivered"), 120, "the end")
        assert set(done["committed"]) == set(request.objects)
        assert len(archive.requests) == 1
    archive.close()


def test_a_report_ends_the_pause_that_is_being_waited(serve, storescu, files):
    archive = Archive(report=lambda _: [])
    pacs = f'[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {archive.port}\n'
    node = serve({}, f'{ANY}{pacs}storage_commitment = "separate"\n')
    storescu(node, files)
    waiting = wait_for(lambda: delivery(node, "awaiting commitment"), 120, "the waiting")
    while waiting["unanswered"] < 16.0:  # the next look is eight seconds away
        waiting = wait_for(lambda: delivery(node, "awaiting commitment"), 10, "the waiting")
        time.sleep(0.1)
    (request,) = archive.requests
    archive.tell(Report(request.transaction_uid, request.objects), to=node.port, called="LIVERIRON")
    wait_for(lambda: delivery(node, "delivered"), 4, "the end")
    node.stop()
    archive.close()
