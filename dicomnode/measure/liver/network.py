"""A small U-Net in plain numpy, with its weights from the package."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

CLASSES = ("other", "liver", "spleen", "kidney", "gas", "air", "inside", "misplaced")
SCENES = ("trunk", "head", "limbs", "phantom")
LIVER, GAS, INSIDE, MISPLACED = 1, 4, 6, 7  # parenchyma; lungs, bowel gas; vessels, lesions; a liver where none can be
WEIGHTS_FILE = "weights.npz"
_RECORD = "record"  # name of the JSON text among the arrays


@dataclass(frozen=True, eq=False)
class Network:
    """Weights, the rule of confidence, and where they come from."""

    arrays: Mapping[str, Array]
    name: str
    version: str
    sha256: str  # over the arrays
    record: Mapping[str, Any]  # seeds, steps, samples, figures on exams kept aside

    @cached_property
    def matrices(self) -> dict[str, Array]:
        """Weights of the layers as float32 matrices, (outputs, inputs times taps)."""
        return {
            name: value.reshape(len(value), -1).astype(np.float32) if name.endswith("w") else value.astype(np.float32)
            for name, value in self.arrays.items()
            if name.startswith(("down", "up", "out", "scene"))
        }

    @property
    def levels(self) -> int:
        """Resolutions of the U."""
        return sum(name.startswith("down") and name.endswith("aw") for name in self.arrays)


def digest(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 over names, types, shapes and values of arrays, in the order of their names."""
    running = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        running.update(f"{name} {values.dtype.str} {values.shape}".encode())
        running.update(values.tobytes())
    return running.hexdigest()


def read(path: Path | Any) -> Network:
    """Read weights from a file; raises ValueError where they are not what their record says."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if name != _RECORD}
        record = json.loads(str(stored[_RECORD]))
    found = digest(arrays)
    if found != record["sha256"]:
        raise ValueError(
            f"the weights of the liver finder are damaged: their SHA-256 is {found}, not {record['sha256']}"
        )
    return Network(arrays, record["name"], record["version"], found, record["training"])


def write(path: Path, network: Network) -> None:
    """Store weights with their record; the same network gives the same bytes of arrays."""
    record = {
        "name": network.name,
        "version": network.version,
        "sha256": digest(network.arrays),
        "training": dict(network.record),
    }
    contents: dict[str, Any] = {**network.arrays, _RECORD: np.array(json.dumps(record))}
    np.savez_compressed(path, **contents)


@cache
def shipped() -> Network:
    """The network of the package, read once."""
    return read(resources.files(__package__) / WEIGHTS_FILE)


def predict(network: Network, channels: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return probabilities of classes (8, H, W) and of scenes (4,) for features (channels, H, W).

    H and W are multiples of 16.
    """
    weights = network.matrices
    x = _unshuffled(np.asarray(channels, np.float32))
    kept = []
    for k in range(network.levels):
        x = x if k == 0 else _pooled(x)
        x = _block(x, weights, f"down{k}")
        kept.append(x)
    scene = _softmax(weights["scenew"] @ x.mean((1, 2)) + weights["sceneb"])
    for k in reversed(range(network.levels - 1)):
        wide = x.repeat(2, 1).repeat(2, 2)
        x = _block(np.concatenate([wide, kept[k]]), weights, f"up{k}")
    scores = np.tensordot(weights["outw"], x, 1) + weights["outb"][:, None, None]
    return _softmax(_shuffled(scores)), scene


def _block(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    for half in "ab":
        x = _convolved(x, weights[f"{name}{half}w"], weights[f"{name}{half}b"])
    return x


def _convolved(x: Array, weights: Array, bias: Array) -> Array:
    """3 × 3 convolution with zeros outside, then ReLU; ``weights`` (out, in · 9)."""
    channels, rows, columns = x.shape
    padded = np.zeros((channels, rows + 2, columns + 2), np.float32)
    padded[:, 1:-1, 1:-1] = x
    patches = np.empty((channels, 9, rows, columns), np.float32)
    for tap in range(9):
        i, j = divmod(tap, 3)
        patches[:, tap] = padded[:, i : i + rows, j : j + columns]
    out = weights @ patches.reshape(channels * 9, rows * columns)
    out += bias[:, None]
    np.maximum(out, 0, out=out)
    return out.reshape(-1, rows, columns)


def _unshuffled(x: Array) -> Array:
    """Blocks of 2 × 2 become four channels, ordered as torch's pixel_unshuffle orders them."""
    c, h, w = x.shape
    return x.reshape(c, h // 2, 2, w // 2, 2).transpose(0, 2, 4, 1, 3).reshape(4 * c, h // 2, w // 2)


def _shuffled(x: Array) -> Array:
    c, h, w = x.shape
    return x.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * h, 2 * w)


def _pooled(x: Array) -> Array:
    taller = np.maximum(x[:, ::2], x[:, 1::2])
    largest: Array = np.maximum(taller[..., ::2], taller[..., 1::2])
    return largest


def _softmax(scores: Array) -> NDArray[np.float32]:
    powers = np.exp(scores - scores.max(0))
    probabilities: NDArray[np.float32] = powers / powers.sum(0)
    return probabilities
