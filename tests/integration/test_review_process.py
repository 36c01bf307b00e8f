"""What an operator meets when ``process`` is given what it does not expect."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from dicomnode import analyse, group, header, simulate
from dicomnode.cli import main
from dicomnode.config import GroupingSettings, load
from dicomnode.simulate import SeriesPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom import Dataset

    from dicomnode.model import Group

CREATED = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  DICOM dates carry no zone here
PLAN = SeriesPlan(rows=24, columns=32, spacing_mm=(12.5, 12.5, 8.0))


def grouped(folder: Path, change: Callable[[int, Dataset], None], **options: Any) -> tuple[Group, ...]:
    """Change every object of a simulated series, then group what is read back."""
    images = []
    for number, made in enumerate(simulate.make(replace(PLAN, **options), CREATED).instances):
        instance = copy.deepcopy(made)
        change(number, instance)
        path = folder / f"{number}.dcm"
        instance.save_as(path, enforce_file_format=True)
        images += header.read(path).images
    return group.assemble(images, GroupingSettings())


@pytest.mark.parametrize("dialect", ["siemens-ve", "ge", "philips-classic", "canon", "uih"])
def test_one_series_per_echo_is_joined_although_all_have_one_series_number(dialect: str, tmp_path: Path) -> None:
    def split(_: int, instance: Dataset) -> None:
        tail = {2.58: 9, 4.81: 2, 7.59: 5, 9.89: 1, 12.12: 7, 14.35: 3, 16.58: 8, 18.88: 4}[float(instance.EchoTime)]
        instance.SeriesInstanceUID = f"1.2.3.{tail}"
        instance.SeriesNumber = 20

    (found,) = grouped(tmp_path, split, dialect=dialect)
    assert found.stack is not None
    assert len(found.stack.echo_times_ms) == 8


def test_images_that_contradict_each_other_on_the_field_give_none(tmp_path: Path) -> None:
    def other_field(number: int, instance: Dataset) -> None:
        if number == 3:
            instance.MagneticFieldStrength, instance.ImagingFrequency = "1.5", "63.87"

    (found,) = grouped(tmp_path, other_field)
    assert found.stack is not None
    assert found.stack.field_strength_t is None


def test_a_field_that_one_image_lacks_is_taken_from_the_others(tmp_path: Path) -> None:
    def without(number: int, instance: Dataset) -> None:
        if number == 0:
            del instance.MagneticFieldStrength, instance.ImagingFrequency

    (found,) = grouped(tmp_path, without)
    assert found.stack is not None
    assert found.stack.field_strength_t == pytest.approx(2.89, abs=0.02)


def test_an_output_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    simulate.write(simulate.make(PLAN, CREATED), tmp_path / "in")
    done = CliRunner().invoke(main, ["process", str(tmp_path / "in"), "--output", str(tmp_path / "file" / "out")])
    assert done.exit_code == 1
    assert "the output folder cannot be made" in done.output


def test_an_unforeseen_fault_fails_one_series_and_keeps_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (1, 2):
        simulate.write(simulate.make(replace(PLAN, seed=seed), CREATED), tmp_path / "in" / str(seed))
    regions = analyse.find_regions
    faults = iter([KeyError("unforeseen")])

    def once(*arguments: Any) -> Any:
        for fault in faults:
            raise fault
        return regions(*arguments)

    monkeypatch.setattr(analyse, "find_regions", once)
    done = CliRunner().invoke(main, ["process", str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    series = json.loads((tmp_path / "out" / "summary.json").read_text())["series"]
    assert sorted(one["status"] for one in series) == ["done", "failed"]
    assert done.exit_code == 1


def test_the_demo_measures_what_is_true_and_leaves_a_report_to_open(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["demo", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    outcome = json.loads((tmp_path / "demo.json").read_text())
    (liver,) = (one for one in outcome["regions"] if one["region"] == "liver")
    assert liver["r2star_per_s"] == pytest.approx(liver["true_r2star_per_s"], rel=0.01)
    (report,) = outcome["reports"]
    assert f"open {report}" in done.output
    assert Path(report).read_bytes().startswith(b"%PDF-")


def test_the_demo_of_a_series_with_a_hole_ends_soon_and_names_it(tmp_path: Path) -> None:
    made = simulate.write(simulate.make(PLAN, CREATED), tmp_path / "in")
    made[7].unlink()
    done = CliRunner().invoke(main, ["demo", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "1 image missing: echo" in done.output


@pytest.mark.parametrize("option", [("--t2star", "-3"), ("--field", "7"), ("--snr", "0"), ("--slices", "0")])
def test_a_series_that_cannot_be_simulated_is_a_fault_of_usage(option: tuple[str, str], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["simulate", str(tmp_path / "made"), *option])
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "made").exists()


_SERVING = '[[scanner]]\nae_title = "S"\n[[destination]]\nname = "p"\nae_title = "P"\nhost = "127.0.0.1"\nport = 4\n'


@pytest.mark.parametrize(
    "url", ["mysql://u:secret@db/x", "postgresql://u:secret@db", "queue.sqlite", "postgres://u@db/x"]
)
def test_a_queue_that_no_database_can_be_is_a_fault_of_the_file_and_keeps_its_password(
    url: str, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(f'{_SERVING}[engine]\nurl = "{url}"\n')
    done = CliRunner().invoke(main, ["serve", "--config", str(tmp_path / "c.toml")])
    assert done.exit_code == 2
    assert "line 9: [engine] url" in done.output
    assert "secret" not in done.output


@pytest.mark.parametrize("url", ["sqlite:////var/x.sqlite", "postgresql://u@db.example/x", "postgresql:///x?host=/run"])
def test_databases_that_can_hold_the_queue_are_taken(url: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'{_SERVING}[engine]\nurl = "{url}"\n')
    assert load(tmp_path / "c.toml", for_serving=True).engine_url() == url
