"""Methods and the scanner's own map side by side, on simulated series whose scanner map is the truth."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset

from dicomnode import analyse, group, header, pixels, simulate
from dicomnode.cli import main
from dicomnode.compare import body, comparison, methods, scanner
from dicomnode.config import FitSettings, Settings
from dicomnode.errors import InputError
from dicomnode.model import Component
from dicomnode.operate import offline

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLAN = simulate.SeriesPlan(rows=96, columns=128, spacing_mm=(3.125, 3.125, 8.0), slices=1, with_traps=True)


def written(folder, **options):
    simulate.write(simulate.make(replace(PLAN, **options), CREATED), folder)
    return folder


def compared(folder, output, *chosen):
    return comparison.run(folder, output, chosen, Settings(), lambda _: None)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder, output = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("out")
    result, text = compared(written(folder), output, "lm-100")
    return output, result, text


def the_series(result):
    (one,) = [one for one in result["series"] if one["status"] == "done"]
    return one


def edited_maps(folder, edit):
    """Change the scanner's own maps in a folder."""
    for path in sorted(folder.glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if "MAP" in dataset.ImageType[2]:
            edit(dataset)
            dataset.save_as(path)
    return folder


def scanner_map(folder):
    """What is found of a scanner's map beside a voxelwise fit."""
    images = [image for path in folder.glob("*.dcm") for image in header.read(path).images]
    (stack,) = [one.stack for one in group.assemble(images, Settings().grouping) if one.stack]
    _, own = analyse.fit_stack(stack, FitSettings(method="nls"))
    return scanner.find(stack, images, own)


def test_every_region_has_the_scanners_value_and_every_methods(done):
    one = the_series(done[1])
    liver = one["rois"][0]
    assert liver["name"] == "liver"
    assert liver["scanner"]["t2star_ms"]["mean"] == pytest.approx(6.0, rel=0.05)
    for key in ("admm", "lm-100"):
        assert abs(liver["methods"][key]["difference_t2star_ms"]) < 0.15
    assert {"liver right lobe", "liver edge", "liver left"} < {roi["name"] for roi in one["rois"]}
    assert one["scanner_map"]["quantity"] == "R2*"
    assert one["scanner_map"]["unit_is_stated"] is False


def test_report_json_and_figures_are_written_and_name_nobody(done):
    output, result, text = done
    assert json.loads((output / "compare.json").read_text()) == json.loads(json.dumps(result))
    report = (output / "report.md").read_text()
    assert report.startswith(text)
    assert all(f"]({name})" in report and (output / name).stat().st_size > 5000 for name in result["figures"])
    assert {path.suffix for path in output.iterdir()} == {".json", ".md", ".png", ".html", ".csv"}
    page, numbers = ((output / name).read_text() for name in ("index.html", "compare.csv"))
    assert all(f'<img src="{name}"' in page for name in result["figures"])
    assert "SIMULATED" not in report + json.dumps(result) + page + numbers


def test_csv_holds_every_mean_and_one_nearest_of_each_region(done):
    with (done[0] / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    one = the_series(done[1])
    assert len(rows) == 2 * 2 * len(one["rois"])  # quantities, methods
    liver = [row for row in rows if (row["region"], row["quantity"]) == ("liver", "T2* in ms")]
    assert [float(row["mean"]) for row in liver] == [
        one["rois"][0]["methods"][key]["t2star_ms"]["mean"] for key in ("admm", "lm-100")
    ]
    assert sum(int(row["nearest"]) for row in liver) >= 1


def test_report_holds_the_tables_of_the_paper_and_says_what_was_not_run(done):
    text = done[2]
    captions = (
        "Mean T2* in ms per region",
        "Mean T2* in ms nearest to the scanner's",
        "Mean R2*",
        "Time for all series",
    )
    assert all(f"**{caption}" in text for caption in captions)
    assert "Not run: voxelwise; Bayesian; learned; LM from [50, 0.05]; with offset" in text
    assert "its header states no unit, 1/s is assumed" in text
    assert "refused: 1 echo" in text


def test_stated_unit_and_its_mapping_are_taken(tmp_path):
    def state(dataset):
        mapping, unit = Dataset(), Dataset()
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "/ms", "UCUM", "per millisecond"
        mapping.MeasurementUnitsCodeSequence = [unit]
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.002, 0.0
        dataset.RealWorldValueMappingSequence = [mapping]
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 7, 3, "US"

    plain = scanner_map(written(tmp_path)).map
    stated = scanner_map(edited_maps(tmp_path, state))
    assert "in /ms as its header states" in stated.sentence
    np.testing.assert_allclose(stated.map.r2star_per_s, 2 * plain.r2star_per_s, rtol=1e-5)


@pytest.mark.parametrize(("kind", "factor", "stated"), [("1/s", 1, True), ("1/ms", 1000, True), ("US", 1, False)])
def test_unit_of_the_rescale_type_is_taken(tmp_path, kind, factor, stated):
    def state(dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1 / factor, 0, kind

    plain = scanner_map(written(tmp_path))
    found = scanner_map(edited_maps(tmp_path, state))
    assert found.reading.stated is stated
    np.testing.assert_allclose(found.map.r2star_per_s, plain.map.r2star_per_s, rtol=1e-5)


def test_map_whose_unit_contradicts_its_name_is_not_compared_with(tmp_path):
    def state(dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "ms"

    found = scanner_map(edited_maps(written(tmp_path), state))
    assert found.map is None
    assert "1 derived images on its planes are not clearly T2* or R2*" in found.sentence


def test_map_that_is_ten_times_ours_without_a_unit_is_not_compared_with(tmp_path):
    def scale(dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept = 10, 0

    found = scanner_map(edited_maps(written(tmp_path), scale))
    assert found.map is None
    assert "unit unknown" in found.sentence


def test_map_of_r2star_that_is_called_t2star_is_not_compared_with(tmp_path):
    found = scanner_map(written(tmp_path, dialect="philips-classic"))
    assert found.map is None
    assert "run against ours" in found.sentence


def test_map_that_lacks_a_slice_is_not_compared_with(tmp_path):
    folder = written(tmp_path, slices=2)
    first = next(p for p in sorted(folder.glob("*.dcm")) if header.read(p).images[0].component is Component.DERIVED)
    first.unlink()
    found = scanner_map(folder)
    assert found.map is None
    assert "covers 1 of 2 slices" in found.sentence


def test_own_results_are_not_taken_for_the_scanners(tmp_path):
    folder = written(tmp_path / "in", with_traps=False)
    offline.process([folder], folder / "results", Settings(), created=CREATED, progress=lambda _: None)
    result, text = compared(folder, tmp_path / "out")
    assert the_series(result)["scanner_map"]["found"].startswith("no map of the scanner")
    assert "difference" not in text
    assert "nearest" not in text.lower()


def test_enhanced_map_is_read_beside_its_echoes(tmp_path):
    found = scanner_map(written(tmp_path, dialect="siemens-xa-enhanced", slices=2))
    assert found.map is not None
    assert found.map.t2star_ms.shape == (2, 96, 128)


def test_severe_iron_is_no_number_by_any_method(tmp_path):
    result, _ = compared(written(tmp_path / "in", liver_t2star_ms=0.5), tmp_path / "out", "nls", "lm-100")
    livers = [roi for roi in the_series(result)["rois"] if roi["name"] != "body"]
    assert [one["t2star_ms"] for roi in livers for one in roi["methods"].values()] == [None] * (3 * len(livers))


def test_the_body_is_compared_where_no_liver_is_found(tmp_path):
    empty = np.zeros((1, 64, 64), np.float32)
    assert not body.region(empty).mask.any()
    round_ = np.hypot(*np.mgrid[-32:32, -32:32]) < 20
    found = body.region(np.where(round_, 100.0, 1.0)[None].astype(np.float32))
    assert (found.mask[0] == round_).mean() > 0.95  # the outline is taken of a smoothed image
    assert found.doubts[0].code == "no-liver"


def test_algorithm_1_keeps_its_steps_stable_on_bright_images(tmp_path):
    images = [image for path in written(tmp_path).glob("*.dcm") for image in header.read(path).images]
    (stack,) = [one.stack for one in group.assemble(images, Settings().grouping) if one.stack]
    signal = 50 * pixels.load(stack)[:, 40:56, 30:46]
    found = methods.fit("algorithm-1", signal, stack, FitSettings())
    assert "diverged" not in found.maps.record.verdict
    assert found.maps.record.noise == "gaussian"


def test_methods_of_the_field_and_the_sweep_are_rows_and_fitted_where_something_is_measured(tmp_path):
    chosen = methods.chosen("field,sweep")
    result, text = compared(written(tmp_path / "in"), tmp_path / "out", *chosen)
    one = the_series(result)
    liver = one["rois"][0]
    for key in chosen:
        most = 1.0 if key == "bi-exponential" else 0.35  # its r is that of the faster part
        assert abs(liver["methods"][key]["difference_t2star_ms"]) < most, key
        assert f"| {methods.METHODS[key].label} " in text
    assert "fitted in the regions alone: with offset, truncated" in text
    assert one["fits"]["second-moment"]["noise"] == "second-moment"
    assert one["fits"]["bi-exponential"]["parameters"]["model"] == "bi-exponential"
    assert one["fits"]["laplacian"]["parameters"]["regulariser"] == "laplacian"
    assert {"lambda-t2star.png", "lambda-r2star.png"} < set(result["figures"])


def test_what_is_slow_is_fitted_in_the_regions_alone(tmp_path):
    images = [image for path in written(tmp_path).glob("*.dcm") for image in header.read(path).images]
    (stack,) = [one.stack for one in group.assemble(images, Settings().grouping) if one.stack]
    signal = pixels.load(stack)
    region = np.zeros(signal.shape[:3], bool)
    region[:, 40:56, 30:46] = True
    found = methods.fit("second-moment", signal, stack, FitSettings(), region)
    assert found.maps.valid.any()
    assert not found.maps.valid[~region].any()


def test_groups_of_methods_stand_for_their_members():
    assert methods.chosen("lm-50,sweep,lm-50")[:2] == ("lm-50", "lambda-1e-5")
    assert set(methods.chosen("all")) == set(methods.METHODS)
    assert not {"bi-exponential", *methods.SWEEP, *methods.ALGORITHM_1} & set(methods.chosen("quick"))


def test_folder_without_a_series_to_fit_says_why(tmp_path):
    folder = written(tmp_path / "in", echo_times_ms=(2.0, 4.0), with_traps=False)
    with pytest.raises(InputError, match="2 echoes, minimum is 3"):
        compared(folder, tmp_path / "out")


def test_unknown_method_is_bad_usage(tmp_path):
    ran = CliRunner().invoke(main, ["compare", str(tmp_path), "--methods", "nls,magic"])
    assert ran.exit_code == 2
    assert "'magic' is none of admm, nls, bayesian, learned, lm-100" in ran.stderr


def test_help_names_every_method():
    shown = " ".join(CliRunner().invoke(main, ["compare", "--help"], terminal_width=200).stdout.split())
    assert all(key in shown.lower() for key in (*methods.METHODS, *methods.GROUPS))


def test_command_prints_json_on_standard_output_only(tmp_path):
    folder = written(tmp_path / "in")
    arguments = ["compare", str(folder), "--output", str(tmp_path / "out"), "--methods", "nls", "--json"]
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 0
    assert set(the_series(json.loads(ran.stdout))["fits"]) == {"admm", "nls"}
    assert "voxelwise" in ran.stderr
