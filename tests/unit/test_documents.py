"""The documents say what is so."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from dicomnode import events, header
from dicomnode.group import verdict
from dicomnode.intake.complete import Verdict
from dicomnode.jobs.lifecycle import DeliveryStatus, JobStatus
from dicomnode.operate.status import FINISHED, NEEDS_A_PERSON

REPOSITORY = Path(__file__).parents[2]


def test_the_picture_of_the_rooms_is_that_of_the_imports():
    command = [sys.executable, "-m", "bench.rooms", "--check"]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0, "run `make rooms`"


def test_every_file_that_the_documents_name_exists():
    """A recipe that names what was moved sends the newcomer astray."""
    for document in ("CONTRIBUTING.md", "docs/architecture.md"):
        for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*\.(?:py|md|toml))`", (REPOSITORY / document).read_text()):
            places = (REPOSITORY / name, REPOSITORY / "dicomnode" / name, REPOSITORY / "docs" / name)
            assert any(place.exists() for place in places), f"{document} names {name}"


def test_every_link_of_the_documents_leads_to_a_file():
    for document in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()


def _first_cells(title):
    """What the rows of the table under a heading are about."""
    section = OPERATIONS.split(f"### {title}\n")[1].split("\n#")[0]
    cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| ")][1:]
    return [set(re.findall(r"`([^`]+)`", cell)) for cell in cells]


def test_every_warning_and_error_of_the_log_says_what_to_do():
    kinds = [one for one in vars(events).values() if isinstance(one, type) and issubclass(one, events.Event)]
    alarming = {kind for kind in kinds if kind.usual_level not in {"debug", "info"} or "level" in vars(kind)}
    alarming -= {events.Event, events.SeriesJudged}  # what is thought of a series is in the status
    names = {events.name_of(kind) for kind in alarming}
    assert set().union(*_first_cells("What the log says")) == names


def test_every_state_says_what_to_do():
    states = {*NEEDS_A_PERSON, *FINISHED, *JobStatus, *DeliveryStatus, *Verdict, "not taken in", "not an echo"}
    states -= {Verdict.READY, DeliveryStatus.PARTLY_REFUSED}  # neither is shown
    said = set().union(*_first_cells("What `status` says"))
    table = OPERATIONS.split("The states of a series:")[1].split("## Alarms")[0]
    said |= {name.strip() for line in table.splitlines() if line[:2] == "| " for name in line.split("|")[1].split(",")}
    assert {str(state) for state in states} - said == {DeliveryStatus.DELIVERED, DeliveryStatus.SENDING}


def test_every_reason_to_refuse_belongs_to_a_family():
    families = _first_cells("Why a series is refused or incomplete")
    codes = {*header.REASONS, *verdict.REASONS, *_codes_in_the_source()}
    assert set().union(*families) == codes
    assert sum(map(len, families)) == len(codes)


def _codes_in_the_source():
    """The codes that reasons and refusals are made with: the first argument of Reason, the last of the others."""
    for path in (REPOSITORY / "dicomnode").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            place = {"Reason": 0, "NotWanted": -1, "Implausible": -1}.get(named)
            found = node.args[place] if place is not None else None
            if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple) and path.name == "plausible.py":
                found = node.value.elts[0]
            if isinstance(found, ast.Constant):
                yield found.value


def test_the_sandbox_is_the_one_that_the_security_document_names():
    unit = (REPOSITORY / "systemd" / "dicomnode.service").read_text().splitlines()
    named = re.findall(r"`([A-Z][A-Za-z]+=[^`]*)`", (REPOSITORY / "SECURITY.md").read_text())
    assert len(named) > 8
    assert [one for one in named if one not in unit] == []
