"""Probabilities of the published ranges, from the interval of a number alone."""

import math
from dataclasses import replace

import pytest
from scipy.stats import norm

from dicomnode.measure import staging
from dicomnode.measure.organs import LIVER
from dicomnode.model import Estimate, Limit

RANGES = LIVER.ranges


def estimate(value, **parts):
    half = 1.96 * math.hypot(*parts.values())
    return Estimate(value, (value - half, value + half), parts)


def probabilities(stages):
    return [stage.probability for stage in stages]


def test_ranges_share_one_and_each_has_its_part_of_the_normal_distribution():
    found = probabilities(staging.stages(RANGES, estimate(6.5, fit=0.3, model=0.4, calibration=0.2)))
    assert sum(found) == pytest.approx(1)
    whole = norm(6.5, math.hypot(0.3, 0.4, 0.2))
    assert found[2] == pytest.approx(whole.cdf(7.0) - whole.cdf(3.2))
    assert found[4] == pytest.approx(whole.sf(15.0))


def test_a_value_on_a_limit_is_as_likely_on_either_side():
    found = probabilities(staging.stages(RANGES, estimate(7.0, model=0.3)))
    assert found[2:4] == pytest.approx([0.5, 0.5])


def test_the_calibrations_own_error_counts():
    sure, unsure = (
        probabilities(staging.stages(RANGES, estimate(6.5, fit=0.1, calibration=own)))[2] for own in (0.0, 0.5)
    )
    assert sure > 0.99
    assert unsure < 0.9


def test_the_ends_are_open():
    first, *_, last = staging.stages(RANGES, estimate(1.0, fit=0.1))
    assert (first.name, first.low_mg_per_g, first.high_mg_per_g) == ("normal", None, 1.8)
    assert (last.name, last.low_mg_per_g, last.high_mg_per_g) == ("severe", 15.0, None)


def test_a_bound_excludes_what_ends_below_it_and_splits_nothing():
    assert probabilities(staging.from_bound(RANGES, Limit(400.0, 7.0))) == [0.0, 0.0, 0.0, None, None]
    assert probabilities(staging.from_bound(RANGES, Limit(400.0, 10.2))) == [0.0, 0.0, 0.0, None, None]
    assert probabilities(staging.from_bound(RANGES, Limit(900.0, 20.0))) == [0.0, 0.0, 0.0, 0.0, None]


@pytest.mark.parametrize("least", [None, 0.4, 1.7])
def test_a_bound_that_excludes_nothing_says_nothing(least):
    assert staging.from_bound(RANGES, Limit(50.0, least)) == ()


def test_other_limits_are_another_schemes():
    ranges = replace(RANGES, limits=((-math.inf, 5.0, "low"), (5.0, math.inf, "high")))
    assert probabilities(staging.stages(ranges, estimate(5.0, fit=1.0))) == pytest.approx([0.5, 0.5])
