"""What a system is told that takes no objects: never more than the report says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dicomnode.errors import StepError
from dicomnode.measure.organs import of_result
from dicomnode.model import Drawn, Estimate, Flag, Grade, Identity, Limit
from dicomnode.report import findings, point, source, wording
from dicomnode.report.instance import NOT_FOR_DIAGNOSIS
from dicomnode.trend import rules
from dicomnode.trend.values import NONE_KNOWN
from tests.unit.dicomnode.report.conftest import CREATED, DOUBT, STOP, Scan

NONE = {"r2star_per_s": None, "t2star_ms": None, "lic_mg_per_g": None, "lic": None, "r2star": None}


def of(result, first_key="first", replaced=None, priors=NONE_KNOWN):
    known = source.read(result.stack)
    trend = rules.trend(point.of(result, known), priors, of_result(result.settings))
    return findings.of(result, known, first_key, CREATED, trend=trend, replaced=replaced)


def told(bench, **numbers):
    """The values of a region of the liver with other numbers, by name."""
    result = bench.result()
    roi = replace(result.rois[0], name="liver", **({"mask": numbers.pop("mask")} if "mask" in numbers else {}))
    one = replace(result.measurements[0], **numbers)
    region = of(replace(result, rois=(roi,), measurements=(one,))).regions[0]
    return {finding.name: finding for finding in region.findings}


def test_a_measured_region_has_values_as_they_are_printed_with_their_intervals(bench):
    found = told(bench, flags=())
    assert {name: one.value for name, one in found.items()} == {"lic": "3.1", "r2star": "125", "t2star": "8.00"}
    assert [end.value for end in found["lic"].interval] == ["2.9", "3.3"]
    assert [end.value for end in found["r2star"].interval] == ["118", "132"]
    assert found["lic"].concept.value == "LIC"
    assert found["lic"].unit.value == "mg/g"
    assert found["lic"].method.value == "HERNANDO-2023"


def test_a_doubted_value_says_so_in_its_name(bench):
    assert told(bench, flags=(DOUBT,))["lic"].concept.meaning == "LIC, low confidence"


def test_beyond_the_range_there_is_a_bound_and_no_value(bench):
    found = told(bench, **NONE, flags=(STOP,), at_least=Limit(812.0, 21.0))
    assert [(one.comparator, one.value) for one in found.values()] == [(">", "21.0"), (">", "812"), ("", None)]
    assert found["t2star"].absent == STOP.sentence
    assert all(one.interval == () for one in found.values())


def test_a_bound_that_says_nothing_is_not_told(bench):
    found = told(bench, **NONE, flags=(STOP,), at_least=Limit(4.0, 0.1))
    assert (found["lic"].value, found["lic"].absent) == (None, STOP.sentence)


def test_under_the_calibration_s_reach_it_is_less_than(bench):
    found = told(bench, lic_mg_per_g=None, lic=Estimate(0.3, (0.2, 0.4)), flags=())
    assert (found["lic"].comparator, found["lic"].value, found["lic"].interval) == ("<", "0.5", ())


def test_beyond_the_calibration_the_rate_has_a_value_and_the_iron_a_bound(bench):
    found = told(bench, lic_mg_per_g=None, lic=None, calibration=None, at_least=Limit(1900.0, 43.0), flags=())
    assert [(one.comparator, one.value) for one in found.values()] == [(">", "43.0"), ("", "125"), ("", "8.00")]


def test_what_is_withheld_has_no_value_though_one_was_computed(bench):
    found = told(bench, flags=(STOP,))
    assert {(one.value, one.absent) for one in found.values()} == {(None, STOP.sentence)}


def test_without_a_calibration_the_reason_is_told(bench):
    flag = Flag("no-calibration", Grade.INFO, "LIC not given: hernando-2023 has no calibration at 0.50 T")
    found = told(bench, lic_mg_per_g=None, lic=None, calibration=None, flags=(flag,))
    assert (found["lic"].value, found["lic"].absent) == (None, flag.sentence)
    assert found["r2star"].value == "125"


def test_a_region_without_a_voxel_is_told_as_no_region(bench):
    found = told(bench, **NONE, mask=np.zeros_like(bench.result().rois[0].mask), flags=(STOP,))
    assert {one.absent for one in found.values()} == {"no reliable liver region"}
    nothing = of(bench.result(rois=(), measurements=()))
    assert [one.value for one in nothing.regions[0].findings] == [None] * 3


def test_of_what_was_found_by_itself_the_answer_alone_is_told_of_a_drawing_every_region(bench):
    assert [region.name for region in of(bench.result()).regions] == ["Liver circle"]
    drawn = bench.result(drawn=Drawn("1.2", "1.3", "Reader^Rita", "viewer"))
    assert [region.name for region in of(drawn).regions] == ["Liver circle", "Whole liver"]
    assert "Rita" not in json.dumps(of(drawn).as_json())


def test_answer_limits_and_flags_are_those_of_the_report(bench):
    result = bench.result()
    found = of(result)
    assert found.answer == str(wording.headline(result))
    assert NOT_FOR_DIAGNOSIS in found.notes
    assert findings.UNVERIFIED in found.notes
    assert found.regions[0].notes == (str(DOUBT),)


def test_whose_it_is_comes_from_the_images_with_who_gave_the_numbers(bench, tmp_path):
    header = {"IssuerOfPatientID": "HOSP", "StudyTime": "040506.123"}
    found = of(bench.result(Scan(tmp_path, header=header)))
    assert (found.patient.id, found.patient.issuer.name, found.patient.name) == ("LIC-1", "HOSP", "Iron^Ida")
    assert (found.study.accession_number, found.study.date, found.study.time) == ("A-77", "20260304", "040506")
    assert (found.first_key, found.corrects) == ("first", False)


def test_a_result_that_replaces_another_corrects_it(bench):
    identity = Identity("new", "0.1.0", supersedes="old")
    earlier = of(bench.result(drawn=Drawn("1.2", "1.3", None, "viewer")))
    later = of(bench.result(identity=identity), "old", earlier)
    assert (later.corrects, len(later.regions), later.replaced_regions) == (True, 1, 2)
    assert of(bench.result(identity=identity), "old", later).replaced_regions == 2


def test_findings_survive_the_disk_and_damage_is_told_without_repeating_it(bench):
    found = of(bench.result())
    said = json.loads(json.dumps(found.as_json()))
    assert findings.read(said) == found
    with pytest.raises(StepError) as raised:
        findings.read({**said, "patient": "Iron^Ida"})
    assert "Ida" not in str(raised.value)
