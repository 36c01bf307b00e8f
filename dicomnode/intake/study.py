"""What is known of one study: its headers, how they came in, and what its record says."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicomnode import protocol
from dicomnode.errors import StorageError
from dicomnode.intake.complete import Arrival, Verdict
from dicomnode.jobs import manifest as manifests
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from dicomnode.header import Header
    from dicomnode.intake.complete import Decision
    from dicomnode.model import EchoImage, EchoStack, Group
    from dicomnode.store.spool import Spool


_ALL = "all"  # of the marker that stands for all


@dataclass
class Study:
    """What is known of one study folder; can be forgotten and read again at any time."""

    headers: dict[str, Header] = field(default_factory=dict)  # by file name
    times: dict[str, float] = field(default_factory=dict)  # by file name: when this node first saw it
    stamp: tuple[int, float] = (0, 0.0)  # time stamp of the folder at the last look, and since when that is known
    settled_ns: int = 0  # time stamp of the folder that nothing needs to be looked at for
    look_at: float | None = None
    looked_at: float = -math.inf


@dataclass(frozen=True)
class Markers:
    """What was recorded of how the instances of a study came in."""

    releases: tuple[frozenset[str], ...]  # SOP Instance UIDs, per association that ended well
    taken: frozenset[str]  # came as whole files
    paths: tuple[Path, ...]

    @classmethod
    def read(cls, folder: Path) -> Markers:
        """Read every marker in the folder of a study."""
        released, taken = sorted(folder.glob("released-*.json")), sorted(folder.glob("taken-*.json"))
        return cls(
            tuple(frozenset(read_json(path) or ()) for path in released),
            frozenset(uid for path in taken for uid in read_json(path) or ()),
            (*released, *taken),
        )

    def fold(self, folder: Path, uids: frozenset[str]) -> None:
        """Put one marker in the place of all: how images came in matters only while they are fresh."""
        write_json(folder / f"taken-{_ALL}.json", sorted(uids))
        for path in self.paths:
            if path.stem != f"taken-{_ALL}":
                path.unlink(missing_ok=True)

    def are_folded(self, uids: frozenset[str]) -> bool:
        """Whether one marker stands for all."""
        return len(self.paths) == 1 and self.taken == uids


class Begun:
    """Jobs of a study that are begun and perhaps not in its record yet, should the process die in between.

    The next process may be of another version or have other settings: it would give the same images another identity.
    """

    def __init__(self, spool: Spool, study_uid: str) -> None:
        self._spool = spool
        self._path = spool.studies / f"{study_uid}.begun"
        self._said: dict[str, dict[str, Any]] = read_json(self._path) or {}  # by group

    def of(self, group_id: str) -> dict[str, Any]:
        """What the record would say of a group whose job is durable."""
        one = self._said.get(group_id)
        return one if one is not None and manifests.exists(self._spool.job(one["key"])) else {}

    @contextlib.contextmanager
    def marked(self, group_id: str, key: str, said: Mapping[str, Any]) -> Iterator[None]:
        """Leave a mark while a job is begun, until the record is written; what fails is tried again without one."""
        self._said[group_id] = {"key": key, **said}
        write_json(self._path, self._said)
        try:
            yield
        except Exception:
            del self._said[group_id]
            write_json(self._path, self._said)
            raise

    def forget(self) -> None:
        """Remove the marks: the record says it all."""
        self._path.unlink(missing_ok=True)


def images(study: Study) -> list[EchoImage]:
    """Every echo image of a study."""
    return [image for found in study.headers.values() for image in found.images]


def arrival(
    candidate: Group, study: Study, markers: Markers, bringing: frozenset[str], *, stays_open: bool = False
) -> Arrival:
    """How the images of a group came in; ``bringing`` are instances that open associations have brought."""
    uids = {image.sop_instance_uid for image in candidate.images}
    return Arrival(
        newest=max(study.times[image.path.stem] for image in candidate.images),
        receiving=not uids.isdisjoint(bringing),
        whole=any(uids <= release for release in markers.releases),
        clean=uids <= markers.taken.union(*markers.releases),
        stays_open=stays_open,
    )


def was_waited_for(candidate: Group, before: dict[str, Any]) -> bool:
    """Whether the same images were judged for good already: their time does not begin anew with this process."""
    return before.get("sources") == sources(candidate) and before.get("status") != Verdict.WAIT


def is_overtaken(spool: Spool, study_uid: str, key: str) -> bool:
    """Whether the study's record says that more has come of what a result was made from."""
    try:
        record = read_json(spool.studies / f"{study_uid}.json") or {"groups": {}}
    except StorageError:
        return False
    return any(one["key"] == key and _has_more(one) for one in record["groups"].values())


