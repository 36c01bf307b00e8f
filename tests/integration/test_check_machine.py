"""What `check` says of this machine before a node is started on it."""

import json
import os
import pwd
import socket
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicomnode.cli import main
from dicomnode.config import (
    DestinationSettings,
    EngineSettings,
    FitSettings,
    NodeSettings,
    ScannerSettings,
    Settings,
    StorageSettings,
    TlsSettings,
    TrendSettings,
    WebSettings,
)
from dicomnode.operate import selftest
from dicomnode.operate.demo import StandInPacs
from dicomnode.operate.machine import check_machine
from dicomnode.store.spool import Spool
from tests.integration.mllp import Receiver
from tests.integration.test_service import free_port


@pytest.fixture
def look(tmp_path):
    def findings(name=None, **sections):
        usual = {
            "node": NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0),
            "storage": StorageSettings(folder=tmp_path / "store", minimum_free_mb=1),
        }
        found = check_machine(Settings(**{**usual, **sections}))
        return [(one.grade, one.sentence) for one in found if name in (None, one.name)]

    return findings


def test_a_machine_that_is_well_has_no_error_and_nothing_is_left_on_it(look, tmp_path):
    assert {grade for grade, _ in look()} <= {"ok", "warning"}
    assert list(tmp_path.iterdir()) == []


def test_the_lines_of_a_table_of_earlier_results_that_cannot_be_used_are_named(look, tmp_path):
    path = tmp_path / "priors.csv"
    trend = TrendSettings(table=path)
    ((grade, said),) = look("earlier results", trend=trend)
    assert (grade, str(path) in said) == ("error", True)
    path.write_text("patient_id,date,lic_mg_per_g\nP1,2024-01-02,3.5\nP2,yesterday,3.5\n")
    path.chmod(0o640)
    (first, second) = look("earlier results", trend=trend)
    assert first[0] == "warning"
    assert "line 3: date" in first[1]
    assert "P2" not in first[1]
    assert second == ("ok", f"[trend] table {path}: 1 earlier results")
    path.chmod(0o644)
    assert any(f"chmod o-rwx {path}" in said for _, said in look("earlier results", trend=trend))


def test_a_storage_folder_behind_a_file_is_an_error(look, tmp_path):
    (tmp_path / "file").touch()
    ((grade, said),) = look("storage", storage=StorageSettings(folder=tmp_path / "file" / "store"))
    assert grade == "error"
    assert f"{tmp_path / 'file'} is not a folder" in said


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_storage_folder_that_may_not_be_written_is_an_error(look, tmp_path):
    (tmp_path / "store").mkdir(mode=0o500)
    ((grade, said),) = look("storage")
    assert grade == "error"
    assert "may not write" in said


def test_a_storage_folder_that_everybody_may_read_is_a_warning(look, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o755)
    assert any(grade == "warning" and "chmod" in said for grade, said in look("storage"))


def test_too_little_room_is_an_error(look, tmp_path):
    ((grade, said),) = look("space", storage=StorageSettings(folder=tmp_path, minimum_free_mb=10**12))
    assert grade == "error"
    assert "minimum_free_mb" in said


