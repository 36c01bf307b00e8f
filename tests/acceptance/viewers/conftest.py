"""A PACS that holds scans and their results, and viewers that look at it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter

from dicomnode import simulate
from dicomnode.config import Settings, TrendSettings
from dicomnode.operate import offline
from tests.acceptance.conftest import Orthanc, dicomweb, running_orthanc
from tests.acceptance.viewers.origin import serving
from tests.conftest import REPOSITORY, absent

HERE = Path(__file__).parent
BUILD = REPOSITORY / "build" / "viewers"
SHOTS = REPOSITORY / "build" / "screenshots"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Voxel = tuple[int, int, int]  # slice, row, column
EVEN = 0.2  # of a value: how much its neighbours differ at the most
OPENED = 2  # times: a browser without a graphics card on a machine with other work may be late once


@dataclass(frozen=True)
class Study:
    """One processed scan: what was sent, what came of it, what is known of it."""

    source: Path
    output: Path
    series: dict[str, Any]  # of summary.json
    shown: int  # the slice to look at
    truth: simulate.Truth | None = None

    def objects(self, kind: str) -> list[pydicom.Dataset]:
        """The results of a kind, in the order of the slices."""
        return [pydicom.dcmread(self.output / one["path"]) for one in self.series["outputs"] if one["kind"] == kind]

    @property
    def uid(self) -> str:
        return str(self.objects("structured_report")[0].StudyInstanceUID)

    def values(self, kind: str) -> NDArray[Any]:
        """Stored values of a map, (slices, K, L)."""
        return np.stack([image.pixel_array for image in self.objects(kind)])

    def in_units(self, kind: str) -> NDArray[Any]:
        """What a viewer shows of a map: stored values after Rescale."""
        return self.values(kind) * float(self.objects(kind)[0].get("RescaleSlope", 1))

    def point(self, voxel: Voxel) -> list[float]:
        """Where the centre of a voxel is in the patient, mm (PS3.3 C.7.6.2.1.1)."""
        k, row, column = voxel
        image = self.objects("mr_map_r2star")[k]
        along, down = np.reshape(np.array(image.ImageOrientationPatient, float), (2, 3))
        between_rows, between_columns = image.PixelSpacing
        return [
            *(
                np.array(image.ImagePositionPatient, float)
                + along * column * between_columns
                + down * row * between_rows
            )
        ]

    @property
    def landmarks(self) -> list[Voxel]:
        """Places on the slice to look at: deep in what was measured, deep outside of it, deep in known tissues.

        Never on an edge of the map: a screen's pixel there shows what lies between two voxels.
        """
        measured, fitted = self.measured, self.values("mr_map_r2star") > 0
        masks = [measured, fitted & ~measured]
        if self.truth is not None:
            masks += [self.truth.regions[name].mask for name in ("lesion", "spleen")]
        # A slice whose outline is doubtful holds nothing that was measured.
        there = [mask for mask in masks if (mask & self.even)[self.shown].any()]
        assert there
        return [deepest(mask, self.shown, among=mask & self.even) for mask in there]

    @property
    def even(self) -> NDArray[np.bool_]:
        """Voxels of a T2* much like that of their neighbours, (slices, K, L)."""
        times = self.in_units("mr_map_t2star")
        near = (1, 3, 3)
        return maximum_filter(times, near) - minimum_filter(times, near) <= EVEN * times

    @property
    def measured(self) -> NDArray[np.bool_]:
        """The voxels of all segments, (slices, K, L)."""
        (segmentation,) = self.objects("segmentation")
        places = [tuple(map(float, image.ImagePositionPatient)) for image in self.objects("mr_map_r2star")]
        mask = np.zeros(self.values("mr_map_r2star").shape, bool)
        for frame, pixels in zip(segmentation.PerFrameFunctionalGroupsSequence, segmentation.pixel_array, strict=True):
            place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
            mask[int(np.argmin(np.linalg.norm(np.array(places) - place, axis=1)))] |= pixels.astype(bool)
        return mask


def deepest(mask: NDArray[np.bool_], k: int, among: NDArray[np.bool_] | None = None) -> Voxel:
    """The voxel of slice k that lies deepest in a mask, of some where those are given."""
    some = mask if among is None else among
    assert some[k].any()
    depth = distance_transform_edt(np.pad(mask[k], 1))[1:-1, 1:-1] * some[k]
    row, column = np.unravel_index(np.argmax(depth), depth.shape)
    return k, int(row), int(column)


def grey_of(image: pydicom.Dataset, value: float) -> float:
    """The brightness 0 to 255 of a stored value in the first window of an image (PS3.3 C.11.1, C.11.2.1.2)."""
    value = value * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0))
    centre, width = (np.atleast_1d(np.array(image[name].value, float))[0] for name in ("WindowCenter", "WindowWidth"))
    return float(np.clip((value - (centre - width / 2)) / width, 0, 1) * 255)


def process(
    source: Path, folder: Path, shown: int, truth: simulate.Truth | None = None, earlier: Path | None = None
) -> Study:
    settings = Settings(trend=TrendSettings(table=earlier))
    summary = offline.process([source], folder, settings, created=NOW, progress=lambda _: None)
    (series,) = [one for one in summary["series"] if one["status"] == "done"]
    return Study(source, folder, series, shown, truth)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Study:
    """A tilted slab of the simulated abdomen with a lesion, of somebody who was measured twice before."""
    folder = tmp_path_factory.mktemp("simulated")
    plan = simulate.SeriesPlan(
        rows=96, columns=128, spacing_mm=(3.125, 3.125, 8.0), lesion_diameter_mm=30.0, orientation="oblique"
    )
    scan = simulate.make(plan, NOW)
    simulate.write(scan, folder / "source")
    earlier = folder / "priors.csv"
    earlier.write_text(
        f"patient_id,date,lic_mg_per_g\n{plan.patient_id},2019-02-01,9.5\n{plan.patient_id},2019-08-01,7\n"
    )
    return process(folder / "source", folder / "results", 1, scan.truth, earlier)


@pytest.fixture(scope="session")
def real(shared_data, tmp_path_factory) -> Study:
    """The abdomen of a person, 12 echoes."""
    # The slice that OHIF opens first: its probe reads no other slice of a stack (3.13.2).
    return process(shared_data / "dicom" / "ge_mr750_12echo_abdomen", tmp_path_factory.mktemp("real"), 4)


@pytest.fixture(scope="session")
def archive(peer, tmp_path_factory) -> Iterator[Orthanc]:
    """Orthanc with DICOMweb."""
    with running_orthanc(peer("Orthanc"), tmp_path_factory.mktemp("archive"), **dicomweb()) as server:
        yield server


@dataclass
class Shelf:
    """What of the scans is in the archive."""

    archive: Orthanc
    identifiers: dict[str, str] = field(default_factory=dict)  # SOP Instance UID -> Orthanc's own name

    def put(self, study: Study) -> Study:
        """Store a scan and its results, once."""
        for path in sorted({*study.source.rglob("*"), *study.output.rglob("*.dcm")}):
            if path.is_file() and path.suffix not in {".json", ".npz"}:
                uid = str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
                if uid not in self.identifiers:
                    self.identifiers[uid] = self._store(path.read_bytes())
        return study

    def _store(self, content: bytes) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.archive.http_port}/instances", content)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["ID"])

    def files(self, study: Study, kind: str) -> list[str]:
        """Where the archive gives the objects of a kind."""
        return [f"/instances/{self.identifiers[image.SOPInstanceUID]}/file" for image in study.objects(kind)]


@pytest.fixture(scope="session")
def shelf(archive) -> Shelf:
    return Shelf(archive)


@pytest.fixture(scope="session")
def modules(peer) -> Path:
    """The viewers' packages, installed from the lock file into build/."""
    npm, lock = peer("npm"), (HERE / "package-lock.json").read_text()
    installed = BUILD / "node_modules"
    if not installed.is_dir() or (BUILD / "package-lock.json").read_text() != lock:
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, BUILD)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=BUILD, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            shutil.rmtree(installed, ignore_errors=True)
            absent(f"npm could not install the viewers: {done.stderr[-500:]}")
    return installed


