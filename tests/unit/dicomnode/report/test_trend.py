"""Earlier results in report, PDF, summary and findings; and a report of ours read back as an earlier one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pydicom
import pytest

from dicomnode.errors import StepError
from dicomnode.model import Drawn, Limit
from dicomnode.report import change, findings, pdf, point, reading, summary
from dicomnode.report.sheet import Text
from dicomnode.trend.rules import Obstacle, Outcome
from dicomnode.trend.values import NONE_KNOWN, Bound, Origin, Priors, Silence
from tests.unit.dicomnode.report.conftest import CREATED, STOP, Scan

STATION = {"StationName": "MR1", "DeviceSerialNumber": "4711"}
TIME_POINT, OFFSET, REFERENCE = "C2348792", "128740", "122075"


@pytest.fixture
def result(bench):
    made = bench.result(Scan(bench.folder, header=STATION))
    rois = (replace(made.rois[0], name="liver"), *made.rois[1:])
    return replace(made, rois=rois, measurements=(replace(made.measurements[0], name="liver"), *made.measurements[1:]))


@pytest.fixture
def priors(bench, result):
    return bench.priors(result)


@pytest.fixture
def draft(bench, result, priors):
    return bench.draft(result, priors)


def report_of(bench, result, priors=NONE_KNOWN):
    (output,) = bench.outputs(result, ("structured_report",), priors)
    return pydicom.dcmread(output.path)


def items(item):
    for child in item.get("ContentSequence", ()):
        yield child
        yield from items(child)


def code(item):
    return item.ConceptNameCodeSequence[0].CodeValue


def earlier_groups(report):
    return [one for one in items(report) if any(code(child) == TIME_POINT for child in one.get("ContentSequence", ()))]


# ---- words and JSON


def test_the_sentence_is_of_the_newest_that_can_be_compared(draft):
    words = change.sentence(draft.trend)
    assert words == (
        "Since 2025-09-18 no change beyond repeatability: 3.3 then, 3.1 mg/g now; a change counts from 0.5 on."
    )


def test_where_nothing_can_be_compared_the_reason_is_told(draft, priors):
    alone = replace(draft, priors=replace(priors, points=priors.points[:3]))
    assert change.sentence(alone.trend) == (
        "Of 3 earlier results none can be compared with this one; the last, 6.9 mg/g of 2024-07-22: other scanner."
    )
    one = replace(draft, priors=replace(priors, points=priors.points[:1]))
    assert change.sentence(one.trend) == (
        "The earlier result cannot be compared with this one; 9.8 mg/g of 2023-06-14: measured by another method."
    )


def test_without_earlier_results_nothing_is_said(bench, result):
    draft = bench.draft(result)
    assert change.remarks(draft.trend) == []
    assert summary.of(result, (), draft.trend)["trend"] is None
    assert len(pdf.sheets(draft)) == len(pdf.sheets(replace(draft, priors=Priors())))


def test_every_code_has_its_words():
    assert change.OUTCOMES.keys() == set(Outcome)
    assert change.OBSTACLES.keys() == set(Obstacle)
    assert change.SILENCES.keys() == set(Silence)


def test_who_was_not_asked_is_told(draft):
    assert change.remarks(draft.trend)[1:] == ["Earlier results were not asked for (pacs): it did not answer in time."]


def test_the_summary_has_every_value_with_codes_for_programs(result, draft):
    told = summary.of(result, (), draft.trend)
    trend = told["trend"]
    assert (trend["outcome"], trend["since"]) == ("no-change", "2025-09-18")
    assert [one["outcome"] for one in trend["points"]] == [*["not-comparable"] * 3, "less", "no-change"]
    assert [one["obstacles"] for one in trend["points"][:3]] == [["other-method"], ["other-scanner"], ["other-scanner"]]
    assert trend["now"]["lic_mg_per_g"] == told["rois"][0]["lic_mg_per_g"]
    assert [one["code"] for one in trend["unasked"]] == ["too-late"]
    assert told["conditions"]["scanner"]["serial_number"] == "4711"
    json.dumps(told)


def test_findings_tell_the_same_and_survive_the_disk(result, draft):
    told = findings.of(result, draft.source, "first", CREATED, trend=draft.trend)
    assert [(one.date, one.outcome) for one in told.earlier][-2:] == [("20250205", "less"), ("20250918", "no-change")]
    assert change.sentence(draft.trend) in told.notes
    assert findings.read(json.loads(json.dumps(told.as_json()))) == told
    before = {name: value for name, value in told.as_json().items() if name != "earlier"}
    assert findings.read(json.loads(json.dumps(before))).earlier == ()  # of a version that knew of none


# ---- PDF


def test_the_pdf_has_a_page_of_earlier_results_and_the_first_page_the_sentence(draft):
    first, second, *_ = pdf.sheets(draft)
    words = " ".join(text.text for text in first.texts())
    assert "no change beyond repeatability" in words
    texts = {text.text for text in second.texts()}
    assert "Liver iron report: earlier results" in texts
    for then, _ in draft.trend.entries:
        assert change.day(then) in texts
    assert {"Prisma MR1", "Avanto"} <= texts


def test_nothing_on_the_page_runs_into_another_or_over_the_edge(draft):
    page = pdf.sheets(draft)[1]
    boxes = [item.box for item in page.items if isinstance(item, Text)]
    assert all(box.right <= pdf.RIGHT + 1 and box.x >= 0 for box in boxes)
    table = [box for box in boxes if box.y > 300 and box.y < 790]
    assert not [1 for n, one in enumerate(table) for other in table[n + 1 :] if one.overlaps(other)]


def test_the_same_priors_give_the_same_bytes(draft):
    assert pdf.document(draft) == pdf.document(draft)


def test_very_many_results_have_room(draft, priors):
    many = tuple(replace(priors.points[-1], date=f"20{year:02}0101", key=str(year)) for year in range(5, 25))
    pages = pdf.sheets(replace(draft, priors=Priors(many)))
    assert not [text for page in pages for text in page.texts() if pdf.BOTTOM + 4 < text.y < 808]
    shown = {text.text for page in pages for text in page.texts()}
    assert {change.day(one) for one in many} <= shown


# ---- structured report


def test_each_earlier_value_is_a_measurement_at_its_time_point(bench, result, priors):
    groups = earlier_groups(report_of(bench, result, priors))
    assert len(groups) == len(priors.points)
    for group, then in zip(groups, priors.points, strict=True):
        children = {code(child): child for child in group.ContentSequence}
        assert children[TIME_POINT].TextValue == change.day(then)
        assert children["LIC-PRIOR"].MeasuredValueSequence[0].NumericValue == then.lic_mg_per_g
        assert "LIC" not in children  # nothing takes it for today's
        offset = children[OFFSET]
        assert offset.MeasuredValueSequence[0].NumericValue < 0
        assert offset.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "d"
        assert (REFERENCE in children) is (then.report is not None)
    last = {code(child): child for child in groups[-1].ContentSequence}
    assert last["CHANGE"].ConceptCodeSequence[0].CodeValue == "NO-CHANGE"
    assert last[OFFSET].MeasuredValueSequence[0].NumericValue == -167


def test_reports_that_are_pointed_at_are_evidence(bench, result, priors):
    report = report_of(bench, result, priors)
    named = {
        one.ReferencedSOPInstanceUID
        for study in report.PertinentOtherEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert {then.report.sop_uid for then in priors.points if then.report} <= named


def test_no_identifier_follows_from_earlier_results_and_no_number_does(bench, result, priors):
    alone, beside = report_of(bench, result), report_of(bench, result, priors)
    assert alone.SOPInstanceUID == beside.SOPInstanceUID
    assert reading.point(alone) == reading.point(beside)


def test_where_the_answer_has_no_outline_earlier_values_are_words_alone(bench, result, priors):
    nowhere = replace(result, rois=(replace(result.rois[0], mask=result.rois[0].mask & False), result.rois[1]))
    report = report_of(bench, nowhere, priors)
    assert earlier_groups(report) == []
    assert any("2025-02-05: LIC 4.7" in str(one.get("TextValue", "")) for one in items(report))


# ---- read back


def test_a_report_of_ours_is_read_back_as_what_was_measured(bench, result, priors):
    report = report_of(bench, result, priors)
    assert reading.is_ours(report)
    now, then = bench.draft(result).trend.now, reading.point(report)
    same = replace(now, origin=Origin.ARCHIVE, report=then.report, r2star_ci95=then.r2star_ci95, lic_ci95=then.lic_ci95)
    assert then == same
    assert then.report.sop_uid == report.SOPInstanceUID
    assert then.r2star_ci95 == pytest.approx(now.r2star_ci95)
    assert then.lic_ci95 == pytest.approx(now.lic_ci95)


def test_a_bound_is_read_back_as_one(bench, result):
    stop = replace(
        result.measurements[0],
        lic_mg_per_g=None,
        lic=None,
        r2star=None,
        r2star_per_s=None,
        flags=(STOP,),
        at_least=Limit(812.0, 21.0),
    )
    above = reading.point(report_of(bench, replace(result, measurements=(stop, *result.measurements[1:]))))
    assert (above.lic_mg_per_g, above.bound) == (21.0, Bound.ABOVE)
    little = replace(result.measurements[0], lic_mg_per_g=None)
    below = reading.point(report_of(bench, replace(result, measurements=(little, *result.measurements[1:]))))
    assert (below.lic_mg_per_g, below.bound) == (0.5, Bound.BELOW)


def test_a_drawn_region_is_read_back_as_drawn(bench, result):
    drawn = Drawn("1.2", "1.3", "Reader^R", "viewer")
    rois = tuple(replace(roi, automatic=False) for roi in result.rois)
    assert reading.point(report_of(bench, replace(result, drawn=drawn, rois=rois, finder={}))).drawn
    assert not reading.point(report_of(bench, result)).drawn


@pytest.mark.parametrize(
    "change_",
    [
        lambda d: setattr(d, "ManufacturerModelName", "another"),
        lambda d: setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.22"),
        lambda d: delattr(d, "CodingSchemeIdentificationSequence"),
        lambda d: setattr(d.ConceptNameCodeSequence[0], "CodeValue", "18748-4"),
    ],
)
def test_what_others_have_made_is_not_ours(bench, result, change_):
    report = report_of(bench, result)
    change_(report)
    assert not reading.is_ours(report)


def test_a_report_of_an_earlier_version_is_read_without_its_conditions(bench, result):
    report = report_of(bench, result)
    for item in items(report):
        if str(item.get("TextValue", "")).startswith("conditions."):
            item.TextValue = "something=1"
    then = reading.point(report)
    assert then.lic_mg_per_g == 3.1
    assert then.conditions.scanner.label == ""


def test_what_cannot_be_placed_in_time_is_an_error(bench, result):
    report = report_of(bench, result)
    report.StudyDate = ""
    with pytest.raises(StepError):
        reading.point(report)


def test_which_reports_one_replaces_is_read_back(bench, result):
    later = replace(result, identity=replace(result.identity, key="f" * 40, supersedes=result.identity.key))
    first, second = report_of(bench, result), report_of(bench, later)
    assert reading.replaced(second) == {first.SOPInstanceUID}
    assert reading.replaced(first) == set()


def test_conditions_name_all_that_must_be_alike(bench, result):
    said = asdict(point.conditions(result, bench.draft(result).source))
    assert said["scanner"] == {"manufacturer": "SIEMENS", "model": "Prisma", "station": "MR1", "serial_number": "4711"}
    assert said["voxel_mm"] == (1.75, 1.5, 6.0)
    assert said["finder"] == "liver-finder 2"
    assert said["fit"] == "admm"
    assert said["calibration"].startswith("hernando-2023: LIC")
