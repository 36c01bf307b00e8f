"""The training itself: a fixed number of steps, each over fresh decays."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from bench.training_voxel import samples
from solver.deep_set import COMPONENTS, HALF_WAY, NARROWEST, WIDEST
from solver.tokens import OF_DECAY, OF_ECHO, SHARE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bench.training_voxel.samples import Batch

WIDTHS = (32, 16, 64)  # first and second layer of an echo, layers of a decay
WORST = 20.0  # loss of a decay, at most: those that only luck explains do not steer
HALF_LOG_2_PI = 0.9189385


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps, batch and rate of learning; the seed decides everything."""

    steps: int = 8_000
    trains: int = 16
    voxels: int = 256
    rate: float = 3e-3
    warm_up: int = 100
    decay: float = 1e-5
    averaging: float = 0.998  # of weights over steps
    seed: int = 1


class Net(nn.Module):
    """The network that ``solver.deep_set`` reads."""

    def __init__(self) -> None:
        super().__init__()
        first, second, whole = WIDTHS
        self.echo0 = nn.Linear(OF_ECHO, first, bias=False)
        self.echo1 = nn.Linear(first, second)
        self.decay0 = nn.Linear(3 * second + OF_DECAY, whole)
        self.decay1 = nn.Linear(whole, whole)
        self.out = nn.Linear(whole, 3 * COMPONENTS)
        with torch.no_grad():  # three Gaussians side by side, near the one of the start
            self.out.weight *= 0.1
            self.out.bias.copy_(torch.tensor([0, 0, 0, -1, 0.5, 0, -1, -0.5, 0]))

    def forward(self, of_echo: torch.Tensor, of_decay: torch.Tensor) -> torch.Tensor:
        """Nine numbers (n, 9) of decays, from (n, M, OF_ECHO) and (n, OF_DECAY)."""
        hidden = self.echo1(self.echo0(of_echo).relu()).relu()
        told = (hidden * of_echo[..., SHARE, None]).sum(1)
        whole = torch.cat([hidden.mean(1), told, hidden.amax(1), of_decay], 1)
        out: torch.Tensor = self.out(self.decay1(self.decay0(whole).relu()).relu())
        return out


def train(recipe: Recipe, say: Callable[[str], None]) -> Net:
    """Return the network whose weights are averaged over the steps; deterministic on one thread."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    net = Net()
    averaged = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    running = 0.0
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(recipe, step)
        drawn = samples.batch(rng, recipe.trains, recipe.voxels)
        value = loss(net, drawn).clamp(max=WORST).mean()
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        _follow(averaged, net, min(recipe.averaging, (step + 1) / (step + 10)))
        running = 0.998 * running + 0.002 * value.item() if step else value.item()
        if step % 1000 == 999:
            say(f"step {step + 1} of {recipe.steps}: loss {running:.4f}")
    return averaged


def loss(net: Net, drawn: Batch) -> torch.Tensor:
    """Minus the log density (n,) of the true z in the mixture."""
    of_echo, of_decay, sd, z = map(torch.from_numpy, (drawn.of_echo, drawn.of_decay, drawn.sd, drawn.z))
    log_weight, shift, log_width = net(of_echo, of_decay).unflatten(1, (COMPONENTS, 3)).unbind(2)
    share = (sd / (sd + HALF_WAY))[:, None]
    log_width = share * log_width.clamp(NARROWEST, WIDEST)
    u = (z[:, None] - share * shift) * torch.exp(-log_width)
    return HALF_LOG_2_PI - torch.logsumexp(torch.log_softmax(log_weight, 1) - log_width - 0.5 * u**2, 1)


def _rate(recipe: Recipe, step: int) -> float:
    """Warm-up, then half a cosine down to a thousandth."""
    wave = 0.5 * (1 + np.cos(np.pi * step / recipe.steps)) + 0.001
    return float(recipe.rate * min(1, (step + 1) / recipe.warm_up) * wave)


def _follow(averaged: Net, net: Net, keep: float) -> None:
    """Move averaged weights a little towards the present ones."""
    with torch.no_grad():
        for mean, now in zip(averaged.parameters(), net.parameters(), strict=True):
            mean.mul_(keep).add_(now, alpha=1 - keep)


def exported(net: Net) -> dict[str, NDArray[Any]]:
    """Weights and biases (float32), named and laid out as the numpy network reads them."""
    arrays = {}
    for name, value in net.state_dict().items():
        layer, kind = name.split(".")
        numbers = value.detach().numpy().astype(np.float32)
        arrays[layer + kind[0]] = numbers if kind == "weight" else numbers[:, None]
    return arrays


def answered(net: Net, drawn: Batch) -> dict[str, NDArray[Any]]:
    """An input, and what torch makes of it, as the numpy network lays them out."""
    with torch.no_grad():
        out = net(torch.from_numpy(drawn.of_echo), torch.from_numpy(drawn.of_decay))
    return {"of_echo": drawn.of_echo.transpose(2, 1, 0), "of_decay": drawn.of_decay.T, "out": out.numpy().T}
