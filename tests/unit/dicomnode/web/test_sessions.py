"""Who is at a browser, and how often a log-in may be tried."""

from dataclasses import replace

import pytest

from dicomnode.web.search import Search
from dicomnode.web.sessions import Attempts, Sessions


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sessions(clock):
    return Sessions(60.0, ("", "none"), clock)


def test_who_has_not_logged_in_may_do_nothing(sessions):
    session = sessions.of("")
    assert (session.may_look, session.may_act) == (False, False)


@pytest.mark.parametrize(("role", "acts"), [("view", False), ("act", True)])
def test_a_role_is_what_one_may_do(sessions, role, acts):
    session = sessions.of(sessions.begin("anna", role).token)
    assert (session.user, session.may_look, session.may_act) == ("anna", True, acts)


def test_a_session_ends_when_nobody_clicks(sessions, clock):
    token = sessions.begin("anna", "view").token
    for _ in range(3):
        clock.now += 50.0
        assert sessions.of(token).user == "anna"
    clock.now += 61.0
    assert not sessions.of(token).may_look


def test_a_page_that_renews_itself_keeps_no_session_open(sessions, clock):
    token = sessions.begin("anna", "view").token
    for _ in range(2):
        clock.now += 25.0
        assert sessions.of(token, clicked=False).user == "anna"
    clock.now += 25.0
    assert not sessions.of(token, clicked=False).may_look


def test_a_session_ends_with_the_log_out(sessions):
    session = sessions.begin("anna", "view")
    sessions.end(session)
    assert not sessions.of(session.token).may_look


def test_a_token_that_was_never_given_is_nobodys(sessions):
    assert not sessions.of("made up").may_look


def test_a_form_is_good_for_its_own_session_only(sessions):
    one, other = sessions.begin("anna", "act"), sessions.begin("bert", "act")
    assert one.gave(one.form_token)
    for wrong in (other.form_token, "", one.token, "ünheard"):
        assert not one.gave(wrong)


def test_before_the_log_in_the_form_token_follows_from_the_cookie(sessions):
    first = sessions.of("")
    assert sessions.of(first.token).gave(first.form_token)


def test_crowds_at_the_door_push_out_nobody_who_is_in(sessions):
    token = sessions.begin("anna", "view").token
    for number in range(2000):
        sessions.keep(sessions.of(f"stranger {number}"))
    assert sessions.of(token).user == "anna"


def test_what_one_looks_for_is_remembered(sessions):
    session = sessions.begin("anna", "view")
    sessions.keep(replace(session, search=Search(text="A1")))
    assert sessions.of(session.token).search.text == "A1"


def test_after_five_refused_log_ins_one_waits(clock):
    attempts = Attempts(clock)
    for _ in range(5):
        assert attempts.wait_seconds("anna", "10.0.0.1") == 0
        attempts.refused("anna", "10.0.0.1")
    assert attempts.wait_seconds("anna", "10.0.0.1") == pytest.approx(300.0)
    assert attempts.wait_seconds("anna", "10.0.0.2") == 0  # anna herself, from elsewhere
    clock.now += 301.0
    assert attempts.wait_seconds("anna", "10.0.0.1") == 0


def test_one_address_cannot_try_name_after_name(clock):
    attempts = Attempts(clock)
    for number in range(20):
        attempts.refused(f"name{number}", "10.0.0.1")
    assert attempts.wait_seconds("another", "10.0.0.1") > 0
