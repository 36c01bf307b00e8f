"""Results that a person had made again from the images that are kept, beside the result that was there."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

from dicomnode.errors import InputError, StorageError
from dicomnode.jobs import manifest as manifests
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool


@dataclass(frozen=True, slots=True)
class Again:
    """One result that was made again; ``sent`` counts those of a study in the order in which they were sent."""

    of: str  # key of the result it stands beside
    root: str  # key of the first of them, which the watcher knows
    group: str
    by: str  # the name of an account
    at: str  # ISO 8601
    request: str = ""  # names what was asked, so that who asked finds it
    sent: int = 0  # 0: it is kept here, and nothing of it goes anywhere


def of_study(spool: Spool, study_uid: str) -> dict[str, Again]:
    """Every result of a study that was made again, by key; raises StorageError where that cannot be read."""
    said = read_json(path(spool, study_uid)) or {}
    names = {one.name for one in fields(Again)}
    try:
        return {key: Again(**{name: one[name] for name in names & one.keys()}) for key, one in said.items()}
    except (AttributeError, TypeError) as fault:
        raise StorageError(f"{path(spool, study_uid)} is damaged") from fault


def note(spool: Spool, study_uid: str, key: str, one: Again) -> None:
    """Make it durable that a result is made again, or sent."""
    known = {**of_study(spool, study_uid), key: one}
    write_json(path(spool, study_uid), {name: asdict(again) for name, again in known.items()})


def path(spool: Spool, study_uid: str) -> Path:
    """Where it is written which results of a study were made again."""
    return spool.studies / f"{study_uid}.again"


def newest(known: Mapping[str, Again], root: str, *, before: str | None = None) -> str:
    """Of a result and those made again of it, the key of the one that was sent last; ``before`` another was."""
    own = known.get(before or "")
    limit = own.sent if own is not None and own.sent else math.inf
    sent = {one.sent: key for key, one in known.items() if one.root == root and 0 < one.sent < limit}
    return sent[max(sent)] if sent else root


def send(spool: Spool, study_uid: str, key: str) -> None:
    """Make it durable that a result goes where results go; what was sent before keeps its place."""
    known = of_study(spool, study_uid)
    if not known[key].sent:
        note(spool, study_uid, key, replace(known[key], sent=1 + max(one.sent for one in known.values())))


def is_kept_here(spool: Spool, job: Job) -> bool:
    """Whether nothing of a result goes anywhere, because nobody has asked for that."""
    made_from = manifests.read(job)
    if made_from.beside is None:
        return False
    known = of_study(spool, made_from.study_instance_uid).get(job.key)
    return known is not None and not known.sent


def check_current(spool: Spool, study_uid: str, key: str) -> None:
    """Raise InputError where what is made of a result must not replace what came after that."""
    record = read_json(spool.studies / f"{study_uid}.json") or {"groups": {}}
    known = of_study(spool, study_uid)
    root = known[key].root if key in known else key
    if all(one["key"] != root for one in record["groups"].values()):
        raise InputError(
            "more of its series has come since, and another result took the place of what it was made from; "
            "reprocess that one"
        )
