"""Fuzz by meaning: of a series with one or two lies comes the right value, or a reason that names one of them."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import lies

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))


def test_no_lie_gives_the_number():
    assert lies.outcome(120.0, (7, 2), (), 1).verdict == "right"


@pytest.mark.parametrize("kind", lies.KINDS)
def test_each_lie_alone(kind):
    found = lies.outcome(120.0, (7, 2), (kind,), 1)
    assert found.verdict in {"right", "named"}, found


@pytest.mark.parametrize("name", lies.THREADS)
@pytest.mark.parametrize("slices", [1, 3])
def test_each_situation_that_a_public_thread_tells_of(name, slices):
    found = lies.outcome(120.0, (7, slices), (name,), 1)
    assert found.verdict in {"right", "named"}, (lies.THREADS[name][1], found)


@pytest.mark.parametrize("name", lies.TRIALS)
@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("rate", [40.0, 120.0])
def test_each_situation_that_a_trial_found_wrong(name, slices, rate):
    found = lies.outcome(rate, (7, slices), (name,), 1)
    assert found.verdict in {"right", "named"}, found


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(
    rate=st.sampled_from(lies.RATES),
    shape=st.tuples(st.integers(6, 9), st.integers(1, 3)),
    kinds=st.lists(st.sampled_from(sorted(lies.KINDS)), min_size=1, max_size=2, unique=True).filter(lies.go_together),
    seed=st.integers(0, 999),
)
def test_of_one_or_two_lies_comes_the_right_value_or_their_name(rate, shape, kinds, seed):
    found = lies.outcome(rate, shape, tuple(kinds), seed)
    assert found.verdict in {"right", "named"}, found
