"""The steps of a job: fit, measure, report; each leaves durable files and does nothing when they are there."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import os
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import BaseModel, TypeAdapter

from dicomnode import analyse, phase, protocol, report
from dicomnode.config import FitSettings, MeasureSettings, ReportSettings
from dicomnode.errors import StepError
from dicomnode.fit import compile_kernels
from dicomnode.jobs import checkpoint, comparison, drawings, earlier, lifecycle, orders, priors, tidy
from dicomnode.jobs import manifest as manifests
from dicomnode.measure import organs
from dicomnode.model import DecayCurve, Drawn, FitRecord, Flag, Identity, Maps, Output, Result, Roi, RoiMeasurement
from dicomnode.report import difference, findings, point, source, summary
from dicomnode.report.instance import KINDS
from dicomnode.store.durable import make_folder, sync_folder, write_durably, written
from dicomnode.store.spool import Spool
from dicomnode.trend import rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicomnode.jobs.checkpoint import Checkpoint
    from dicomnode.jobs.manifest import Manifest
    from dicomnode.measure.organ import Organ
    from dicomnode.measure.regions import Found
    from dicomnode.model import EchoStack
    from dicomnode.store.job import Job

_Section = TypeVar("_Section", bound=BaseModel)
STEPS = ("fit", "measure", "report")
PARTS = report.PARTS  # of the report: run_step knows each by name, and does what is missing of all in "report"
_LOADED_LATE = ("matplotlib.colors",)  # what steps load when they need it, so that no command has to
_MAPS, _MEASUREMENT = "maps.npz", "measurement.npz"
_PHASE = "phase.json"


def prepare() -> None:
    """Load the compiled kernels and what is imported late; importing this module has loaded the rest."""
    for name in _LOADED_LATE:
        importlib.import_module(name)
    compile_kernels()
    gc.freeze()  # what is loaded stays: without this, to look through it takes half the time of a small report


def create(
    spool: Spool,
    manifest: Manifest,
    stack: EchoStack | None,
    created: datetime,
    settings: ReportSettings,
    *,
    held_by: str | None = None,
) -> Job:
    """Make a job durable; one that exists stays as it is. A drawing has no stack of its own.

    ``held_by`` is who holds its result back from the first moment.
    """
    job = spool.job(manifest.key)
    if not manifests.exists(job):
        make_folder(job.folder)
        if held_by is not None:
            lifecycle.hold(job, held_by)
        if stack is not None:
            checkpoint.keep_stack(spool, job, stack)
        made = dataclasses.replace(manifest, created=created.isoformat(), report=settings.model_dump(mode="json"))
        manifests.write(job, made)
    return job


def run_step(folder: str, key: str, step: str) -> None:
    """Run one step of a job; what a child process is given."""
    spool = Spool(Path(folder))
    job = spool.job(key)
    work = _Work.on(spool, job)
    if step in PARTS:
        _part(work, step)
    else:
        {"fit": _fit, "measure": _measure, "report": _report}[step](work)


@dataclass(frozen=True, slots=True)
class _Work:
    """A job, what it is made from, and the job whose maps it measures: its own, or those a person drew on."""

    spool: Spool
    job: Job
    manifest: Manifest
    origin: Job

    @classmethod
    def on(cls, spool: Spool, job: Job) -> _Work:
        manifest = manifests.read(job)
        return cls(spool, job, manifest, spool.job(manifest.measured_on or job.key))

    def has(self, name: str) -> bool:
        return (self.job.folder / name).exists()

    @property
    def judged(self) -> bool:
        """Whether what is no organ of ours is refused: unless the rules or a person say otherwise."""
        return self.manifest.judges and not lifecycle.state(self.job).anyway and self.order is None

    @property
    def organ(self) -> Organ:
        """Of which the series was taken when the job began."""
        return organs.of_result(self.manifest.parameters)

    @property
    def measures_phantoms(self) -> bool:
        """Whether a phantom is measured as one, by the rules of then."""
        return organs.measures_phantoms(self.manifest.parameters)

    @property
    def drawn_on(self) -> Organ:
        """What the result turned out to be of on which a person drew."""
        said = self.origin.read("summary.json")
        return self.organ if said is None else organs.of_result(said.get("settings", {}))

    @property
    def among(self) -> tuple[str, ...]:
        """The organs that are measured of what its scanner sends, by the rules of then."""
        return tuple(self.manifest.grouping.get("organs", (self.organ.name,)))

    @property
    def order(self) -> orders.Order | None:
        """A person's word that it is to be made although it was refused."""
        return orders.of(self.spool, self.manifest)

    def checkpoint(self) -> Checkpoint:
        return checkpoint.take(self.spool, self.origin)


