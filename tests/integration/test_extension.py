"""An organ and a method of another package: installed, listed, used, named; refused at the start where broken."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from dicomnode import simulate

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "iron-in-muscle"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = """
[grouping]
organs = ["liver", "muscle"]
[fit]
method = "log-linear"
[report]
products = ["parametric_maps", "segmentation", "structured_report"]
"""

SERVING = """
[node]
port = 11999
[receive]
accept_any_scanner = true
[storage]
folder = "{folder}/data"
[[destination]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 11998
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example of docs/, installed without a network where only this test sees it."""
    folder = tmp_path_factory.mktemp("extension")
    shutil.copytree(EXAMPLE, folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    command += ["--disable-pip-version-check", "--target", str(folder / "site"), str(folder / "source")]
    subprocess.run(command, check=True, timeout=200)
    return folder / "site"


def broken(folder, group, entry):
    """A package that is installed and cannot be loaded."""
    about = folder / "worn_out-2.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: worn-out\nVersion: 2.0\n")
    (about / "entry_points.txt").write_text(f"[dicomnode.{group}]\n{entry}\n")
    return folder


def run(site, *arguments):
    command = [sys.executable, "-m", "dicomnode", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)


def series(folder, **more):
    plan = simulate.SeriesPlan(rows=96, columns=128, spacing_mm=(3.1, 3.1, 8.0), slices=1, field_strength_t=1.5, **more)
    folder.mkdir()
    for number, one in enumerate(simulate.make(plan, NOW).instances):
        one.SeriesDescription = one.ProtocolName = "T2* muscle"
        one.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def test_a_study_goes_through_an_organ_and_a_method_of_another_package(installed, tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG)
    more = ("--output", tmp_path / "out", "--config", tmp_path / "c.toml", "--json")
    done = run(installed, "process", series(tmp_path / "in", with_phase=True), *more)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["series"]
    assert (one["status"], one["organ"], one["method"]) == ("done", "muscle", "log-linear"), one["reason"]
    assert one["answer"].startswith("Muscle T2* ")
    assert one["phase"]["reason"] == "no complex fit is made of the muscle"
    assert one["settings"]["packages"] == {"organ": "iron-in-muscle 0.1.0", "method": "iron-in-muscle 0.1.0"}
    (path,) = [output["path"] for output in one["outputs"] if output["kind"] == "structured_report"]
    said = [str(element.value) for element in pydicom.dcmread(tmp_path / "out" / path).iterall()]
    assert 'settings.packages.organ="iron-in-muscle 0.1.0"' in said
    assert 'fit.parameters.package="iron-in-muscle 0.1.0"' in said
    assert "The organ and the method are of iron-in-muscle 0.1.0." in said


def test_another_version_of_the_package_gives_another_result(installed, tmp_path):
    """Same images and settings: what made the numbers is part of their identity."""
    newer = shutil.copytree(installed, tmp_path / "newer")
    (metadata,) = newer.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 0.1.0", "Version: 0.2.0"))
    (tmp_path / "c.toml").write_text(CONFIG)
    images, keys = series(tmp_path / "in"), []
    for site in (installed, newer):
        more = ("--output", tmp_path / f"out-{site.name}", "--config", tmp_path / "c.toml", "--json")
        keys.append(json.loads(run(site, "process", images, *more).stdout)["series"][0]["key"])
    assert keys[0] != keys[1]


def test_check_lists_what_other_packages_add(installed, tmp_path):
    (tmp_path / "c.toml").write_text(SERVING.format(folder=tmp_path))
    said = run(installed, "check", "--config", tmp_path / "c.toml", "--json")
    found = [one["verdict"] for one in json.loads(said.stdout) if one["check"] == "extensions"]
    assert found == [
        "the organ 'muscle' of iron-in-muscle 0.1.0 is there",
        "the method 'log-linear' of iron-in-muscle 0.1.0 is there",
    ]


def test_without_the_package_its_names_are_faults_of_the_file(tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG)
    done = run("", "process", series(tmp_path / "in"), "--output", tmp_path / "out", "--config", tmp_path / "c.toml")
    assert done.returncode == 2
    assert "should be liver or heart, not 'muscle'" in done.stderr
    assert "[fit] method: should be admm or" in done.stderr


@pytest.mark.parametrize(
    ("group", "entry", "why"),
    [
        ("organs", "kidney = no_such_module:KIDNEY", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("organs", "kidney = math:pi", "it is a float, no dicomnode.measure.organ.Organ"),
        ("organs", "kidney = dicomnode.measure.organs:LIVER", "its record is of 'liver', its entry point of 'kidney'"),
        ("organs", "liver = dicomnode.measure.organs:LIVER", "this node has an organ of that name"),
        ("organs", "phantom = dicomnode.measure.organs:PHANTOM", "this node has an organ of that name"),
        ("methods", "nls = math:sqrt", "this node has a method of that name"),
        ("methods", "best = math:pi", "it is a float, no function"),
    ],
)
def test_what_is_broken_is_refused_at_the_start_with_its_name_and_the_reason(tmp_path, group, entry, why):
    site, name = broken(tmp_path / "site", group, entry), entry.partition(" ")[0]
    done = run(site, "process", series(tmp_path / "in"), "--output", tmp_path / "out")
    assert done.returncode == 2
    assert f"{group[:-1]} '{name}' of worn-out 2.0 cannot be used: {why}" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_organ_of_which_no_iron_could_be_told_is_refused(tmp_path):
    site = broken(tmp_path / "site", "organs", "water = water:WATER")
    (site / "water.py").write_text(
        "from dataclasses import replace\nfrom dicomnode.measure.organs import PHANTOM\n"
        'WATER = replace(PHANTOM, name="water")\n'
    )
    done = run(site, "process", series(tmp_path / "in"), "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "it answers with R2* alone, which only a phantom does" in done.stderr


def test_a_node_with_a_broken_package_does_not_start_to_receive(tmp_path):
    site = broken(tmp_path / "site", "organs", "kidney = no_such_module:KIDNEY")
    (tmp_path / "c.toml").write_text(SERVING.format(folder=tmp_path))
    done = run(site, "serve", "--config", tmp_path / "c.toml")
    assert done.returncode == 2
    assert "organ 'kidney' of worn-out 2.0 cannot be used" in done.stderr
