"""The words: one answer, never more severe or milder than the interval allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.measure.organs import LIVER
from dicomnode.model import Drawn, Estimate, Grade, Limit, Stage
from dicomnode.report import wording
from tests.unit.dicomnode.report.conftest import DOUBT, STOP


def answered(bench, *, finding="liver", mask=None, **numbers):
    result = bench.result()
    roi = replace(result.rois[0], name="liver", finding=finding, mask=result.rois[0].mask if mask is None else mask)
    return replace(result, rois=(roi,), measurements=(replace(result.measurements[0], **numbers),))


@pytest.mark.parametrize(
    ("value", "interval", "said"),
    [
        (11.7, (10.9, 12.5), "95 % interval 10.9 to 12.5; moderate (7 to 15, Reeder 2023)"),
        (6.8, (6.4, 7.3), "95 % interval 6.4 to 7.3; between mild and moderate (Reeder 2023)"),
        (1.0, (0.8, 1.2), "95 % interval 0.8 to 1.2; normal (below 1.8, Reeder 2023)"),
        (22.0, (19.0, 25.0), "95 % interval 19.0 to 25.0; severe (above 15, Reeder 2023)"),
    ],
)
def test_the_answer_has_interval_and_range_with_its_limits(bench, value, interval, said):
    answer = wording.headline(answered(bench, lic_mg_per_g=value, lic=Estimate(value, interval), flags=()))
    assert str(answer) == f"Liver iron {value:.1f} mg/g dry weight: {said}"


def test_a_doubted_number_says_so_beside_it(bench):
    assert str(wording.headline(answered(bench, flags=(DOUBT,)))).endswith("low confidence")


@pytest.mark.parametrize(("bound", "said"), [(9.2, "moderate or more"), (21.0, "severe")])
def test_beyond_the_range_the_answer_is_a_bound(bench, bound, said):
    result = answered(
        bench, r2star_per_s=None, t2star_ms=None, lic_mg_per_g=None, lic=None, r2star=None,
        flags=(STOP,), at_least=Limit(350.0, bound),
    )  # fmt: skip
    expected = f"Liver iron more than {bound} mg/g dry weight: beyond what this scan can measure; {said} (Reeder 2023)"
    assert str(wording.headline(result)) == expected


def test_a_bound_that_says_nothing_is_not_the_answer(bench):
    result = answered(bench, r2star_per_s=None, lic_mg_per_g=None, lic=None, flags=(STOP,), at_least=Limit(4.0, 0.1))
    assert str(wording.headline(result)) == "Liver iron not given: beyond what this scan can measure"
    assert not wording.has_scale(result.rois[0], result.measurements[0])


def test_without_a_liver_there_is_no_value_and_it_says_how_to_get_one(bench):
    empty = np.zeros_like(bench.result().rois[0].mask)
    result = answered(bench, mask=empty, r2star_per_s=None, lic_mg_per_g=None, lic=None, flags=(STOP,))
    assert str(wording.headline(result)) == "No liver iron value: no reliable liver region"
    assert wording.advice(result) == [wording.how_to_draw(LIVER)]


def test_a_number_that_is_withheld_says_why(bench):
    stop = replace(STOP, code="mixed", sentence="R2* spreads over more than one tissue does")
    result = answered(bench, r2star_per_s=None, lic_mg_per_g=None, lic=None, flags=(stop, DOUBT))
    mirrored = replace(stop, sentence="The image looks mirrored")
    said = wording.headline(answered(bench, r2star_per_s=None, lic_mg_per_g=None, lic=None, flags=(mirrored,)))
    assert said.meaning == "withheld because the image looks mirrored"
    assert (
        str(wording.headline(result))
        == "No liver iron value: withheld because R2* spreads over more than one tissue does"
    )
    assert wording.advice(result) == [wording.HOW_TO_DRAW_ANOTHER]


def test_a_field_without_calibration_gives_the_rate_and_no_concentration(bench):
    result = answered(bench, lic_mg_per_g=None, lic=None, calibration=None, flags=())
    assert str(wording.headline(result)) == "Liver iron not given: no calibration at 1.50 T; median R2* 125 /s"


def test_under_the_calibration_s_reach_it_is_less_than(bench):
    result = answered(bench, lic_mg_per_g=None, lic=Estimate(0.3, (0.2, 0.4)), flags=())
    assert str(wording.headline(result)) == "Liver iron < 0.5 mg/g dry weight: normal (below 1.8, Reeder 2023)"


def test_a_region_that_is_no_liver_has_no_range(bench):
    assert "Reeder" not in str(wording.headline(answered(bench, finding="spleen", flags=())))


def test_a_withheld_number_has_no_range_though_one_was_computed(bench):
    result = answered(bench, flags=(STOP,))
    assert wording.band(result.rois[0], result.measurements[0]) == ""


@pytest.mark.parametrize(("mg", "umol"), [(11.7, "209"), (1.1, "20"), (0.5, "8.9")])
def test_micromoles_have_two_digits_or_whole_numbers(mg, umol):
    assert wording.micromoles(mg) == umol


def test_time_bounds_are_the_reciprocals_of_the_rate_s(bench):
    assert wording.time_interval(bench.result().measurements[0]) == "7.56 to 8.44"


def test_the_quality_is_said_grade_by_grade(bench):
    assert wording.quality(answered(bench, flags=()))[0] == "Nothing speaks against the number."
    assert wording.quality(answered(bench, flags=(DOUBT,)))[0].startswith("The number stands with doubt: 1 reason")
    assert wording.quality(answered(bench, flags=(STOP, DOUBT)))[0].startswith("No number is given: 1 reason")
    note = replace(DOUBT, grade=Grade.INFO)
    assert wording.quality(answered(bench, flags=(note,)))[0] == "Nothing speaks against the number; 1 note."
    assert [flag.grade for flag in wording.flags_by_grade((DOUBT, STOP))] == [STOP.grade, DOUBT.grade]


def test_a_person_s_region_is_named_as_such(bench):
    drawn = Drawn("1.2", "1.2.3", "Reader^Rita=読影^者", "A viewer")
    said = wording.quality(replace(answered(bench), drawn=drawn))
    assert "Region drawn by Reader, Rita." in said
    assert str(wording.headline(replace(answered(bench), drawn=drawn))).startswith("Liver iron in the drawn region 3.1")


@pytest.mark.parametrize(
    ("name", "read"), [("Iron^Ida^M", "Iron, Ida M"), ("Iron", "Iron"), ("=山田^太郎", "山田, 太郎"), ("", "")]
)
def test_names_are_read_as_people_write_them(name, read):
    assert wording.person(name) == read


def test_no_confidence_is_called_certain():
    assert wording.confidence(1.0) == "over 99 %"
    assert wording.confidence(0.94) == "94 %"


def test_a_page_says_in_a_few_words_what_it_replaces_and_that_images_were_left_out(bench):
    result = bench.result()
    assert wording.history(result) == ""
    replaced = replace(result, identity=replace(result.identity, supersedes="a" * 40))
    assert wording.history(replaced) == f"replaces {'a' * 12}"
    partly = replace(result, stack=replace(result.stack, left_out=("3 images: derived",)))
    assert wording.history(partly) == "images left out: see report"


@pytest.mark.parametrize(
    ("probabilities", "said"),
    [
        ((0.0, 0.0, 0.856, 0.144, 0.0), "mild 86 %, moderate 14 %"),
        ((0.0, 0.003, 0.997, 0.0, 0.0), "mild > 99 %"),
        ((0.0, 0.3, 0.7, 0.0, 0.0), "mild 70 %, borderline 30 %"),
        ((0.0, 0.0, 0.0, None, None), ""),
    ],
)
def test_ranges_are_said_the_likeliest_first_and_none_that_rounds_to_nothing(bench, probabilities, said):
    stages = tuple(Stage(word, None, None, p) for (*_, word), p in zip(LIVER.ranges.limits, probabilities, strict=True))
    result = answered(bench, stages=stages)
    assert wording.chances(result.measurements[0]) == said
    expected = [f"Range by all that the interval holds, the calibration's own error with it: {said} (Reeder 2023)."]
    assert [line for line in wording.quality(result) if line.startswith("Range")] == (expected if said else [])
