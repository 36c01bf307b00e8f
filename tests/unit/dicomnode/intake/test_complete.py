"""The rule of completeness, as a table of situations."""

from dataclasses import replace

import pytest

from dicomnode.config import GroupingSettings
from dicomnode.intake.complete import Arrival, Verdict, decide
from dicomnode.model import Group, GroupStatus, Reason

RULES = GroupingSettings(quiet_seconds=5.0, unreleased_quiet_seconds=60.0, give_up_after=600.0)
STACK = object()  # decide() never looks into it


def candidate(status: GroupStatus, *, partial=None, missing=()) -> Group:
    reason = None if status is GroupStatus.COMPLETE else Reason("holes", "echo 7, slice 12 missing")
    return Group("g", "1.2", ("1.2.3",), status, reason, (1.0, 2.0, 3.0), 1, (), STACK, partial, missing)


def arrival(*, receiving=False, whole=False, clean=True, stays_open=False, went_before=False) -> Arrival:
    return Arrival(1000.0, receiving, whole, clean, stays_open, went_before)


def test_what_the_scanner_counted_need_not_wait_for_the_sender_that_broke_off():
    full = replace(candidate(GroupStatus.COMPLETE), counted=True)
    assert decide(full, arrival(clean=False), RULES, 1005.0).verdict is Verdict.READY


@pytest.mark.parametrize(
    ("how", "seconds_after", "verdict"),
    [
        (arrival(whole=True), 0.0, Verdict.READY),  # one association brought all of it and was released
        (arrival(), 1.0, Verdict.WAIT),  # several associations, each released
        (arrival(), 5.0, Verdict.READY),
        (arrival(receiving=True, clean=False), 1.0, Verdict.WAIT),
        (arrival(receiving=True, clean=False), 3000.0, Verdict.WAIT),  # open: one image every 6.5 s is one series
        (arrival(receiving=True, clean=False, stays_open=True), 1.0, Verdict.WAIT),
        (arrival(receiving=True, clean=False, stays_open=True), 5.0, Verdict.READY),  # as its scanner is known to do
        (arrival(whole=True, went_before=True), 1.0, Verdict.WAIT),  # it seemed to be all there once, and was not
        (arrival(whole=True, went_before=True), 5.0, Verdict.READY),
        (arrival(clean=False), 5.0, Verdict.WAIT),  # broken off: it will be sent again
        (arrival(clean=False), 60.0, Verdict.READY),
    ],
)
def test_a_full_grid_goes_by_how_it_came(how, seconds_after, verdict):
    decision = decide(candidate(GroupStatus.COMPLETE), how, RULES, 1000.0 + seconds_after)
    assert decision.verdict is verdict


def test_waiting_says_when_to_look_again():
    assert decide(candidate(GroupStatus.COMPLETE), arrival(), RULES, 1001.0).again_at == 1005.0


@pytest.mark.parametrize("how", [arrival(whole=True), arrival(), arrival(clean=False)])
def test_silence_alone_never_makes_holes_complete(how):
    decision = decide(candidate(GroupStatus.INCOMPLETE), how, RULES, 1599.0)
    assert decision.verdict is Verdict.WAIT
    assert decision.reason.sentence == "echo 7, slice 12 missing"


def test_holes_are_given_up_in_the_end_and_said():
    decision = decide(candidate(GroupStatus.INCOMPLETE, missing=("echo 7, slice 12",)), arrival(), RULES, 1600.0)
    assert decision.verdict is Verdict.INCOMPLETE
    assert "slice 12" in decision.reason.sentence


def test_complete_slices_go_in_the_end_when_the_policy_says_so():
    rules = RULES.model_copy(update={"when_given_up": "process_complete_slices"})
    holed = candidate(GroupStatus.INCOMPLETE, partial=STACK, missing=("echo 7, slice 12",))
    assert decide(holed, arrival(), RULES, 1600.0).verdict is Verdict.INCOMPLETE
    decision = decide(holed, arrival(), rules, 1600.0)
    assert (decision.verdict, decision.partial) == (Verdict.READY, True)


def test_a_full_grid_that_only_lacks_announced_images_goes_in_the_end():
    decision = decide(candidate(GroupStatus.INCOMPLETE, partial=STACK), arrival(), RULES, 1600.0)
    assert (decision.verdict, decision.partial) == (Verdict.READY, True)


def test_a_refusal_is_spoken_only_once_nothing_more_comes():
    refused = candidate(GroupStatus.REFUSED)
    assert decide(refused, arrival(), RULES, 1001.0).verdict is Verdict.WAIT
    assert decide(refused, arrival(), RULES, 1005.0).verdict is Verdict.REFUSED
