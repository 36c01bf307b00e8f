"""Every state has words for people: a page may not break over one that is new."""

from dicomnode.intake.complete import Verdict
from dicomnode.jobs.lifecycle import DeliveryStatus, JobStatus
from dicomnode.operate.status import FINISHED, NEEDS_A_PERSON
from dicomnode.web import words


def test_every_state_of_a_series_has_words():
    states = {*NEEDS_A_PERSON, *FINISHED, *JobStatus, *Verdict, "not taken in"} - {Verdict.READY}
    assert states == set(words.STATES)


def test_every_state_of_a_delivery_has_words():
    assert set(DeliveryStatus) == set(words.DELIVERIES)
