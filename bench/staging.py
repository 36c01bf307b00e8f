"""Whether stated probabilities of the iron ranges come true: ``python -m bench.staging``.

Livers are drawn by a generator of its own, which shares nothing with the phantoms that the solver was made with:
outlines from harmonics, iron from a power law, vessels as a tree, rates spread within a voxel, triglycerides whose
chemistry varies, coils as a complex sum, slices that dephase. They go through the node's own fit, region and numbers.
What is true of the iron is drawn about the calibration's line with its standard error, for that is in what is stated.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from dicomnode import analyse
from dicomnode.compare.tables import Table
from dicomnode.config import FitSettings, MeasureSettings
from dicomnode.measure.organs import LIVER
from dicomnode.model import Component, EchoImage, EchoStack, Encoding, Grade, Plane, Roi, SequenceKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dicomnode.measure.iron import Calibration
    from dicomnode.model import RoiMeasurement, Stage

Array = NDArray[Any]
Mask = NDArray[np.bool_]

FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "staging.png"
FINE = 2  # samples of a voxel in each direction
WATER_PPM, MHZ_PER_T = 4.70, 42.577
LEAST_MG_PER_G, MOST_MG_PER_G = 0.6, 40.0
LIMITS, NEAR = (1.8, 3.2, 7.0, 15.0), 0.12  # mg/g; deviation of ln about them of half of the exams
RIM_MM = 4.0  # of the liver that a region leaves out, as the finder does
FIRST_SEED = 61_000  # nothing was mended after looking at those from here on
SURE = 0.9
EDGES = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Exam:
    """A liver, how it is scanned, and its truth."""

    seed: int
    field_t: float
    times_ms: tuple[float, ...]
    voxel_mm: float
    coils: int
    snr: float  # amplitude of the liver over sigma
    fat: float  # signal fraction in the liver
    uneven: float  # deviation of ln R2* in the liver
    signal: Array  # (slices, K, L, M), whole numbers
    region: Mask  # (slices, K, L): liver without rim and vessels
    covers: float  # share of the liver that it is
    rate_per_s: float  # median of the whole parenchyma
    by_line_mg_per_g: float  # what the calibration makes of that
    lic_mg_per_g: float  # the same with the calibration's own error


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was stated of an exam, beside what is true."""

    seed: int
    coils: int
    snr: float
    fat: float
    echoes: int
    field_t: float
    true_per_s: float
    by_line_mg_per_g: float
    true_mg_per_g: float
    found_per_s: float | None
    stages: tuple[Stage, ...]
    at_least_per_s: float | None
    doubted: bool

    @property
    def stated(self) -> bool:
        """Whether every range has a probability."""
        return bool(self.stages) and all(stage.probability is not None for stage in self.stages)

    @property
    def likeliest(self) -> Stage:
        """The likeliest range."""
        return max(self.stages, key=lambda stage: stage.probability or 0.0)

    @property
    def is_sure(self) -> bool:
        """Whether one range is stated with more than 0.9."""
        return self.stated and (self.likeliest.probability or 0.0) > SURE

    def is_right(self, stage: Stage) -> bool:
        """Whether the iron lies in a range."""
        return _lies_in(stage, self.true_mg_per_g)


def _lies_in(stage: Stage, mg_per_g: float) -> bool:
    low = -np.inf if stage.low_mg_per_g is None else stage.low_mg_per_g
    high = np.inf if stage.high_mg_per_g is None else stage.high_mg_per_g
    return bool(low <= mg_per_g < high)


# ---- the generator


def exam(seed: int) -> Exam:
    """Draw a liver and scan it."""
    rng = np.random.default_rng(seed)
    field_t = float(rng.choice([1.5, 2.89, 3.0], p=[0.5, 0.25, 0.25]))
    line = _line(field_t)
    lic = _iron(rng)
    rate = (lic - line.intercept) / line.slope
    body, liver, vessels, voxel_mm = _shapes(rng)
    uneven = float(rng.uniform(0.02, 0.18))
    field = _uneven(liver.shape, rng)
    own = field * uneven
    rates = rate * np.exp(own - np.median(own[liver & ~vessels]))
    fat = 0.0 if rng.random() < 0.55 else float(rng.uniform(0.02, 0.35))
    times_ms = _train(rng)
    tissue = _Tissue.of(body, liver, vessels, rates, (fat, rng))
    coils, snr = int(rng.choice([1, 1, 2, 4, 8, 16])), float(np.exp(rng.uniform(np.log(15), np.log(150))))
    clean = _voxels(tissue.signal(np.array(times_ms) / 1000, field_t, rng))
    parenchyma, whole = _voxels((liver & ~vessels).astype(float)) > 0.95, _voxels(liver.astype(float)) > 0.5
    region = parenchyma & (_depth(whole) * voxel_mm > RIM_MM)
    signal = _received(clean, whole, coils, 1 / snr, rng)
    true_rate = float(np.median(rates[liver & ~vessels]))
    by_line = line.lic_mg_per_g(true_rate)
    true_lic = by_line * (1 + line.relative_sd * float(rng.standard_normal()))
    covers = float(region.sum() / whole.sum())
    return Exam(
        seed, field_t, times_ms, voxel_mm, coils, snr, fat, uneven, signal, region, covers, true_rate, by_line, true_lic
    )


