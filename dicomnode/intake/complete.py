"""The rule of completeness: by content, with silence only as its confirmation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dicomnode.model import Group, GroupStatus, Reason

if TYPE_CHECKING:
    from dicomnode.config import GroupingSettings


class Verdict(StrEnum):
    """What the watcher does with a group now."""

    WAIT = "waiting"
    READY = "ready"
    REFUSED = "refused"
    INCOMPLETE = "incomplete"  # given up waiting for what is missing


@dataclass(frozen=True)
class Arrival:
    """How the images of a group came in, as far as it tells whether more are on their way."""

    newest: float  # time this node first saw the last one, seconds
    receiving: bool  # an association that brought some of them is open
    whole: bool  # one association brought all of them and was released
    clean: bool  # all came on released associations, or as files
    stays_open: bool = False  # the sender keeps one association for many series
    went_before: bool = False  # it seemed to be all there once already, and was not


@dataclass(frozen=True)
class Decision:
    """A verdict, its reason, and when to look again if nothing happens."""

    verdict: Verdict
    reason: Reason | None = None
    again_at: float | None = None
    partial: bool = False  # READY with the complete slices only


def decide(candidate: Group, arrival: Arrival, rules: GroupingSettings, now: float) -> Decision:
    """Apply the rule of completeness: by content, with silence only as its confirmation.

    A full grid goes when the one association that brought it was released, or after a short quiet time; as long as an
    association that brought some of it is open, nothing goes. What a broken association brought waits long for its
    sender to come back, unless the scanner's own count says that it is all there. A grid with holes waits for them up
    to ``give_up_after``. A refusal is spoken only once nothing more seems to come.
    """
    if arrival.receiving and not arrival.stays_open:
        again_at = now + rules.rescan_seconds  # its end wakes the watcher; this is for an end that nobody told
        return Decision(Verdict.WAIT, Reason("arriving", "the association that brings it is open"), again_at=again_at)
    settled_at = arrival.newest + _pause(candidate, arrival, rules)
    if candidate.status is GroupStatus.INCOMPLETE:
        return _with_holes(candidate, arrival.newest + rules.give_up_after, rules, now)
    if now < settled_at:
        return Decision(Verdict.WAIT, Reason("arriving", "images are still arriving"), again_at=settled_at)
    if candidate.status is GroupStatus.REFUSED:
        return Decision(Verdict.REFUSED, candidate.reason)
    return Decision(Verdict.READY)


def _with_holes(candidate: Group, give_up_at: float, rules: GroupingSettings, now: float) -> Decision:
    if now < give_up_at:
        return Decision(Verdict.WAIT, candidate.reason, again_at=give_up_at)
    if candidate.partial is not None and _may_go_without(candidate, rules):
        return Decision(Verdict.READY, candidate.reason, partial=True)
    return Decision(Verdict.INCOMPLETE, candidate.reason)


def _pause(candidate: Group, arrival: Arrival, rules: GroupingSettings) -> float:
    """How long nothing more may have come."""
    full = candidate.status is GroupStatus.COMPLETE
    if not (arrival.clean or arrival.receiving or (full and candidate.counted)):
        return rules.unreleased_quiet_seconds
    at_once = full and arrival.whole and not arrival.receiving and not arrival.went_before
    return 0.0 if at_once else rules.quiet_seconds


def _may_go_without(candidate: Group, rules: GroupingSettings) -> bool:
    """Complete slices go when the policy says so; a full grid that only lacks announced images always does."""
    return rules.when_given_up == "process_complete_slices" or not candidate.missing