@dataclass(frozen=True)
class Seen:
    """What one step in a viewer showed."""

    told: dict[str, Any]
    picture: NDArray[np.uint8]  # the screen, (rows, columns, RGB)

    @property
    def text(self) -> str:
        return self.told["text"]

    def colours(self) -> list[tuple[int, int, int]]:
        """The screen's colour at each place that was asked for."""
        return [tuple(int(c) for c in self.picture[round(y), round(x)]) for x, y in self.told["at"]]


@pytest.fixture(scope="session")
def look(peer, archive, modules) -> Iterator[Callable[..., dict[str, Seen]]]:
    """Run a tour of a viewer: ``look("ohif.mjs", study, steps)`` gives what each step showed."""
    node, browser = peer("node"), peer("chromium")
    SHOTS.mkdir(parents=True, exist_ok=True)
    with serving(modules, archive.http_port) as address:

        def run(script: str, wanted: dict[str, Any], steps: Sequence[dict[str, Any]]) -> dict[str, Seen]:
            text = json.dumps({"address": address, "browser": browser, "shots": str(SHOTS), "steps": steps, **wanted})
            environment = {**os.environ, "VIEWERS": str(modules.parent)}
            command = [node, str(HERE / script)]
            for _ in range(OPENED):
                done = subprocess.run(
                    command, input=text, env=environment, capture_output=True, text=True, timeout=240, check=False
                )
                assert done.returncode == 0, done.stderr[-3000:]
                said = json.loads(done.stdout)
                broken = {name: one["failed"] for name, one in said["seen"].items() if "failed" in one}
                if not broken:
                    break
            assert not broken, json.dumps([broken, said["faults"]], indent=1)
            return {
                name: Seen(told, np.asarray(Image.open(SHOTS / f"{name}.png").convert("RGB")))
                for name, told in said["seen"].items()
            }

        yield run
