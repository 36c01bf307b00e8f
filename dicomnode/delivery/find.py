"""Asks by C-FIND whether a destination has objects (Study Root, PS3.4 C.4.1)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from dicomnode.errors import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pynetdicom.association import Association

FIND = str(StudyRootQueryRetrieveInformationModelFind)
_PENDING = (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True)
class Sought:
    """An object by the UIDs under which it is asked for."""

    study_uid: str
    series_uid: str
    sop_uid: str


def missing(association: Association, objects: Iterable[Sought]) -> set[str]:
    """The SOP Instance UIDs that the destination does not have; raises NoAnswer where it does not say."""
    by_series: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in objects:
        by_series[one.study_uid, one.series_uid].add(one.sop_uid)
    return {uid for series, uids in by_series.items() for uid in _missing_of_series(association, series, uids)}


def _missing_of_series(association: Association, series: tuple[str, str], uids: set[str]) -> set[str]:
    """Ask for every instance; of a destination that lists none ask for their number, which is all that some tell."""
    place = {"StudyInstanceUID": series[0], "SeriesInstanceUID": series[1]}
    listed = ask(association, {"QueryRetrieveLevel": "IMAGE", **place, "SOPInstanceUID": ""})
    there = {str(one.get("SOPInstanceUID", "")) for one in listed or ()} - {""}
    if there:
        return uids - there
    counted = ask(association, {"QueryRetrieveLevel": "SERIES", **place, "NumberOfSeriesRelatedInstances": ""})
    if counted is None:
        raise NoAnswer("it refuses C-FIND at the levels IMAGE and SERIES: read_back cannot be had from it")
    numbers = [int(one.get("NumberOfSeriesRelatedInstances") or 0) for one in counted if _is(one, series[1])]
    return set() if sum(numbers) >= len(uids) else uids


def _is(answer: Dataset, series_uid: str) -> bool:
    return str(answer.get("SeriesInstanceUID", "")) == series_uid


def ask(
    association: Association, keys: Mapping[str, str], go_on: Callable[[], object] = lambda: None
) -> list[Dataset] | None:
    """What matches; None where the destination refuses the question. Raises NoAnswer where it says nothing.

    ``go_on`` is called after each answer, and raises where there are enough.
    """
    question = Dataset()
    for keyword, value in keys.items():
        setattr(question, keyword, value)
    found = []
    try:
        for status, answer in association.send_c_find(question, FIND):
            said = status.get("Status")
            if said is None:
                raise NoAnswer("it did not answer C-FIND")
            if said in _PENDING and answer is not None:
                found.append(answer)
                go_on()
            elif said != 0x0000:
                return None
    except (RuntimeError, ValueError) as fault:  # pynetdicom: the association is gone
        raise NoAnswer("it closed the association before it answered C-FIND") from fault
    return found
