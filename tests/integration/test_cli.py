"""The command line: exit statuses, messages an operator can act on, results apart from logs."""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicomnode import cli, simulate
from dicomnode import config as configuration
from dicomnode.jobs import lifecycle
from dicomnode.store.durable import make_folder, write_json
from dicomnode.store.spool import Spool

REPOSITORY = Path(__file__).parents[2]
COMMANDS = sorted(cli.COMMANDS)


def run(*arguments):
    result = CliRunner().invoke(cli.main, [str(one) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def said(result, status):
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.stderr if status else result.stdout


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    plan = simulate.SeriesPlan(rows=96, columns=128, spacing_mm=(3.125, 3.125, 8.0), slices=1)
    simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), folder)
    return folder


@pytest.fixture(scope="module")
def two_echoes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1, echo_times_ms=(2.0, 4.0), seed=2)
    simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), folder)
    return folder


@pytest.fixture
def config(tmp_path):
    def write(text="", *, whole=True):
        path = tmp_path / "config.toml"
        head = '[[scanner]]\nae_title = "A"\n[[destination]]\nname = "pacs"\nae_title = "P"\n'
        head += 'host = "127.0.0.1"\nport = 1\n'
        path.write_text((head if whole else "") + text)
        return path

    return write


@pytest.fixture
def store(config, tmp_path):
    """A node's folder with one failed series, and its configuration."""
    spool = Spool(tmp_path / "dicomnode-data")
    spool.create()
    group = {"series_instance_uids": ["1.2.3.4"], "status": "refused", "code": "too-few-echoes", "key": None}
    group |= {"reason": "2 echoes, minimum is 3", "missing": [], "echo_times_ms": [2.0], "slices": 1, "images": 2}
    record = {"study_instance_uid": "1.2.3", "accession_number": "A1", "groups": {"g": group}, "others": []}
    write_json(spool.studies / "1.2.3.json", record)
    return config()


@pytest.mark.parametrize("command", [(), *((one,) for one in COMMANDS)], ids=lambda one: one[0] if one else "all")
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(command, flag):
    text = said(run(*command, flag), 0)
    assert text.startswith("Usage:")


def test_the_version_is_told():
    assert "0.1.0" in said(run("--version"), 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("process",),
        ("process", "/no/such/file", "--output", "x"),
        ("status", "--config", "/no/such/file"),
        ("show",),
        ("simulate", "x", "--dialect", "klingon"),
        ("process", ".", "--output", "x", "--method", "guess"),
        ("--log-level", "loud", "status"),
    ],
)
def test_wrong_usage_is_status_2(arguments):
    assert "Error: " in said(run(*arguments), 2)


def test_a_faulty_configuration_is_status_2_with_every_fault_and_its_line(config):
    path = config("[grouping]\nminimum_echos = 3\n[fit]\nworkers = 0\n")
    for command in (("serve",), ("check",), ("status",), ("show", "x"), ("retry", "x")):
        text = said(run(*command, "--config", path), 2)
        assert "line 9: [grouping] minimum_echos: unknown key; did you mean 'minimum_echoes'?" in text
        assert "line 11: [fit] workers" in text


def test_serving_needs_scanners_and_destinations(config):
    text = said(run("serve", "--config", config(whole=False)), 2)
    assert "[[scanner]]" in text
    assert "[[destination]]" in text


def test_a_configuration_that_the_environment_names_and_is_gone(monkeypatch, tmp_path):
    monkeypatch.setenv("DICOMNODE_CONFIG", str(tmp_path / "gone.toml"))
    assert "gone.toml" in said(run("status"), 2)


@pytest.mark.parametrize("command", [("status",), ("show", "1.2"), ("retry", "1.2")])
def test_a_folder_without_a_node_is_named(config, command):
    assert "holds no node's data; is this the right --config?" in said(run(*command, "--config", config()), 1)


def test_status_says_what_and_why(store):
    text = said(run("status", "--config", store), 0)
    assert text.splitlines()[:2] == ["1.2.3.4  refused: 2 echoes, minimum is 3", "  accession number A1"]
    (entry,) = json.loads(said(run("status", "--json", "--config", store), 0))
    assert entry["code"] == "too-few-echoes"


