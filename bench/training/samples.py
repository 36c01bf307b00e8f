"""Training samples: what the finder's features show of digital exams, with the class of every grid point."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.anatomy import LABEL, NAMES, Exam, exam
from dicomnode.measure.liver.features import CHANNELS, SHAPE, Grid, Noise, body_of, grid_over, see
from dicomnode.measure.liver.network import CLASSES, MISPLACED, SCENES
from dicomnode.measure.liver.views import view_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.anatomy.ct import Ct

    Array = NDArray[Any]

# Which class of the network a label is; "other" where it is not named.
_CLASS_OF = {
    "liver": "liver",
    "spleen": "spleen",
    "kidney": "kidney",
    "lung": "gas",
    "gas": "gas",
    "air": "air",
    "vessel": "inside",
    "lesion": "inside",
    "cyst": "inside",
}
CLASS_OF_LABEL = np.array([CLASSES.index(_CLASS_OF.get(name, "other")) for name in NAMES], np.uint8)
FAULTY = 0.12  # of the abdomens lie otherwise than their header says
# Bands of T2* (ms) and how often each is drawn: light iron is the hardest, then what is black from the first echo on.
BANDS = (((0.8, 32.0), 0.45), ((12.0, 32.0), 0.37), ((0.8, 3.0), 0.18))
DOMES = 0.3  # share of stacks put anywhere from below the liver to above it, its dome included
HEIGHTS_MM = (-95.0, 115.0)
THICK = 0.15  # share of samples with partial volume across the slice, which costs four times as much
SIGMA_DOUBT = 0.12  # standard deviation of the logarithm of sigma as a fit would know it
KNOWN_COILS = 0.7  # how often the number of coils is known
OWN_STREAM = 815  # apart from the exam's own draws
BLOCK = 50  # samples that one process makes at a time


@dataclass(frozen=True, slots=True)
class Sample:
    """Features (16, 96, 128) float16, classes (96, 128), and what the exam was."""

    channels: NDArray[np.float16]
    classes: NDArray[np.uint8]
    scene: int


def draw(seed: int, ct: Ct | None = None, ct_share: float = 0.0) -> Sample:
    """Make one sample: one slice, coarse, so that thousands cost minutes."""
    rng = np.random.default_rng([seed, OWN_STREAM])
    (low, high) = BANDS[int(rng.choice(len(BANDS), p=[share for _, share in BANDS]))][0]
    fixed: dict[str, Any] = {
        "slices": 1,
        "over": 2 if rng.uniform() < THICK else 1,
        "pixel_mm": float(rng.uniform(1.9, 3.2)),
        "t2star_ms": float(np.exp(rng.uniform(np.log(low), np.log(high)))),
    }
    if rng.uniform() < DOMES:
        fixed["heights_mm"] = HEIGHTS_MM
    fault = str(rng.choice(["mirrored", "turned", "upside down", "wrong plane"]))
    fixed["fault"] = fault if rng.uniform() < FAULTY else "none"
    if ct is not None and rng.uniform() < ct_share:
        fixed.update(scene="ct", volume=ct)
    return of_exam(exam(seed, "training", **fixed), rng)


def of_exam(made: Exam, rng: np.random.Generator) -> Sample:
    """The first slice of an exam as a sample."""
    doubt = float(np.exp(rng.normal(0, SIGMA_DOUBT)))
    sigma = made.sigma * doubt * made.noise_map[0]
    noise = Noise(
        sigma if rng.uniform() < 0.5 else float(np.median(sigma)), made.n_coils if rng.uniform() < KNOWN_COILS else 1
    )
    view = view_of(made.planes()[0])
    signal = view.turn(np.asarray(made.signal[0], np.float32))
    if isinstance(noise.sigma, np.ndarray):
        noise = Noise(view.turn(noise.sigma), noise.n_coils)
    body = body_of(signal[..., 0], noise.typical, view.spacing_mm)
    grid = grid_over(body, view.kind, view.spacing_mm).shifted(*rng.uniform(-2, 2, 2))
    (seen,) = see(signal, np.array(made.echo_times_ms), noise, [grid])
    classes = CLASS_OF_LABEL[_at(view.turn(made.labels[0]), grid)]
    if made.meta["fault"] != "none":
        classes[(classes == CLASSES.index("liver")) | (classes == CLASSES.index("inside"))] = MISPLACED
    return Sample(seen.channels.astype(np.float16), classes, scene_of(made))


def scene_of(made: Exam) -> int:
    """Number of the scene, of those that the network tells apart."""
    scene = made.meta["scene"]
    name = {"head": "head", "limbs": "limbs", "vials": "phantom", "bottle": "phantom"}.get(scene, "trunk")
    return SCENES.index(name)


def _at(labels: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    """The label nearest to each grid point; air outside the image."""
    rows, columns = np.rint(grid.rows).astype(int), np.rint(grid.columns).astype(int)
    found = np.full(SHAPE, LABEL["air"], np.uint8)
    r, c = ((places >= 0) & (places < size) for places, size in zip((rows, columns), labels.shape, strict=True))
    found[np.ix_(r, c)] = labels[np.ix_(rows[r], columns[c])]
    return found


@dataclass(frozen=True, slots=True)
class Samples:
    """Many samples: channels (n, 16, 96, 128) float16 on disk, classes (n, 96, 128), scenes (n,)."""

    channels: Array
    classes: NDArray[np.uint8]
    scenes: NDArray[np.int64]


def _block(first: int, last: int, ct: Ct | None, ct_share: float) -> list[Sample]:
    return [draw(seed, ct, ct_share) for seed in range(first, last)]


def made(folder: Path, seeds: range, processes: int, ct: Ct | None = None, ct_share: float = 0.0) -> Samples:
    """Make samples for training, their channels in a file of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(seeds)
    channels = np.lib.format.open_memmap(folder / "channels.npy", "w+", np.float16, (count, len(CHANNELS), *SHAPE))
    samples = Samples(channels, np.empty((count, *SHAPE), np.uint8), np.empty(count, np.int64))
    starts = range(seeds.start, seeds.stop, BLOCK)
    ends = [min(start + BLOCK, seeds.stop) for start in starts]
    # Fresh processes: torch and its threads do not survive a fork.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        blocks = pool.map(partial(_block, ct=ct, ct_share=ct_share), starts, ends)
        for k, sample in enumerate(chain.from_iterable(blocks)):
            samples.channels[k], samples.classes[k], samples.scenes[k] = sample.channels, sample.classes, sample.scene
    return samples
