"""What a job knows of earlier results of its patient: found once, kept with it, read by every part of its report."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dicomnode.errors import NodeError, StepError
from dicomnode.jobs import checkpoint, lifecycle
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.measure import iron, organs
from dicomnode.measure.organ import Answered
from dicomnode.model import Grade
from dicomnode.report import findings, source, structured_report
from dicomnode.store.durable import Partial
from dicomnode.trend import values
from dicomnode.trend.values import LIVER, Bound, Conditions, Origin, Point, Priors, Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydicom import Dataset

    from dicomnode.measure.organ import Organ
    from dicomnode.report.findings import Findings, Patient, Study
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

FILE = "priors.json"
_GONE = frozenset({JobStatus.OVERTAKEN, JobStatus.KEPT})  # nothing of them was told to anybody


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose a result is, of which examination and of which organ; never for a log."""

    patient: Patient
    study: Study
    organ: Organ


def are_known(job: Job) -> bool:
    """Whether earlier results were looked for already."""
    return (job.folder / FILE).exists()


def read(job: Job) -> Priors:
    """What was found; nothing where nobody has looked. Raises StepError, StorageError."""
    said = job.read(FILE)
    return values.NONE_KNOWN if said is None else values.read(said)


def keep(job: Job, priors: Priors) -> None:
    """Write down what was found, durably and once: what is there stays, for parts of a report may have read it."""
    with Partial(job.folder) as file:
        file.hand_over()
        file.write(json.dumps(priors.as_json(), indent=1, sort_keys=True, ensure_ascii=False).encode())
        file.keep_as(job.folder / FILE, replace=False)


def whose(spool: Spool, job: Job) -> Whose:
    """Whose the result of a job is; raises NodeError where that cannot be read here."""
    made_from = manifests.read(job)
    organ = organs.of_result(made_from.parameters)
    if made_from.measured_on is not None:
        told = spool.job(made_from.measured_on).read(job.FINDINGS)
        if told is None:
            raise StepError("the result that was drawn on has no findings any more")
        origin = findings.read(told)
        return Whose(origin.patient, origin.study, organ)
    if not checkpoint.is_kept(job):
        raise StepError("the headers of this job are not there yet")
    taken = checkpoint.take(spool, job)
    known = source.read(taken.stack, taken.header_of)
    return Whose(findings.patient(known.identity), findings.study(known), organ)


def is_same(patient: Patient, other: Patient) -> bool:
    """Whether two identifiers are one: equal, of one issuer, and of nobody born on two days."""
    born = {one for one in (patient.birth_date, other.birth_date) if one}
    return bool(patient.id) and (patient.id, patient.issuer) == (other.id, other.issuer) and len(born) <= 1


def is_report_of(patient: Patient, report: Dataset) -> bool:
    """The same of a report from an archive, which may leave out who gave the identifier."""
    other = findings.patient(report)
    return is_same(patient, other if other.issuer != findings.Issuer() else replace(other, issuer=patient.issuer))


def own(spool: Spool, whose_: Whose) -> Iterator[Point]:
    """Results of the organ in other studies of the patient that this node has made and that nothing has replaced."""
    found: dict[str, Point] = {}
    replaced: set[str] = set()
    needle = json.dumps(whose_.patient.id, ensure_ascii=False).encode()
    for path in sorted(spool.jobs.glob(f"[!.]*/{_findings_of(spool)}")):
        if not _holds(path, needle):  # of others, as most are: not parsed
            continue
        job = spool.job(path.parent.name)
        try:
            point = _of(job, whose_)
            replaced |= {manifests.read(job).supersedes or ""} if point is not None else set()
        except NodeError:
            continue  # another result, which others look after
        if point is not None:
            found[job.key] = point
    yield from (point for key, point in found.items() if key not in replaced)


def _findings_of(spool: Spool) -> str:
    return spool.job("any").FINDINGS


def _holds(path: Path, needle: bytes) -> bool:
    try:
        return needle in path.read_bytes()
    except OSError:
        return False


def _of(job: Job, whose_: Whose) -> Point | None:
    """A result as a point in time; None where it is of somebody else, of the same study or not told to anybody."""
    told = findings.read(job.read(job.FINDINGS))
    if not is_same(whose_.patient, told.patient) or told.study.uid == whose_.study.uid or not told.study.date:
        return None
    summary, outputs = job.read("summary.json"), job.outputs
    if summary is None or outputs is None or lifecycle.state(job).status in _GONE:
        return None
    if summary.get("organ", LIVER) != whose_.organ.name:
        return None
    return _point(summary, told, whose_.organ, _report(job.key, outputs, told.study))


def _report(key: str, outputs: list[dict[str, str]], study: Study) -> Reference | None:
    kind = structured_report.KIND
    made = next((one["sop_instance_uid"] for one in outputs if one["kind"] == kind), None)
    return None if made is None else Reference(study.uid, structured_report.series_uid(key), made)


def _point(summary: Mapping[str, Any], told: Findings, organ: Organ, report: Reference | None) -> Point:
    study, is_of_it = told.study, organ.has(told.regions[0].site.value)
    region: Mapping[str, Any] = next(iter(summary["rois"]), {}) if is_of_it else {}
    measurable = all(flag["grade"] != Grade.NOT_MEASURABLE.value for flag in region.get("flags", ()))
    rate = region.get("r2star_per_s") if measurable else None
    if organ.answers is Answered.T2STAR:
        value, (time, bound) = None, _time(region, measurable=measurable)
    else:
        time, (value, bound) = None, _iron(region, measurable=measurable)
    said = summary.get("conditions")
    ends = region.get("lic_ci95") if bound is Bound.NONE and value is not None else None
    return Point(
        date=study.date,
        origin=Origin.NODE,
        time=study.time,
        lic_mg_per_g=value,
        bound=bound,
        lic_ci95=None if ends is None else (ends[0], ends[1]),
        r2star_per_s=None if rate is None else rate["median"],
        r2star_ci95=None if rate is None or "ci95" not in rate else (rate["ci95"][0], rate["ci95"][1]),
        conditions=Conditions() if said is None else values.conditions(said),
        drawn=not summary.get("finder"),
        key=str(summary["key"]),
        report=report,
        organ=organ.name,
        t2star_ms=time,
    )


def _time(region: Mapping[str, Any], *, measurable: bool) -> tuple[float | None, Bound]:
    time, least = region.get("t2star_ms"), region.get("at_least")
    if measurable:
        return None if time is None else time["median"], Bound.NONE
    return (None, Bound.NONE) if least is None else (1000.0 / least["r2star_per_s"], Bound.BELOW)


def _iron(region: Mapping[str, Any], *, measurable: bool) -> tuple[float | None, Bound]:
    value, least = region.get("lic_mg_per_g"), region.get("at_least")
    if measurable and value is not None:
        return value, Bound.NONE
    if measurable and region.get("calibration") and region.get("r2star_per_s"):
        return iron.SMALLEST_MG_PER_G, Bound.BELOW
    if least is not None and least["lic_mg_per_g"] is not None:
        return least["lic_mg_per_g"], Bound.ABOVE
    return None, Bound.NONE
