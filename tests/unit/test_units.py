"""The systemd units, as systemd itself judges them."""

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from dicomnode import cli

UNITS = sorted((Path(__file__).parents[2] / "systemd").glob("*.service"))
EXPOSURE = 2.0  # of 10; what is left is that it speaks to a network
pytestmark = [pytest.mark.peer, pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)]


def analyze(peer, *arguments):
    command = [peer("systemd-analyze"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_finds_no_fault(peer, unit):
    done = analyze(peer, "verify", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_little_of_the_machine_is_exposed(peer, unit):
    done = analyze(peer, "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", unit)
    assert done.returncode == 0, done.stdout[-3000:]
    assert float(re.findall(r"exposure level for \S+: (\S+)", done.stdout)[0]) <= EXPOSURE


def test_every_command_of_ours_is_understood(unit, tmp_path):
    there = tmp_path / "config.toml"
    there.touch()
    lines = re.findall(r"^Exec\w+=-?/usr/bin/env dicomnode (.*)$", unit.read_text(), re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        arguments = line.replace("/etc/dicomnode/config.toml", str(there)).split()
        context = cli.main.make_context("dicomnode", [], resilient_parsing=True)
        rest = cli.main.make_parser(context).parse_args(arguments)[1]
        name, command, left = cli.main.resolve_command(context, rest)
        command.make_context(name, left, parent=context)


def test_a_wrong_configuration_is_not_tried_again_and_again(unit):
    service = configparser.ConfigParser(strict=False, interpolation=None)
    service.optionxform = str
    service.read(unit)
    assert service["Service"]["RestartPreventExitStatus"] == "2"  # what every command ends with then
    assert service["Service"]["Type"] == "notify"
