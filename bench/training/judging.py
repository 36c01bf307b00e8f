"""What the finder makes of a digital exam, beside the truth."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.anatomy import Exam, exam, has_liver
from dicomnode import fit
from dicomnode.config import FitSettings
from dicomnode.measure.liver import series as finder
from dicomnode.measure.liver.doubting import IN_DOUBT
from dicomnode.measure.liver.looking import dice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicomnode.measure.liver.finding import LiverFinding
    from dicomnode.measure.liver.network import Network
    from dicomnode.model import Maps

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]

GOOD_INSIDE = 0.9  # of the region that is liver, its vessels and lesions included
GOOD_RATE = 0.05  # of the truth
WRONG_RATE = 0.20
SIGMA_DOUBT = 0.05  # as well as a fit knows it
# How often exams for calibration are what; faults are of abdomens.
SHARES = {"abdomen": 0.62, "drawn": 0.06, "fault": 0.12, "thorax": 0.03, "head": 0.04, "limbs": 0.05, "pelvis": 0.04}
PHANTOMS = ("vials", "bottle")  # the rest
SLICES = {1: 0.35, 2: 0.15, 3: 0.2, 5: 0.2, 8: 0.1}
THICK = 0.3  # share of exams with partial volume across slices, which cost four times as much


@dataclass(frozen=True, slots=True)
class Judged:
    """One exam and one finding: evidence for calibration, figures for validation."""

    meta: dict[str, Any]
    liver: bool  # whether there is enough to measure, where the header says
    absent: bool  # there is no liver in the images
    lies: bool  # the images lie otherwise than the header says
    slice_numbers: Array  # (n, numbers) of slices where something was found
    slice_good: Mask  # (n,)
    series_numbers: Array | None
    confidence: float
    inside: float  # share of the region that is liver; 0 without a region
    dice_whole: float
    dice_parenchyma: float
    rate_error: float  # of the true rate in the region against the liver's, relative; NaN without a region
    fit_error: float  # median of the fit in the region against that in the true region
    codes: tuple[str, ...]

    @property
    def good(self) -> bool:
        """What the confidence is the chance of."""
        return not self.absent and self.inside >= GOOD_INSIDE and abs(self.rate_error) <= GOOD_RATE


def drawn_for_calibration(seed: int, family: str) -> Exam:
    """An exam of a mixture with many that hold no liver, or lie otherwise than they say."""
    rng = np.random.default_rng([seed, len(family)])
    kind = str(rng.choice([*SHARES, *PHANTOMS], p=[*SHARES.values(), 0.02, 0.02]))
    slices, over = int(rng.choice(list(SLICES), p=list(SLICES.values()))), 2 if rng.uniform() < THICK else 1
    fixed: dict[str, Any] = {"slices": slices, "over": over, "fault": "none", "scene": kind}
    if kind == "fault":
        fixed.update(scene="abdomen", fault=str(rng.choice(["mirrored", "turned", "upside down", "wrong plane"])))
    return exam(seed, family, **fixed)


def maps_of(made: Exam) -> Maps:
    """Voxelwise maps with the true noise."""
    spacing = made.spacing_mm[:2]
    sigma = float(made.sigma * np.median(made.noise_map))
    signal = np.asarray(made.signal, np.float32)
    settings = FitSettings(method="nls")
    return fit.fit(signal, made.echo_times_ms, spacing, settings, sigma=sigma, n_coils=made.n_coils)


def judge(made: Exam, network: Network, maps: Maps | None, *, explain: bool = False) -> Judged:
    """Run the finder and compare; naming what is wrong with an image costs as much as ten slices."""
    rng = np.random.default_rng(made.meta["seed"])
    sigma = made.sigma * made.noise_map * float(np.exp(rng.normal(0, SIGMA_DOUBT)))
    signal = np.asarray(made.signal, np.float32)
    given = finder.given_slices(signal, made.planes(), sigma, made.n_coils, maps)
    gathered = finder.gather(network, given, made.echo_times_ms)
    found = finder.conclude(network, gathered)
    if explain and found.confidence < IN_DOUBT:
        found = finder.explained(network, gathered, found)
    absent, lies = not made.liver.any(), made.meta["fault"] != "none"
    slices = [(k, s.evidence.numbers) for k, s in enumerate(gathered.slices) if s.evidence is not None]
    regions = [s.view.turn_back(s.region) for s in gathered.slices]
    good = [not absent and _slice_is_good(made, k, regions[k]) for k, _ in slices]
    return Judged(
        meta=made.meta,
        liver=has_liver(made) and not lies,
        absent=absent,
        lies=lies,
        slice_numbers=np.array([numbers for _, numbers in slices]),
        slice_good=np.array(good, bool),
        series_numbers=finder.series_numbers(gathered),
        confidence=found.confidence,
        inside=_inside(found.region, made.whole),
        dice_whole=dice(found.mask, made.whole),
        dice_parenchyma=dice(found.parenchyma, made.liver),
        rate_error=_rate_error(made, found.region),
        fit_error=_fit_error(made, found, maps),
        codes=tuple(doubt.code for doubt in found.doubts),
    )


def _slice_is_good(made: Exam, k: int, region: Mask) -> bool:
    if not made.liver[k].any() or not region.any():
        return False
    rate = float(np.median(made.r2star_per_s[k][made.liver[k]]))
    error = float(np.median(made.r2star_per_s[k][region])) / rate - 1
    return _inside(region, made.whole[k]) >= GOOD_INSIDE and abs(error) <= GOOD_RATE


def _inside(region: Mask, whole: Mask) -> float:
    return float((region & whole).sum() / region.sum()) if region.any() else 0.0


def _rate_error(made: Exam, region: Mask) -> float:
    """Of what truly is in the region, so that noise does not count."""
    if not region.any():
        return float("nan")
    if not made.liver.any():
        return float("inf")
    rates = made.r2star_per_s
    return float(np.median(rates[region]) / np.median(rates[made.liver]) - 1)


def _fit_error(made: Exam, found: LiverFinding, maps: Maps | None) -> float:
    if maps is None:
        return float("nan")
    here, there = found.region & maps.valid, made.liver & maps.valid
    if here.sum() < 20 or there.sum() < 20:
        return float("nan")
    return float(np.median(maps.r2star_per_s[here]) / np.median(maps.r2star_per_s[there]) - 1)


def judge_one(seed: int, net: Network, family: str) -> Judged:
    """Judge one exam of a family."""
    made = drawn_for_calibration(seed, family)
    return judge(made, net, maps_of(made))


def judge_all(net: Network, seeds: Sequence[int], family: str, processes: int) -> list[Judged]:
    """Judge exams, several at a time."""
    if processes < 2:
        return [judge_one(seed, net, family) for seed in seeds]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(partial(judge_one, net=net, family=family), seeds, chunksize=10))
