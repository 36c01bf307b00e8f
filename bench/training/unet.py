"""The finder's network in torch, as it is trained, and its export for numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as nnf

from dicomnode.measure.liver.features import CHANNELS
from dicomnode.measure.liver.network import CLASSES, SCENES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

WIDTHS = (32, 48, 96, 160)  # channels at each resolution, from 8 to 64 mm: what is coarse costs little time


class Block(nn.Module):
    """Two convolutions, each normalised over the batch and rectified."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.na = nn.BatchNorm2d(outputs)
        self.b = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.nb = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, H, W) to (batch, outputs, H, W)."""
        return torch.relu(self.nb(self.b(torch.relu(self.na(self.a(x))))))


class Net(nn.Module):
    """Scores of every class at every grid point; half resolution inside, so that a pass is cheap."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (4 * len(CHANNELS), *WIDTHS[:-1])
        self.down = nn.ModuleList(Block(i, o) for i, o in zip(inputs, WIDTHS, strict=True))
        self.up = nn.ModuleList(Block(WIDTHS[k + 1] + WIDTHS[k], WIDTHS[k]) for k in range(len(WIDTHS) - 1))
        self.out = nn.Conv2d(WIDTHS[0], 4 * len(CLASSES), 1)
        self.scene = nn.Linear(WIDTHS[-1], len(SCENES))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, channels, H, W) to scores (batch, classes, H, W) and (batch, scenes)."""
        x = nnf.pixel_unshuffle(x, 2)
        kept = []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else nnf.max_pool2d(x, 2))
            kept.append(x)
        scene = self.scene(x.mean((2, 3)))
        for k in reversed(range(len(WIDTHS) - 1)):
            wide = nnf.interpolate(x, scale_factor=2, mode="nearest")
            x = self.up[k](torch.cat([wide, kept[k]], 1))
        return nnf.pixel_shuffle(self.out(x), 2), scene


def exported(net: Net) -> dict[str, Array]:
    """Weights (float16, normalisations folded in) and biases (float32), named as the numpy network reads them."""
    arrays: dict[str, Array] = {}
    for part in ("down", "up"):
        for k, block in enumerate(getattr(net, part)):
            for half in "ab":
                weight, bias = _folded(getattr(block, half), getattr(block, f"n{half}"))
                arrays[f"{part}{k}{half}w"], arrays[f"{part}{k}{half}b"] = weight, bias
    arrays["outw"] = net.out.weight.detach().numpy().astype(np.float16)
    arrays["outb"] = _numbers(net.out.bias)
    arrays["scenew"] = net.scene.weight.detach().numpy().astype(np.float16)
    arrays["sceneb"] = _numbers(net.scene.bias)
    return arrays


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Array, Array]:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise TypeError("the normalisation keeps no running statistics")
    gain = norm.weight / (variance + norm.eps).sqrt()
    weight = (conv.weight * gain[:, None, None, None]).detach().numpy().astype(np.float16)
    return weight, _numbers(norm.bias - mean * gain)


def _numbers(values: torch.Tensor | None) -> Array:
    if values is None:
        raise TypeError("a bias is missing")
    return values.detach().numpy().astype(np.float32)


def answered(net: Net, channels: Array) -> dict[str, Array]:
    """Return an input and the probabilities of classes and scenes that torch gives for it."""
    with torch.no_grad():
        scores, scenes = net(torch.from_numpy(np.asarray(channels, np.float32))[None])
    return {
        "channels": np.asarray(channels, np.float16),
        "classes": scores.softmax(1)[0].numpy(),
        "scenes": scenes.softmax(1)[0].numpy(),
    }
