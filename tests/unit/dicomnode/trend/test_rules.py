"""When a difference is a change, and when two values may be compared at all: over generated pairs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dicomnode.measure.organs import HEART, LIVER
from dicomnode.trend import rules
from dicomnode.trend.rules import Obstacle, Outcome, is_same_scanner
from dicomnode.trend.values import Bound, Conditions, Origin, Point, Priors, Scanner

HERE = Conditions(
    Scanner("SIEMENS", "Aera", "MR1", "4711"),
    1.5,
    (1.1, 2.2, 3.3, 4.4),
    (1.6, 1.6, 8.0),
    "hernando-2023: LIC = -0.16 + 0.02603 · R2*",
    "liver-finder 2",
    "admm automatic rician",
)
RULE = LIVER.repeatability
SHARE, LEAST_MG_PER_G = RULE.share, RULE.least
OPPOSITE = {Outcome.MORE: Outcome.LESS, Outcome.LESS: Outcome.MORE}
irons = st.floats(0.5, 40.0)
errors = st.floats(0.0, 0.4)  # relative, of the rate


def point(lic, error=0.01, date="20250101", **changes):
    rate = ((lic or 0.0) + 0.16) / 0.02603
    ends = (rate * (1 - 1.96 * error), rate * (1 + 1.96 * error))
    made = Point(date, Origin.NODE, lic_mg_per_g=lic, r2star_per_s=rate, r2star_ci95=ends, conditions=HERE)
    return replace(made, **changes)


def compare(now, then, organ=LIVER):
    return rules.compare(now, then, organ)


def limit(now, then):
    return rules.limit(now, then, RULE)


def trend(now, priors, organ=LIVER):
    return rules.trend(now, priors, organ)


def under(**changes):
    return replace(HERE, **changes)


@given(irons, irons, errors, errors)
def test_the_limit_is_the_largest_of_three(one, other, first, second):
    now, then = point(one, first), point(other, second)
    noise = 1.96 * math.hypot(one * first, other * second)
    assert limit(now, then) == pytest.approx(max(SHARE * (one + other) / 2, noise, LEAST_MG_PER_G))


@given(irons, errors)
def test_of_two_equally_sure_values_the_error_counts_as_the_root_of_two(lic, error):
    noise = 1.96 * math.sqrt(2) * lic * error
    assert limit(point(lic, error), point(lic, error)) == pytest.approx(max(noise, SHARE * lic, LEAST_MG_PER_G))
    known, unknown = point(lic, error), point(lic, r2star_ci95=None)
    assert limit(known, unknown) == limit(unknown, known) == limit(known, known)


@given(irons, irons, errors, errors)
def test_a_change_counts_beyond_the_limit_and_only_there(one, other, first, second):
    now, then = point(one, first), point(other, second)
    change = compare(now, then)
    assume(abs(abs(one - other) - limit(now, then)) > 1e-9)
    beyond = abs(one - other) > limit(now, then)
    assert (change.outcome is Outcome.UNCHANGED) is not beyond
    if beyond:
        assert change.outcome is (Outcome.MORE if one > other else Outcome.LESS)
    assert change.difference_mg_per_g == one - other


@given(irons, irons, errors, errors)
def test_seen_from_the_other_end_more_is_less(one, other, first, second):
    now, then = point(one, first), point(other, second)
    outcome = compare(now, then).outcome
    assert compare(then, now).outcome is OPPOSITE.get(outcome, outcome)


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"scanner": replace(HERE.scanner, serial_number="4712")}, Obstacle.OTHER_SCANNER),
        ({"scanner": replace(HERE.scanner, manufacturer="GE")}, Obstacle.OTHER_SCANNER),
        ({"scanner": Scanner("SIEMENS", "Aera")}, Obstacle.SCANNER_UNKNOWN),
        ({"field_t": 3.0}, Obstacle.OTHER_FIELD),
        ({"field_t": None}, Obstacle.PROTOCOL_UNKNOWN),
        ({"echo_times_ms": (1.1, 2.2, 3.3)}, Obstacle.OTHER_ECHO_TIMES),
        ({"echo_times_ms": (1.1, 2.2, 3.3, 4.6)}, Obstacle.OTHER_ECHO_TIMES),
        ({"voxel_mm": (1.6, 1.6, 10.0)}, Obstacle.OTHER_RESOLUTION),
        ({"voxel_mm": None}, Obstacle.PROTOCOL_UNKNOWN),
        ({"calibration": "wood-2005: LIC = 0.202 + 0.0254 · R2*"}, Obstacle.OTHER_CALIBRATION),
        ({"finder": "liver-finder 3"}, Obstacle.OTHER_FINDER),
        ({"fit": "nls automatic rician"}, Obstacle.OTHER_FIT),
    ],
)
def test_what_was_measured_otherwise_is_not_compared_and_why_is_a_code(changes, obstacle):
    for pair in (
        (point(9.0), point(3.0, conditions=under(**changes))),
        (point(9.0, conditions=under(**changes)), point(3.0)),
    ):
        change = compare(*pair)
        assert (change.outcome, change.obstacles) == (Outcome.NOT_COMPARABLE, (obstacle,))
        assert change.difference_mg_per_g is None


@pytest.mark.parametrize(
    "changes",
    [
        {"scanner": replace(HERE.scanner, manufacturer="Siemens", station="renamed")},  # the serial number is the same
        {"field_t": 1.4939},
        {"echo_times_ms": (1.12, 2.22, 3.33, 4.42)},
        {"voxel_mm": (1.72, 1.72, 8.0)},
    ],
)
def test_what_scanners_round_or_fit_to_the_patient_is_the_same_protocol(changes):
    assert compare(point(9.0), point(3.0, conditions=under(**changes))).outcome is Outcome.MORE


def test_every_reason_is_told_the_weightiest_first():
    other = under(scanner=Scanner("GE", "x", "y", "z"), field_t=3.0, finder="liver-finder 3")
    change = compare(point(9.0), point(3.0, conditions=other, drawn=True))
    assert change.obstacles == (
        Obstacle.DRAWN,
        Obstacle.OTHER_SCANNER,
        Obstacle.OTHER_FIELD,
        Obstacle.OTHER_FINDER,
    )


def test_without_serial_numbers_station_and_model_name_a_scanner():
    one, other = Scanner("SIEMENS", "Aera", "MR1"), Scanner("SIEMENS", "Aera", "MR1", "4711")
    assert is_same_scanner(one, other) is True
    assert is_same_scanner(one, replace(one, station="MR2")) is False
    assert is_same_scanner(replace(one, station=""), other) is None


def test_a_value_of_another_method_is_not_compared_whatever_it_is():
    table = Point("20240101", Origin.TABLE, lic_mg_per_g=9.0, method="biopsy")
    assert compare(point(3.0), table).obstacles == (Obstacle.OTHER_METHOD,)


def test_without_a_number_there_is_nothing_to_compare():
    for pair in ((point(3.0), point(3.0, lic_mg_per_g=None)), (point(3.0, lic_mg_per_g=None), point(3.0))):
        assert compare(*pair).obstacles == (Obstacle.NO_VALUE,)


@pytest.mark.parametrize(
    ("now", "then", "outcome"),
    [
        ((20.0, Bound.ABOVE), (5.0, Bound.NONE), Outcome.MORE),
        ((5.0, Bound.NONE), (20.0, Bound.ABOVE), Outcome.LESS),
        ((20.0, Bound.ABOVE), (30.0, Bound.NONE), Outcome.NOT_COMPARABLE),
        ((30.0, Bound.NONE), (20.0, Bound.ABOVE), Outcome.NOT_COMPARABLE),
        ((20.0, Bound.ABOVE), (30.0, Bound.ABOVE), Outcome.NOT_COMPARABLE),
        ((0.5, Bound.BELOW), (3.0, Bound.NONE), Outcome.LESS),
        ((3.0, Bound.NONE), (0.5, Bound.BELOW), Outcome.MORE),
        ((0.5, Bound.BELOW), (0.9, Bound.NONE), Outcome.UNCHANGED),
        ((0.5, Bound.BELOW), (0.5, Bound.BELOW), Outcome.UNCHANGED),
    ],
)
def test_a_bound_tells_one_direction_only(now, then, outcome):
    change = compare(point(now[0], bound=now[1]), point(then[0], bound=then[1]))
    assert change.outcome is outcome
    if outcome is Outcome.NOT_COMPARABLE:
        assert change.obstacles == (Obstacle.BEYOND_RANGE,)


def test_what_is_told_first_is_the_newest_that_can_be_compared():
    other = point(8.0, date="20260101", conditions=under(field_t=3.0))
    found = trend(point(3.0, date="20260601"), Priors((point(9.0, date="20240101"), point(6.0), other)))
    assert found.last is not None
    assert found.last[0].date == "20250101"
    alone = trend(point(3.0, date="20260601"), Priors((other,)))
    assert alone.last is not None
    assert alone.last[1].outcome is Outcome.NOT_COMPARABLE
    assert trend(point(3.0), Priors()).last is None


# ---- of other organs


def heart(t2star_ms, **changes):
    return point(None, r2star_per_s=1000.0 / t2star_ms, t2star_ms=t2star_ms, organ="heart", **changes)


def test_results_of_one_organ_are_never_set_beside_those_of_another():
    both = Priors((point(9.0), heart(9.0), point(6.0)))
    assert [then.organ for then, _ in trend(point(3.0), both).entries] == ["liver", "liver"]
    assert [then.organ for then, _ in trend(heart(12.0), both, HEART).entries] == ["heart"]
    assert trend(point(3.0), both, HEART).entries == ()  # of whom the result is, and of which organ, must agree


@given(st.floats(4.0, 60.0), st.floats(4.0, 60.0))
def test_of_an_organ_without_a_repeatability_no_change_is_judged(one, other):
    change = compare(heart(one), heart(other), HEART)
    assert (change.outcome, change.obstacles) == (Outcome.NOT_JUDGED, ())
    assert change.difference_mg_per_g is change.limit_mg_per_g is None
    assert not trend(heart(one), Priors((heart(other),)), HEART).is_judged


def test_what_differs_is_told_without_a_verdict_but_for_what_moves_no_time():
    other = under(field_t=3.0, calibration="another")
    assert compare(heart(12.0), heart(12.0, conditions=other), HEART).obstacles == (Obstacle.OTHER_FIELD,)


@given(irons, irons)
def test_limits_are_the_organs(one, other):
    wide = replace(LIVER, repeatability=replace(RULE, share=2.0))
    assume(one != other)
    assert compare(point(one), point(other), wide).outcome is Outcome.UNCHANGED
