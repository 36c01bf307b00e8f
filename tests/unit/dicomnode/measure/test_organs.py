"""The record of an organ is all that the rest needs to know of it."""

import pytest

from dicomnode import config
from dicomnode.config import values
from dicomnode.measure import iron
from dicomnode.measure.organs import (
    HEART,
    LIVER,
    ORGANS,
    PHANTOM,
    made_from,
    measures_phantoms,
    of_result,
    taken_for,
    turned_out,
)


@pytest.mark.parametrize("organ", ORGANS.values(), ids=lambda organ: organ.name)
def test_every_calibration_of_an_organ_names_it(organ):
    assert all(organ.name in line.organs for line in organ.calibrations)
    assert all(line in organ.calibrations for line in iron.CALIBRATIONS if organ.name in line.organs)


@pytest.mark.parametrize("name", ["spleen", "kidney", "pancreas", "tissue"])
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
    if not organ.ranges.of_rate:
        assert organ.ranges.top >= max(line.most_mg_per_g for line in organ.calibrations)
    assert organ.ranges.top > organ.ranges.severe
    assert [organ.ranges.of(low)[2] for low, _, _ in limits[1:]] == [word for _, _, word in limits[1:]]


def test_the_settings_know_the_organs_and_whose_calibrations_there_are():
    assert (LIVER.name, HEART.name) == values.ORGANS
    assert {name: set(lines) for name, lines in config.PUBLISHED.items()} == {
        organ.name: {line.name for line in organ.calibrations} for organ in (LIVER, HEART)
    }


@pytest.mark.parametrize("organ", ORGANS.values(), ids=lambda organ: organ.name)
def test_a_result_says_which_organ_it_is_of(organ):
    made = made_from(config.Settings().result_parameters(), organ)
    assert of_result(made) is organ
    assert made["packages"] == {}


def test_a_result_without_an_organ_is_older_than_the_second_one():
    assert of_result(config.Settings().result_parameters()) is LIVER


@pytest.mark.parametrize("organ", [LIVER, HEART], ids=lambda organ: organ.name)
def test_what_turns_out_to_be_a_phantom_keeps_of_what_it_was_taken(organ):
    made = made_from(config.Settings().result_parameters(), organ)
    assert turned_out(made, organ) == made
    told = turned_out(made, PHANTOM)
    assert (of_result(told), taken_for(told)) == (PHANTOM, organ)
    assert of_result(made) is organ, "what its key is made of stays"
    assert {name: value for name, value in told.items() if name != "organ"} == {
        name: value for name, value in made.items() if name != "organ"
    }


def test_whether_phantoms_are_measured_is_part_of_what_a_result_is_made_from():
    parameters = config.Settings().result_parameters()
    assert measures_phantoms(made_from(parameters, LIVER))
    assert not measures_phantoms(made_from(parameters, LIVER, phantoms="refused"))
    assert not measures_phantoms(parameters), "what does not say so is older"


def test_a_phantom_is_no_organ_that_may_be_asked_for_and_has_no_iron():
    assert PHANTOM.name not in ORGANS
    assert (PHANTOM.has_iron, PHANTOM.ranges, PHANTOM.repeatability, PHANTOM.calibrations) == (False, None, None, ())
    assert (PHANTOM.quantity, PHANTOM.unit) == ("R2*", "/s")
    assert all(organ.has_iron for organ in ORGANS.values())


def measuring(organ, **settings):
    return made_from(config.Settings(measure=config.MeasureSettings(**settings)).result_parameters(), organ)["measure"]


def test_an_organ_never_gets_the_calibration_of_another():
    assert measuring(LIVER)["calibration"] == "hernando-2023"
    assert measuring(HEART)["calibration"] == "none"
    assert measuring(HEART, organ_calibrations={"heart": "carpenter-2011"})["calibration"] == "carpenter-2011"
    assert measuring(LIVER, organ_calibrations={"heart": "carpenter-2011"})["calibration"] == "hernando-2023"


def test_a_result_of_one_organ_does_not_hang_on_the_settings_of_another():
    own = config.CalibrationSettings(
        name="ours", field_t=(1.4, 1.6), intercept=0.0, slope=0.03, most_mg_per_g=30.0, source="report"
    )
    assert measuring(HEART, calibrations=(own,)) == measuring(HEART)
    assert measuring(LIVER, calibrations=(own,)) != measuring(LIVER)


def test_the_limits_of_the_heart_are_those_that_are_published():
    """Anderson 2001 and Kirk 2009: 20 and 10 ms, at 1.5 T."""
    ranges = HEART.ranges
    assert [ranges.of(1000 / ms)[2] for ms in (35, 20.1, 19.9, 10.1, 9.9, 4)] == [
        *("normal", "normal", "mild to moderate", "mild to moderate", "severe", "severe")
    ]
    assert [ranges.within(entry) for entry in ranges.limits] == ["above 20 ms", "10 to 20 ms", "below 10 ms"]
    assert [ranges.hold_at(field) for field in (1.5, 1.494, 3.0, None)] == [True, True, False, False]


@pytest.mark.parametrize("organ", ORGANS.values(), ids=lambda organ: organ.name)
def test_what_a_site_is_called_fits_into_a_code(organ):
    assert len(f"{organ.symbol}-CI95-HIGH") <= 16
    assert all(len(site.meaning) <= 64 for site in (organ.site(organ.name), *organ.sites.values()))
