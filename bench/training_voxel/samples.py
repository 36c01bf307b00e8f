"""Decays of random echo trains and noise, drawn from what ``solver.learned`` says it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.learned import MOST_SD, TRAINED
from solver.tokens import tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

HELD_OUT = (5, 7, 11, 13)  # numbers of echoes that are never seen, to be judged by
COUNTS = tuple(n for n in range(TRAINED.echoes[0], TRAINED.echoes[1] + 1) if n not in HELD_OUT)
EVEN = 0.5  # share of trains with one spacing
RICIAN = 0.4  # share of one coil
BEYOND = 0.1  # further than the network will be asked for: a deviation of ln R2*


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens of n decays and where their ln r lies, in deviations from the start."""

    of_echo: Array  # (n, M, OF_ECHO)
    of_decay: Array  # (n, OF_DECAY)
    sd: Array  # (n,)
    z: Array  # (n,)


def batch(rng: np.random.Generator, trains: int, voxels: int) -> Batch:
    """Draw decays of one number of echoes, ``voxels`` of each of several trains."""
    count = int(rng.choice(COUNTS))
    parts = [_decays(rng, train(rng, count), coils(rng), voxels) for _ in range(trains)]
    return Batch(
        np.concatenate([part.of_echo for part in parts]),
        np.concatenate([part.of_decay for part in parts]),
        np.concatenate([part.sd for part in parts]),
        np.concatenate([part.z for part in parts]),
    )


def train(rng: np.random.Generator, count: int) -> Array:
    """Echo times in units of the last."""
    first = np.exp(_evenly(rng, TRAINED.first))
    spacings = np.ones(count - 1)
    if rng.random() > EVEN:
        widest = rng.uniform(0, np.log(TRAINED.uneven) / 2)
        spacings = np.exp(rng.uniform(-widest, widest, count - 1))
    after = first * spacings.mean() + np.concatenate([[0], np.cumsum(spacings)])
    t: Array = after / after[-1]
    return t


def coils(rng: np.random.Generator) -> float:
    """N of the noise; of a node it need not be whole."""
    return 1.0 if rng.random() < RICIAN else float(np.exp(_evenly(rng, TRAINED.coils)))


def _evenly(rng: np.random.Generator, limits: tuple[float, float], count: int | None = None) -> Any:
    """Draw logarithms evenly."""
    low, high = np.log(limits)
    return rng.uniform(float(low), float(high), count)


def _decays(rng: np.random.Generator, t: Array, n: float, count: int) -> Batch:
    """Decays of one train that the start knows well enough."""
    log_r = rng.uniform(*TRAINED.log_rates(t), count)
    log_a = _evenly(rng, TRAINED.snr, count)
    y = magnitudes(rng, np.exp(log_a - np.exp(log_r) * t[:, None]), n)
    t = t.astype(np.float32)
    known = tokens(y, t, n, TRAINED.log_rates(t)).sd < MOST_SD + BEYOND
    seen = tokens(np.ascontiguousarray(y[:, known]), t, n, TRAINED.log_rates(t))
    z = ((log_r[known] - seen.log_r) / seen.sd).astype(np.float32)
    return Batch(seen.of_echo.T, seen.of_decay.T, seen.sd, z)


def magnitudes(rng: np.random.Generator, clean: Array, n: float) -> NDArray[np.float32]:
    """Root sum of squares over n coils, in units of sigma: n real and n imaginary channels, one of them with signal."""
    along = clean + rng.standard_normal(clean.shape)
    y: NDArray[np.float32] = np.sqrt(along**2 + 2 * rng.standard_gamma(n - 0.5, clean.shape)).astype(np.float32)
    return y
