"""A set network in plain numpy, with its weights from the package.

Each echo's token goes through two layers; over the echoes the mean, the mean by what each tells of the amplitude, and
the largest are taken, so that number and order of echoes do not matter (Zaheer et al. 2017); two more layers give three
Gaussians in ln r.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.mixture import Mixture
from solver.tokens import SHARE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from numpy.typing import NDArray

    from solver.tokens import Tokens

    Array = NDArray[Any]

WEIGHTS_FILE = "learned.npz"
COMPONENTS = 3
LAYERS = (
    "echo0",
    "echo1",
    "decay0",
    "decay1",
    "out",
)  # a matrix "w" and a column "b" of each; echo0 has its 1 in the token
# The better a rate is known, the nearer is its posterior to a Gaussian about the start: at this deviation half way.
HALF_WAY = 0.02
NARROWEST, WIDEST = -4.0, 3.0  # ln of a component's deviation over the start's
RECORD = "record"  # name of the JSON text among the arrays


@dataclass(frozen=True, eq=False)
class Network:
    """Weights and where they come from."""

    arrays: Mapping[str, Array]
    name: str
    sha256: str  # over the arrays
    record: Mapping[str, Any]  # seeds, steps, what it was trained on


def digest(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 over names, types, shapes and values of arrays, in the order of their names."""
    running = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        running.update(f"{name} {values.dtype.str} {values.shape}".encode())
        running.update(values.tobytes())
    return running.hexdigest()


def read(path: Traversable) -> Network:
    """Read weights from a file; raises ValueError where they are not what their record says."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if name != RECORD}
        record = json.loads(str(stored[RECORD]))
    found = digest(arrays)
    if found != record["sha256"]:
        raise ValueError(f"the weights of {path} are damaged: their SHA-256 is {found}, not {record['sha256']}")
    return Network(arrays, record["name"], found, record["training"])


@cache
def shipped() -> Network:
    """The network of the package, read once."""
    return read(resources.files(__package__) / WEIGHTS_FILE)


def posterior(network: Network, tokens: Tokens) -> Mixture:
    """Return the mixture in ln r, r per last echo time, that the network makes of tokens."""
    raw = forward(network.arrays, tokens.of_echo, tokens.of_decay).reshape(COMPONENTS, 3, -1)
    share = tokens.sd / (tokens.sd + HALF_WAY)
    weight = np.exp(raw[:, 0] - raw[:, 0].max(0))
    weight /= weight.sum(0)
    mean = tokens.log_r + tokens.sd * share * raw[:, 1]
    sd = tokens.sd * np.exp(share * np.clip(raw[:, 2], NARROWEST, WIDEST))
    return Mixture(weight, mean, sd)


def forward(arrays: Mapping[str, Array], of_echo: Array, of_decay: Array) -> Array:
    """Nine numbers (9, n) of each decay: for each component ln weight, shift and ln width."""
    features, echoes, n = of_echo.shape
    hidden = _rectified(arrays["echo0w"] @ of_echo.reshape(features, -1))
    hidden = _rectified(arrays["echo1w"] @ hidden + arrays["echo1b"])
    hidden = hidden.reshape(len(hidden), echoes, n)
    told = np.einsum("kmn,mn->kn", hidden, of_echo[SHARE])
    whole = np.concatenate([hidden.mean(1), told, hidden.max(1), of_decay])
    for layer in ("decay0", "decay1"):
        whole = _rectified(arrays[f"{layer}w"] @ whole + arrays[f"{layer}b"])
    out: Array = arrays["outw"] @ whole + arrays["outb"]
    return out


def _rectified(x: Array) -> Array:
    return np.maximum(x, 0, out=x)