def _fit(work: _Work) -> None:
    if work.manifest.measured_on:  # a drawing is measured on the maps of another result, which may have been tidied
        tidy.unpack(work.origin)
        work = _Work.on(work.spool, work.origin)
    if work.has(_MAPS):
        return
    settings = _settings(FitSettings, work.manifest.fit)
    taken = work.checkpoint()
    if work.judged:
        protocol.check_header(taken.stack, work.organ, work.among, phantoms=work.measures_phantoms)
    maps = analyse.fit_signal(taken.stack, taken.signal, settings)
    maps = phase.with_word(maps, _said_of_phase(work, taken.stack, maps))
    beside = {name: getattr(maps, name) for name in _BESIDE}
    arrays = {**maps.values, **{name: values for name, values in beside.items() if values is not None}}
    record = {"sigma": maps.sigma, "record": dataclasses.asdict(maps.record)}
    _save(work.job.folder / _MAPS, arrays, record)


def _said_of_phase(work: _Work, stack: EchoStack, maps: Maps) -> dict[str, Any] | None:
    """What became of the phase that came with a stack: its images are asked once, however often the maps are made."""
    if not _settings(ReportSettings, work.manifest.report).judge_phase:
        return None
    said: dict[str, Any] | None = work.job.read(_PHASE)
    if said is None:
        said = phase.judged(stack, maps, work.organ)
        if said is not None:
            work.job.write(_PHASE, said)
    return said


def _measure(work: _Work) -> None:
    if work.has(_MEASUREMENT):
        return
    settings = _settings(MeasureSettings, work.manifest.parameters["measure"])
    _fit(work)  # where the maps were tidied since
    taken, maps = work.checkpoint(), _load_maps(work.origin)
    stack, signal = taken.stack, taken.signal
    drawn: Drawn | None = None
    found: Found | None = None
    if work.manifest.drawing:
        rois, drawn = drawings.read(work.spool, work.manifest.drawing, work.origin, stack)
        organ = work.drawn_on
    else:
        organ, found = analyse.look(stack, signal, maps, work.organ, phantoms=work.measures_phantoms)
        rois = found.rois
    rois, measurements, decays = analyse.measure_regions(rois, stack, signal, maps, settings, organ=organ)
    judged = found if organ is work.organ else None  # what turned out to be a phantom was judged by that
    if judged is not None and work.judged:
        protocol.check_images(stack, judged, measurements, organ, work.among)
    if work.order is not None:
        flag = protocol.on_order(
            work.order.code,
            stack,
            judged,
            measurements,
            organ=work.organ,
            among=work.among,
            phantoms=work.measures_phantoms,
        )
        measurements = tuple(dataclasses.replace(one, flags=(*one.flags, flag)) for one in measurements)
    _save(
        work.job.folder / _MEASUREMENT,
        {"anatomy": signal[..., 0], **{f"mask{i}": roi.mask for i, roi in enumerate(rois)}},
        {
            "organ": organ.name,
            "finder": {} if found is None else dict(found.finder),
            "rois": [_labels(roi) for roi in rois],
            "measurements": [dataclasses.asdict(one) for one in measurements],
            "decays": [dataclasses.asdict(one) if one else None for one in decays],
            "drawn": dataclasses.asdict(drawn) if drawn else None,
        },
    )


def _part(work: _Work, part: str) -> None:
    """Make one part of the report and write down what it is made of."""
    job, manifest = work.job, work.manifest
    if work.has(_made(part)) or job.outputs is not None:
        return
    settings = _settings(ReportSettings, manifest.report)
    shown_on: dict[str, list[Dataset]] = defaultdict(list)
    if manifest.drawing:
        _fit(work)  # where what it was drawn on was tidied since
        settings = settings.model_copy(update={"products": drawings.PRODUCTS})
        for kind, image in drawings.maps(work.origin):
            shown_on[kind].append(image)
    folder = job.make_folder("outputs")
    # What a step left that was killed is written over: the same kinds have the same names.
    taken = work.checkpoint()
    outputs = report.write(
        _load_result(work, taken.stack),
        folder,
        created=datetime.fromisoformat(manifest.created),
        settings=settings,
        shown_on=shown_on,
        header_of=taken.header_of,
        parts=(part,),
        priors=priors.read(job),
    )
    for output in outputs:
        _sync_file(output.path)
    sync_folder(folder)
    job.write(_made(part), [_entry(one, job) for one in outputs])


