"""A region that a person drew in a viewer and sent back -> a job that measures it on maps that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydicom

from dicomnode.errors import InputError
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs import tidy
from dicomnode.measure import rois
from dicomnode.measure.rois.canvas import WHERE_TO_DRAW
from dicomnode.model import Drawn, Reason
from dicomnode.report.instance import MAP_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicomnode.jobs.manifest import Manifest
    from dicomnode.model import EchoStack, Roi
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

# The maps of the first result stay as they are: only the numbers, the region and how both are shown are new.
PRODUCTS = ("segmentation", "structured_report", "pictures", "pdf")
NO_LONGER_KEPT = Reason(
    "no-longer-kept", "the images or maps it is drawn on are no longer kept here; send the series and the drawing again"
)
DRAWN_ON_SOURCE = Reason("drawn-on-echoes", f"drawn on the multi-echo images it has lost its place; {WHERE_TO_DRAW}")


def manifest(
    spool: Spool, path: Path, sop_uid: str, keys: list[str], *, replaces: bool = False
) -> Manifest | Reason | None:
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
    if any(sop_uid == one["sop_instance_uid"] for job, _ in jobs for one in job.outputs or ()):
        return None
    for job, made_from in jobs:
        if referenced & {one["sop_instance_uid"] for one in job.outputs or ()} and not _can_be_measured(
            spool, job, made_from
        ):
            return NO_LONGER_KEPT
        if referenced & {one["sop_instance_uid"] for one in job.outputs or () if one["kind"] in MAP_KINDS}:
            return made_from.of_drawing(str(path.relative_to(spool.folder)), sop_uid, job.key, replaces=replaces)
    if any(referenced & made_from.instances.keys() for _, made_from in jobs):
        return DRAWN_ON_SOURCE
    return None


def _can_be_measured(spool: Spool, job: Job, made_from: Manifest) -> bool:
    """Whether the maps are there, and the pixels behind them or the images that give those again."""
    pixels = (job.folder / "signal.npy").exists()
    return tidy.has_objects(job) and (
        pixels or all((spool.folder / path).exists() for path in made_from.instances.values())
    )


def read(spool: Spool, drawing: str, origin: Job, stack: EchoStack) -> tuple[tuple[Roi, ...], Drawn]:
    """Read the regions of a drawing, a path in the data folder, on the maps of the result it was drawn on.

    Raises InputError with what to do where no region of it can be used.
    """
    canvas = rois.Canvas.of(stack.planes, (one for _, one in maps(origin)), stack.sop_instance_uids)
    found = rois.read(spool.folder / drawing, canvas)
    refused = tuple(sorted({reason.sentence for reason in found.refused}))
    if not found.rois:
        raise InputError("; ".join(refused))
    return found.rois, Drawn(found.sop_class_uid, found.sop_instance_uid, found.author, found.made_with, refused)


def maps(origin: Job) -> Iterator[tuple[str, pydicom.Dataset]]:
    """Every map of a result by kind, without its pixels."""
    for one in origin.outputs or ():
        if one["kind"] in MAP_KINDS:
            yield one["kind"], pydicom.dcmread(origin.folder / one["path"], stop_before_pixels=True)


def _with_predecessors(spool: Spool, keys: list[str]) -> Iterator[tuple[Job, Manifest]]:
    """Results of a study, and those they superseded: people draw on what they have in front of them."""
    waiting, seen = list(keys), set()
    while waiting:
        key = waiting.pop()
        job = spool.job(key)
        if key in seen or not manifests.exists(job):
            continue
        seen.add(key)
        made_from = manifests.read(job)
        yield job, made_from
        if made_from.supersedes:
            waiting.append(made_from.supersedes)
