"""Make the weights of ``method="learned"`` from nothing but the repository: ``python -m bench.training_voxel``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

# Before numpy comes: the weights are the same to the last digit only with sums in one order.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from bench.training_voxel import samples, store, train
from bench.training_voxel.train import Recipe
from solver import deep_set, learned

PACKAGE = Path(deep_set.__file__).parent
NAME = "voxel-posterior 1.0"
FIXTURE_SEED, FIXTURE_DECAYS = 2, 16


def main() -> int:
    """Train, write the weights and a fixture for the test of the numpy network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--output", type=Path, default=PACKAGE / deep_set.WEIGHTS_FILE)
    parser.add_argument("--fixture", type=Path, help="where to store what torch answers, for the test of the network")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()

    def say(what: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:6.0f} s  {what}\n")
        sys.stdout.flush()

    recipe = Recipe(steps=arguments.steps)
    net = train.train(recipe, say)
    made = deep_set.Network(train.exported(net), NAME, "", record(recipe, net))
    store.write(arguments.output, made)
    if arguments.fixture:
        drawn = samples.batch(np.random.default_rng(FIXTURE_SEED), 1, FIXTURE_DECAYS)
        answers: dict[str, Any] = train.answered(net, drawn)
        np.savez_compressed(arguments.fixture, **answers)
    size = arguments.output.stat().st_size / 1e3
    say(f"{arguments.output}: {size:.0f} kB, SHA-256 {deep_set.read(arguments.output).sha256}")
    say(f"{time.process_time():.0f} s of one processor")
    return 0


def record(recipe: Recipe, net: train.Net) -> dict[str, object]:
    """What the weights were made of."""
    return {
        "steps": recipe.steps,
        "decays": recipe.steps * recipe.trains * recipe.voxels,
        "seed": recipe.seed,
        "parameters": sum(p.numel() for p in net.parameters()),
        "echoes": list(samples.COUNTS),
        "snr": list(learned.TRAINED.snr),
        "coils": list(learned.TRAINED.coils),
    }


if __name__ == "__main__":
    sys.exit(main())
