"""What programs read of a result says its numbers in the words of the report."""

from __future__ import annotations

from dataclasses import replace

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
