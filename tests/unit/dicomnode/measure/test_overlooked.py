"""A milder tissue beside an organ full of iron is not believed to be the liver."""

import numpy as np
import pytest

from dicomnode import fit
from dicomnode.measure import overlooked
from dicomnode.model import FitRecord, Grade, Maps, Plane

SHAPE = (1, 96, 128)
PLANE = Plane(96, 128, (-128.0, -96.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2.0, 2.0), "1.2")
ROWS, COLUMNS = np.indices(SHAPE[1:])
BODY = np.hypot((ROWS - 48) / 44, (COLUMNS - 64) / 60) < 1


def disc(row, column, radius):
    return (np.hypot(ROWS - row, COLUMNS - column) < radius)[None]


def found(region, fast, *, organ=None, rate=500.0, amplitude=100.0, beyond=False):
    rates = np.where(fast, rate, 40.0).astype(np.float32)
    signal = np.where(BODY, np.where(fast, amplitude, 100.0), 0.0).astype(np.float32)[..., None]
    valid = np.broadcast_to(BODY, SHAPE) & ~(fast & beyond)
    record = FitRecord("nls", "mono-exponential", "rician", True, 1, 0.0, "converged", {}, "0")
    values = {**dict.fromkeys(fit.QUANTITIES, rates), "t2star_ms": 1000 / rates}
    maps = Maps(values, valid, (2.0,), record, beyond=fast & ~valid)
    return overlooked.flags(signal.reshape(*SHAPE, 1), maps, (PLANE,), region, region if organ is None else organ)


@pytest.mark.parametrize("beyond", [False, True])
def test_a_thick_organ_on_the_right_that_decays_far_faster_forbids_the_number(beyond):
    (flag,) = found(disc(60, 90, 14), disc(45, 35, 18), beyond=beyond)
    assert (flag.code, flag.grade) == ("overlooked", Grade.NOT_MEASURABLE)


@pytest.mark.parametrize(
    "changes",
    [
        {"fast": disc(45, 95, 18)},  # an iron-laden spleen lies on the left
        {"rate": 100.0},  # not far faster
        {"amplitude": 5.0},  # lungs and gas hardly shine
        {"fast": disc(45, 35, 18) & ~disc(45, 35, 15)},  # a thin wall
        {"fast": disc(45, 35, 8)},  # small
    ],
)
def test_what_is_no_overlooked_liver_forbids_nothing(changes):
    assert found(**{"region": disc(40, 40, 3), "fast": disc(45, 35, 18), **changes}) == ()


def test_an_organ_much_of_which_decays_far_faster_than_its_region_is_not_believed():
    region, organ = disc(60, 35, 9), disc(50, 35, 20)
    assert found(region, disc(40, 35, 8), organ=organ)[0].code == "overlooked"
    assert found(region, disc(40, 35, 4), organ=organ) == ()


def test_a_region_without_a_valid_voxel_has_nothing_to_compare_with():
    assert found(disc(45, 35, 18), disc(45, 35, 18), beyond=True) == ()
