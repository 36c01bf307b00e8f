"""Weights into the file that ``solver.deep_set`` reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from solver import deep_set

if TYPE_CHECKING:
    from pathlib import Path

    from solver.deep_set import Network


def write(path: Path, network: Network) -> None:
    """Store weights with their record; the same network gives the same arrays."""
    record = {
        "name": network.name,
        "sha256": deep_set.digest(network.arrays),
        "training": dict(network.record),
    }
    contents: dict[str, Any] = {**network.arrays, deep_set.RECORD: np.array(json.dumps(record))}
    np.savez_compressed(path, **contents)
