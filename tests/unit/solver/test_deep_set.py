from pathlib import Path

import numpy as np
import pytest

from bench.training_voxel import store
from bench.training_voxel.samples import COUNTS, HELD_OUT
from solver import deep_set

FIXTURE = Path(__file__).parent / "learned_fixture.npz"  # written by `make train-voxel`


def test_the_numpy_network_answers_as_torch_did():
    stored = np.load(FIXTURE)
    out = deep_set.forward(deep_set.shipped().arrays, stored["of_echo"], stored["of_decay"])
    np.testing.assert_allclose(out, stored["out"], atol=1e-4)


def test_the_order_of_echoes_does_not_matter():
    stored = np.load(FIXTURE)
    arrays = deep_set.shipped().arrays
    one, other = (deep_set.forward(arrays, stored["of_echo"][:, ::k], stored["of_decay"]) for k in (1, -1))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_shipped_weights_are_small_and_those_of_their_record():
    shipped = deep_set.shipped()
    assert deep_set.digest(shipped.arrays) == shipped.sha256
    assert shipped.record["echoes"] == list(COUNTS)
    assert not set(HELD_OUT) & set(shipped.record["echoes"])
    assert (Path(deep_set.__file__).parent / deep_set.WEIGHTS_FILE).stat().st_size < 2e6


def test_damaged_weights_are_refused(tmp_path):
    store.write(tmp_path / "weights.npz", deep_set.shipped())
    assert deep_set.read(tmp_path / "weights.npz").sha256 == deep_set.shipped().sha256
    stored = dict(np.load(tmp_path / "weights.npz"))
    np.savez(tmp_path / "damaged.npz", **stored | {"outb": stored["outb"] + 1})
    with pytest.raises(ValueError, match="damaged"):
        deep_set.read(tmp_path / "damaged.npz")
