"""The whole way from seeds to the finder's weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.anatomy import ct as ct_anatomy
from bench.training import calibrate, samples, train, unet
from bench.training.judging import Judged, judge_all
from dicomnode.measure.liver import evidence, network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dicomnode.measure.liver.network import Network

NAME, VERSION = "liver-unet", "1.1"
SAMPLES = 15_000
STEPS = 30_000
EXAMS = 420  # for calibration
CT_SHARE = 0.2  # of the samples, where a CT is given
FAMILY = "calibration"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    samples: int
    steps: int
    exams: int
    processes: int


@dataclass(frozen=True, slots=True)
class Made:
    """The network without rules of confidence; what torch says to a small input, to test the numpy network with."""

    network: Network
    fixture: dict[str, Any]


def trained(size: Size, folder: Path, ct_folder: Path | None, say: Callable[[str], None]) -> Made:
    """Make samples and train; return the network with its record."""
    ct = None if ct_folder is None else ct_anatomy.load(ct_folder)
    how = train.Recipe(steps=size.steps)
    made = samples.made(folder, range(size.samples), size.processes, ct, CT_SHARE)
    say(f"{size.samples} samples")
    net = train.train(made, how, say)
    fixture = unet.answered(net, made.channels[0][:, 32:64, 48:80])
    record = {
        "samples": size.samples,
        "sample_seeds": f"training 0 to {size.samples - 1}",
        "steps": size.steps,
        "batch": how.batch,
        "seed": how.seed,
        "parameters": sum(p.numel() for p in net.parameters()),
        "real_anatomy": "none" if ct is None else f"one CT in {CT_SHARE:.0%} of the samples",
    }
    bare = network.Network(unet.exported(net), NAME, VERSION, "", record)
    return Made(bare, fixture)


def calibrated(bare: Network, size: Size, say: Callable[[str], None]) -> Network:
    """The network with rules of confidence and what was measured on the exams they were fitted on."""
    slices, series = len(evidence.SLICE_NUMBERS), len(evidence.SERIES_NUMBERS)
    # The slices' rule is part of what the series' rule is fitted on: each has exams of its own.
    first, second = range(size.exams // 3), range(size.exams // 3, size.exams)
    blank = calibrate.without_opinion(bare, slices, series)
    rule = calibrate.slice_rule(judge_all(blank, first, FAMILY, size.processes))
    with_slices = calibrate.with_rule(blank, "slice", rule)
    judged = judge_all(with_slices, second, FAMILY, size.processes)
    whole = calibrate.with_rule(with_slices, "series", calibrate.series_rule(judged))
    say(f"confidence from {len(first)} and {len(second)} exams, of which {sum(j.good for j in judged)} are good")
    record = {**bare.record, "calibration_exams": size.exams, **figures(judged)}
    return replace(whole, record=record, sha256=network.digest(whole.arrays))


def figures(judged: Sequence[Judged]) -> dict[str, float]:
    """Dice on exams with a liver that the network was not trained on."""
    dice = np.array([j.dice_parenchyma for j in judged if j.liver])
    return {
        "dice_mean": round(float(dice.mean()), 4),
        "dice_median": round(float(np.median(dice)), 4),
        "dice_5th_percentile": round(float(np.percentile(dice, 5)), 4),
    }
