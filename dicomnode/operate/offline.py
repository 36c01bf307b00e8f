"""The same pipeline on files and folders, without a network or a queue."""

from __future__ import annotations

import dataclasses
import filecmp
import itertools
import tempfile
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dicomnode
from dicomnode import analyse, events, group, header, logs, phase, protocol, report
from dicomnode.errors import InputError, NodeError, Refused, StorageError
from dicomnode.measure import organs
from dicomnode.model import GroupStatus, Identity, Result
from dicomnode.report import findings, identity, point, source, summary
from dicomnode.store.durable import write_json
from dicomnode.store.job import Job
from dicomnode.trend import rules, table
from dicomnode.trend.values import NONE_KNOWN, Priors, Silence, Unasked, before

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from dicomnode.config import GroupingSettings, ScannerSettings, Settings
    from dicomnode.measure.organ import Organ
    from dicomnode.model import EchoImage, EchoStack, Group


def process(
    inputs: Iterable[Path],
    output: Path,
    settings: Settings,
    *,
    created: datetime,
    progress: Callable[[str], None],
    configuration: Path | None = None,
) -> dict[str, Any]:
    """Process every series found under the inputs; write results and ``summary.json`` into ``output``.

    The summary of an earlier run that lies there is kept under a name that says when that was. ``configuration`` is the
    file that the settings are from, for the summary. Returns the summary. A series that fails
    does not hold back the others. Raises InputError where there is no DICOM object at all, StorageError where the
    output folder cannot be made, ConfigError where an organ or a method of another package cannot be used.
    """
    analyse.extensions()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise StorageError(f"{output}: the output folder cannot be made: {fault.strerror or fault}") from fault
    candidates, others = find(inputs, settings.grouping, progress, settings.choosing_scanners())
    series = [_series(candidate, output, settings, created, progress) for candidate in candidates]
    named = None if configuration is None else str(configuration)
    result = {
        "software_version": dicomnode.__version__,
        "configuration": named,
        "series": series,
        "others": others,
    }
    _set_aside(output / "summary.json")
    write_json(output / "summary.json", result)
    return result


def _set_aside(path: Path) -> None:
    """Keep the file of an earlier run as NAME-TIME, with a number where several were of one second."""
    if not path.exists():
        return
    when = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in itertools.count(1):
        aside = path.with_name(f"{path.stem}-{when}" + (f"-{number}" if number > 1 else "") + path.suffix)
        if not aside.exists():
            path.rename(aside)
            return


def dry_run(inputs: Iterable[Path], settings: Settings, *, progress: Callable[[str], None]) -> dict[str, Any]:
    """Like ``process``, but make no objects and leave nothing behind; the summary counts how series ended, too."""
    nothing = settings.model_copy(update={"report": settings.report.model_copy(update={"products": ()})})
    with tempfile.TemporaryDirectory(prefix="dicomnode-dry-run-") as folder:
        summary = process(inputs, Path(folder), nothing, created=datetime.now(UTC), progress=progress)
    ends = Counter((one["status"], one["code"] if one["status"] != "done" else None) for one in summary["series"])
    counted = [
        {"status": status, "code": code, "series": count} for (status, code), count in sorted(ends.items(), key=str)
    ]
    return {**summary, "counts": counted}


def counts(summary: dict[str, Any]) -> Iterator[str]:
    """Say how the series of a dry run ended, the most frequent end first."""
    yield f"{len(summary['series'])} series"
    for one in sorted(summary["counts"], key=lambda one: -one["series"]):
        yield f"  {one['series']:>5}  {one['status']}" + (f" ({one['code']})" if one["code"] else "")
    for other in summary["others"]:
        yield f"  {other['count']:>5}  files left alone: {other['reason']}"


def find(
    inputs: Iterable[Path],
    rules: GroupingSettings,
    progress: Callable[[str], None],
    scanners: Mapping[str, ScannerSettings] = MappingProxyType({}),
) -> tuple[list[Group], list[dict[str, Any]]]:
    """Sort what files and folders hold into candidate stacks; count by reason what holds no image.

    Raises InputError where there is no DICOM object at all.
    """
    studies, damaged, others = _read(list(_files(inputs)), progress)
    if not studies and not others:
        raise InputError("no DICOM object was found in the input")
    wishes = group.Wishes(scanners)
    groups = [group.assemble(images, rules, damaged, wishes) for images in studies.values()]
    return [candidate for found in groups for candidate in found], others


