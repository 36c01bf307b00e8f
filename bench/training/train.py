"""The training itself: a fixed number of steps over augmented samples."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as nnf

from bench.training.unet import Net
from dicomnode.measure.liver.features import CHANNELS, PIXELS, SHAPE
from dicomnode.measure.liver.network import CLASSES, INSIDE, LIVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.training.samples import Samples

# What a mistake costs by its true class: organs more, air less.
COSTS = {
    "other": 1.0,
    "liver": 1.5,
    "spleen": 1.5,
    "kidney": 1.5,
    "gas": 0.7,
    "air": 0.4,
    "inside": 1.5,
    "misplaced": 0.7,
}
BRIGHTNESS = [CHANNELS.index(name) for name in ("snr", "first", "s0", "mean", "flat")]
RATES = [CHANNELS.index(name) for name in ("rate", "contrast")]
PLACES = [CHANNELS.index(name) for name in ("x", "y")]
KINDS = [CHANNELS.index(name) for name in ("coronal", "sagittal")]
SNR, FIRST, S0, MEAN, BODY = (CHANNELS.index(name) for name in ("snr", "first", "s0", "mean", "body"))
SHADE_POINTS, UNEVEN = (4, 5), 0.5  # a coarse grid, and the largest deviation of the logarithm there
SURFACE, NEAR = 2.0, 7  # most that the surface is brighter, ln; reach in 16 mm cells
WITHOUT_PLACE = 0.06  # of the samples: appearance must do, too
SCENE_COST = 0.2  # of the scene beside the classes
SMALLEST_AREA = 20.0  # grid points that soften the Dice loss of small livers


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps, batch and rates of learning; the seed decides order and augmentation."""

    steps: int
    batch: int = 8
    rate: float = 2.5e-3
    warm_up: int = 60
    decay: float = 1e-4
    averaging: float = 0.998  # of weights over steps
    seed: int = 1


def train(samples: Samples, recipe: Recipe, say: Callable[[str], None]) -> Net:
    """Return the network whose weights are averaged over the steps; deterministic for a number of threads."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    net: Net = Net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged: Net = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    net.train()
    running = 0.0
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(recipe, step)
        index = np.sort(rng.integers(0, len(samples.classes), recipe.batch))
        x, y = _augmented(samples, index)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores, scenes = net(x)
        loss = _loss(scores.float(), y) + SCENE_COST * nnf.cross_entropy(
            scenes.float(), torch.from_numpy(samples.scenes[index])
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        _follow(averaged, net, min(recipe.averaging, (step + 1) / (step + 10)))
        running = 0.98 * running + 0.02 * loss.item() if step else loss.item()
        if step % 250 == 249:
            say(f"step {step + 1} of {recipe.steps}: loss {running:.3f}")
    averaged.eval()
    return averaged


def _rate(recipe: Recipe, step: int) -> float:
    """Warm-up, then half a cosine down to a hundredth."""
    wave = 0.5 * (1 + np.cos(np.pi * step / recipe.steps)) + 0.01
    return float(recipe.rate * min(1, (step + 1) / recipe.warm_up) * wave)


def _follow(averaged: Net, net: Net, keep: float) -> None:
    """Move averaged weights, and running statistics, a little towards the present ones."""
    with torch.no_grad():
        for mean, now in zip(averaged.state_dict().values(), net.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.mul_(keep).add_(now, alpha=1 - keep)


def _loss(scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Weighted cross entropy plus 1 - Dice of the whole liver."""
    entropy = nnf.cross_entropy(scores, classes, weight=torch.tensor([COSTS[name] for name in CLASSES]))
    p = scores.softmax(1)
    found, true = p[:, LIVER] + p[:, INSIDE], ((classes == LIVER) | (classes == INSIDE)).float()
    overlap = (2 * (found * true).sum((1, 2)) + SMALLEST_AREA) / (found.sum((1, 2)) + true.sum((1, 2)) + SMALLEST_AREA)
    return entropy + (1 - overlap).mean()


def _augmented(samples: Samples, index: np.ndarray[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples turned, stretched and moved a little, by other coils, with other gains, and with noise."""
    x = torch.from_numpy(samples.channels[index].astype(np.float32))
    y = torch.from_numpy(samples.classes[index].astype(np.int64))
    n = len(index)
    places, kinds = x[:, PLACES].clone(), x[:, KINDS].clone()
    where = nnf.affine_grid(_affine(n), [n, 1, *SHAPE], align_corners=False)
    x = nnf.grid_sample(x, where, mode="bilinear", align_corners=False)
    air = float(CLASSES.index("air"))  # what lies outside is air
    moved = nnf.grid_sample((y[:, None] - air).float(), where, mode="nearest", align_corners=False)
    y = (moved[:, 0] + air).round().long()
    _shade(x)
    gain = torch.ones(n, len(CHANNELS), 1, 1)
    gain[:, BRIGHTNESS] = torch.exp(torch.randn(n, len(BRIGHTNESS), 1, 1) * 0.08)
    gain[:, RATES] = torch.exp(torch.randn(n, 1, 1, 1) * 0.05)
    x = x * gain
    x[:, :PIXELS] += torch.randn(n, PIXELS, 1, 1) * 0.01 + torch.randn(n, PIXELS, *SHAPE) * 0.012
    places[torch.rand(n) < WITHOUT_PLACE] = 0
    x[:, PLACES], x[:, KINDS] = places, kinds
    return x.contiguous(memory_format=torch.channels_last), y


def _shade(x: torch.Tensor) -> None:
    """Divide brightness by what another coil would have seen: more near the surface, and unevenly; in place."""
    n, body = len(x), x[:, [BODY]]
    coarse = torch.randn(n, 1, *SHADE_POINTS) * (torch.rand(n, 1, 1, 1) * UNEVEN)
    uneven = nnf.interpolate(coarse, size=SHAPE, mode="bicubic", align_corners=True)
    small = nnf.avg_pool2d(body, 4)
    filled = nnf.avg_pool2d(small, NEAR, stride=1, padding=NEAR // 2, count_include_pad=True)
    near = 1 - nnf.interpolate(filled, size=SHAPE, mode="bilinear", align_corners=False)
    logs = (uneven + near * torch.rand(n, 1, 1, 1) * SURFACE) * body
    count = body.sum((1, 2, 3), keepdim=True).clamp(min=1)
    logs = logs - (logs * body).sum((1, 2, 3), keepdim=True) / count * body
    field = logs.exp()
    snr = torch.expm1(x[:, [SNR]] * 5) * field * torch.exp(torch.randn(n, 1, 1, 1) * 0.3)
    x[:, [SNR]] = torch.log1p(snr) / 5
    x[:, [S0]] = torch.log1p(torch.expm1(x[:, [S0]]) * field).clamp(0, 2.5)
    for channel, most in ((FIRST, 2.5), (MEAN, 2.0)):
        x[:, [channel]] = (x[:, [channel]] * field).clamp(0, most)


def _affine(n: int) -> torch.Tensor:
    angle, size, stretch = torch.randn(n) * 0.08, torch.exp(torch.randn(n) * 0.1), torch.exp(torch.randn(n) * 0.07)
    tall = SHAPE[0] / SHAPE[1]
    first = torch.stack([angle.cos() * size * stretch, -angle.sin() * size * tall, torch.randn(n) * 0.06], 1)
    second = torch.stack([angle.sin() * size / tall, angle.cos() * size, torch.randn(n) * 0.06], 1)
    return torch.stack([first, second], 1)
