"""What is read from the real axial series, on one whose fat and field are known."""

import numpy as np
import pytest

from bench import axial, fat

T_S = (1.1 + 1.1 * np.arange(12)) / 1000


def test_the_speed_of_fat_that_leaves_least_is_the_true_one():
    fraction = np.linspace(0.2, 0.8, 60)[:, None]
    slower = fat.fat_signal(0.94 * T_S, 2.9, fat.SPECTRA["Hamilton"])
    voxels = 100 * np.abs(1 - fraction + fraction * slower) * np.exp(-50 * T_S)
    left = {speed: np.median(axial.explained(voxels, T_S, 2.9, speed)[0]) for speed in axial.SPEEDS}
    assert min(left, key=left.get) == 0.94
    _, found = axial.explained(voxels, T_S, 2.9, 0.94)
    assert found == pytest.approx(fraction[:, 0], abs=0.05)


def test_fat_that_turns_otherwise_as_a_whole_is_told_from_a_faster_one():
    mixture = axial.Mixture(T_S, 2.9, shifts=True, two_rates=True)
    voxel = mixture.magnitudes(np.array([40.0, 60.0, 0.2, 10.0, 0.03, 90.0, 40.0]))
    left, _, shift = mixture.fit(voxel)
    assert left < 0.005
    assert shift == pytest.approx(0.2, abs=0.03)
    as_it_should, _, _ = axial.Mixture(T_S, 2.9, shifts=False, two_rates=False).fit(voxel)
    assert as_it_should > 10 * left


def test_a_field_across_the_slice_is_told_part_by_part():
    magnitudes = np.broadcast_to(20 * np.exp(-30 * T_S) * np.sinc(45 * T_S), (232, 256, 12))
    noise = axial.SIGMA * np.random.default_rng(1).standard_normal((2, *magnitudes.shape))
    rows = axial.of_boxes(np.hypot(magnitudes + noise[0], noise[1]), 1000 * T_S, 2.9).rows
    assert len(rows) == len(axial.BOXES)
    assert all(abs(float(row[2].removesuffix(" Hz")) - 45) < 5 for row in rows)