def stack_of(candidate: Group, rules: GroupingSettings) -> EchoStack | None:
    """Return what of a candidate may be fitted: nothing while it is incomplete, unless the rules say otherwise."""
    if candidate.status is GroupStatus.INCOMPLETE and rules.when_given_up == "process_complete_slices":
        return candidate.partial
    return candidate.stack


def _files(inputs: Iterable[Path]) -> Iterator[Path]:
    for path in inputs:
        if path.is_dir():
            yield from sorted(child for child in path.rglob("*") if child.is_file())
        else:
            yield path


def _read(
    files: list[Path], progress: Callable[[str], None]
) -> tuple[dict[str, list[EchoImage]], dict[str, list[str]], list[dict[str, Any]]]:
    """Sort what the files hold: echo images by study, what is damaged by series, and what is no image by reason."""
    studies: dict[str, list[EchoImage]] = defaultdict(list)
    unusable: list[header.Header] = []
    others: dict[tuple[str, str], int] = defaultdict(int)
    first: dict[str, Path] = {}
    for number, path in enumerate(files, 1):
        found = header.read(path)
        if found.images and _differ(first.setdefault(found.sop_instance_uid, path), path):
            others[_CONFLICT] += 1
        else:
            for image in found.images:
                studies[image.study_instance_uid].append(image)
        if found.reason is not None:
            others[found.reason.code, found.reason.sentence] += 1
            unusable.append(found)
        if number % 100 == 0 or number == len(files):
            progress(f"read {number} of {len(files)} files")
    counted = [{"code": code, "reason": reason, "count": count} for (code, reason), count in sorted(others.items())]
    intact = (image.sop_instance_uid for images in studies.values() for image in images)
    return dict(studies), header.damaged(unusable, intact), counted


_CONFLICT = ("conflict", "another file holds other bytes under the same SOP Instance UID; the first one read is used")


def _differ(one: Path, other: Path) -> bool:
    return one != other and not filecmp.cmp(one, other, shallow=False)


def _series(
    candidate: Group, output: Path, settings: Settings, created: datetime, progress: Callable[[str], None]
) -> dict[str, Any]:
    first = candidate.images[0]
    among = settings.grouping_of(first.sender, first.names).organs
    name = f"series {candidate.images[0].series_number or candidate.series_instance_uids[0]}"
    stack = stack_of(candidate, settings.grouping)
    if stack is None:
        status = {GroupStatus.REFUSED: "refused"}.get(candidate.status, "incomplete")
        progress(f"{name}: {status}: {candidate.reason}")
        reason = candidate.reason
        return summary.without_result(
            candidate, status, reason.sentence if reason else None, reason.code if reason else None, among
        )
    try:
        return _result(stack, output, settings, created, lambda what: progress(f"{name}: {what}"))
    except Refused as fault:
        progress(f"{name}: refused: {fault}")
        return summary.without_result(candidate, "refused", str(fault), fault.code, among)
    except Exception as fault:  # noqa: BLE001  the edge of a series: the others must not be lost with it
        if not isinstance(fault, NodeError):
            logs.write(events.SeriesFailed(candidate.series_instance_uids, fault))
        why = str(fault) if isinstance(fault, NodeError) else f"{type(fault).__name__}: {fault}"
        progress(f"{name}: failed: {why}")
        return summary.without_result(candidate, "failed", why, type(fault).__name__, among)


