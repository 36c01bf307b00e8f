"""A region that a person drew in a viewer and sent back -> a job that measures it on maps that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pydicom

from dicomnode.errors import InputError
from dicomnode.measure import rois
from dicomnode.measure.rois.canvas import WHERE_TO_DRAW
from dicomnode.model import Drawn, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dicomnode.model import EchoStack, Roi
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

# What a drawing is measured on, and so what it is shown on.
_MAP_KINDS = ("mr_map_r2star", "mr_map_t2star", "parametric_map_r2star", "parametric_map_t2star")
# The maps of the first result stay as they are: only the numbers, the region and how both are shown are new.
PRODUCTS = ("segmentation", "structured_report", "pictures", "pdf")
DRAWN_ON_SOURCE = Reason("drawn-on-echoes", f"drawn on the multi-echo images it has lost its place; {WHERE_TO_DRAW}")


def manifest(
    spool: Spool, path: Path, sop_uid: str, keys: list[str], *, replaces: bool = False
) -> dict[str, Any] | Reason | None:
    """Make the manifest of the job that measures a drawing.

    ``keys`` are the results of the drawing's study; with ``replaces`` the new result supersedes the one whose maps it
    is measured on, else it stands beside it. Returns a Reason where the drawing cannot be measured, None where
    it has nothing to do with a result of this node, or is one.
    """
    try:
        referenced = rois.referenced_uids(path)
    except InputError as fault:
        return Reason("drawing-unreadable", str(fault))
    jobs = list(_with_predecessors(spool, keys))
    if any(sop_uid == one["sop_instance_uid"] for job in jobs for one in job.outputs or ()):
        return None
    for job in jobs:
        if referenced & {one["sop_instance_uid"] for one in job.outputs or () if one["kind"] in _MAP_KINDS}:
            made = _manifest(spool, job, path, sop_uid)
            return {**made, "supersedes": job.key} if replaces else made
    if any(referenced & job.manifest["instances"].keys() for job in jobs):
        return DRAWN_ON_SOURCE
    return None


def read(spool: Spool, job: Job, stack: EchoStack) -> tuple[tuple[Roi, ...], Drawn]:
    """Read the regions of a drawing's job on the maps of the result it was drawn on.

    Raises InputError with what to do where no region of it can be used.
    """
    origin = spool.job(job.manifest["measured_on"])
    canvas = rois.Canvas.of(stack.planes, (one for _, one in maps(origin)), stack.sop_instance_uids)
    drawing = rois.read(spool.folder / job.manifest["drawing"], canvas)
    refused = tuple(sorted({reason.sentence for reason in drawing.refused}))
    if not drawing.rois:
        raise InputError("; ".join(refused))
    return drawing.rois, Drawn(
        drawing.sop_class_uid, drawing.sop_instance_uid, drawing.author, drawing.made_with, refused
    )


def maps(origin: Job) -> Iterator[tuple[str, pydicom.Dataset]]:
    """Every map of a result by kind, without its pixels."""
    for one in origin.outputs or ():
        if one["kind"] in _MAP_KINDS:
            yield one["kind"], pydicom.dcmread(origin.folder / one["path"], stop_before_pixels=True)


def _with_predecessors(spool: Spool, keys: list[str]) -> Iterator[Job]:
    """Results of a study, and those they superseded: people draw on what they have in front of them."""
    waiting, seen = list(keys), set()
    while waiting:
        key = waiting.pop()
        job = spool.job(key)
        if key in seen or not (job.folder / "manifest.json").exists():
            continue
        seen.add(key)
        yield job
        if job.manifest["supersedes"]:
            waiting.append(job.manifest["supersedes"])


def _manifest(spool: Spool, origin: Job, path: Path, sop_uid: str) -> dict[str, Any]:
    inherited: Mapping[str, Any] = origin.manifest
    return {
        **{name: value for name, value in inherited.items() if name not in {"created", "report"}},
        "identified_by": [sop_uid, origin.key],
        "measured_on": origin.key,
        "drawing": str(path.relative_to(spool.folder)),
        "supersedes": None,
    }
