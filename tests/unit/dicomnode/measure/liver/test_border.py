import numpy as np
import pytest

from dicomnode.measure.liver import border

MM = (2.0, 2.0)


def disc(radius, centre=(40, 40), size=80):
    rows, columns = np.mgrid[:size, :size]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2


def rates(liver, r2star=200.0, other=40.0, vessel=None):
    rng = np.random.default_rng(0)
    r2 = np.where(liver, r2star, other) * rng.normal(1, 0.03, liver.shape)
    s0 = np.where(liver, 300.0, 200.0) * rng.normal(1, 0.03, liver.shape)
    if vessel is not None:
        r2[vessel] = other
    return border.Rates(r2, s0, np.ones(liver.shape, bool))


def test_the_maps_move_a_border_that_is_a_little_off():
    true, said = disc(25), disc(23)
    probability = np.where(said, 0.9, np.where(disc(27), 0.4, 0.02))
    without, refined = (border.outline(probability, r, MM) for r in (None, rates(true)))
    assert np.array_equal(without, said)
    assert (refined != true).sum() < 0.3 * (without != true).sum()


def test_where_no_fit_is_valid_the_networks_border_stands():
    said = disc(23)
    maps = border.Rates(np.zeros(said.shape), np.zeros(said.shape), np.zeros(said.shape, bool))
    assert np.array_equal(border.outline(np.where(said, 0.9, 0.05), maps, MM), said)


def test_vessels_are_not_parenchyma():
    liver, vessel = disc(28), disc(4, (45, 40))
    kept = border.parenchyma(liver, np.zeros(liver.shape), rates(liver, vessel=vessel), MM)
    assert kept[vessel].mean() < 0.1
    assert kept[liver & ~disc(6, (45, 40))].mean() > 0.97


def test_what_the_network_calls_inside_needs_no_maps():
    liver, vessel = disc(28), disc(4, (45, 40))
    assert not border.parenchyma(liver, vessel * 0.9, None, MM)[vessel].any()


def test_the_rim_is_four_millimetres_and_less_where_the_liver_is_thin():
    large, rim = border.within_the_rim(disc(25), disc(25), MM)
    assert rim == border.RIM_MM
    assert border.depth_mm(disc(25), MM)[large].min() > border.RIM_MM
    small, less = border.within_the_rim(disc(5), disc(5), MM)
    assert less == border.THIN_RIM_MM
    assert small.any()


def test_small_pieces_are_not_followed():
    mask = disc(20) | disc(4, (8, 8))
    assert np.array_equal(border.pieces(mask), disc(20))


def test_the_images_edge_counts_as_the_outside():
    assert border.depth_mm(np.ones((10, 10), bool), (3.0, 1.0))[0, 5] == pytest.approx(3.0)


def test_what_lies_near_gas_is_left_out_as_far_as_enough_is_left():
    region, gas = disc(36), np.zeros((80, 80))
    gas[:8] = 1
    away = border.from_gas_mm(gas, MM)
    far = border.far_from_gas(region, away, MM)
    assert 0.5 * region.sum() <= far.sum() < region.sum()
    assert away[far].min() > border.GAS_MM[-1]
    thin = disc(12, (12, 40))
    assert np.array_equal(border.far_from_gas(thin, away, MM), thin)


def test_without_gas_nothing_is_left_out():
    region = disc(40)
    assert np.array_equal(border.far_from_gas(region, border.from_gas_mm(np.zeros(region.shape), MM), MM), region)
