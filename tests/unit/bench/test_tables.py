"""Tables of the benches read as Markdown and compare with the right reference."""

import numpy as np
import pytest

from bench.tables import Table, best_roi_table, mean_in, roi_table

TRUTH = {"Right ROI": [9.0, 4.0], "Left ROI": [10.0, 5.0]}


def test_columns_are_padded_to_their_widest_cell():
    text = Table("Caption", ["a", "long head"], [["1", "2"], ["333", "4"]], ["A note."]).markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "|-----|-----------|"
    assert text.endswith("A note.\n")


def test_every_region_stands_under_its_own_reference():
    table = roi_table("T2*", ["P1", "P2"], TRUTH, {"Right ROI": [9.5, 3.9], "Left ROI": [10.0, float("nan")]})
    assert table.rows[0] == ["Right ROI, scanner", "9.0000", "4.0000"]
    assert table.rows[1] == ["Right ROI", "9.5000 (+0.5000)", "3.9000 (-0.1000)"]
    assert table.rows[3][2] == "–"


def test_the_nearest_method_wins_and_is_counted():
    methods = {
        "ADMM": {"Right ROI": [9.1, 4.4], "Left ROI": [10.0, float("nan")]},
        "LM": {"Right ROI": [8.0, 4.1], "Left ROI": [10.0, 9.0]},
    }
    table = best_roi_table("Best", ["P1", "P2"], TRUTH, methods)
    assert [row[1].split()[-1] for row in table.rows] == ["ADMM", "ADMM"]
    assert [row[2].split()[-1] for row in table.rows] == ["LM", "LM"]
    assert table.notes == ["Nearest: ADMM: 2; LM: 2."]


def test_the_mean_of_a_region_leaves_out_what_has_no_answer():
    values, region = np.array([1.0, np.nan, 3.0, 100.0]), np.array([True, True, True, False])
    assert mean_in(values, region) == pytest.approx(2.0)
    assert np.isnan(mean_in(values, ~region & False))
