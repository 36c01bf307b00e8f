"""The states of a job: one table, and no way around it."""

import json

import pytest

from dicomnode.errors import StorageError
from dicomnode.jobs import lifecycle
from dicomnode.jobs.lifecycle import (
    DELIVERY_TRANSITIONS,
    JOB_TRANSITIONS,
    Delivery,
    DeliveryStatus,
    IllegalTransition,
    JobState,
    JobStatus,
)
from dicomnode.store.job import Job


@pytest.fixture
def job(tmp_path):
    made = Job(tmp_path / "k")
    made.folder.mkdir()
    return made


def test_a_job_of_which_nothing_was_said_waits(job):
    assert lifecycle.state(job) == JobState(JobStatus.QUEUED)
    assert lifecycle.delivery(job, "pacs") == Delivery(DeliveryStatus.WAITING)


def test_a_job_remembers_what_was_said_of_it(job):
    lifecycle.say(job, JobStatus.FITTING, run=2)
    lifecycle.say(job, JobStatus.FAILED, "no pixels")
    assert lifecycle.state(job) == JobState(JobStatus.FAILED, "no pixels", 2)


def test_every_state_is_in_the_tables():
    assert set(JOB_TRANSITIONS) == set(JobStatus)
    assert set(DELIVERY_TRANSITIONS) == set(DeliveryStatus)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (JobStatus.QUEUED, JobStatus.DONE),
        (JobStatus.FITTING, JobStatus.REPORTING),
        (JobStatus.MEASURING, JobStatus.DONE),
        (JobStatus.DONE, JobStatus.FITTING),
        (JobStatus.REFUSED, JobStatus.DONE),
    ],
)
def test_an_illegal_transition_names_both_states_and_changes_nothing(job, before, after):
    job.write("state.json", {"status": before.value, "reason": None})
    with pytest.raises(IllegalTransition, match=f"{before.value} cannot become {after.value}"):
        lifecycle.say(job, after)
    assert lifecycle.state(job).status is before


def test_what_is_delivered_stays_delivered_unless_it_is_to_be_sent_again(job):
    lifecycle.say_delivery(job, "pacs", Delivery(DeliveryStatus.DELIVERED, delivered=("1.2",)))
    for status in set(DeliveryStatus) - {DeliveryStatus.DELIVERED, DeliveryStatus.WAITING}:
        with pytest.raises(IllegalTransition):
            lifecycle.say_delivery(job, "pacs", Delivery(status))
    assert lifecycle.delivery(job, "pacs").delivered == ("1.2",)
    lifecycle.say_delivery(job, "pacs", lifecycle.delivery(job, "pacs").anew())
    assert lifecycle.delivery(job, "pacs") == Delivery(attempt=1)


def test_a_job_remembers_when_it_came_to_each_state(job):
    for status in (JobStatus.FITTING, JobStatus.FITTING, JobStatus.MEASURING, JobStatus.REFUSED):
        lifecycle.say(job, status)
    times = lifecycle.state(job).times
    assert [status for status, _ in times] == ["fitting", "measuring", "refused"]
    assert [since for _, since in times] == sorted(since for _, since in times)


def test_what_is_held_says_by_whom_until_it_is_released(job):
    assert lifecycle.held_by(job) is None
    lifecycle.hold(job, "anna")
    assert lifecycle.held_by(job) == "anna"
    for _ in range(2):
        lifecycle.release(job)
    assert lifecycle.held_by(job) is None


def test_a_delivery_is_read_as_it_was_written(job):
    said = Delivery(DeliveryStatus.DELAYED, 3, ("1.2",), {"1.3": "no"}, {"1.2": "B000"}, "away", 10.0, 1, 20.0, 30.0)
    lifecycle.say_delivery(job, "pacs", said)
    assert lifecycle.delivery(job, "pacs") == said
    assert lifecycle.deliveries(job) == {"pacs": said}


def test_trying_again_keeps_what_is_confirmed_and_offers_what_was_refused():
    said = Delivery(DeliveryStatus.DEAD_LETTER, 3, ("1.2",), {"1.3": "no"}, {"1.2": "B000"}, "no", 10.0, 1, 20.0, 9e9)
    assert said.again() == Delivery(attempt=4, delivered=("1.2",), warnings={"1.2": "B000"})


def test_trying_again_keeps_what_was_committed_to_and_whose_reports_count():
    said = Delivery(
        DeliveryStatus.DEAD_LETTER, 3, ("1.2",), committed=("1.2",), transactions=("1.9",), asked=5.0, unanswered=7.0
    )
    assert said.again() == Delivery(attempt=4, delivered=("1.2",), committed=("1.2",), transactions=("1.9",))


def test_what_a_destination_does_not_have_after_all_is_neither_delivered_nor_committed():
    said = Delivery(DeliveryStatus.SENDING, delivered=("1.2", "1.3"), committed=("1.2", "1.3"))
    left = said.without({"1.2": "lost"})
    assert (left.delivered, left.committed, left.refused) == (("1.3",), ("1.3",), {"1.2": "lost"})


@pytest.mark.parametrize("end", [status for status in DeliveryStatus if status.is_end])
def test_what_awaits_commitment_may_come_to_every_end_and_go_on_being_sent(job, end):
    for status in (DeliveryStatus.AWAITING_COMMITMENT, DeliveryStatus.SENDING, DeliveryStatus.AWAITING_COMMITMENT, end):
        lifecycle.say_delivery(job, "pacs", Delivery(status, committed=("1.2",), transactions=("1.9",), asked=1.0))
    assert lifecycle.delivery(job, "pacs").transactions == ("1.9",)


def test_a_receipt_of_the_version_before_is_read(job):
    job.write("receipts/pacs.json", {"status": "waiting", "attempt": 0, "delivered": [], "refused": {}, "reason": None})
    assert lifecycle.delivery(job, "pacs") == Delivery()


@pytest.mark.parametrize("said", ["{", json.dumps({"status": "thinking"}), "[]"])
def test_a_damaged_state_is_said_with_its_file(job, said):
    (job.folder / "state.json").write_text(said)
    with pytest.raises(StorageError, match=r"state\.json is damaged"):
        lifecycle.state(job)
