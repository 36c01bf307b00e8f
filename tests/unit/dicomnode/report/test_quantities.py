"""One row a quantity: what follows from it."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode import fit
from dicomnode.report.instance import KINDS
from dicomnode.report.quantities import QUANTITIES, S0, WRITTEN, stored


def test_every_map_of_the_fit_has_its_row():
    assert {one.values for one in QUANTITIES} == {*fit.QUANTITIES, *fit.OF_FAT}


def test_every_quantity_and_kind_has_a_place_of_its_own():
    assert len({one.place for one in QUANTITIES}) == len(QUANTITIES)
    places = [kind.place for kind in KINDS.values()]
    assert len(set(places)) == len(places)
    assert all(0 < place < 100 for place in places)


def test_a_quantity_that_is_written_gets_both_kinds_of_map():
    for one in WRITTEN:
        assert {one.mr_kind, one.float_kind} <= KINDS.keys()


def test_a_quantity_without_storage_is_refused_as_an_image():
    with pytest.raises(ValueError, match="s0 is not stored"):
        stored(S0, np.ones((1, 1), np.float32), np.ones((1, 1), bool))