def _has_more(one: dict[str, Any]) -> bool:
    """Whether more has come of what gives a group's values; a phase that comes late does not."""
    measured = one.get("measured")
    return one["sources"] != one["started"] and (measured is None or measured != one.get("made_of"))


def sources(candidate: Group) -> str:
    """Digest of the instances of a group."""
    return _digest({image.sop_instance_uid for image in candidate.images})


def measured(stack: EchoStack | None) -> str | None:
    """Digest of the instances that give the values of a stack, without those beside them."""
    return None if stack is None else _digest(stack.sop_instance_uids)


def _digest(uids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(uids)).encode()).hexdigest()


def known_of(candidate: Group, groups: dict[str, Any]) -> dict[str, Any]:
    """What the record says of a group, also where other rules of grouping have given it another name since."""
    own: dict[str, Any] | None = groups.get(candidate.group_id)
    if own is not None:
        return own
    images = sources(candidate)
    return next((one for one in groups.values() if one.get("started") == images), {})


def entry(candidate: Group, decision: Decision, before: dict[str, Any], among: Sequence[str]) -> dict[str, Any]:
    """What the study's record says of a group; ``key`` names the job that was started from the images ``started``.

    ``made_of`` are those of them that give its values, ``beside`` the parts of the signal that came in time for it;
    ``among`` names the organs that are measured of what its scanner sends.
    """
    stack = candidate.stack
    return {
        "series_instance_uids": list(candidate.series_instance_uids),
        "status": str(decision.verdict),
        "code": decision.reason.code if decision.reason else None,
        "reason": decision.reason.sentence if decision.reason else None,
        "missing": list(candidate.missing),
        "holes": [list(cell) for cell in candidate.holes],
        "left_out": [*candidate.left_out, *_late(stack, before)],
        "echo_times_ms": list(candidate.echo_times_ms),
        "slices": candidate.n_slices,
        "images": len(candidate.images),
        "sources": sources(candidate),
        "measured": measured(stack),
        "started": before.get("started"),
        "made_of": before.get("made_of"),
        "beside": before.get("beside"),
        "key": before.get("key"),
        "advice": "" if stack is None else protocol.advice(stack, protocol.choose(stack, among).organ),
    }


def made(stack: EchoStack) -> dict[str, Any]:
    """What the study's record says of a stack whose job is started."""
    return {"made_of": measured(stack), "beside": _companions(stack)}


def _companions(stack: EchoStack) -> list[str]:
    return sorted(str(component) for component in stack.companions)


def _late(stack: EchoStack | None, before: dict[str, Any]) -> list[str]:
    """What came beside the values of a result after it was begun, and so is not in it."""
    in_time = before.get("beside")
    if stack is None or in_time is None:
        return []
    return [f"{one} that came after the result was begun" for one in _companions(stack) if one not in in_time]


def others(study: Study, drawn: dict[str, Any]) -> list[dict[str, Any]]:
    """What arrived that is neither an echo image nor a drawing, by reason."""
    others = [found for found in study.headers.values() if not found.images and found.sop_instance_uid not in drawn]
    reasons = Counter(found.reason for found in others if found.reason)
    ordered = sorted(reasons.items(), key=lambda item: item[0].code)
    return [{"code": reason.code, "reason": reason.sentence, "count": count} for reason, count in ordered]


def is_unread(found: Header) -> bool:
    """Whether the disk, not the file, was the trouble: another look may help."""
    return found.reason is not None and found.reason.code == "unreadable"


def conflicts(folder: Path) -> list[dict[str, Any]]:
    """What was put aside because other bytes are held under its SOP Instance UID."""
    count = sum(1 for _ in folder.glob("conflict-*.dcm"))
    sentence = (
        "an image that is held came again with other bytes (content or transfer syntax); they were put aside unused"
    )
    return [{"code": "conflict", "reason": sentence, "count": count}] if count else []


def labels(study: Study) -> dict[str, Any]:
    """By what else a study is asked for."""
    return {"accession_number": next((f.accession_number for f in study.headers.values() if f.accession_number), "")}
