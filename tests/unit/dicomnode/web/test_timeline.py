"""The drawing of earlier results on a page: every value in its place."""

from __future__ import annotations

import pytest

from dicomnode.web import timeline


def point(date, lic, outcome="no-change", **changes):
    made = {"date": date, "lic_mg_per_g": lic, "lic_ci95": None, "scanner": "Aera MR1", "bound": "", "outcome": outcome}
    return {**made, "words": [date, f"{lic}", "", "", "", "", "", outcome], **changes}


def trend(*points, now=5.0, limit=0.75):
    return {"points": list(points), "now": point("2026-06-01", now), "repeatability_mg_per_g": limit}


def test_values_lie_by_date_and_iron():
    drawn = timeline.of(trend(point("2025-06-01", 10.0), point("2025-12-01", 7.5)))
    first, second, now = drawn.marks
    assert first.x < second.x < now.x
    assert first.y < second.y < now.y  # more is higher
    assert second.y - first.y == pytest.approx(now.y - second.y, abs=0.3)
    assert drawn.joined == " ".join(f"{one.x},{one.y}" for one in drawn.marks)


def test_what_cannot_be_compared_is_not_joined():
    drawn = timeline.of(trend(point("2025-06-01", 10.0, "not-comparable"), point("2025-12-01", 7.5)))
    assert [one.comparable for one in drawn.marks] == [False, True, True]
    assert len(drawn.joined.split()) == 2


def test_today_s_scanner_has_the_first_mark():
    drawn = timeline.of(trend(point("2025-06-01", 10.0, scanner="Optima"), point("2025-12-01", 7.5, scanner=None)))
    assert drawn.scanners[0] == "Aera MR1"
    assert [one.scanner for one in drawn.marks] == [2, 1, 0]


def test_the_band_is_where_nothing_has_changed():
    drawn = timeline.of(trend(point("2025-06-01", 5.7), point("2025-12-01", 5.9)))
    top, height = drawn.band
    inside, outside, now = drawn.marks
    assert top < inside.y < top + height
    assert outside.y < top
    assert top < now.y < top + height
    assert timeline.of(trend(point("2025-06-01", 5.0), limit=None)).band is None


def test_nothing_is_drawn_of_fewer_than_two_values():
    assert timeline.of(None) is None
    assert timeline.of(trend()) is None
    assert timeline.of(trend(point("2025-06-01", None))) is None


@pytest.mark.parametrize("dates", [("2026-05-31",), ("1999-01-01", "2026-05-01"), ("2026-01-01", "2026-02-01")])
@pytest.mark.parametrize("highest", [0.5, 3.2, 43.0])
def test_the_scales_have_a_few_marks_all_inside(dates, highest):
    drawn = timeline.of(trend(*(point(date, highest) for date in dates), now=0.5))
    assert 2 <= len(drawn.scale) <= 12
    assert 1 <= len(drawn.dates) <= 9
    assert all(40 <= x <= timeline.WIDTH for x, _ in drawn.dates)
    assert all(0 <= y <= timeline.HEIGHT for y, _ in drawn.scale)


def test_where_no_change_is_judged_nothing_is_joined_and_the_scale_is_the_organ_s():
    def time(date, ms):
        return {**point(date, None, "not-judged"), "value": ms, "value_ci95": [0.9 * ms, 1.1 * ms]}

    said = {**trend(time("2025-06-01", 9.0), limit=None), "now": time("2026-06-01", 14.0)}
    drawn = timeline.of({**said, "quantity": "T2*", "unit": "ms", "judged": False})
    assert (drawn.title, drawn.judged, drawn.joined, drawn.band) == ("T2*, ms", False, "", None)
    assert [one.comparable for one in drawn.marks] == [False, True]
    assert drawn.marks[0].y > drawn.marks[1].y
