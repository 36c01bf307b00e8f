"""The steps of a job: fit, measure, report; each leaves durable files and does nothing when they are there."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import zipfile
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import BaseModel, TypeAdapter

from dicomnode import analyse, group, header, pixels, report
from dicomnode.config import FitSettings, GroupingSettings, MeasureSettings, ReportSettings
from dicomnode.errors import StepError
from dicomnode.jobs import drawings
from dicomnode.model import DecayCurve, Drawn, EchoStack, FitRecord, Flag, Identity, Maps, Result, Roi, RoiMeasurement
from dicomnode.report import identity, summary
from dicomnode.report.instance import KINDS
from dicomnode.store.durable import make_folder, sync_folder, write_durably, write_json
from dicomnode.store.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicomnode.store.job import Job

_Section = TypeVar("_Section", bound=BaseModel)
STEPS = ("fit", "measure", "report")


def key_of(manifest: Mapping[str, Any]) -> str:
    """The identity of the result of a manifest."""
    sources = manifest.get("identified_by", manifest["sources"])
    return identity.result_key(sources, manifest["parameters"], manifest["software_version"])


def create(spool: Spool, manifest: Mapping[str, Any], created: datetime, settings: ReportSettings) -> Job:
    """Make a job durable; one that exists stays as it is."""
    job = spool.job(key_of(manifest))
    if not (job.folder / "manifest.json").exists():
        make_folder(job.folder)
        whole = {**manifest, "created": created.isoformat(), "report": settings.model_dump(mode="json")}
        write_json(job.folder / "manifest.json", whole)
    return job


def run_step(folder: str, key: str, step: str) -> None:
    """Run one step of a job; what a child process is given."""
    spool = Spool(Path(folder))
    {"fit": _fit_step, "measure": _measure_step, "report": _report_step}[step](spool, spool.job(key))


def _fit_step(spool: Spool, job: Job) -> None:
    target = job.folder / "maps.npz"
    if target.exists() or "measured_on" in job.manifest:
        return  # a drawing is measured on maps that exist
    settings = _settings(FitSettings, job.manifest["parameters"]["fit"])
    _, maps = analyse.fit_stack(_stack(spool, job), settings)
    arrays = {name: getattr(maps, name) for name in (*_MAP_NAMES, *_MAPS_THAT_MAY_LACK)}
    arrays = {name: values for name, values in arrays.items() if values is not None}
    record = {"sigma": maps.sigma, "record": dataclasses.asdict(maps.record)}
    _save(target, arrays, record)


def _measure_step(spool: Spool, job: Job) -> None:
    target = job.folder / "measurement.npz"
    if target.exists():
        return
    settings = _settings(MeasureSettings, job.manifest["parameters"]["measure"])
    stack, maps = _stack(spool, job), _load_maps(_origin(spool, job))
    signal = pixels.load(stack)
    drawn, finder = None, {}
    if "drawing" in job.manifest:
        rois, drawn = drawings.read(spool, job, stack)
    else:
        found = analyse.find_regions(stack, signal, maps)
        rois, finder = found.rois, dict(found.finder)
    rois, measurements, decays = analyse.measure_regions(rois, stack, signal, maps, settings)
    _save(
        target,
        {"anatomy": signal[..., 0], **{f"mask{i}": roi.mask for i, roi in enumerate(rois)}},
        {
            "finder": finder,
            "rois": [_labels(roi) for roi in rois],
            "measurements": [dataclasses.asdict(one) for one in measurements],
            "decays": [dataclasses.asdict(one) if one else None for one in decays],
            "drawn": dataclasses.asdict(drawn) if drawn else None,
        },
    )


def _report_step(spool: Spool, job: Job) -> None:
    if job.outputs is not None:
        return
    manifest = job.manifest
    settings = _settings(ReportSettings, manifest["report"])
    shown_on: dict[str, list[Dataset]] = defaultdict(list)
    if "drawing" in manifest:
        settings = settings.model_copy(update={"products": drawings.PRODUCTS})
        for kind, image in drawings.maps(_origin(spool, job)):
            shown_on[kind].append(image)
    folder = job.folder / "outputs"
    shutil.rmtree(folder, ignore_errors=True)  # left by a step that was killed
    make_folder(folder)
    result = _load_result(spool, job)
    created = datetime.fromisoformat(manifest["created"])
    outputs = report.write(result, folder, created=created, settings=settings, shown_on=shown_on)
    for output in outputs:
        _sync_file(output.path)
    sync_folder(folder)
    local = tuple(dataclasses.replace(one, path=one.path.relative_to(job.folder)) for one in outputs)
    write_json(job.folder / "summary.json", summary.of(result, local))
    entries = [{**dataclasses.asdict(one), "path": str(one.path), "product": KINDS[one.kind].product} for one in local]
    write_json(job.folder / "outputs.json", entries)


def _origin(spool: Spool, job: Job) -> Job:
    """The job whose maps this one measures: its own, or those a person drew on."""
    return spool.job(job.manifest.get("measured_on", job.key))


_MAP_NAMES = ("t2star_ms", "r2star_per_s", "s0", "r2star_sd_per_s", "valid")
_MAPS_THAT_MAY_LACK = ("beyond", "sigma_map")


def _stack(spool: Spool, job: Job) -> EchoStack:
    """Assemble the job's stack again from its instances: the same images and rules give the same stack."""
    manifest = job.manifest
    found = [header.read(spool.folder / path) for path in manifest["instances"].values()]
    images = [image for one in found for image in one.images]
    rules = _settings(GroupingSettings, manifest["grouping"])
    for candidate in group.assemble(images, rules):
        stack = candidate.partial if manifest["partial"] else candidate.stack
        if stack is not None and list(stack.sop_instance_uids) == manifest["sources"]:
            return stack
    raise StepError("the instances of this job no longer give the stack it was made for; were files removed?")


