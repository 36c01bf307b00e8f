"""Who of several processes is dead: one that is gone, never one that has only lost its connection."""

import time

import psycopg
import pytest

from bench.faults import database
from dicomnode.jobs import members
from dicomnode.jobs.members import Several


@pytest.fixture
def postgresql(peer):
    if database.programs() is None:
        peer("pg_ctl")
    with database.postgresql() as server:
        yield server.url


@pytest.fixture
def several(postgresql, monkeypatch):
    monkeypatch.setattr(members, "_REJOINING_SECONDS", 0.0)
    joined = []

    def join():
        joined.append(Several(postgresql, lambda _: None))
        joined[-1].join("here")
        return joined[-1]

    yield join
    for one in joined:
        one.leave()


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def cut(postgresql, *, but):
    """Break every connection but one, as a firewall does."""
    with psycopg.connect(postgresql, autocommit=True) as own:
        kept = (own.info.backend_pid, but._connection.info.backend_pid)
        own.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> ALL(%s)", (list(kept),))


def test_one_that_has_lost_its_connection_is_not_dead_if_it_comes_back(several, postgresql):
    leader, worker = several(), several()
    cut(postgresql, but=leader)
    assert not leader.is_dead(worker.own)
    wait_for(lambda: worker.leads() or worker._connection is not None)
    end = time.monotonic() + members._MISSED_SECONDS + 1.0
    while time.monotonic() < end:
        worker.leads()
        assert not leader.is_dead(worker.own)
        time.sleep(0.2)


def test_one_that_is_gone_is_dead_in_a_moment(several):
    leader, worker = several(), several()
    worker.leave()
    assert not leader.is_dead(worker.own)
    wait_for(lambda: leader.is_dead(worker.own), members._MISSED_SECONDS + 5.0)


def test_a_thread_that_finds_the_old_connection_broken_leaves_the_new_one(several, postgresql):
    leader, other = several(), several()
    old = leader._connection
    cut(postgresql, but=other)
    leader.join("here")
    leader._lose(old)
    assert not leader.is_dead("anybody")
    assert leader._connection is not None
