"""Results out of DICOM: every voxel where it was, by readers that others made; nobody's name."""

import csv
import gzip
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from dicomnode import simulate
from dicomnode.cli import main
from dicomnode.config import Settings
from dicomnode.export import table
from dicomnode.operate import offline
from dicomnode.simulate import ORIENTATIONS
from tests.conftest import absent

WITH_LIVER = ("axial", "coronal", "oblique")  # of a lone sagittal stack none is trusted
PATIENT = ("EXPORTED^ERNA", "PID-4711")


def run(*arguments, status=0):
    done = CliRunner().invoke(main, ["export", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of a scan of one orientation, made once."""
    made = {}

    def of(orientation):
        if orientation not in made:
            folder = tmp_path_factory.mktemp(orientation)
            name, number = PATIENT
            plan = simulate.SeriesPlan(
                orientation=orientation,
                slices=3,
                rows=96,
                columns=112,
                spacing_mm=(3.1, 2.7, 7.5),
                field_strength_t=1.5,
                patient_name=name,
                patient_id=number,
            )
            created = datetime(2026, 1, 1, tzinfo=UTC)
            simulate.write(simulate.make(plan, created), folder / "in")
            settings = Settings.model_validate({"grouping": {"anatomy": "any"}})
            offline.process([folder / "in"], folder / "out", settings, created=created, progress=lambda _: None)
            made[orientation] = folder / "out"
        return made[orientation]

    return of


def voxels(image, frames, kept):
    """World coordinates (n, 3) right, front, up, and values, of what is kept in some frames: by PS3.3 C.7.6.2.1.1."""
    places, values = [], []
    shared = image.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    for index in frames:
        pixels = image.pixel_array.reshape(-1, image.Rows, image.Columns)[index]
        position = image.PerFrameFunctionalGroupsSequence[index].PlanePositionSequence[0].ImagePositionPatient
        for i, j in np.argwhere(kept(pixels)):
            left, back, up = np.array(position, float) + row * across * j + column * down * i
            places.append((-left, -back, up))
            values.append(pixels[i, j])
    return np.array(places), np.array(values)


def at(file, places):
    """What a NIfTI file holds at places, which must be centres of its voxels."""
    image = nibabel.load(file)
    indices = nibabel.affines.apply_affine(np.linalg.inv(image.affine), places)
    nearest = np.rint(indices).astype(int)
    np.testing.assert_allclose(indices, nearest, atol=1e-3)
    return image.get_fdata()[tuple(nearest.T)]


def only(folder, pattern):
    (found,) = folder.rglob(pattern)
    return found


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_value_of_a_map_lies_where_it_was(results, tmp_path, orientation):
    out = results(orientation)
    run(out, "--to", "nifti", "--output", tmp_path)
    for kind, suffix, factor in (("r2star", "R2starmap", 1), ("t2star", "T2starmap", 1e-3)):
        image = pydicom.dcmread(only(out, f"parametric_map_{kind}-001.dcm"))
        places, values = voxels(image, range(3), lambda pixels: pixels > 0)
        file = only(tmp_path, f"*_{suffix}.nii.gz")
        np.testing.assert_allclose(at(file, places), factor * values, rtol=1e-6)
        loaded = nibabel.load(file)
        assert np.isfinite(loaded.get_fdata()).sum() == len(values)
        assert loaded.header.get_xyzt_units()[0] == "mm"
        assert int(loaded.header["qform_code"]) == int(loaded.header["sform_code"]) == 1
        np.testing.assert_allclose(loaded.get_qform(), loaded.get_sform(), atol=1e-3)


@pytest.mark.parametrize("orientation", WITH_LIVER)
def test_every_region_is_a_mask_on_the_grid_of_the_maps(results, tmp_path, orientation):
    out = results(orientation)
    run(out, "--to", "nifti", "--output", tmp_path)
    image = pydicom.dcmread(only(out, "segmentation-001.dcm"))
    numbers = [
        item.SegmentIdentificationSequence[0].ReferencedSegmentNumber for item in image.PerFrameFunctionalGroupsSequence
    ]
    for segment in image.SegmentSequence:
        frames = [index for index, number in enumerate(numbers) if number == segment.SegmentNumber]
        places, _ = voxels(image, frames, lambda pixels: pixels > 0)
        first, *others = segment.SegmentLabel.split()
        file = only(tmp_path, f"*_label-{first + ''.join(map(str.capitalize, others))}_mask.nii.gz")
        mask = nibabel.load(file)
        assert at(file, places).all()
        assert mask.get_fdata().sum() == len(places)
        np.testing.assert_array_equal(mask.affine, nibabel.load(only(tmp_path, "*_R2starmap.nii.gz")).affine)
    assert len(list(tmp_path.rglob("*_mask.nii.gz"))) == len(image.SegmentSequence) == 5


def test_sidecars_tell_unit_and_origin(results, tmp_path):
    out = results("axial")
    run(out, "--to", "nifti", "--output", tmp_path)
    (series,) = json.loads((out / "summary.json").read_text())["series"]
    units = {one.name.rsplit("_", 1)[1]: json.loads(one.read_text()) for one in tmp_path.rglob("*map.json")}
    assert {name: one["Units"] for name, one in units.items()} == {"R2starmap.json": "1/s", "T2starmap.json": "s"}
    assert units["T2starmap.json"]["EchoTime"] == pytest.approx([t / 1000 for t in series["echo_times_ms"]])
    assert units["T2starmap.json"]["ResultKey"] == series["key"]
    liver = json.loads(only(tmp_path, "*_label-liver_mask.json").read_text())
    assert liver["Measured"]["lic_mg_per_g"] == series["rois"][0]["lic_mg_per_g"]
    about = json.loads((tmp_path / "dataset_description.json").read_text())
    assert (about["DatasetType"], about["GeneratedBy"][0]["Name"]) == ("derivative", "dicomnode")


def test_slices_at_uneven_distances_become_chunks(results, tmp_path):
    shutil.copytree(results("oblique"), tmp_path / "out")
    for path in (tmp_path / "out").rglob("parametric_map_*.dcm"):
        image = pydicom.dcmread(path)
        top = image.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
        below = image.PerFrameFunctionalGroupsSequence[-2].PlanePositionSequence[0]
        step = np.subtract(top.ImagePositionPatient, below.ImagePositionPatient)
        top.ImagePositionPatient = [float(one) for one in np.add(top.ImagePositionPatient, step)]
        image.save_as(path)
    run(tmp_path / "out", "--to", "nifti", "--output", tmp_path / "ex")
    chunks = sorted((tmp_path / "ex").rglob("*_chunk-*_R2starmap.nii.gz"))
    assert [nibabel.load(one).shape for one in chunks] == [(112, 96, 2), (112, 96, 1)]
    image = pydicom.dcmread(only(tmp_path / "out", "parametric_map_r2star-001.dcm"))
    for frames, file in zip(([0, 1], [2]), chunks, strict=True):
        places, values = voxels(image, frames, lambda pixels: pixels > 0)
        np.testing.assert_allclose(at(file, places), values, rtol=1e-6)


def test_the_table_holds_the_numbers_of_the_summary_in_full(results, tmp_path):
    out = results("axial")
    run(out, "--to", "csv", "--output", tmp_path)
    (series,) = json.loads((out / "summary.json").read_text())["series"]
    with (tmp_path / "regions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["region"] for row in rows] == [one["name"] for one in series["rois"]]
    for row, one in zip(rows, series["rois"], strict=True):
        assert float(row["r2star_median_per_s"]) == one["r2star_per_s"]["median"]
        assert float(row["r2star_ci95_high_per_s"]) == one["r2star_per_s"]["ci95"][1]
        assert row["lic_mg_per_g"] == ("" if one["lic_mg_per_g"] is None else str(one["lic_mg_per_g"]))
        assert row["result"] == series["key"]


def summary_with(folder, change):
    """A copy of results of which the summary says something else."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    change(summary["series"][0])
    path.write_text(json.dumps(summary))


def test_a_region_that_a_reader_named_runs_in_no_spreadsheet_and_names_no_file(results, tmp_path):
    shutil.copytree(results("axial"), tmp_path / "out")
    summary_with(tmp_path / "out", lambda series: series["rois"][0].update(name='=HYPERLINK("x")'))
    segmentation = only(tmp_path / "out", "segmentation-001.dcm")
    image = pydicom.dcmread(segmentation)
    image.SegmentSequence[0].SegmentLabel = "Erna's liver/../x"
    image.save_as(segmentation)
    run(tmp_path / "out", "--to", "csv", "--output", tmp_path / "ex")
    run(tmp_path / "out", "--to", "nifti", "--output", tmp_path / "ex")
    assert "'=HYPERLINK" in (tmp_path / "ex" / "regions.csv").read_text()
    assert only(tmp_path / "ex", "*_label-region1_mask.nii.gz")
    assert not any("Erna" in path.name for path in tmp_path.rglob("*"))


def test_a_result_without_a_number_is_a_row_without_one(results, tmp_path):
    shutil.copytree(results("axial"), tmp_path / "out")
    summary_with(tmp_path / "out", lambda series: series.update(rois=[], status="no_number"))
    run(tmp_path / "out", "--to", "csv", "--output", tmp_path)
    with (tmp_path / "regions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["status"], row["lic_mg_per_g"], set(row)) == ("no_number", "", set(table.COLUMNS))


class Page(HTMLParser):
    """Cells and pictures of a page, and what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.pictures, self.fetched = [], [], []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._in_cell = tag == "td"
        where = dict(attrs).get("src") or dict(attrs).get("href") or ""
        (self.pictures if where.startswith("data:image/png") else self.fetched).extend([where] if where else [])

    def handle_data(self, data):
        if self._in_cell:
            self.cells.append(data)

    def handle_endtag(self, tag):
        self._in_cell = False


def test_the_page_shows_numbers_and_maps_and_fetches_nothing(results, tmp_path):
    out = results("axial")
    run(out, "--to", "html", "--output", tmp_path)
    page = Page((tmp_path / "results.html").read_text())
    (series,) = json.loads((out / "summary.json").read_text())["series"]
    assert page.cells[0] == "liver"
    assert series["rois"][0]["words"]["lic_mg_per_g"] in page.cells
    assert len(page.pictures) == 3
    assert page.fetched == []


def test_nothing_that_is_written_says_who_the_patient_is(results, tmp_path):
    for form in ("nifti", "csv", "html"):
        run(results("axial"), "--to", form, "--output", tmp_path)
    for path in tmp_path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        said = str(path.relative_to(tmp_path)).encode() + content
        assert not any(identity.encode() in said for identity in (*PATIENT, "EXPORTED", "ERNA"))


def test_the_same_result_gives_the_same_bytes(results, tmp_path):
    for folder in ("one", "two"):
        run(results("axial"), "--to", "nifti", "--output", tmp_path / folder)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda out: (out / "summary.json").unlink(), "holds no summary.json with a result"),
        (lambda out: only(out, "parametric_map_r2star-001.dcm").unlink(), "is gone"),
        (lambda out: summary_with(out, lambda series: series.update(outputs=[])), "has no Parametric Map"),
    ],
)
def test_what_cannot_be_exported_says_why(results, tmp_path, spoil, message):
    shutil.copytree(results("axial"), tmp_path / "out")
    spoil(tmp_path / "out")
    assert message in run(tmp_path / "out", "--to", "nifti", "--output", tmp_path / "ex", status=1)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert "gone is no folder" in run(tmp_path / "gone", "--to", "csv", "--output", tmp_path, status=1)


def reader(program):
    """A program of others, which `make readers` installs."""
    path = Path(sys.executable).parent / program
    if not path.exists():
        absent(f"{program} is not installed: `make readers`")
    return path


def read_by(program, *arguments):
    done = subprocess.run([reader(program), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def agrees(exported, theirs, rounding):
    """Whether what others make of a map holds ours in every valid voxel, wherever they put their axes."""
    ours = nibabel.load(exported)
    values = ours.get_fdata()
    valid = np.argwhere(np.isfinite(values))
    places = nibabel.affines.apply_affine(ours.affine, valid)
    np.testing.assert_allclose(at(theirs, places), values[tuple(valid.T)], atol=rounding)
    assert len(valid) > 1000


@pytest.mark.peer
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcm2niix_puts_the_map_that_viewers_show_where_we_do(results, tmp_path, orientation):
    run(results(orientation), "--to", "nifti", "--output", tmp_path / "ex")
    (tmp_path / "maps").mkdir()
    for path in results(orientation).rglob("mr_map_r2star-*.dcm"):
        shutil.copy(path, tmp_path / "maps")
    read_by("dcm2niix", "-o", tmp_path, "-f", "theirs", tmp_path / "maps")
    agrees(only(tmp_path / "ex", "*_R2starmap.nii.gz"), tmp_path / "theirs.nii", rounding=0.51)


@pytest.mark.peer
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcmqi_which_3d_slicer_reads_by_has_the_same_map_and_regions(results, tmp_path, orientation):
    out = results(orientation)
    run(out, "--to", "nifti", "--output", tmp_path / "ex")
    said = ("--outputDirectory", tmp_path, "--outputType", "nii")
    read_by("paramap2itkimage", "--inputDICOM", only(out, "parametric_map_r2star-001.dcm"), *said)
    agrees(only(tmp_path / "ex", "*_R2starmap.nii.gz"), tmp_path / "pmap.nii.gz", rounding=0)
    if orientation in WITH_LIVER:
        segmentation = only(out, "segmentation-001.dcm")
        read_by("segimage2itkimage", "--inputDICOM", segmentation, "--prefix", "theirs", *said)
        liver = nibabel.load(tmp_path / "theirs-1.nii.gz")
        inside = nibabel.affines.apply_affine(liver.affine, np.argwhere(liver.get_fdata() > 0))
        mask = only(tmp_path / "ex", "*_label-liver_mask.nii.gz")
        assert at(mask, inside).all()
        assert nibabel.load(mask).get_fdata().sum() == len(inside)


@pytest.mark.peer
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_simpleitk_reads_the_exported_file_where_it_reads_the_objects(results, tmp_path, orientation):
    try:
        import SimpleITK
    except ImportError:
        absent("SimpleITK is not installed: `make readers`")
    run(results(orientation), "--to", "nifti", "--output", tmp_path)
    exported = SimpleITK.ReadImage(str(only(tmp_path, "*_R2starmap.nii.gz")))
    maps = SimpleITK.ReadImage(sorted(map(str, results(orientation).rglob("mr_map_r2star-*.dcm"))))
    placed = SimpleITK.Resample(maps, exported, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0.0)
    ours, theirs = map(SimpleITK.GetArrayFromImage, (exported, placed))
    valid = ours > 0  # the library that ITK reads NIfTI by makes 0 of NaN
    assert valid.sum() > 1000
    np.testing.assert_allclose(ours[valid], theirs[valid], atol=0.51)
