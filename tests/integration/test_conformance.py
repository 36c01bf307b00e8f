"""What the conformance statement says is what is negotiated, answered and acted upon."""

import copy
import io
import re
from datetime import UTC, datetime

import pydicom
import pytest
from pydicom.uid import AllTransferSyntaxes, CTImageStorage, ImplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context

from dicomnode import simulate
from dicomnode.config import DestinationSettings, NodeSettings, ReceiveSettings, ScannerSettings, Settings, TlsSettings
from dicomnode.delivery.send import Outcome, Sender, _judge
from dicomnode.intake.receive import Receiver
from dicomnode.jobs.engine import _SENDS_AT_ONCE
from dicomnode.operate import offline
from dicomnode.operate.conformance import statement
from dicomnode.operate.statement import IMPLEMENTATION
from dicomnode.store.spool import Spool
from tests.integration.dimse import ask

VERIFICATION = "1.2.840.10008.1.1"
SYNTAXES = {uid.name: uid for uid in AllTransferSyntaxes}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
UID = re.compile(r"\d+(\.\d+){3,}")


def rows(text, title):
    """The rows of the table under a heading, without its head."""
    section = re.split(r"\n##+ ", text.split(f" {title}\n", 1)[1])[0]
    found = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return found[2:]


def contexts(table):
    """(SOP class, transfer syntax) of the rows of a table of services."""
    return {
        (cell, SYNTAXES[name]) for row in table for cell in row if UID.fullmatch(cell) for name in row[-1].split("; ")
    }


@pytest.fixture
def receiver(tmp_path):
    started = []

    def start(minimum_free_mb=0, **receive):
        spool = Spool(tmp_path / "store", minimum_free_mb)
        spool.create()
        settings = Settings(
            node=NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0),
            scanner=(ScannerSettings(ae_title="MR1"),),
            receive=ReceiveSettings(**receive),
        )
        started.append(Receiver(settings, spool, lambda _: None))
        started[-1].start()
        return settings, started[-1]

    yield start
    for one in started:
        one.stop()


def associate(receiver, proposed, calling="MR1", called="NODE"):
    return AE(calling).associate("127.0.0.1", receiver.port, contexts=proposed, ae_title=called)


def accepted(receiver, proposed):
    association = associate(receiver, [build_context(sop_class, syntax) for sop_class, syntax in proposed])
    found = {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts}
    association.release()
    return found


def test_what_is_said_to_be_accepted_is_and_nothing_else(receiver):
    """Every transfer syntax of the classes that are said, and one of every other."""
    settings, node = receiver()
    said = contexts(rows(statement(settings), "Storage and Verification as SCP"))
    classes = {sop_class for sop_class, _ in said}
    others = {str(one.abstract_syntax) for one in AllStoragePresentationContexts} - classes
    assert CTImageStorage in others
    proposed = [(sop_class, syntax) for sop_class in sorted(classes) for syntax in AllTransferSyntaxes]
    proposed += [(sop_class, ImplicitVRLittleEndian) for sop_class in sorted(others)]
    chunks = [proposed[begin : begin + 128] for begin in range(0, len(proposed), 128)]
    assert set().union(*(accepted(node, chunk) for chunk in chunks)) == said


def test_a_status_that_is_said_to_be_answered_is(receiver):
    scan = simulate.make(simulate.SeriesPlan(rows=48, columns=64, slices=1), NOW)
    sound, other, lost = (copy.deepcopy(scan.instances[0]) for _ in range(3))
    other.SOPInstanceUID = "1.2.3"
    del lost.StudyInstanceUID
    settings, node = receiver()
    said = {row[0] for row in rows(statement(settings), "Status codes answered (A.4.2)")}
    association = associate(node, [build_context(MRImageStorage), build_context(VERIFICATION)])
    answers = [association.send_c_echo().Status, association.send_c_store(sound).Status]
    original = other.file_meta.MediaStorageSOPInstanceUID
    answers += [_send_as(association, other, original), association.send_c_store(lost).Status]
    association.release()
    _, full = receiver(minimum_free_mb=10**9)
    association = associate(full, [build_context(MRImageStorage)])
    answers.append(association.send_c_store(sound).Status)
    association.release()
    assert {f"{status:04X}" for status in answers} | {"0211"} == said  # 0211: tests/integration/test_receive.py


def _send_as(association, data_set, uid):
    """C-STORE under another SOP Instance UID than the data set's."""
    request = C_STORE()
    request.MessageID, request.Priority = 9, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = data_set.SOPClassUID, uid
    implicit = association.accepted_contexts[0].transfer_syntax[0].is_implicit_VR
    request.DataSet = io.BytesIO(encode(data_set, implicit, True))
    return ask(association, request).Status


