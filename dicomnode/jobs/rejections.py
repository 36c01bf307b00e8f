"""The note that tells a destination which objects of a replaced result are rejected."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydicom

from dicomnode.jobs import drawings, lifecycle
from dicomnode.jobs import manifest as manifests
from dicomnode.report import rejection_note
from dicomnode.report.identity import uid
from dicomnode.report.references import Reference
from dicomnode.store.durable import write_durably

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool


@dataclass(frozen=True, slots=True)
class Rejection:
    """What a destination has of a result that another one replaces."""

    note_uid: str  # SOP Instance UID of what says so
    rejected: tuple[Reference, ...]
    is_settled: bool  # False: more of it may still arrive there


def of(spool: Spool, job: Job, destination: str) -> Rejection | None:
    """What is to be rejected at a destination when a result is there; None where that is nothing.

    Only objects that the destination confirmed: an archive that is told of others refuses the note. A drawing
    replaces what follows from its regions, never the maps it was drawn on.
    """
    made_from = manifests.read(job)
    earlier = spool.job(made_from.supersedes) if made_from.supersedes else None
    if earlier is None or not manifests.exists(earlier):
        return None
    receipt = lifecycle.delivery(earlier, destination)
    is_settled = lifecycle.state(earlier).status.is_end or receipt.status.is_end
    outputs = [one for one in earlier.outputs or () if one["sop_instance_uid"] in receipt.delivered]
    if made_from.drawing:
        outputs = [one for one in outputs if one["product"] in drawings.PRODUCTS]
    rejected = tuple(
        Reference(one["sop_class_uid"], one["sop_instance_uid"], uid(earlier.key, f"{one['kind']}/series"))
        for one in outputs
    )
    if not job.outputs or (is_settled and not rejected):
        return None
    return Rejection(rejection_note.sop_instance_uid(job.key, rejected), rejected, is_settled)


def write(job: Job, destination: str, rejection: Rejection) -> Path:
    """Make the note durable; the same again gives the same bytes."""
    like = (job.outputs or [])[0]
    source = pydicom.dcmread(job.folder / like["path"], stop_before_pixels=True)
    note = rejection_note.build(source, like["kind"], job.key, rejection.rejected)
    buffer = io.BytesIO()
    note.save_as(buffer, enforce_file_format=True)
    path = job.make_folder("notes") / f"{destination}.dcm"
    write_durably(path, buffer.getbuffer())
    return path
