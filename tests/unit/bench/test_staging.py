"""The generator of the staging bench draws what it says, and its tables count what came true."""

from dataclasses import replace

import numpy as np
import pytest

from bench import fat, staging
from bench.staging import Outcome
from dicomnode.measure import staging as measure
from dicomnode.measure.organs import LIVER
from dicomnode.model import Estimate, Limit


def outcome(true, *, value=None, sd=0.1, at_least=None, **changes):
    """Of an exam whose number is ``value``, or a bound in mg/g."""
    stages = () if value is None else measure.stages(LIVER.ranges, Estimate(value, (0.0, 0.0), {"fit": sd}))
    if at_least is not None:
        stages = measure.from_bound(LIVER.ranges, Limit(100.0, at_least))
    made = Outcome(
        seed=1, coils=1, snr=50.0, fat=0.0, echoes=12, field_t=1.5, true_per_s=120.0, by_line_mg_per_g=true,
        true_mg_per_g=true, found_per_s=None, stages=stages, at_least_per_s=None if at_least is None else 100.0,
        doubted=False,
    )  # fmt: skip
    return replace(made, **changes)


def test_an_exam_is_what_is_true_of_it():
    for seed in range(5):
        made = staging.exam(seed)
        line = LIVER.calibration("hernando-2023", made.field_t)
        assert made.by_line_mg_per_g == pytest.approx(line.lic_mg_per_g(made.rate_per_s))
        assert made.lic_mg_per_g == pytest.approx(made.by_line_mg_per_g, rel=5 * line.relative_sd)
        assert made.signal.shape == (*made.region.shape, len(made.times_ms))
        assert made.region.sum() > 300
        assert 0.2 < made.covers < 1
        np.testing.assert_array_equal(made.signal, np.round(made.signal))


@pytest.mark.parametrize("coils", [1, 4, 16])
def test_air_holds_the_noise_of_all_coils(coils):
    clean = np.zeros((1, 80, 90, 6), complex)
    clean[:, 20:60, 20:60] = 1.0
    liver = np.zeros((1, 80, 90), bool)
    liver[:, 30:50, 30:50] = True
    signal = staging._received(clean, liver, coils, 0.02, np.random.default_rng(1))
    scale = np.median(signal[0, 30:50, 30:50])
    power = np.mean((signal[0, :15] / scale) ** 2)
    assert power == pytest.approx(2 * coils * 0.02**2, rel=0.1)


def test_rates_that_spread_within_a_voxel_have_their_mean_at_the_start_and_a_slower_tail():
    rate, spread = np.array([200.0]), np.array([0.1])
    start = -np.log(staging._gamma_decay(rate, spread, 1e-5)) / 1e-5
    assert start == pytest.approx(200, rel=1e-3)
    assert staging._gamma_decay(rate, spread, 0.02) > np.exp(-200 * 0.02)
    assert staging._gamma_decay(rate, 0 * spread, 0.01) == pytest.approx(np.exp(-2.0), rel=1e-4)


def test_fat_is_another_spectrum_than_the_solvers_and_mostly_methylene():
    peaks = staging._triglyceride(np.random.default_rng(0))
    assert sum(share for _, share in peaks) == pytest.approx(1)
    assert len(peaks) > 6
    main = max(peaks, key=lambda peak: peak[1])
    assert main[0] == pytest.approx(-3.4)
    assert 0.5 < main[1] < 0.75


def test_seeds_are_not_those_of_another_study():
    assert staging.FIRST_SEED > fat.HELD_OUT + 10_000


def test_what_is_stated_above_nine_tenths_is_counted_with_what_came_true():
    found = [outcome(5.0, value=5.0), outcome(7.4, value=6.0), outcome(7.1, value=7.05), outcome(20.0, at_least=16.0)]
    row = staging.sure_table(found).rows[0]
    assert row == ["all", "4", "3", "2", "1", "50.0 %", "50.0 %"]


def test_the_calibrations_own_error_is_told_apart():
    (row, *_) = staging.sure_table([outcome(7.4, value=6.0, by_line_mg_per_g=6.1)]).rows
    assert row[5:] == ["0.0 %", "100.0 %"]


def test_every_stated_probability_counts_and_those_of_bounds_do_not():
    points = staging.reliability([outcome(5.0, value=5.0), outcome(20.0, at_least=16.0)])
    assert sum(count for *_, count in points) == len(LIVER.ranges.limits)
    assert points[-1][:2] == pytest.approx((1.0, 1.0))


def test_a_bound_is_right_by_its_rate_and_by_what_it_excludes():
    found = [outcome(20.0, at_least=16.0), outcome(6.0, at_least=8.0, true_per_s=90.0), outcome(5.0, value=5.0)]
    rows = {row[0]: row[1:] for row in staging.bound_table(found).rows}
    assert rows["bound of R2*"] == ["2", "50.0 %"]
    assert rows["bound that excludes ranges"] == ["2", "50.0 %"]
    assert rows["neither"] == ["0", "–"]


def test_an_exam_goes_through_the_nodes_own_door():
    found = staging.outcome(2)
    assert found.stated
    assert found.found_per_s == pytest.approx(found.true_per_s, rel=0.1)
    assert staging.drawing([found]).axes
