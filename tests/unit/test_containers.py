"""The container files name what exists; no container engine runs here, so nothing else of them is tested."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from dicomnode import cli, config

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
CONTAINERFILE = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")


def commands():
    """Every command line of ours in both files."""
    listed = [service["command"] for service in COMPOSE["services"].values() if "command" in service]
    listed += [yaml.safe_load(line) for line in re.findall(r"^(?:CMD|  CMD) (\[.*\])$", CONTAINERFILE, re.MULTILINE)]
    listed += [shlex.split(line) for line in re.findall(r"^RUN (dicomnode .*)$", CONTAINERFILE, re.MULTILINE)]
    return [one[1:] for one in listed if one[0] == "dicomnode"]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_command_is_understood(arguments, tmp_path):
    there = tmp_path / "config.toml"
    there.touch()
    arguments = [str(there) if one == "/etc/dicomnode/config.toml" else one for one in arguments]
    context = cli.main.make_context("dicomnode", [], resilient_parsing=True)
    rest = cli.main.make_parser(context).parse_args(list(arguments))[1]
    name, command, left = cli.main.resolve_command(context, rest)
    command.make_context(name, left, parent=context)


def test_the_commands_are_found():
    assert {one[1] if one[0].startswith("--") else one[0] for one in commands()} == {"serve", "worker", "warm"}


def test_every_file_that_they_name_exists():
    (build,) = {tuple(sorted(one["build"].items())) for one in COMPOSE["services"].values() if "build" in one}
    context, dockerfile = dict(build)["context"], dict(build)["dockerfile"]
    assert (DEPLOY / context / dockerfile).is_file()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (REPOSITORY / name).exists(), name
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    assert not set(ignored) & set(" ".join(copied).split())


def test_volumes_are_declared_and_nobody_is_root():
    for name, service in COMPOSE["services"].items():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or source == "./config.toml", (name, source)
    assert "\nUSER dicomnode\n" in CONTAINERFILE


def test_their_configuration_is_valid_and_meets_the_services(monkeypatch):
    settings = config.load(DEPLOY / "compose.config.toml", for_serving=True)
    assert settings.is_shared()
    assert f"@{'database'}/{COMPOSE['services']['database']['environment']['POSTGRES_DB']}" in settings.engine_url()
    (pacs,) = settings.destination
    served = COMPOSE["services"][pacs.host]["environment"]
    assert (served["ORTHANC__DICOM_AET"], served["ORTHANC__DICOM_PORT"]) == (pacs.ae_title, str(pacs.port))
    assert COMPOSE["services"]["node"]["ports"] == [f"{settings.node.port}:{settings.node.port}"]
    assert f"EXPOSE {settings.node.port}\n" in CONTAINERFILE
