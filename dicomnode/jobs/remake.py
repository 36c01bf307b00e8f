"""What a result would be made from now: its images grouped anew, by settings that may be others than then."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dicomnode import group, header, protocol
from dicomnode.errors import InputError
from dicomnode.jobs import lifecycle, orders, retention
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.measure import organs

if TYPE_CHECKING:
    from dicomnode.config import Settings
    from dicomnode.jobs.manifest import Manifest
    from dicomnode.model import EchoStack, Group
    from dicomnode.store.spool import Spool

_MAY_BE_MADE_AGAIN = (JobStatus.DONE, JobStatus.KEPT, JobStatus.FAILED, JobStatus.REFUSED, JobStatus.DELIVERING)


class AlreadyMade(InputError):
    """The same images, settings and software have given this result already."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def manifest(spool: Spool, key: str, settings: Settings, software_version: str) -> tuple[Manifest, EchoStack]:
    """What a result would be made from now, by settings that may be others than those it was made by.

    Raises InputError where it cannot be made again, AlreadyMade where it would be the same, StepError where the job
    cannot be read.
    """
    job = spool.job(key)
    made_from = manifests.read(job)
    if made_from.drawing:
        raise InputError(f"it measures what a person drew: reprocess what that was drawn on, {made_from.measured_on}")
    if (status := lifecycle.state(job).status) not in _MAY_BE_MADE_AGAIN:
        raise InputError(f"it is {status}: wait until that has ended")
    candidate, stack = _stack(spool, made_from, settings)
    first = stack.images[0][0]
    rules = settings.grouping_of(first.sender, first.names)
    fresh = replace(
        made_from,
        sources=stack.sop_instance_uids,
        parameters=organs.made_from(
            settings.result_parameters(), protocol.choose(stack, rules.organs).organ, phantoms=rules.phantoms
        ),
        software_version=software_version,
        series_instance_uids=candidate.series_instance_uids,
        grouping=rules.model_dump(mode="json"),
        samples=math.prod(stack.shape),
        supersedes=None,
        beside=key,
        created="",
        report={},
        version=manifests.BESIDE_VERSION,
    )
    if manifests.exists(spool.job(fresh.key)):
        raise AlreadyMade(
            f"the same result already exists: {fresh.key}, of equal images, settings and software version", fresh.key
        )
    return fresh, stack


def _stack(spool: Spool, made_from: Manifest, settings: Settings) -> tuple[Group, EchoStack]:
    """Group the images of a result again, by the rules of these settings."""
    files = [spool.folder / place for place in made_from.instances.values()]
    if not files or not all(file.exists() for file in files):
        gone = retention.removed(spool, made_from.study_instance_uid).get(retention.ORIGINALS)
        why = "" if gone is None else f" ({gone['why']}, {gone['at'][:10]})"
        raise InputError(f"its images are no longer kept here{why}: send the series again")
    images = [image for file in files for image in header.read(file).images]
    ordered = frozenset(orders.of_study(spool, made_from.study_instance_uid))
    found = group.assemble(images, settings.grouping, wishes=group.Wishes(settings.choosing_scanners(), ordered))
    given = [(one, stack) for one in found if (stack := one.partial if made_from.partial else one.stack) is not None]
    if not given:
        reasons = "; ".join(sorted({str(one.reason) for one in found if one.reason}))
        raise InputError(f"by these settings its images give no result: {reasons or 'they cannot be read'}")
    sources = set(made_from.sources)
    return max(given, key=lambda one: len(sources & set(one[1].sop_instance_uids)))