def _iron(rng: np.random.Generator) -> float:
    """Of the liver, mg/g: anything, or what lies near a limit, where a range is hard to tell."""
    if rng.random() < 0.5:
        return float(np.exp(rng.uniform(np.log(LEAST_MG_PER_G), np.log(MOST_MG_PER_G))))
    return float(rng.choice(LIMITS) * np.exp(NEAR * rng.standard_normal()))


def _line(field_t: float) -> Calibration:
    line = LIVER.calibration(MeasureSettings().calibration, field_t)
    if line is None:
        raise ValueError(f"no calibration at {field_t} T")
    return line


def _train(rng: np.random.Generator) -> tuple[float, ...]:
    """Echo times in ms: mostly a short train, one in four as the paper's."""
    if rng.random() < 0.25:
        first, step, count = rng.uniform(2.0, 2.7), rng.uniform(2.0, 2.5), 8
    else:
        first, step, count = rng.uniform(0.8, 1.5), rng.uniform(0.7, 1.4), int(rng.choice([6, 8, 10, 12, 16]))
    return tuple(round(float(first + step * k), 2) for k in range(count))


def _shapes(rng: np.random.Generator) -> tuple[Mask, Mask, Mask, float]:
    """Body, liver and vessels on the fine grid (slices, K, L), and the size of a voxel."""
    slices, rows, columns = int(rng.integers(1, 4)), int(rng.integers(72, 105)), int(rng.integers(96, 129))
    voxel_mm = float(rng.uniform(2.8, 3.6))
    step = voxel_mm / FINE
    y, x = np.mgrid[: rows * FINE, : columns * FINE].astype(float) * step
    middle = (y.max() / 2, x.max() / 2)
    body_at = _outline(rng, 0.06)
    liver_at, place = _outline(rng, 0.12), (middle[0] + rng.uniform(-12, 6), 0.66 * middle[1])
    hilum = (place[0] + rng.uniform(-8, 8), place[1] + rng.uniform(15, 30))
    tree = [_branch(rng, hilum) for _ in range(int(rng.integers(4, 11)))]
    bodies, livers, trees = [], [], []
    for k in range(slices):
        size = 1 - 0.04 * k
        body = _inside(y, x, middle, (0.43 * y.max(), 0.45 * x.max()), body_at)
        liver = _inside(y, x, place, (size * 0.27 * y.max(), size * 0.21 * x.max()), liver_at)
        liver &= _inside(y, x, middle, (0.38 * y.max(), 0.41 * x.max()), body_at)
        pipes = np.zeros_like(liver)
        for start, end, radius in tree:
            pipes |= _distance(y, x, start, (end[0] + 3.0 * k, end[1])) < radius
        bodies.append(body)
        livers.append(liver)
        trees.append(pipes & liver)
    return np.stack(bodies), np.stack(livers), np.stack(trees), voxel_mm


def _outline(rng: np.random.Generator, depth: float) -> Callable[[Array], Array]:
    """Radius over the angle, of mean one."""
    waves = [(n, depth / n * rng.standard_normal(), rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4, 5)]
    return lambda angle: 1 + np.sum([size * np.cos(n * angle + phase) for n, size, phase in waves], axis=0)


def _inside(
    y: Array, x: Array, centre: tuple[float, float], half: tuple[float, float], radius: Callable[[Array], Array]
) -> Mask:
    down, right = (y - centre[0]) / half[0], (x - centre[1]) / half[1]
    return np.asarray(np.hypot(down, right) < radius(np.arctan2(down, right)))


def _branch(
    rng: np.random.Generator, hilum: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float], float]:
    angle, length = rng.uniform(0.5 * np.pi, 1.5 * np.pi), rng.uniform(30, 90)
    end = (hilum[0] + length * np.sin(angle), hilum[1] + length * np.cos(angle))
    return hilum, end, float(rng.uniform(1.0, 4.0))