def test_a_port_that_is_taken_is_an_error_and_one_that_the_node_itself_has_is_not(look, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = NodeSettings(ae_title="NODE", host="127.0.0.1", port=taken.getsockname()[1])
        assert look("port", node=node)[0][0] == "error"
        spool = Spool(tmp_path / "store")
        spool.create()
        with spool.lock():
            ((grade, said),) = look("port", node=node)
    assert (grade, "is running" in said) == ("ok", True)


def test_a_port_of_the_page_that_is_taken_is_an_error(look):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ((grade, said),) = look("web", web=WebSettings(port=taken.getsockname()[1]))
    assert (grade, "[web]" in said) == ("error", True)
    assert look("web", web=WebSettings(enabled=False)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may do everything")
def test_root_is_told_that_it_is_not_the_node(look, tmp_path):
    (tmp_path / "store").mkdir()
    assert look("user") == []
    os.chown(tmp_path / "store", pwd.getpwnam("nobody").pw_uid, -1)
    ((grade, said),) = look("user")
    assert (grade, "runuser -u nobody" in said) == ("warning", True)


def test_files_from_the_future_mean_a_wrong_clock(look, tmp_path):
    Spool(tmp_path / "store").create()
    assert look("clock")[0][0] == "ok"
    os.utime(tmp_path / "store" / "studies", (time.time() + 7200,) * 2)
    assert look("clock")[0][0] == "error"


def test_a_database_that_does_not_answer_is_an_error_without_its_password(look):
    ((grade, said),) = look("queue", engine=EngineSettings(url="postgresql://me:secret@127.0.0.1:1/none"))
    assert grade == "error"
    assert "secret" not in said


def test_scanners_that_cannot_be_told_apart_or_found_are_said(look):
    scanners = [ScannerSettings(ae_title=name) for name in ("MR1", "MR1", "NODE")]
    scanners.append(ScannerSettings(ae_title="MR2", address="no-such-host.invalid"))
    found = look("scanner", scanner=tuple(scanners))
    assert [grade for grade, _ in found] == ["warning", "warning", "error"]
    assert all(word in said for word, (_, said) in zip(("2 times", "this node", "no-such-host"), found, strict=True))


def test_more_than_the_machine_has_is_a_warning(look):
    found = look(fit=FitSettings(workers=64, step_memory_mb=1_000_000))
    assert {"warning"} == {grade for grade, said in found if said.startswith("[fit]")}


# --- certificates


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Key and certificate by days that are left."""
    folder = tmp_path_factory.mktemp("tls")

    def make(name, days):
        key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
        command += ["-keyout", str(key), "-out", str(certificate), "-days", str(days)]
        subprocess.run(command, check=True, capture_output=True)
        key.chmod(0o600)
        return TlsSettings(certificate=certificate, key=key, receive=True)

    return {name: make(name, days) for name, days in {"good": 365, "ending": 9, "other": 365}.items()}


def worst(found):
    return max((grade for grade, _ in found), key=["ok", "warning", "error"].index)


def test_a_good_pair_is_well_and_one_that_ends_soon_is_a_warning(look, pairs):
    assert worst(look("tls", tls=pairs["good"])) == "ok"
    found = look("tls", tls=pairs["ending"])
    assert worst(found) == "warning"
    assert any("ends in 8 days" in said or "ends in 9 days" in said for _, said in found)


@pytest.mark.parametrize("section", ["tls", "web"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"certificate": Path("/no/such.crt")}, "cannot be read"),
        ({"key": Path("/no/such.key")}, "is not there"),
        ({"key": "other"}, "is not the key of the certificate"),
        ({"certificate": "key"}, "holds no certificate"),
    ],
)
def test_what_serve_would_fail_on_is_an_error(look, pairs, change, words, section):
    good, other = pairs["good"], pairs["other"]
    known = {"other": other.key, "key": good.key}
    tls = good.model_copy(update={name: known.get(value, value) for name, value in change.items()})
    web = WebSettings(certificate=tls.certificate, key=tls.key, port=free_port())
    found = look(section, **({"tls": tls} if section == "tls" else {"web": web}))
    assert worst(found) == "error"
    assert any(words in said for grade, said in found if grade == "error"), found


def test_a_key_that_everybody_may_read_is_a_warning(look, pairs, tmp_path):
    key = tmp_path / "open.key"
    key.write_bytes(pairs["good"].key.read_bytes())
    key.chmod(0o644)
    assert worst(look("tls", tls=pairs["good"].model_copy(update={"key": key}))) == "warning"


def test_a_secret_that_everybody_may_read_is_a_warning(look, tmp_path):
    token = tmp_path / "token"
    token.write_text("sesame")
    token.chmod(0o644)
    cloud = {"name": "cloud", "kind": "dicomweb", "url": "https://pacs.example", "token_file": token}
    ((grade, said),) = look("secret", destination=(DestinationSettings(**cloud),))
    assert grade == "warning"
    assert "sesame" not in said
    token.chmod(0o640)
    assert look("secret", destination=(DestinationSettings(**cloud),)) == []


# --- numbers and a test result


@pytest.fixture
def pacs(tmp_path):
    made = StandInPacs(tmp_path / "pacs")
    made.start()
    yield made
    made.stop()


def test_a_simulated_scan_comes_back_right_and_a_wrong_fit_is_an_error(monkeypatch):
    finding = selftest.check_numbers(Settings(), lambda _: None)
    assert finding.grade == "ok", finding
    monkeypatch.setattr(selftest, "TOLERANCE", 1e-6)
    assert selftest.check_numbers(Settings(), lambda _: None).grade == "error"


def test_a_test_result_is_marked_and_the_same_each_time(tmp_path, pacs):
    config = tmp_path / "node.toml"
    config.write_text(
        '[node]\nae_title = "NODE"\nhost = "127.0.0.1"\nport = 45111\n[storage]\nminimum_free_mb = 1\n'
        '[[scanner]]\nae_title = "MR1"\n'
        f'[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
    )
    names = []
    for _ in range(2):
        result = CliRunner().invoke(main, ["check", "--send-test", "--json", "--config", str(config)])
        (sent,) = [one for one in json.loads(result.stdout) if one["check"] == "test"]
        assert sent["ok"], sent
        assert selftest.MARK in sent["verdict"]
        names.append(sorted(path.name for path in pacs.folder.iterdir()))
    assert names[0] == names[1]
    assert all(selftest.MARK.encode() in path.read_bytes() for path in pacs.folder.iterdir())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom leaves its socket open
def test_a_destination_that_is_away_fails_the_test(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pacs = DestinationSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, timeout_seconds=2.0)
    (finding,) = selftest.send_test(Settings(destination=(pacs,)), lambda _: None)
    assert not finding["ok"]


def test_no_test_result_goes_to_a_record_of_patients():
    receiver = Receiver()
    ris = DestinationSettings(name="ris", kind="hl7", host="127.0.0.1", port=receiver.port)
    (finding,) = selftest.send_test(Settings(destination=(ris,)), lambda _: None)
    receiver.close()
    assert finding["ok"]
    assert 'kind "hl7"' in finding["verdict"]
    assert receiver.messages == []


# --- past exams


def test_a_dry_run_counts_and_leaves_nothing(tmp_path):
    scans = tmp_path / "scans"
    CliRunner().invoke(main, ["simulate", str(scans / "a")])
    (scans / "b").mkdir()
    (scans / "b" / "letter.txt").write_text("no image")
    before = sorted(scans.rglob("*"))
    result = CliRunner().invoke(main, ["dry-run", str(scans), "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["counts"] == [
        {"status": summary["series"][0]["status"], "code": summary["counts"][0]["code"], "series": 1}
    ]
    assert summary["series"][0]["rois"]
    assert summary["series"][0]["outputs"] == []
    assert sorted(scans.rglob("*")) == before
