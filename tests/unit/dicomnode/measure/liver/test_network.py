from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode.measure.liver import network

FIXTURE = Path(__file__).parent / "network_fixture.npz"  # written by `python -m bench.training`
HALF_PRECISION = 0.02  # of a probability: weights are stored in 16 bits


def test_the_numpy_network_answers_as_torch_did():
    stored = np.load(FIXTURE)
    classes, scenes = network.predict(network.shipped(), stored["channels"])
    assert np.abs(classes - stored["classes"]).max() < HALF_PRECISION
    assert np.abs(scenes - stored["scenes"]).max() < HALF_PRECISION


def test_probabilities_sum_to_one():
    channels = np.random.default_rng(0).random((16, 32, 48))
    classes, scenes = network.predict(network.shipped(), channels)
    assert classes.shape == (len(network.CLASSES), 32, 48)
    assert classes.sum(0) == pytest.approx(1, abs=1e-5)
    assert scenes.sum() == pytest.approx(1, abs=1e-5)


def test_the_shipped_weights_are_those_of_their_record():
    shipped = network.shipped()
    assert network.digest(shipped.arrays) == shipped.sha256
    assert {"samples", "steps", "dice_mean"} <= set(shipped.record)


def test_the_shipped_weights_are_small():
    assert (Path(network.__file__).parent / network.WEIGHTS_FILE).stat().st_size < 2e6


def test_damaged_weights_are_refused(tmp_path):
    shipped = network.shipped()
    network.write(tmp_path / "weights.npz", shipped)
    assert network.read(tmp_path / "weights.npz").sha256 == shipped.sha256
    stored = dict(np.load(tmp_path / "weights.npz"))
    stored["outb"] = stored["outb"] + 1
    np.savez(tmp_path / "damaged.npz", **stored)
    with pytest.raises(ValueError, match="damaged"):
        network.read(tmp_path / "damaged.npz")


def test_the_digest_sees_every_value_and_name():
    arrays = {"a": np.zeros(3, np.float32), "b": np.ones(2)}
    changed = {**arrays, "a": np.array([0, 0, 1], np.float32)}
    renamed = {"c": arrays["a"], "b": arrays["b"]}
    assert len({network.digest(each) for each in (arrays, changed, renamed)}) == 3
    assert network.digest(dict(reversed(arrays.items()))) == network.digest(arrays)


def test_writing_does_not_depend_on_the_record_said_before(tmp_path):
    other = replace(network.shipped(), sha256="")
    network.write(tmp_path / "weights.npz", other)
    assert network.read(tmp_path / "weights.npz").sha256 == network.shipped().sha256
