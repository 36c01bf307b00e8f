"""A control chart finds what moved and keeps quiet where nothing did."""

import numpy as np
import pytest

from dicomnode.control import chart
from dicomnode.control.chart import Kind


def steady(seed=1, count=52, spread=1.0):
    return np.random.default_rng(seed).normal(0.0, spread, count)


def test_nothing_is_judged_before_the_baseline_is_whole():
    drawn = chart.of([1.0, 50.0, -50.0] * 5, least_sigma=0.1)
    assert (drawn.low, drawn.verdicts) == (None, ())


def test_a_step_is_found_soon_and_dated_to_its_first_scan():
    values = steady(2)
    values[30:] += 4.0
    first = chart.of(values, least_sigma=0.1).verdicts[0]
    assert 30 <= first.at < 35
    assert first.kind is Kind.STEP
    assert abs(first.since - 30) <= 1


def test_what_moves_a_little_with_every_scan_is_a_drift():
    values = steady(spread=0.5) + 0.15 * np.maximum(np.arange(52) - 16, 0)
    kinds = [one.kind for one in chart.of(values, least_sigma=0.1).verdicts]
    assert kinds.count(Kind.DRIFT) > len(kinds) / 2


def test_one_value_alone_is_outside_and_dates_nothing():
    values = steady(spread=0.3)
    values[40] = 5.0
    drawn = chart.of(values, least_sigma=0.1, steps=False)
    assert [(one.at, one.kind, one.since) for one in drawn.verdicts] == [(40, Kind.OUTSIDE, 40)]


def test_a_change_that_matters_to_nobody_is_no_alarm():
    values = np.concatenate([np.zeros(20), np.full(20, 0.3)])
    assert chart.of(values, least_sigma=0.4).verdicts == ()


@pytest.mark.parametrize("baseline", [10, 16, 30])
def test_false_alarms_of_single_values_do_not_hang_on_the_length_of_the_baseline(baseline):
    years = [
        chart.of(steady(seed, baseline + 36), least_sigma=0.01, steps=False, baseline=baseline) for seed in range(800)
    ]
    share = np.mean([bool(one.verdicts) for one in years])
    assert share < 3 * 36 * chart.CHANCE


def test_many_charts_share_the_chance_of_a_false_alarm():
    one, many = (chart.of(steady(), least_sigma=0.01, charts=charts) for charts in (1, 12))
    assert many.high > one.high
