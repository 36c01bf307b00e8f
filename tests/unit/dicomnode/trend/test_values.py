"""Earlier results in their order, each once, and what survives the disk."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dicomnode.errors import StepError
from dicomnode.trend import values
from dicomnode.trend.values import MOST, Conditions, Origin, Point, Priors, Reference, Scanner, Silence, Unasked

POINT = Point("20250101", Origin.NODE, "090000", 3.0, conditions=Conditions(Scanner("S")), key="a" * 40)


def test_only_what_was_measured_before_counts():
    earlier, later = replace(POINT, date="20241231", key="b"), replace(POINT, date="20250102", key="c")
    assert values.before([later, earlier], "liver", "20250101", "1200") == (earlier,)


def test_on_the_same_day_only_what_is_known_to_be_earlier_counts():
    assert values.before([POINT], "liver", "20250101", "090001") == (POINT,)
    assert values.before([POINT], "liver", "20250101", "090000") == ()
    assert values.before([POINT], "liver", "20250101", "") == ()
    assert values.before([replace(POINT, time="")], "liver", "20250101", "235959") == ()


def test_what_is_found_twice_is_shown_once_as_the_node_knows_it():
    archived = replace(POINT, origin=Origin.ARCHIVE)
    assert values.before([archived, POINT], "liver", "20260101", "") == (POINT,)


def test_two_lines_of_a_table_are_two_results():
    line = Point("20240101", Origin.TABLE, lic_mg_per_g=4.0)
    assert len(values.before([line, replace(line, lic_mg_per_g=5.0)], "liver", "20260101", "")) == 2


def test_what_has_no_value_is_left_out():
    assert values.before([replace(POINT, lic_mg_per_g=None)], "liver", "20260101", "") == ()
    assert values.before([replace(POINT, lic_mg_per_g=None, r2star_per_s=90.0)], "liver", "20260101", "") != ()


def test_of_very_many_the_newest_are_kept_whatever_their_order():
    many = [replace(POINT, date=f"20{year:02}0101", key=str(year)) for year in range(1, 3 + MOST)]
    kept = values.before(reversed(many), "liver", "20260101", "")
    assert list(kept) == many[-MOST:] == list(values.before(many, "liver", "20260101", ""))


def test_priors_survive_the_disk_and_damage_is_told_without_repeating_it():
    priors = Priors((replace(POINT, report=Reference("1", "2", "3")),), (Unasked("pacs", Silence.TOO_LATE),))
    said = json.loads(json.dumps(priors.as_json()))
    assert values.read(said) == priors
    with pytest.raises(StepError) as fault:
        values.read({**said, "points": [{"date": "secret"}]})
    assert "secret" not in str(fault.value)


def test_only_what_is_of_the_organ_is_set_beside_it():
    heart = replace(POINT, organ="heart", lic_mg_per_g=None, t2star_ms=12.0, key="h")
    assert values.before([POINT, heart], "liver", "20260101", "") == (POINT,)
    assert values.before([POINT, heart], "heart", "20260101", "") == (heart,)


def test_a_time_has_the_interval_of_its_rate():
    heart = replace(POINT, lic_mg_per_g=None, lic_ci95=None, t2star_ms=12.5, r2star_ci95=(50.0, 100.0))
    assert (heart.value, heart.ci95) == (12.5, (10.0, 20.0))
    assert replace(heart, r2star_ci95=(0.0, 100.0)).ci95 is None


def test_what_names_no_organ_is_of_the_liver():
    said = Priors((POINT,)).as_json()
    del said["points"][0]["organ"], said["points"][0]["t2star_ms"]
    assert values.read(json.loads(json.dumps(said))) == Priors((POINT,))