def _report(work: _Work) -> None:
    """Put the parts together, after making those that are missing."""
    job = work.job
    if job.outputs is not None:
        return
    for part in PARTS:
        _part(work, part)
    made = [job.read(_made(part)) for part in PARTS]
    if work.has("outputs.json"):
        return  # another machine, which took this one for dead, has put them together meanwhile
    entries = [entry for part in made for entry in part]
    outputs = tuple(
        Output(one["kind"], one["sop_class_uid"], one["sop_instance_uid"], Path(one["path"])) for one in entries
    )
    taken = work.checkpoint()
    result = _load_result(work, taken.stack)
    ordered = {} if work.order is None else {"ordered": dataclasses.asdict(work.order)}
    known = source.read(taken.stack, taken.header_of)
    trend = rules.trend(point.of(result, known), priors.read(job), organs.of_result(result.settings))
    told = summary.of(result, outputs, trend) | ordered
    job.write("summary.json", told)
    if work.manifest.beside is not None:
        before = work.spool.job(work.manifest.beside)
        differing = comparison.of(manifests.read(before), work.manifest, before.read("summary.json"), told)
        rates = earlier.rates(before, result.maps.valid.shape)
        if rates is not None:
            write_durably(job.folder / job.DIFFERENCE, difference.picture(result, rates))
        moved = comparison.moved_by_fit(result, rates)
        job.write(comparison.FILE, {**differing, "why": comparison.why(before.read("summary.json"), told, moved)})
    values = findings.of(
        result,
        known,
        manifests.first_key(work.spool, work.manifest),
        datetime.fromisoformat(work.manifest.created),
        trend=trend,
        replaced=_replaced(work),
    )
    job.write(job.FINDINGS, values.as_json())
    job.write("outputs.json", entries)
    for part in PARTS:
        (job.folder / _made(part)).unlink(missing_ok=True)


def _replaced(work: _Work) -> findings.Findings | None:
    """What was told of the result that this one replaces, where that is known."""
    key = work.manifest.supersedes
    said = None if key is None else work.spool.job(key).read(work.job.FINDINGS)
    return None if said is None else findings.read(said)


def _made(part: str) -> str:
    return f"{part}.json"


def _entry(output: Output, job: Job) -> dict[str, Any]:
    local = dataclasses.replace(output, path=output.path.relative_to(job.folder))
    return {**dataclasses.asdict(local), "path": str(local.path), "product": KINDS[output.kind].product}


_BESIDE = ("valid", "beyond", "sigma_map")  # of the arrays of maps; every other is a quantity


def _save(target: Path, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
    """Write arrays and their JSON record as one file, whole or not at all; packing them would cost a second."""
    content: dict[str, Any] = {**arrays, "record": np.frombuffer(json.dumps(record).encode(), np.uint8)}
    with written(target) as file:
        np.savez(file, **content)


def _load(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as fault:
        raise StepError(f"{path.name} of this job cannot be read: {fault}") from fault
    record: dict[str, Any] = json.loads(arrays.pop("record").tobytes())
    return arrays, record


def _load_maps(job: Job) -> Maps:
    arrays, record = _load(job.folder / _MAPS)
    beside = {name: arrays.pop(name) for name in _BESIDE if name in arrays}
    return Maps(arrays, **beside, sigma=tuple(record["sigma"]), record=FitRecord(**record["record"]))


def _load_result(work: _Work, stack: EchoStack) -> Result:
    arrays, record = _load(work.job.folder / _MEASUREMENT)
    manifest = work.manifest
    rois = tuple(_roi(labels, arrays[f"mask{i}"]) for i, labels in enumerate(record["rois"]))
    measurements = TypeAdapter(tuple[RoiMeasurement, ...]).validate_python(record["measurements"])
    organ = organs.named(record["organ"]) if "organ" in record else work.organ
    return Result(
        stack=stack,
        maps=analyse.shown(_load_maps(work.origin), rois, measurements, organ),
        rois=rois,
        measurements=measurements,
        decays=TypeAdapter(tuple[DecayCurve | None, ...]).validate_python(record["decays"]),
        drawn=TypeAdapter(Drawn | None).validate_python(record["drawn"]),
        identity=Identity(work.job.key, manifest.software_version, manifest.supersedes),
        settings=organs.turned_out(dict(manifest.parameters), organ),
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