def test_what_was_sent_is_named_by_the_kind_of_destination(store, tmp_path):
    spool = Spool(tmp_path / "dicomnode-data")
    kinds = {"hl7": 'host = "ris.example"\nport = 2575', "fhir": 'url = "https://ehr.example"'}
    tables = [f'[[destination]]\nname = "{kind}"\nkind = "{kind}"\n{where}\n' for kind, where in kinds.items()]
    Path(store).write_text(Path(store).read_text() + "".join(tables))
    job = spool.job("k")
    make_folder(job.folder)
    job.write("manifest.json", {})
    for name, uids in {"hl7": ("1.1",), "fhir": ("1.1",), "pacs": ("1.1",), "gone": ("1.1", "1.2")}.items():
        lifecycle.say_delivery(job, name, lifecycle.Delivery(lifecycle.DeliveryStatus.DELIVERED, delivered=uids))
    path = spool.studies / "1.2.3.json"
    path.write_text(path.read_text().replace('"refused"', '"ready"').replace('"key": null', '"key": "k"'))
    text = said(run("status", "--config", store), 0)
    for words in ("hl7: delivered, 1 message\n", "fhir: delivered, 1 transaction\n", "pacs: delivered, 1 object\n"):
        assert words in text
    assert "gone: delivered, 2 objects\n" in text


@pytest.mark.parametrize("name", ["1.2.3", "1.2.3.4", "A1"])
def test_show_finds_a_study_by_any_name(store, name):
    assert "study 1.2.3, 2 images" in said(run("show", name, "--config", store), 0)


def test_status_is_1_where_something_needs_a_person(store, tmp_path):
    assert "until images are refused" in said(run("status", "--config", store), 0)
    (tmp_path / "dicomnode-data" / "studies" / "1.2.4.json").write_bytes(b"{")
    assert run("status", "--config", store).exit_code == 1


def test_purge_wants_a_reason_and_leaves_alone_what_is_not_finished(store, tmp_path):
    spool = Spool(tmp_path / "dicomnode-data")
    assert run("purge", "1.2.3", "--config", store).exit_code == 2
    assert "1.2.3" in said(run("purge", "A1", "--reason", "a test scan", "--config", store), 0)
    (request,) = [json.loads(path.read_text()) for path in spool.requests.iterdir()]
    by = pwd.getpwuid(os.getuid()).pw_name
    asked = {"what": "purge", "by": by, "purge": ["1.2.3"], "reason": "a test scan", "undelivered": False}
    assert request == asked
    path = spool.studies / "1.2.3.json"
    path.write_text(path.read_text().replace('"refused"', '"waiting"'))
    (spool.incoming / "1.2.3").mkdir()
    assert "--undelivered" in said(run("purge", "A1", "--reason", "a test scan", "--config", store), 1)
    said(run("purge", "A1", "--reason", "a test scan", "--undelivered", "--config", store), 0)


@pytest.mark.parametrize("command", ["show", "retry"])
def test_what_is_not_known_is_status_1(store, command):
    assert "nothing is known of 9.9.9" in said(run(command, "9.9.9", "--config", store), 1)


@pytest.fixture
def made(store, tmp_path):
    """A job of the series in the node's folder in a given state; its folder."""

    def make(state):
        spool = Spool(tmp_path / "dicomnode-data")
        path = spool.studies / "1.2.3.json"
        record = json.loads(path.read_text())
        record["groups"]["g"] |= {"status": "ready", "code": None, "reason": None, "key": "k"}
        write_json(path, record)
        spool.job("k").folder.mkdir()
        spool.job("k").write("manifest.json", {})
        spool.job("k").write("state.json", {"status": state})
        spool.job("k").write("outputs.json", [])
        return spool.job("k")

    return make


def requested(tmp_path):
    return [json.loads(path.read_text()) for path in (tmp_path / "dicomnode-data" / "requests").glob("*.json")]