def _result(
    stack: EchoStack, output: Path, settings: Settings, created: datetime, progress: Callable[[str], None]
) -> dict[str, Any]:
    slices, rows, columns, echoes = stack.shape
    first = stack.images[0][0]
    wanted = settings.grouping_of(first.sender, first.names)
    judged, among = wanted.anatomy != "any", wanted.organs
    taken_for, phantoms = protocol.choose(stack, among).organ, wanted.phantoms == "measured"
    if judged:
        protocol.check_header(stack, taken_for, among, phantoms=phantoms)
    progress(f"fitting {slices} slices of {rows} × {columns}, {echoes} echoes")
    signal, maps = analyse.fit_stack(stack, settings.fit)
    if settings.report.judge_phase:
        maps = phase.with_word(maps, phase.judged(stack, maps, taken_for))
    progress(f"measuring ({maps.record.verdict})")
    parameters = organs.made_from(settings.result_parameters(), taken_for, phantoms=wanted.phantoms)
    measure = settings.measure.model_copy(update=organs.measuring(parameters))
    organ, found = analyse.look(stack, signal, maps, taken_for, phantoms=phantoms)
    rois, measurements, decays = analyse.measure_regions(found.rois, stack, signal, maps, measure, organ=organ)
    if judged and organ is taken_for:
        protocol.check_images(stack, found, measurements, organ, among)
    key = identity.result_key(stack.sop_instance_uids, parameters, dicomnode.__version__)
    result = Result(
        stack=stack,
        maps=analyse.shown(maps, rois, measurements, organ),
        rois=rois,
        measurements=measurements,
        decays=decays,
        identity=Identity(key, dicomnode.__version__),
        settings=organs.turned_out(parameters, organ),
        anatomy=signal[..., 0],
        finder=found.finder,
    )
    known = source.read(stack)
    priors = _priors(settings.trend.table, organ, findings.patient(known.identity), findings.study(known))
    trend = rules.trend(point.of(result, known), priors, organ)
    folder = output / key[:16]
    folder.mkdir(exist_ok=True)
    progress("writing results")
    outputs = report.write(result, folder, created=created, settings=settings.report, priors=priors)
    local = tuple(dataclasses.replace(one, path=one.path.relative_to(output)) for one in outputs)
    told = findings.of(result, known, key, created, trend=trend)
    write_json(folder / Job.FINDINGS, told.as_json())
    progress("done: 1 object" if len(outputs) == 1 else f"done: {len(outputs)} objects")
    return summary.of(result, local, trend)


def _priors(path: Path | None, organ: Organ, patient: findings.Patient, study: findings.Study) -> Priors:
    """Earlier results of a patient's organ in a site's table; a node has others."""
    if path is None or not study.date:
        return NONE_KNOWN
    try:
        points = table.read(path).of(patient.id, patient.issuer.name)
    except InputError:
        return Priors(unasked=(Unasked("table", Silence.UNREADABLE),))
    return Priors(before(points, organ.name, study.date, study.time))


def lines(series: dict[str, Any]) -> Iterator[str]:
    """Say a series of a summary in words: its status, then a line a region with what qualifies its numbers."""
    yield f"{series['series_instance_uid']}  {series['status']}" + (f": {series['reason']}" if series["reason"] else "")
    for roi in series["rois"]:
        said = "; ".join(_flag(flag) for flag in roi["flags"])
        yield f"  {roi['name']}: {_values(roi, series.get('concentration', 'LIC'))}" + (f" [{said}]" if said else "")
        if roi["advice"]:
            yield f"  {roi['advice']}"
    if series["advice"]:
        yield f"  {series['advice']}"


def _flag(flag: dict[str, str]) -> str:
    return flag["sentence"] if flag["grade"] == "info" else f"{flag['grade']}: {flag['sentence']}"


def _values(roi: dict[str, Any], symbol: str) -> str:
    rate = roi["r2star_per_s"]
    if rate is None:
        bound = roi["at_least"]
        if bound is None:
            return "not measurable"
        iron = "" if bound["lic_mg_per_g"] is None else f", {symbol} > {bound['lic_mg_per_g']:.1f} mg/g"
        return f"R2* > {bound['r2star_per_s']:.0f} /s{iron}"
    t2star = f"T2* {roi['t2star_ms']['median']:.2f} ms" if roi["t2star_ms"] else "T2* too long to tell"
    lic = ""
    if roi["lic_mg_per_g"] is not None:
        low, high = roi["lic_ci95"]
        lic = f", {symbol} {roi['lic_mg_per_g']:.1f} mg/g (95 % interval {low:.1f} to {high:.1f})"
    return f"R2* {rate['median']:.1f} /s, {t2star} (medians, {roi['n_voxels']} voxels){lic}"
