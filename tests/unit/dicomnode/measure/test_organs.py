"""The record of an organ is all that the rest needs to know of it."""

import pytest

from dicomnode.measure import iron
from dicomnode.measure.organs import LIVER, ORGANS


@pytest.mark.parametrize("organ", ORGANS.values(), ids=lambda organ: organ.name)
def test_every_calibration_of_an_organ_names_it(organ):
    assert all(organ.name in line.organs for line in organ.calibrations)
    assert all(line in organ.calibrations for line in iron.CALIBRATIONS if organ.name in line.organs)


@pytest.mark.parametrize("name", ["heart", "spleen", "kidney", "pancreas", "tissue"])
def test_an_organ_that_is_not_in_the_table_has_no_calibration(name):
    assert name not in ORGANS
    assert not any(name in line.organs for line in iron.CALIBRATIONS)


def test_a_field_between_two_calibrations_gets_none():
    assert LIVER.calibration("hernando-2023", 1.5) is not None
    assert LIVER.calibration("hernando-2023", 2.2) is None
    assert LIVER.calibration("hernando-2023", None) is None


@pytest.mark.parametrize("organ", ORGANS.values(), ids=lambda organ: organ.name)
def test_the_ranges_of_an_organ_leave_no_gap_and_hold_every_concentration(organ):
    limits = organ.ranges.limits
    assert limits[0][0] == float("-inf")
    assert limits[-1][1] == float("inf")
    assert [high for _, high, _ in limits[:-1]] == [low for low, _, _ in limits[1:]]
    assert organ.ranges.top >= max(line.most_mg_per_g for line in organ.calibrations)
    assert [organ.ranges.of(low)[2] for low, _, _ in limits[1:]] == [word for _, _, word in limits[1:]]
