import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is needed for training only: pip install torch")

from bench.training import train, unet  # noqa: E402 - they import torch
from bench.training.samples import Samples  # noqa: E402
from dicomnode.measure.liver import network  # noqa: E402
from dicomnode.measure.liver.features import CHANNELS, SHAPE  # noqa: E402


def random_samples(count=4):
    rng = np.random.default_rng(0)
    channels = rng.random((count, len(CHANNELS), *SHAPE)).astype(np.float16)
    classes = rng.integers(0, len(network.CLASSES), (count, *SHAPE)).astype(np.uint8)
    return Samples(channels, classes, np.zeros(count, np.int64))


def silent(_):
    pass


def test_the_exported_network_answers_as_torch_does():
    torch.manual_seed(3)
    net = unet.Net()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    answered = unet.answered(net.eval(), np.random.default_rng(1).random((len(CHANNELS), 32, 32)))
    exported = network.Network(unet.exported(net), "test", "0", "", {})
    classes, scenes = network.predict(exported, answered["channels"])
    assert np.abs(classes - answered["classes"]).max() < 0.02
    assert np.abs(scenes - answered["scenes"]).max() < 0.02


def test_training_twice_gives_the_same_weights():
    recipe = train.Recipe(steps=3, batch=2)
    first, again = (unet.exported(train.train(random_samples(), recipe, silent)) for _ in range(2))
    assert network.digest(first) == network.digest(again)
