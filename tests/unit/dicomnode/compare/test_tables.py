"""Tables read as Markdown and compare with the right reference."""

import pytest

from dicomnode.compare.page import html
from dicomnode.compare.tables import COLUMNS, Mark, Means, Table, best_roi_table, csv_text, nearest, roi_table

NAN = float("nan")
TRUTH = {"Right ROI": [9.0, 4.0], "Left ROI": [10.0, 5.0]}


def means(methods, reference=TRUTH):
    return Means("T2*", ["P1", "P2"], "scanner", reference, methods)


def test_columns_are_padded_to_their_widest_cell():
    text = Table("Caption", ["a", "long head"], [["1", "2"], ["333", "4"]], ["A note."]).markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "|-----|-----------|"
    assert text.endswith("A note.\n")


def test_every_region_stands_under_its_own_reference():
    table = roi_table("T2*", means({"LM": {"Right ROI": [9.5, 3.9], "Left ROI": [10.0, NAN]}}))
    assert table.rows[0] == ["Right ROI", "scanner", "9.0000", "4.0000"]
    assert table.rows[1] == ["Right ROI", "LM", "9.5000 (+0.5000)", "3.9000 (-0.1000)"]
    assert table.rows[3][3] == "–"


def test_without_a_reference_there_is_no_row_and_no_difference():
    table = roi_table("T2*", means({"LM": {"Right ROI": [9.5, 3.9]}}, {"Right ROI": [NAN, NAN]}))
    assert table.rows == [["Right ROI", "LM", "9.5000", "3.9000"]]


def test_the_nearest_method_wins_and_is_counted():
    methods = {
        "ADMM": {"Right ROI": [9.1, 4.4], "Left ROI": [10.0, NAN]},
        "LM": {"Right ROI": [8.0, 4.1], "Left ROI": [10.3, 9.0]},
    }
    table = best_roi_table("Best", means(methods))
    assert [row[1].split()[-1] for row in table.rows] == ["ADMM", "ADMM"]
    assert [row[2].split()[-1] for row in table.rows] == ["LM", "LM"]
    assert table.notes == ["Nearest: ADMM: 2; LM: 2."]


def test_the_nearest_is_bold_and_the_farthest_reddest():
    methods = {
        "ADMM": {"Right ROI": [9.1, 4.4], "Left ROI": [10.0, NAN]},
        "LM": {"Right ROI": [8.0, 4.1], "Left ROI": [12.0, 9.0]},
    }
    table = roi_table("T2*", means(methods))
    assert table.marks[1, 2] == Mark(pytest.approx(0.1 / 4), nearest=True)
    assert table.marks[5, 3] == Mark(1.0, nearest=True)
    assert table.marks[4, 3] == Mark()  # no number
    assert "**9.1000 (+0.1000)**" in table.markdown()


def test_one_method_alone_is_not_the_nearest():
    table = roi_table("T2*", means({"LM": {"Right ROI": [9.5, 3.9], "Left ROI": [10.0, NAN]}}))
    assert not any(mark.nearest for mark in table.marks.values())


def test_numbers_are_in_full_and_empty_where_there_are_none():
    found = list(means({"LM": {"Right ROI": [9.123456789, NAN], "Left ROI": [10.0, 5.0]}}).numbers())
    assert found[0] == ("T2*", "P1", "Right ROI", "LM", 9.123456789, 9.0, 9.123456789 - 9.0, 1)
    assert found[1] == ("T2*", "P2", "Right ROI", "LM", "", 4.0, "", "")
    assert len(csv_text(COLUMNS, found).splitlines()) == 5


def test_page_escapes_words_and_shows_what_is_marked():
    table = Table("a < b", ["<i>"], [["1 & 2"]], ["note >"], {(0, 0): Mark(0.5, nearest=True)})
    page = html("T", ["remark <"], [table], [("a.png", "fig & ure")])
    assert "<caption>a &lt; b</caption>" in page
    assert '<td class="best" style="background:rgba(222,45,38,0.38)"><strong>1 &amp; 2</strong></td>' in page
    assert '<img src="a.png" alt="fig &amp; ure">' in page
    assert "<i>" not in page


def test_nothing_is_nearest_to_nothing():
    table = best_roi_table("Best", means({"LM": {"Right ROI": [8.0, NAN]}}, {"Right ROI": [NAN, 4.0]}))
    assert table.rows == [["Right ROI", "–", "–"]]


def test_methods_that_print_alike_are_nearest_together():
    assert nearest({"A": 6.00001, "B": 5.99999, "C": 6.1}, 6.0) == ["A", "B"]
