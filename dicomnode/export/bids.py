"""Maps and masks as NIfTI files with sidecars, in the folders and by the names of BIDS derivatives.

Source: Brain Imaging Data Structure 1.10, "Quantitative MRI" and "Derivatives". Its T2* maps are in seconds. The
subject is the result's key, for a patient's own name is nobody's business here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import dicomnode
from dicomnode.errors import InputError
from dicomnode.export import nifti
from dicomnode.export.results import subjects
from dicomnode.export.volumes import Volume, laid_out, maps, regions
from dicomnode.measure import heart
from dicomnode.measure.regions import EDGE, LEFT, LIVER, RIGHT, VESSEL
from dicomnode.store.durable import make_folder, write_durably, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from dicomnode.export.results import Finished

VERSION = "1.10.0"
# Kind of object, suffix, unit, factor from the unit of the object.
MAPS = (("parametric_map_r2star", "R2starmap", "1/s", 1.0), ("parametric_map_t2star", "T2starmap", "s", 1e-3))
NAMED = (
    LIVER,
    RIGHT,
    VESSEL,
    EDGE,
    LEFT,
    heart.SEPTUM,
    heart.RING,
)  # regions whose names are ours; a reader's may hold anything


def write(results: Sequence[Finished], folder: Path) -> tuple[Path, ...]:
    """Write every map and every region of the results; raises InputError for one without Parametric Maps."""
    made = [path for one in results for path in _written(one, folder)]
    about = folder / "dataset_description.json"
    write_json(about, _description(results))
    return (about, *made)


def _description(results: Sequence[Finished]) -> dict[str, Any]:
    return {
        "Name": subjects(results),
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "dicomnode", "Version": dicomnode.__version__}],
    }


def _written(result: Finished, folder: Path) -> Iterator[Path]:
    subject = f"sub-{result.name}"
    place = folder / subject / "anat"
    grid: tuple[Volume, ...] = ()
    for kind, suffix, unit, factor in MAPS:
        image = result.object_of(kind)
        if image is None:
            continue
        grid = maps(image)
        scaled = [Volume(one.values * np.float32(factor), one.affine) for one in grid]
        yield from _files(place, subject, suffix, scaled, _of_map(result, unit))
    if not grid:
        raise InputError(
            f"result {result.name} has no Parametric Map; process it again with parametric_maps in [report] products"
        )
    segmentation = result.object_of("segmentation")
    for number, (name, region) in enumerate(regions(segmentation) if segmentation else (), 1):
        suffix = f"label-{_label(name, number)}_mask"
        yield from _files(place, subject, suffix, laid_out(region, grid), _of_region(result, name))


def _files(
    place: Path, subject: str, suffix: str, volumes: Sequence[Volume], sidecar: Mapping[str, Any]
) -> Iterator[Path]:
    """Each volume with its sidecar; of several, in which slices are at uneven distances, each is a chunk."""
    make_folder(place)
    for number, volume in enumerate(volumes, 1):
        entity, _, last = suffix.rpartition("_")
        chunk = f"chunk-{number}" if len(volumes) > 1 else ""
        name = "_".join(part for part in (subject, chunk, entity, last) if part)
        image, words = place / f"{name}.nii.gz", place / f"{name}.json"
        write_durably(image, nifti.encoded(volume, f"dicomnode {dicomnode.__version__}"))
        write_json(words, sidecar)
        yield from (image, words)


def _label(name: str, number: int) -> str:
    """A region's name as BIDS writes labels: letters and digits."""
    if name not in NAMED:
        return f"region{number}"
    first, *others = name.split()
    return first + "".join(word.capitalize() for word in others)


def _of_map(result: Finished, unit: str) -> dict[str, Any]:
    summary = result.summary
    return {
        **_of_scan(summary),
        "Units": unit,
        "InvalidValue": "NaN",
        "EstimationAlgorithm": f"{summary['method']}, {summary['verdict']}",
        "EstimationReference": "solver.fit_t2star of SoftwareVersion; the DICOM result holds every parameter",
    }


def _of_region(result: Finished, name: str) -> dict[str, Any]:
    measured: Mapping[str, Any] = next((one for one in result.summary["rois"] if one["name"] == name), {})
    numbers = {key: measured.get(key) for key in ("n_voxels", "r2star_per_s", "t2star_ms", "lic_mg_per_g", "lic_ci95")}
    flags = [flag["code"] for flag in measured.get("flags", ())]
    return {**_of_scan(result.summary), "Type": "ROI", "RegionName": name, "Measured": {**numbers, "flags": flags}}


def _of_scan(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "MagneticFieldStrength": summary["field_strength_t"],
        "EchoTime": [round(time / 1000, 8) for time in summary["echo_times_ms"]],  # BIDS: s
        "SeriesInstanceUID": summary["series_instance_uid"],
        "ResultKey": summary["key"],
        "SoftwareVersion": summary["software_version"],
    }