def _distance(y: Array, x: Array, start: tuple[float, float], end: tuple[float, float]) -> Array:
    """From a line between two points."""
    along = np.array(end) - np.array(start)
    share = ((y - start[0]) * along[0] + (x - start[1]) * along[1]) / max(float(along @ along), 1e-9)
    share = np.clip(share, 0, 1)
    return np.asarray(np.hypot(y - start[0] - share * along[0], x - start[1] - share * along[1]))


def _uneven(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Random field of deviation one whose power falls with frequency, and a slope across it."""
    frequencies = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    frequency = np.sqrt(sum(np.square(one) for one in frequencies)) + 1.0 / max(shape)
    white = np.fft.fftn(rng.standard_normal(shape))
    field = np.real(np.fft.ifftn(white * frequency ** -rng.uniform(1.0, 2.5)))
    slope = np.linspace(-1, 1, shape[-1]) * rng.uniform(0, 1.0)
    return np.asarray(field / field.std() + slope)


def _smooth(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Random polynomial of second order over the image, at most about one."""
    y, x = (np.linspace(-1, 1, n) for n in shape[-2:])
    terms = (y[:, None] + 0 * x, x + 0 * y[:, None], y[:, None] * x, y[:, None] ** 2 - x**2)
    field = np.sum([weight * term for weight, term in zip(rng.standard_normal(4), terms, strict=True)], axis=0)
    return np.asarray(np.broadcast_to(field / np.abs(field).max(), shape))


@dataclass(frozen=True, slots=True)
class _Tissue:
    """What gives signal, on the fine grid (slices, K, L)."""

    amplitude: Array
    rates: Array  # 1/s, mean of a voxel
    spread: Array  # of rates within a voxel, relative
    fat: Array  # signal fraction

    @classmethod
    def of(
        cls, body: Mask, liver: Mask, vessels: Mask, rates: Array, of_fat: tuple[float, np.random.Generator]
    ) -> _Tissue:
        """Liver of amplitude one in a body of muscle with a layer of fat around."""
        fat, rng = of_fat
        layer = body & (_depth(body) < rng.uniform(4, 14))
        amplitude = np.select([vessels, liver, layer, body], [rng.uniform(0.5, 1.3), 1.0, 1.3, 0.8], 0.0)
        decay = np.select([vessels, liver, layer, body], [rng.uniform(25, 60), rates, 30.0, 40.0], 30.0)
        wide = np.where(liver & ~vessels, rng.uniform(0.0, 0.12), 0.0)
        patches = np.clip(1 + 0.15 * _uneven(body.shape, rng), 0, 2)
        share = np.select(
            [vessels, liver, layer], [np.zeros(body.shape), fat * patches, np.full(body.shape, 0.9)], 0.02
        )
        return cls(amplitude, decay, wide, np.clip(share, 0, 0.95))

    def signal(self, t_s: Array, field_t: float, rng: np.random.Generator) -> Array:
        """Complex signal (slices, K, L, M)."""
        chemistry = _triglyceride(rng)
        slower, more = rng.uniform(0.8, 1.1), rng.uniform(0, 20)
        hertz = field_t * rng.uniform(0, 4) * (1 + 0.5 * _smooth(self.rates.shape, rng))  # across the slice
        precession = 2j * np.pi * field_t * 40 * _smooth(self.rates.shape, rng)
        echoes = []
        for t in t_s:
            water = (1 - self.fat) * _gamma_decay(self.rates, self.spread, t)
            turning = sum(share * np.exp(2j * np.pi * MHZ_PER_T * field_t * ppm * t) for ppm, share in chemistry)
            fat = self.fat * turning * _gamma_decay(slower * self.rates + more, self.spread, t)
            echoes.append(self.amplitude * (water + fat) * np.sinc(hertz * t) * np.exp(precession * t))
        return np.stack(echoes, axis=-1)


def _gamma_decay(rates: Array, spread: Array, t: float) -> Array:
    """Mean of exp(-r t) where r is gamma distributed about its mean."""
    square = np.maximum(np.square(spread), 1e-9)
    return np.asarray((1 + rates * t * square) ** (-1 / square))


def _triglyceride(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Peaks of fat, ppm from water and share, by the protons of a triglyceride (Hamilton et al. 2011)."""
    double, length = rng.uniform(1.9, 3.2), 17.5
    between = 0.093 * double**2
    protons = {
        5.29: 2 * double, 5.19: 1.0, 4.20: 4.0, 2.75: 2 * between, 2.24: 6.0, 2.02: 4 * (double - between),
        1.60: 6.0, 1.30: 6 * (length - 4) - 8 * double + 2 * between, 0.90: 9.0,
    }  # fmt: skip
    total = sum(protons.values())
    return [(ppm - WATER_PPM, count / total) for ppm, count in protons.items()]


def _voxels(fine: Array) -> Array:
    """Means over voxels: (slices, K, L, ...) from the fine grid."""
    slices, rows, columns, *rest = fine.shape
    blocks = fine.reshape(slices, rows // FINE, FINE, columns // FINE, FINE, *rest)
    return np.asarray(blocks.mean(axis=(2, 4)))


def _depth(mask: Mask) -> Array:
    """How deep each voxel lies in its slice, in voxels."""
    return np.stack([ndimage.distance_transform_edt(np.pad(one, 1))[1:-1, 1:-1] for one in mask])


def _received(clean: Array, liver: Mask, coils: int, sigma: float, rng: np.random.Generator) -> Array:
    """Root sum of squares over coils around the body, each with its noise, as whole numbers."""
    slices, rows, columns, echoes = clean.shape
    y, x = np.mgrid[:rows, :columns] / np.reshape([rows, columns], (2, 1, 1))
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(coils) / coils
    away = [np.hypot(y - 0.5 - 0.55 * np.sin(angle), x - 0.5 - 0.55 * np.cos(angle)) for angle in angles]
    sensitivity = np.stack([np.exp(1j * angle) / (1 + (d / 0.6) ** 2) for angle, d in zip(angles, away, strict=True)])
    sensitivity /= np.median(np.sqrt((np.abs(sensitivity) ** 2).sum(axis=0))[liver.any(axis=0)])
    steady = 1 + rng.uniform(0, 0.01) * rng.standard_normal(echoes) + rng.uniform(0, 0.01) * (-1.0) ** np.arange(echoes)
    power = np.zeros((slices, rows, columns, echoes))
    for one in sensitivity:
        noise = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
        power += np.abs(clean * steady * one[None, :, :, None] + sigma * noise) ** 2
    magnitude = np.sqrt(power)
    stored: Array = np.round(magnitude * rng.uniform(400, 4000) / magnitude.max()).astype(np.float32)
    return stored


# ---- through the node


def outcome(seed: int) -> Outcome:
    """Fit and measure an exam as the node does."""
    made = exam(seed)
    stack = _stack(made)
    maps = analyse.fit_signal(stack, made.signal, FitSettings())
    roi = Roi(LIVER.name, made.region, covers=made.covers)
    _, (one,), _ = analyse.measure_regions((roi,), stack, made.signal, maps, MeasureSettings())
    return _outcome(made, one)


def _stack(made: Exam) -> EchoStack:
    """The headers that such a scan has, as far as the measurement reads them."""
    rows, columns = made.signal.shape[1:3]
    slices = []
    for k in range(len(made.signal)):
        place = (0.0, 0.0, 10.0 * k)
        plane = Plane(rows, columns, place, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (made.voxel_mm, made.voxel_mm), "1.2")
        slices.append(
            tuple(
                EchoImage(
                    Path("-"), None, "1", f"1.{k}.{n}", "1.1", "1.2", Encoding.CLASSIC, Component.MAGNITUDE,
                    SequenceKind.GRADIENT_ECHO, time_ms, plane, field_strength_t=made.field_t,
                )
                for n, time_ms in enumerate(made.times_ms)
            )
        )  # fmt: skip
    return EchoStack("1.2", ("1.1",), made.times_ms, tuple(slices))


def _outcome(made: Exam, one: RoiMeasurement) -> Outcome:
    return Outcome(
        seed=made.seed,
        coils=made.coils,
        snr=made.snr,
        fat=made.fat,
        echoes=len(made.times_ms),
        field_t=made.field_t,
        true_per_s=made.rate_per_s,
        by_line_mg_per_g=made.by_line_mg_per_g,
        true_mg_per_g=made.lic_mg_per_g,
        found_per_s=None if one.r2star is None else one.r2star.value,
        stages=one.stages,
        at_least_per_s=None if one.at_least is None else one.at_least.r2star_per_s,
        doubted=any(flag.grade is Grade.LOW_CONFIDENCE for flag in one.flags),
    )


# ---- tables


def sure_table(found: Sequence[Outcome]) -> Table:
    """How often a range that is stated with more than 0.9 is the right one."""
    groups: dict[str, Callable[[Outcome], bool]] = {
        "all": lambda _: True,
        "without fat": lambda one: one.fat == 0,
        "with fat": lambda one: one.fat > 0,
        "one coil": lambda one: one.coils == 1,
        "several coils": lambda one: one.coils > 1,
        "S0/σ below 40": lambda one: one.snr < 40,
        "6 or 8 echoes": lambda one: one.echoes <= 8,
        "with low confidence": lambda one: one.doubted,
    }
    rows = []
    for name, chosen in groups.items():
        here = [one for one in found if chosen(one)]
        sure = [one for one in here if one.is_sure]
        right = sum(one.is_right(one.likeliest) for one in sure)
        by_line = sum(_lies_in(one.likeliest, one.by_line_mg_per_g) for one in sure)
        counts = (len(here), sum(one.stated for one in here), len(sure), right)
        rows.append([name, *map(str, counts), _share(right, len(sure)), _share(by_line, len(sure))])
    columns = ["exams", "n", "stated", "above 0.9", "right", "share", "were the calibration exact"]
    return Table("Ranges stated with more than 0.9", columns, rows)


def reliability(found: Iterable[Outcome]) -> list[tuple[float, float, int]]:
    """Mean of the stated probabilities, share that came true and number, by what was stated; every range counts."""
    said = [
        (stage.probability, one.is_right(stage))
        for one in found
        if one.stated
        for stage in one.stages
        if stage.probability is not None
    ]
    points = []
    for low, high in itertools.pairwise(EDGES):
        here = [(p, right) for p, right in said if low <= p < high or p == high == 1.0]
        if here:
            points.append((float(np.mean([p for p, _ in here])), float(np.mean([r for _, r in here])), len(here)))
    return points


def reliability_table(found: Sequence[Outcome]) -> Table:
    """Stated probabilities of every range beside how often they came true."""
    rows = [[f"{stated:.3f}", f"{came:.3f}", str(count)] for stated, came, count in reliability(found)]
    return Table("Reliability of every stated probability", ["stated, mean", "came true", "n"], rows)


def bound_table(found: Sequence[Outcome]) -> Table:
    """How often a bound holds, and what is not given."""
    bounds = [one for one in found if one.at_least_per_s is not None]
    named = [one for one in bounds if one.stages]
    excluded = [stage for one in named for stage in one.stages if stage.probability == 0.0 and one.is_right(stage)]
    given = sum(one.stated for one in found)
    hold = sum(one.true_per_s >= (one.at_least_per_s or 0.0) for one in bounds)
    rows = [
        ["number with probabilities", str(given), "–"],
        ["bound of R2*", str(len(bounds)), _share(hold, len(bounds))],
        ["bound that excludes ranges", str(len(named)), _share(len(named) - len(excluded), len(named))],
        ["neither", str(len(found) - given - len(bounds)), "–"],
    ]
    return Table("What is stated", ["", "n", "holds"], rows)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def drawing(found: Sequence[Outcome]) -> Figure:
    """The reliability as a figure: on the line what is stated comes true."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    place = figure.subplots()
    stated, came, counts = (np.array(one) for one in zip(*reliability(found), strict=True))
    place.plot([0, 1], [0, 1], color="#808080", linewidth=1)
    place.plot(stated, came, marker="o", color="#0072B2")
    error = 1.96 * np.sqrt(np.maximum(came * (1 - came), 1e-4) / counts)
    place.errorbar(stated, came, error, fmt="none", ecolor="#0072B2")
    place.set(xlabel="probability that is stated of a range", ylabel="share that came true", xlim=(0, 1), ylim=(0, 1))
    return figure


def main() -> None:
    """Print the tables and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=1000)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first exam")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.exams)
    with ProcessPoolExecutor(options.processes) as pool:
        found = list(pool.map(outcome, seeds, chunksize=4))
    for table in (sure_table(found), reliability_table(found), bound_table(found)):
        sys.stdout.write(table.markdown() + "\n")
    for one in (one for one in found if one.is_sure and not one.is_right(one.likeliest)):
        off = 100 * ((one.found_per_s or 0.0) / one.true_per_s - 1)
        stated = f"{one.likeliest.name} {one.likeliest.probability:.3f}"
        sys.stderr.write(f"wrong: {one.seed}: R2* {off:+.1f} %, true {one.true_mg_per_g:.2f} mg/g, {stated}\n")
    drawing(found).savefig(options.figure, dpi=120)


if __name__ == "__main__":
    main()
