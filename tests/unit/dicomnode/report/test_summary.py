"""What programs read of a result says its numbers in the words of the report."""

from __future__ import annotations

from dataclasses import replace

from dicomnode.measure import staging
from dicomnode.measure.organs import LIVER
from dicomnode.model import Limit
from dicomnode.report import summary, wording
from tests.unit.dicomnode.report.conftest import STOP


def test_the_answer_is_the_reports(bench):
    result = bench.result()
    assert summary.of(result, (), bench.draft(result).trend)["answer"] == str(wording.headline(result))


def test_every_region_is_said_as_in_the_tables_of_the_report(bench):
    result = bench.result()
    regions = summary.of(result, (), bench.draft(result).trend)["rois"]
    assert len(regions) == len(result.measurements) > 0
    for region, numbers in zip(regions, result.measurements, strict=True):
        said = region["words"]
        assert (said["r2star_per_s"], said["t2star_ms"], said["lic_mg_per_g"]) == wording.values(numbers)
        assert said["r2star_ci95"] == wording.rate_interval(numbers)


def test_a_bound_is_said_as_one_and_doubt_as_doubt(bench):
    result = bench.result()
    bound = replace(
        result.measurements[0],
        r2star_per_s=None,
        lic_mg_per_g=None,
        lic=None,
        flags=(STOP,),
        at_least=Limit(900.0, 22.0),
    )
    bounded = replace(result, measurements=(bound, *result.measurements[1:]))
    (region, *_) = summary.of(bounded, (), bench.draft(bounded).trend)["rois"]
    said = region["words"]
    assert (said["r2star_per_s"], said["lic_mg_per_g"], said["lic_ci95"]) == ("> 900", "> 22.0", "")
    assert said["doubt"] == "not measurable"


def test_ranges_have_probabilities_where_there_is_a_number(bench):
    result = bench.result()
    result = replace(result, rois=(replace(result.rois[0], finding="liver"), *result.rois[1:]))
    first, *others = summary.of(result, (), bench.draft(result).trend)["rois"]
    bands = first["staging"]["bands"]
    assert (first["staging"]["scheme"], first["staging"]["unit"]) == ("Reeder 2023", "mg/g")
    assert [(band["name"], band["probability"]) for band in bands[1:3]] == [("borderline", 0.856), ("mild", 0.144)]
    assert (bands[0]["from"], bands[0]["to"], bands[-1]["to"]) == (None, 1.8, None)
    assert first["words"]["staging"] == "borderline 86 %, mild 14 %"
    assert [(one["staging"], one["words"]["staging"]) for one in others] == [(None, "")] * len(others)


def test_a_bound_excludes_ranges_and_splits_nothing(bench):
    result = bench.result()
    stages = staging.from_bound(LIVER.ranges, Limit(600.0, 8.0))
    bound = replace(result.measurements[0], lic=None, lic_mg_per_g=None, flags=(STOP,), stages=stages)
    roi = replace(result.rois[0], finding="liver")
    bounded = replace(result, rois=(roi, *result.rois[1:]), measurements=(bound, *result.measurements[1:]))
    (region, *_) = summary.of(bounded, (), bench.draft(bounded).trend)["rois"]
    assert [band["probability"] for band in region["staging"]["bands"]] == [0.0, 0.0, 0.0, None, None]
    assert region["words"]["staging"] == ""