@pytest.mark.parametrize(("what", "state"), [("hold", "delivering"), ("release", "delivering"), ("send again", "done")])
def test_what_the_page_can_ask_for_can_be_asked_for_here(store, made, tmp_path, what, state):
    job = made(state)
    if what == "release":
        lifecycle.hold(job, "anna")
    assert "1 series" in said(run(what.replace(" ", "-"), "A1", "--config", store), 0)
    (request,) = requested(tmp_path)
    assert (request["what"], request["keys"], request["to"]) == (what, ["k"], [])
    assert request["by"] == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(("command", "state"), [("hold", "done"), ("release", "delivering"), ("send-again", "fitting")])
def test_what_would_do_nothing_is_said_and_not_asked_for(store, made, tmp_path, command, state):
    made(state)
    assert "nothing of it" in said(run(command, "A1", "--config", store), 1)
    assert requested(tmp_path) == []


def test_process_anyway_takes_what_can_be_overruled_and_says_what_stays_refused(store, tmp_path):
    assert "no order makes a number of it: refused: 2 echoes" in said(run("process-anyway", "A1", "--config", store), 1)
    path = tmp_path / "dicomnode-data" / "studies" / "1.2.3.json"
    record = json.loads(path.read_text())
    record["groups"]["h"] = {**record["groups"]["g"], "code": "not-wanted", "reason": "a rule"}
    write_json(path, record)
    result = run("process-anyway", "A1", "--config", store)
    assert "1 series" in said(result, 0)
    assert "stays refused: 2 echoes, minimum is 3" in result.stderr
    (request,) = requested(tmp_path)
    assert request["groups"] == [{"study": "1.2.3", "group": "h", "code": "not-wanted"}]
    assert request["studies"] == ["1.2.3"]


def test_send_again_knows_its_destinations(store, made, tmp_path):
    made("done")
    assert "there are pacs" in said(run("send-again", "A1", "--to", "pasc", "--config", store), 2)
    said(run("send-again", "A1", "--to", "pacs", "--config", store), 0)
    assert [one["to"] for one in requested(tmp_path)] == [["pacs"]]


def test_retry_leaves_a_request_for_the_node(store, tmp_path):
    assert "1 series" in said(run("retry", "A1", "--config", store), 0)
    (request,) = (tmp_path / "dicomnode-data" / "requests").glob("*.json")
    assert json.loads(request.read_text())["studies"] == ["1.2.3"]


def test_a_folder_that_cannot_be_read_is_a_message(config, tmp_path):
    (tmp_path / "dicomnode-data").write_text("a file where the folder should be")
    said(run("status", "--config", config()), 1)


def test_check_of_the_syntax_asks_nobody_and_names_the_fault(config):
    assert said(run("check", "--syntax", "--config", config()), 0) == "the configuration is valid\n"
    assert "[fit] worker: unknown key" in said(run("check", "--syntax", "--config", config("[fit]\nworker = 1\n")), 2)


# pynetdicom leaves the socket of a failed connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_check_of_a_dead_destination_is_status_1_and_names_it(config):
    result = run("check", "--json", "--config", config())
    assert result.exit_code == 1
    (finding,) = [one for one in json.loads(result.stdout) if one["destination"]]
    assert finding["destination"] == "pacs"
    assert "P@127.0.0.1:1" in finding["verdict"]


# pynetdicom leaves the socket of a failed connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_simulate_to_nobody_is_status_1():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{probe.getsockname()[1]}"
    assert target in said(run("simulate", target, "--slices", "1"), 1)


# --- process


