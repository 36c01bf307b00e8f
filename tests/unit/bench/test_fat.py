"""The study of fat makes what it says, and counts what it should."""

import numpy as np
import pytest

from bench import fat
from solver.model import fat_water

TRAIN = "1.1 ms × 12"


def case(fraction=0.2, rate=100.0, seed=1, field=1.5):
    return fat.Case(TRAIN, fat.SHORT[TRAIN], field, fraction, rate, 100.0, seed)


@pytest.fixture(scope="module")
def measured():
    return {fraction: fat.by_node(case(fraction), fat.ONE) for fraction in (0.0, 0.2)}


def test_fat_of_the_scene_beats_as_the_model_of_the_solver_says():
    t = np.array(fat.SHORT[TRAIN])
    mixed = np.abs(0.8 + 0.2 * fat.fat_signal(t / 1000, 1.5, fat.SPECTRA["Hamilton"]))
    expected = fat_water(1.5, 1.0)(np.ones(1), np.zeros(1), np.array([[0.2]]), t)[0][:, 0]
    assert mixed == pytest.approx(expected, rel=1e-9)


def test_a_scene_holds_the_liver_that_was_asked_for():
    made = fat.scene(case(rate=300.0))
    assert made.rate_per_s == pytest.approx(300, rel=0.03)
    assert made.fraction == pytest.approx(0.2, rel=0.03)
    assert made.liver.sum() > 1000


def test_without_fat_one_exponential_is_right_and_with_fat_it_is_not(measured):
    assert abs(measured[0.0].of_map) < 0.01
    assert "fat-corrected" not in measured[0.0].codes
    assert abs(measured[0.2].of_map) > 0.015


def test_tables_count_numbers_and_intervals(measured):
    table = fat.of_regions(list(measured.values()), "R2*")
    assert [row[:2] for row in table.rows] == [["one exponential", "0 %"], ["one exponential", "20 %"]]
    assert all(row[2].endswith("1/1, 100%") for row in table.rows)
    said, large = fat.choices(list(measured.values()), "fat").rows
    assert said == ["one exponential", "said", "0/1", "1/1"]
    assert large == ["one exponential", "over 3%", "0/1", "0/1"]
    (total,) = fat.totals(list(measured.values()), "all").rows
    assert total[:3] == ["one exponential", "2", "2"]


def test_seeds_held_out_are_not_those_of_other_studies():
    assert {one.seed for one in fat.cases(fat.LONG, range(fat.HELD_OUT, fat.HELD_OUT + 2))} == {41_000, 41_001}


def test_what_is_left_to_the_evidence_has_a_fraction_that_holds():
    found = fat.by_node(case(0.2), fat.AUTOMATIC)
    assert abs(found.of_map) < 0.01
    assert found.fraction_covered
    assert fat.of_fractions([found], "fat").rows[0][1].endswith("1/1, 100%")


def test_a_complex_scene_has_the_magnitudes_of_the_plain_one():
    one, other = fat.scene(case()), fat.complex_scene(case(), swing=0.6)
    bright = one.signal > 100
    assert np.abs(other.signal)[bright] / one.signal[bright] == pytest.approx(1, abs=0.2)
    assert (other.rate_per_s, other.fraction) == (one.rate_per_s, one.fraction)


def test_sound_phase_is_right_and_spoilt_phase_is_counted_by_the_gate_that_refuses_it():
    found = fat.by_companion(case(fraction=0.05, rate=60.0), fat.COMPLEX)
    assert found.codes == ()
    assert abs(found.of_map) < 0.02
    judged = [fat.judge((case(fraction=0.05, rate=60.0), kind)) for kind in ("as it is", "two echoes swapped")]
    table = {row[0]: row for row in fat.of_spoilt(judged, "spoilt").rows if row[1] != "0"}
    assert table["as it is"][2] == "0"
    assert table["two echoes swapped"][2:4] == ["1", "0 of 0"]
    assert table["two echoes swapped"][-1] == "incoherent 1"
    assert fat.of_gates([found], "gates").rows == [["5 %", "1/1", "–"]]