def _save(target: Path, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
    """Write arrays and their JSON record as one file, whole or not at all."""
    buffer = io.BytesIO()
    content: dict[str, Any] = {**arrays, "record": np.frombuffer(json.dumps(record).encode(), np.uint8)}
    np.savez_compressed(buffer, **content)
    write_durably(target, buffer.getvalue())


def _load(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as fault:
        raise StepError(f"{path.name} of this job cannot be read: {fault}") from fault
    record: dict[str, Any] = json.loads(arrays.pop("record").tobytes())
    return arrays, record


def _load_maps(job: Job) -> Maps:
    arrays, record = _load(job.folder / "maps.npz")
    return Maps(**arrays, sigma=tuple(record["sigma"]), record=FitRecord(**record["record"]))


def _load_result(spool: Spool, job: Job) -> Result:
    arrays, record = _load(job.folder / "measurement.npz")
    manifest = job.manifest
    return Result(
        stack=_stack(spool, job),
        maps=_load_maps(_origin(spool, job)),
        rois=tuple(_roi(labels, arrays[f"mask{i}"]) for i, labels in enumerate(record["rois"])),
        measurements=TypeAdapter(tuple[RoiMeasurement, ...]).validate_python(record["measurements"]),
        decays=TypeAdapter(tuple[DecayCurve | None, ...]).validate_python(record["decays"]),
        drawn=TypeAdapter(Drawn | None).validate_python(record["drawn"]),
        identity=Identity(job.key, manifest["software_version"], manifest["supersedes"]),
        settings=manifest["parameters"],
        anatomy=arrays["anatomy"],
        finder=record["finder"],
    )


def _labels(roi: Roi) -> dict[str, Any]:
    """All of a region but its mask, as JSON values."""
    return dataclasses.asdict(dataclasses.replace(roi, mask=np.zeros(0, bool))) | {"mask": None}


def _roi(labels: Mapping[str, Any], mask: NDArray[np.bool_]) -> Roi:
    doubts = TypeAdapter(tuple[Flag, ...]).validate_python(labels["doubts"])
    return Roi(**{**labels, "mask": mask, "doubts": doubts, "slice_confidence": tuple(labels["slice_confidence"])})


def _settings(section: type[_Section], values: Mapping[str, Any]) -> _Section:
    """A section as it was written into the manifest; JSON knows no tuples, so not strictly."""
    return section.model_validate_json(json.dumps(values))


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