def test_an_empty_folder_is_status_1(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no DICOM object" in said(run("process", tmp_path / "empty", "--output", tmp_path / "out"), 1)


def test_files_that_are_not_dicom_are_counted_with_their_reason(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no image")
    result = run("process", tmp_path / "in", "--output", tmp_path / "out", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["others"][0]["code"] == "not-dicom"


def test_a_refused_series_alone_is_status_1_with_its_reason(two_echoes, tmp_path):
    result = run("process", two_echoes, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "refused: 2 echoes" in result.stdout


def test_an_output_that_cannot_be_made_is_a_message(series, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "file" in said(run("process", series, "--output", tmp_path / "file" / "out"), 1)


def test_mixed_studies_give_what_can_be_had(series, two_echoes, tmp_path):
    """One done, one refused: status 0; JSON alone on standard output; progress on standard error."""
    command = [sys.executable, "-m", "dicomnode", "process", str(series), str(two_echoes)]
    command += ["--output", str(tmp_path / "out"), "--method", "nls", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert sorted(one["status"] for one in summary["series"]) == ["done", "refused"]
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    for output in summary["series"][0]["outputs"] + summary["series"][1]["outputs"]:
        assert (tmp_path / "out" / output["path"]).is_file()
    assert "fitting" in done.stderr
    assert "SIM-" not in done.stderr


def test_a_single_file_is_an_incomplete_or_refused_series(series, tmp_path):
    file = next(path for path in sorted(series.rglob("*.dcm")))
    result = run("process", file, "--output", tmp_path / "out", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["series"][0]["reason"]


def test_control_c_ends_serve_with_status_0_and_nothing_left(tmp_path, config):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = config(f'[node]\nhost = "127.0.0.1"\nport = {port}\n[storage]\nminimum_free_mb = 0\n')
    log = tmp_path / "log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "dicomnode", "--log-json", "serve", "--config", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, start_new_session=True, cwd=REPOSITORY)
    end = time.monotonic() + 60.0
    while '"started"' not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=40)
    assert process.returncode == 0
    assert output == b""
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events[-1] == "stopped"


def test_process_reads_no_configuration_that_nobody_named(series, tmp_path, monkeypatch):
    """What lies in the system's folder is for the node; a result must not depend on the machine it is made on."""
    system = tmp_path / "system.toml"
    system.write_text("no TOML at all")
    monkeypatch.setattr(configuration, "SYSTEM_FILE", system)
    said(run("process", series, "--output", tmp_path / "out"), 0)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["configuration"] is None
    assert "not TOML" in said(run("status"), 2)


@pytest.mark.parametrize("by", ["option", "environment"])
def test_the_summary_names_the_configuration_that_was_read(series, config, tmp_path, monkeypatch, by):
    path = config('[fit]\nmethod = "nls"\n', whole=False)
    if by == "environment":
        monkeypatch.setenv("DICOMNODE_CONFIG", str(path))
    options = ["--config", path] if by == "option" else []
    said(run("process", series, "--output", tmp_path / "out", *options), 0)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["configuration"], summary["series"][0]["method"]) == (str(path), "nls")


def test_help_loads_no_part_of_the_node():
    program = "import sys; from dicomnode.cli import main; main(['--help'], standalone_mode=False)\n"
    program += "print([name for name in ('pynetdicom', 'highdicom', 'dbos', 'numba', 'PIL') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_file_and_the_name_it_is_listed_by(name):
    command = cli.main.get_command(None, name)
    assert command.name == name
    assert command.help


def test_password_prints_a_hash_that_the_configuration_takes(config):
    result = run("password", "--password", "correct horse battery")
    assert result.exit_code == 0
    user = f'[web]\n[[web.users]]\nname = "anna"\npassword = "{result.stdout.strip()}"\n'
    assert configuration.load(config(user)).web.users[0].name == "anna"


def test_a_password_that_is_short_is_not_taken():
    assert run("password", "--password", "short").exit_code == 2


@pytest.mark.parametrize("field_t", [1.5, 3.0])
def test_a_simulated_fatty_liver_is_freed_of_its_fat_and_both_values_are_told(tmp_path, field_t):
    said(run("simulate", tmp_path / "series", "--fat", 0.3, "--t2star", 10, "--field", field_t, "--slices", 1), 0)
    said(run("process", tmp_path / "series", "--output", tmp_path / "out"), 0)
    (series,) = json.loads((tmp_path / "out" / "summary.json").read_text())["series"]
    liver = series["rois"][0]
    assert liver["r2star_per_s"]["median"] == pytest.approx(100, rel=0.03)
    assert abs(liver["plain_r2star_per_s"] - 100) > 3
    assert liver["signal_fat_fraction"]["value"] == pytest.approx(0.3, abs=0.03)
