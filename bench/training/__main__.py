"""Make the liver finder from nothing but the repository: ``python -m bench.training``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

# Before numpy comes, here and in the processes that make samples: one thread each, or they hinder each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

from bench.training import recipe
from dicomnode.measure.liver import network

PACKAGE = Path(network.__file__).parent


def main() -> int:
    """Train, calibrate, write the weights and a fixture for the test of the numpy network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=recipe.SAMPLES)
    parser.add_argument("--steps", type=int, default=recipe.STEPS)
    parser.add_argument("--exams", type=int, default=recipe.EXAMS, help="of which the confidence is calibrated")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=PACKAGE / network.WEIGHTS_FILE)
    parser.add_argument(
        "--fixture", type=Path, help="where to store what torch answers, for the test of the numpy network"
    )
    parser.add_argument("--calibrate", type=Path, help="weights to make rules of confidence for, instead of training")
    parser.add_argument("--ct", type=Path, help="folder of a real CT anatomy, to measure whether it is needed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.processes)  # the weights depend on it a little: sums come in another order
    size = recipe.Size(arguments.samples, arguments.steps, arguments.exams, arguments.processes)
    started = time.monotonic()

    def say(what: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:6.0f} s  {what}\n")
        sys.stdout.flush()

    if arguments.calibrate:
        bare = network.read(arguments.calibrate)
    else:
        with tempfile.TemporaryDirectory() as folder:
            made = recipe.trained(size, Path(folder), arguments.ct, say)
        bare = made.network
        network.write(arguments.output, bare)  # should the rest fail, it starts again from here
        if arguments.fixture:
            np.savez_compressed(arguments.fixture, **made.fixture)
    whole = recipe.calibrated(bare, size, say)
    network.write(arguments.output, whole)
    say(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB, SHA-256 {whole.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
