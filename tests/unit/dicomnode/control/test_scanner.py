"""Rows become charts: which vial is which, which scans belong together, what a line of the table says."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from dicomnode.control import rows, scanner
from dicomnode.control.rows import History, Restart, Row, Scanner

MR1 = Scanner("SIEMENS", "Skyra", "MR1", 2.89, "MR1AE")
PLACES = np.array([[28.0 * (k % 4), 28.0 * (k // 4), 0.0] for k in range(8)])
RATES = np.array([25.0, 45.0, 70.0, 100.0, 140.0, 190.0, 250.0, 320.0])


def row(week, places=PLACES, rates=RATES, order=None, **more):
    order = range(len(rates)) if order is None else order
    vials = tuple(
        {"name": f"vial {n}", "centre_mm": list(places[k]), "r2star_per_s": float(rates[k])}
        for n, k in enumerate(order, 1)
    )
    at = f"2026-{1 + week // 4:02d}-{1 + 7 * (week % 4):02d}T08:00:00"
    return replace(Row(f"k{week}", f"e{week}", at, MR1, "phantom", "8 echoes", "1", snr=80.0, vials=vials), **more)


def values(phantom, code):
    return next(one for one in phantom.charts if one.code == code).drawn.values


def turned(degrees, shift):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    return PLACES @ turn.T + shift


@pytest.mark.parametrize(("degrees", "shift"), [(0, (0, 0, 0)), (8, (15.0, -40.0, 3.0)), (-12, (-60.0, 9.0, 0))])
def test_a_vial_is_known_again_by_its_place_whatever_number_it_was_given(degrees, shift):
    order = [3, 0, 7, 5, 1, 2, 4, 6]
    history = History(MR1, (row(0), row(1), row(2, turned(degrees, np.array(shift)), RATES * 1.02, order)))
    (phantom,) = scanner.phantoms(history, baseline=2)
    assert values(phantom, "r2star")[2] == pytest.approx(100 * np.log(1.02))
    for number in range(1, 9):
        assert values(phantom, f"vial-{number}")[2] == pytest.approx(0.0, abs=1e-9)


def test_a_scan_that_lacks_a_vial_is_judged_by_the_others():
    history = History(MR1, (row(0), row(1), row(2, order=[0, 1, 2, 4, 5, 6, 7])))
    (phantom,) = scanner.phantoms(history, baseline=2)
    assert len(values(phantom, "r2star")) == 3
    assert [len(values(phantom, f"vial-{number}")) for number in (3, 4, 5)] == [3, 2, 3]


def test_one_vial_that_changes_is_an_alarm_of_its_own_chart_alone():
    noise = np.random.default_rng(3)
    leaking = RATES * np.where(np.arange(8) == 2, 1.15, 1.0)
    history = History(
        MR1, tuple(row(week, rates=(RATES if week < 20 else leaking) * noise.normal(1, 0.003, 8)) for week in range(21))
    )
    alarms = scanner.standing(history)
    assert {named.code for named, _ in alarms} == {"vial-3"}


def test_another_protocol_is_another_chart_and_a_new_baseline_begins_anew():
    history = History(MR1, (row(0), row(1, protocol="6 echoes"), row(2)))
    assert sorted(len(one.rows) for one in scanner.phantoms(history)) == [1, 2]
    since = replace(history, restarts=(Restart("2026-01-10", "anna", "coil changed"),))
    assert sorted(len(one.rows) for one in scanner.phantoms(since)) == [1]


def test_the_table_has_a_line_a_vial_and_one_for_an_exam_without():
    patient = replace(row(1), organ="liver", vials=(), at="2026-01-08", snr=41.23456789)
    found = list(csv.DictReader(io.StringIO(scanner.table([History(MR1, (row(0), patient))]))))
    assert [one["vial"] for one in found] == [*(f"vial {number}" for number in range(1, 9)), ""]
    assert (found[-1]["snr"], found[-1]["at"], found[0]["r2star_per_s"]) == ("41.2346", "2026-01-08", "25")


def test_rows_are_kept_by_scanner_and_the_last_of_an_exam_counts(tmp_path):
    other = replace(MR1, station="MR2")
    for one in (row(0), row(1), replace(row(1), key="again", snr=90.0), replace(row(2), scanner=other)):
        rows.append(tmp_path, one)
    first, second = rows.read(tmp_path)
    assert [(one.key, one.snr) for one in first.rows] == [("k0", 80.0), ("again", 90.0)]
    assert second.scanner == other
    assert rows.keys(tmp_path) == {"k0", "k1", "again", "k2"}


def test_a_line_that_a_crash_cut_off_loses_no_other(tmp_path):
    rows.append(tmp_path, row(0))
    path = tmp_path / rows.FOLDER / f"{MR1.name}.jsonl"
    with path.open("a") as file:
        file.write('{"key": "torn", "exa')
    rows.append(tmp_path, row(1))
    (history,) = rows.read(tmp_path)
    assert [one.key for one in history.rows] == ["k0", "k1"]


def test_a_patients_row_says_the_day_and_a_phantoms_the_time():
    said = {"scanner": {"manufacturer": "GE"}, "protocol": "p", "acquired_s": 63713578862.48}
    known = {"key": "k", "exam": "e", "created": "2026-01-02T03:04:05+00:00", "sender": "MR1", "software": "1"}
    assert rows.made(said, **known, organ="liver").at == "2020-01-01"
    vials = [{"name": "vial 1", "centre_mm": [0, 0, 0], "r2star_per_s": 1.0}]
    assert rows.made({**said, "vials": vials}, **known, organ="phantom").at.startswith("2020-01-01T")
    assert rows.made({**said, "acquired_s": 3600.0}, **known, organ="liver").at == "2026-01-02"
