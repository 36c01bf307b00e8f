"""The study's own judgement: what counts as wrong, and that nothing is lost between an exam and its files."""

from dataclasses import replace

import numpy as np
import pytest

from bench import anatomy, liver, scans, sweep
from dicomnode import group, header, pixels
from dicomnode.config import GroupingSettings

RIGHT = liver.Case(
    seed=1, kind="abdomen", plane="axial", shape="usual", habitus="normal", field_t=1.5, train="paper",
    t2star_ms=5.0, snr=50.0, fat=0.0, slices=1, is_liver=True, measurable=True, true_per_s=200.0, found_per_s=202.0,
    low_per_s=195.0, high_per_s=209.0, lic=5.1, lic_low=4.9, lic_high=5.3, true_lic=5.0, at_least_per_s=None,
    same_fit_per_s=201.0, confidence=0.99, dice=0.97, inside=1.0, flags=("coils: low confidence",), status="done",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, False),
        ({"found_per_s": 245.0}, True),
        ({"found_per_s": None}, False),
        ({"true_per_s": None, "is_liver": False}, True),
        ({"found_per_s": None, "at_least_per_s": 190.0}, False),
        ({"found_per_s": None, "at_least_per_s": 230.0}, True),
        ({"found_per_s": None, "at_least_per_s": 100.0, "is_liver": False}, True),
    ],
)
def test_a_number_far_off_or_of_no_liver_and_a_bound_that_is_none_are_wrong(changes, wrong):
    assert liver.is_wrong(replace(RIGHT, **changes)) is wrong


def test_tables_count_what_is_given_held_and_wrong():
    cases = [
        RIGHT,
        replace(RIGHT, seed=2, found_per_s=None),
        replace(RIGHT, seed=3, found_per_s=300.0, low_per_s=290.0, high_per_s=310.0),
    ]
    made = {table.caption: table for table in liver.tables(cases)}
    total = dict(zip(liver.HEADINGS, made["From files to R2* of the liver"].rows[0], strict=True))
    assert (total["livers"], total["number given"], total["wrong numbers (> 20 %)"]) == ("3", "67%", "1")
    assert made["95 % intervals of R2*"].rows[0][1:3] == ["2", "50%"]
    assert [row[0] for row in made["Wrong numbers"].rows] == ["3"]
    assert made["Flags"].rows == [["coils: low confidence", "3 of 3", "0 of 0"]]


def test_an_exam_comes_back_from_its_files_as_it_was(tmp_path):
    exam = anatomy.exam(3, "training", scene="abdomen", slices=2, pixel_mm=4.0, over=1, counts=1000.0, fault="none")
    images = [image for path in scans.write(exam, tmp_path, 7) for image in header.read(path).images]
    (found,) = group.assemble(images, GroupingSettings())
    assert found.stack.echo_times_ms == pytest.approx(exam.echo_times_ms, abs=1e-4)
    assert found.stack.field_strength_t == pytest.approx(exam.field_t, rel=1e-3)
    order = liver._order(exam, [plane.position for plane in found.stack.planes])
    np.testing.assert_array_equal(pixels.load(found.stack), exam.signal[order])


def test_a_point_of_the_sweep_is_wrong_when_its_number_or_its_bound_is():
    point = sweep.Point("ge", 1.5, 5.0, 50.0, 1, 200.0, 205.0, None, "")
    assert not point.wrong
    assert replace(point, found_per_s=100.0).wrong
    assert replace(point, found_per_s=None, at_least_per_s=201.0).wrong
    assert "1 silently wrong" in sweep.table([point, replace(point, found_per_s=100.0)]).markdown()
