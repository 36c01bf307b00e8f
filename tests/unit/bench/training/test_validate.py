import numpy as np

from bench.training import known, validate
from bench.training.judging import Judged, drawn_for_calibration


def judged(confidence=0.95, *, absent=False, inside=0.99, dice=0.96, rate_error=0.01, t2star_ms=5.0):
    return Judged(
        meta={"t2star_ms": t2star_ms, "plane": "axial", "scene": "abdomen", "field_t": 1.5, "seed": 1, "snr": 50.0},
        liver=not absent,
        absent=absent,
        lies=False,
        slice_numbers=np.zeros((1, 3)),
        slice_good=np.array([not absent]),
        series_numbers=np.zeros(3),
        confidence=confidence,
        inside=inside,
        dice_whole=dice,
        dice_parenchyma=dice,
        rate_error=rate_error,
        fit_error=0.004,
        codes=(),
    )


def test_a_region_where_there_is_no_liver_is_never_good():
    assert judged().good
    assert not judged(absent=True).good
    assert judged(dice=0.7).good
    assert not judged(inside=0.7).good
    assert not judged(rate_error=-0.3).good
    assert not judged(rate_error=float("nan")).good


def test_the_acceptance_table_counts_what_a_threshold_lets_through():
    exams = [judged(), judged(0.96, absent=True), judged(0.92, rate_error=0.5), judged(0.4)]
    row = next(row for row in validate.acceptance_table(exams).rows if row[0] == "0.9")
    assert row == ("0.9", "66.7%", "1", "1", "1", "2")


def test_the_reliability_table_compares_what_was_said_with_what_was_true():
    exams = [judged(0.92), judged(0.94), judged(0.93, inside=0.5)]
    (row,) = validate.reliability_table(exams).rows
    assert row == ("0.9–0.95", "3", "0.930", "0.667")


def test_dice_is_told_by_band_and_for_all():
    table = validate.dice_table("", [judged(), judged(t2star_ms=20.0, dice=0.9)], validate.by_t2star)
    assert [row[0].strip() for row in table.rows] == ["4–8 ms", "16–32 ms", "all"]
    assert table.rows[-1][2] == "0.930"
    assert str(table).count("\n") == 7


def test_exams_for_calibration_are_made_again_from_their_seed():
    first, again = (drawn_for_calibration(4, "calibration") for _ in range(2))
    assert np.array_equal(first.signal, again.signal)


def test_the_solvers_phantom_comes_with_its_truth():
    made = next(known.simulated())
    assert made.liver.any()
    assert (made.whole | ~made.liver).all()
    assert abs(np.median(made.r2star_per_s[made.liver]) / 1250 - 1) < 0.02


def test_stored_cases_are_read_with_their_masks(tmp_path):
    liver = np.zeros((6, 5), bool)
    liver[2:4, 1:3] = True
    meta = '{"t2s": 5.0, "group": "coronal", "b0": 3.0, "sigma_true": 2.0, "coils": 2, "snr": 40.0}'
    np.savez(
        tmp_path / "004.npz",
        sig=np.ones((6, 5, 3), np.uint16),
        te=np.array([1.0, 2.0, 3.0]),
        pix=1.5,
        liver=np.packbits(liver),
        whole=np.packbits(liver),
        true=200.0,
        meta=meta,
    )
    (case,) = known.cases(tmp_path)
    assert np.array_equal(case.liver[0], liver)
    assert case.planes()[0].orientation == known.CORONAL
    assert case.n_coils == 2
