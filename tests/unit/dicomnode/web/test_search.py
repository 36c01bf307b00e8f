"""What of the studies a search finds."""

import time

import pytest

from dicomnode.operate.status import Study
from dicomnode.web.search import Search

DAY = 86400.0


def study(age_days=0.0, **more):
    entry = {
        "study_instance_uid": "1.2.3",
        "accession_number": "MR-17",
        "series_instance_uids": ["1.2.3.4"],
        "key": "abcd",
        "status": "done",
        "code": None,
        **more,
    }
    return Study(time.time() - age_days * DAY, (entry,))


def day(age_days):
    return time.strftime("%Y-%m-%d", time.localtime(time.time() - age_days * DAY))


@pytest.mark.parametrize("text", ["", "MR-17", "mr-1", "1.2.3", "1.2.3.4", "abcd"])
def test_it_finds_by_accession_number_uid_or_key(text):
    assert Search(text=text).finds(study())


@pytest.mark.parametrize("text", ["17", "1.2", "abc", "MR-18"])
def test_it_finds_nothing_else(text):
    assert not Search(text=text).finds(study())


def test_it_finds_by_state_and_reason_of_the_same_series():
    found = study(status="refused", code="epi")
    assert Search(status="refused", code="epi").finds(found)
    assert not Search(status="done", code="epi").finds(found)
    assert not Search(status="refused", code="tse").finds(found)


def test_a_span_of_days_includes_both_ends():
    found = study(age_days=3)
    assert Search(since=day(3), until=day(3)).finds(found)
    assert not Search(since=day(2)).finds(found)
    assert not Search(until=day(4)).finds(found)


def test_a_form_that_makes_no_sense_asks_for_nothing():
    assert Search.of({"since": "yesterday", "until": "2026-13-45", "text": "  "}) == Search()
    assert len(Search.of({"text": "x" * 10_000}).text) <= 128