@pytest.mark.parametrize(("calling", "called", "most"), [("WHO", "NODE", 50), ("MR1", "WHO", 50), ("OTHER", "NODE", 1)])
def test_a_rejection_is_one_of_those_that_are_said(receiver, calling, called, most):
    settings, node = receiver(maximum_associations=most, accept_any_scanner=calling == "OTHER")
    verification = [build_context(VERIFICATION)]
    held = associate(node, verification) if most == 1 else None
    answer = associate(node, verification, calling, called).acceptor.primitive
    if held is not None:
        held.release()
    said = {tuple(map(int, row[:3])): row[3] for row in rows(statement(settings), "Rejected associations (A.4.2)")}
    expected = {"WHO": "calling", "MR1": "called", "OTHER": "all associations"}[calling]
    assert expected in said[answer.result, answer.result_source, answer.diagnostic]


@pytest.fixture(scope="module")
def processed(tmp_path_factory):
    """A folder with every kind of object, and its summary."""
    folder = tmp_path_factory.mktemp("result")
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1, spacing_mm=(6.0, 6.0, 8.0))
    files = list(simulate.write(simulate.make(plan, NOW), folder / "scan"))
    summary = offline.process(files, folder / "made", Settings(), created=NOW, progress=lambda _: None)
    return folder / "made", summary["series"][0]


@pytest.fixture
def result(processed):
    folder, series = processed
    return [folder / one["path"] for one in series["outputs"]]


@pytest.mark.parametrize("compress", ["none", "rle", "jpeg-ls", "jpeg-2000"])
def test_what_is_said_to_be_offered_to_a_destination_is(result, compress):
    asked = []
    pacs = AE("PACS")
    for kind in {pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID for path in result}:
        pacs.add_supported_context(kind, ALL_TRANSFER_SYNTAXES)
    handlers = [(evt.EVT_REQUESTED, lambda event: asked.append(event.assoc.requestor)), (evt.EVT_C_STORE, lambda _: 0)]
    server = pacs.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    destination = DestinationSettings(
        name="pacs", ae_title="PACS", host="127.0.0.1", port=server.server_address[1], compress_pages=compress
    )
    sent = list(Sender("NODE", TlsSettings()).send(destination, result))
    server.shutdown()
    assert {one.outcome for one in sent} == {Outcome.DELIVERED}
    proposed = asked[0].primitive.presentation_context_definition_list
    offered = {(str(one.abstract_syntax), str(syntax)) for one in proposed for syntax in one.transfer_syntax}
    assert offered == contexts(rows(statement(Settings(destination=(destination,))), "pacs"))
    who = asked[0].implementation_class_uid, asked[0].implementation_version_name
    assert [f"`{one}`" for one in who] == list(IMPLEMENTATION)


def test_the_receiver_says_the_implementation_that_is_said(receiver):
    _, node = receiver()
    association = associate(node, [build_context(VERIFICATION)])
    said = association.acceptor.implementation_class_uid, association.acceptor.implementation_version_name
    association.release()
    assert [f"`{one}`" for one in said] == list(IMPLEMENTATION)


def test_every_status_is_acted_upon_as_is_said():
    table = {meaning: status for status, meaning, _ in rows(statement(Settings()), "Status codes acted upon (A.4.2)")}
    assert table.keys() == {"Success", "Warning", "Failure", "no answer"}
    stored = dict.fromkeys(_numbers(table["Success"]), "Success")
    stored |= dict.fromkeys(_numbers(table["Warning"]), "Warning")
    for status in range(0x10000):
        outcome, warning = _judge(status, "")
        seen = "Failure" if outcome is Outcome.REFUSED else "Warning" if warning else "Success"
        assert seen == stored.get(status, "Failure"), f"{status:04X}"


def _numbers(cell):
    for part in cell.split(", "):
        ends = [int(end, 16) for end in part.split(" to ")]
        yield from range(ends[0], ends[-1] + 1)


def test_the_number_of_associations_to_a_destination_is_the_queues():
    policies = {row[0]: row[2] for row in rows(statement(Settings()), "Association policies (A.4.2)")}
    assert policies["associations at once"] == f"{_SENDS_AT_ONCE} to each destination"


def test_every_private_code_of_a_result_is_said_or_a_flag_or_a_calibration(processed, result):
    said = {row[0] for row in rows(statement(Settings()), "Private codes (A.8)")}
    said |= {flag["code"].upper()[:16] for region in processed[1]["rois"] for flag in region["flags"]}
    said |= {Settings().measure.calibration.upper()[:16]}
    written = {code for path in result for code in _private_codes(pydicom.dcmread(path, stop_before_pixels=True))}
    assert written
    assert written - said == set()


def _private_codes(data_set):
    for element in data_set.iterall():
        for item in element.value if element.VR == "SQ" else ():
            if item.get("CodingSchemeDesignator") == "99LIVERIRON" and "CodeValue" in item:
                yield item.CodeValue
