"""What fat does to R2*, and what each model makes of it: ``python -m bench.fat``.

Abdomens whose fat, iron and noise are known are fitted and measured as the node does it, by every model of ``[fit]``;
their seeds are none that anything was tuned on. What is not of the complex fit is of
magnitudes only, so of the field it is the strength that matters: it says how fast fat beats.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dicomnode import analyse, region
from dicomnode.compare.tables import Table
from dicomnode.config import FitSettings, MeasureSettings
from dicomnode.model import (
    Component,
    EchoImage,
    EchoStack,
    Encoding,
    Estimate,
    Grade,
    Plane,
    Roi,
    RoiMeasurement,
    SequenceKind,
)
from solver import fit_t2star, phantom
from solver.companion import fit_complex
from solver.model import GYROMAGNETIC_RATIO_MHZ_PER_T

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from solver.companion import Companion

Result = TypeVar("Result")
Array = NDArray[Any]

SHORT = {
    "1.1 ms × 12": tuple(1.1 + 1.1 * k for k in range(12)),
    "0.93 + 0.8 ms × 12": tuple(0.93 + 0.8 * k for k in range(12)),
    "1.2 + 1.0 ms × 6": tuple(1.2 + 1.0 * k for k in range(6)),
}
LONG = {"2.58–18.88 ms × 8": phantom.PAPER_ECHO_TIMES_MS}
IN_PHASE = {1.5: tuple(4.6 * (k + 1) for k in range(6)), 3.0: tuple(2.3 * (k + 1) for k in range(6))}
FIELDS_T = (1.5, 3.0)
FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
RATES_PER_S = (30.0, 100.0, 300.0, 600.0, 1000.0)
SNR = (20.0, 50.0, 100.0)
SHAPE, SPACING_MM = (96, 128), (3.2, 3.2)
LIVER_S0 = 300.0
ADIPOSE, MUSCLE = 0.92, 0.03  # signal fractions of fat
UNEVEN = 0.1  # of the liver's fat, relative
FALSE = 0.03  # of the rate: a correction of more is looked at
ANATOMY_T = 3.0  # in which the phantom's field is drawn
HELD_OUT = 41_000  # seeds from here on are none that anything was tuned on
SPECTRA = {  # ppm from water, relative amplitude
    # Hamilton et al. 2011: liver, the one that is fitted
    "Hamilton": ((-3.80, 0.087), (-3.40, 0.693), (-2.60, 0.128), (-1.94, 0.004), (-0.39, 0.039), (0.60, 0.048)),
    # Yu et al. 2008: subcutaneous fat
    "Yu": ((-3.80, 0.08), (-3.40, 0.62), (-2.73, 0.15), (-1.94, 0.04), (-0.50, 0.04), (0.50, 0.06)),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One abdomen."""

    train: str
    times_ms: tuple[float, ...]
    field_t: float
    fraction: float  # signal fraction of fat in the liver
    rate_per_s: float  # of the liver
    snr: float  # its amplitude over sigma
    seed: int
    spectrum: str = "Hamilton"


@dataclass(frozen=True, slots=True)
class Scene:
    """What is measured, and the truth of it."""

    signal: Array  # (1, K, L, M), magnitudes or complex
    liver: NDArray[np.bool_]  # (1, K, L)
    rate_per_s: float  # median of the liver
    fraction: float


@dataclass(frozen=True, slots=True)
class Found:
    """What one model made of a case; errors over the truth."""

    case: Case
    model: str
    of_map: float  # median of the map in the liver; NaN where it has none
    of_region: float | None  # None: no number is given
    covered: bool  # the interval holds the truth
    doubted: bool  # a number with low confidence
    codes: tuple[str, ...]  # of the flags
    moved: float  # of the region's rate against that of one exponential, relative
    fraction: float | None  # of fat as reported, None: not given
    fraction_covered: bool


def scene(case: Case, shape: tuple[int, int] = SHAPE) -> Scene:
    """Draw and acquire magnitudes."""
    rng = np.random.default_rng(case.seed)
    truth, fraction, mixed = _drawn(case, shape, rng)
    liver = truth.regions["liver"]
    clean = truth.s0[..., None] * np.abs(mixed) * _decayed(truth, case)
    signal = phantom.add_rician(clean, LIVER_S0 / case.snr, rng).astype(np.float32)
    return Scene(signal, liver, float(np.median(truth.r2star_per_s[liver])), float(np.median(fraction[liver])))


def complex_scene(case: Case, swing: float = 0.0) -> Scene:
    """The same abdomen with its phase: field, coil, and read-outs that alternate by ``swing`` radians."""
    rng = np.random.default_rng(case.seed)
    truth, fraction, mixed = _drawn(case, SHAPE, rng)
    liver, t = truth.regions["liver"], np.array(case.times_ms) / 1000
    # The phantom's field holds the shift of one peak of fat, which has six here.
    hertz = GYROMAGNETIC_RATIO_MHZ_PER_T * case.field_t
    field = truth.off_resonance_hz * case.field_t / ANATOMY_T
    field -= hertz * phantom.FAT_SHIFT_PPM * truth.regions["fat"]
    across = np.linspace(-1, 1, SHAPE[1])
    signs = 1.0 - 2.0 * (np.arange(len(t)) % 2)
    phase = truth.phase_rad[..., None] + 2 * np.pi * field[..., None] * t
    phase = phase + swing * (2 / 3 + across / 3)[:, None] * signs
    clean = truth.s0[..., None] * mixed * _decayed(truth, case) * np.exp(1j * phase)
    noise = rng.standard_normal((2, *clean.shape)) * LIVER_S0 / case.snr
    signal = (clean + noise[0] + 1j * noise[1]).astype(np.complex64)
    return Scene(signal, liver, float(np.median(truth.r2star_per_s[liver])), float(np.median(fraction[liver])))


def _decayed(truth: phantom.Phantom, case: Case) -> Array:
    return np.asarray(np.exp(-truth.r2star_per_s[..., None] * np.array(case.times_ms) / 1000))


def _drawn(case: Case, shape: tuple[int, int], rng: np.random.Generator) -> tuple[phantom.Phantom, Array, Array]:
    """An abdomen, its fraction of fat (1, K, L) and what fat does to its signal (1, K, L, M)."""
    spacing_mm = (SPACING_MM[0] * SHAPE[0] / shape[0], SPACING_MM[1] * SHAPE[1] / shape[1])
    drawn = phantom.Abdomen(shape, 1, spacing_mm, liver_t2star_ms=1000 / case.rate_per_s, liver_s0=LIVER_S0)
    truth = phantom.abdomen(drawn, rng)
    liver = truth.regions["liver"]
    smooth = gaussian_filter(rng.standard_normal(shape), 6.0)
    fraction = np.select([truth.regions["fat"], truth.regions["muscle"]], [ADIPOSE, MUSCLE], 0.0)
    uneven = 1 + UNEVEN * np.clip(smooth / (2 * smooth.std()), -1, 1)
    fraction = np.where(liver, case.fraction * uneven, fraction)
    beside = fat_signal(np.array(case.times_ms) / 1000, case.field_t, SPECTRA[case.spectrum])
    return truth, fraction, 1 - fraction[..., None] + fraction[..., None] * beside


def fat_signal(t_s: Array, field_t: float, spectrum: Sequence[tuple[float, float]]) -> Array:
    """Complex signal (M,) of fat beside water, without its decay."""
    hertz = np.array([ppm for ppm, _ in spectrum]) * GYROMAGNETIC_RATIO_MHZ_PER_T * field_t
    share = np.array([amplitude for _, amplitude in spectrum])
    turning: Array = np.exp(2j * np.pi * np.outer(t_s, hertz)) @ (share / share.sum())
    return turning


def stack_of(case: Case) -> EchoStack:
    """The headers that such a scan has, as far as the measurement reads them."""
    plane = Plane(*SHAPE, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), SPACING_MM, "1.2")
    echoes = tuple(
        EchoImage(
            Path("-"), None, "1", f"1.{n}", "1.1", "1.2", Encoding.CLASSIC, Component.MAGNITUDE,
            SequenceKind.GRADIENT_ECHO, time_ms, plane, field_strength_t=case.field_t,
        )
        for n, time_ms in enumerate(case.times_ms)
    )  # fmt: skip
    return EchoStack("1.2", ("1.1",), case.times_ms, (echoes,))


def by_node(case: Case, model: str) -> Found:
    """Fit and measure as the node does."""
    made, stack = scene(case), stack_of(case)
    settings = FitSettings(model="automatic" if model == AUTOMATIC else "mono-exponential")
    maps = analyse.fit_signal(stack, made.signal, settings)
    roi = Roi("liver", made.liver, automatic=False)
    one, _ = region.measure(roi, region.Images.of(stack, made.signal, maps), MeasureSettings())
    inside = made.liver & maps.valid
    of_map = float(np.median(maps.r2star_per_s[inside])) / made.rate_per_s - 1 if inside.any() else float("nan")
    return _found(case, model, made, of_map, one)


def _found(case: Case, model: str, made: Scene, of_map: float, one: RoiMeasurement) -> Found:
    codes = tuple(flag.code for flag in one.flags)
    given = one.r2star if one.r2star_per_s is not None else None
    return Found(
        case=case,
        model=model,
        of_map=of_map,
        of_region=None if given is None else given.value / made.rate_per_s - 1,
        covered=given is not None and _holds(given, made.rate_per_s),
        doubted=any(flag.grade is Grade.LOW_CONFIDENCE for flag in one.flags),
        codes=codes,
        moved=0.0 if given is None or not one.plain_r2star_per_s else given.value / one.plain_r2star_per_s - 1,
        fraction=None if one.fat_fraction is None else one.fat_fraction.value,
        fraction_covered=one.fat_fraction is not None and _holds(one.fat_fraction, made.fraction),
    )


def _holds(estimate: Estimate, truth: float) -> bool:
    return estimate.ci95[0] <= truth <= estimate.ci95[1]


def by_solver(case: Case, model: str) -> Found:
    """Fit alone, by a model that the node does not offer."""
    made = scene(case)
    rows, columns = (slice(np.min(i), np.max(i) + 1) for i in np.nonzero(made.liver[0]))
    own = made.signal[:, rows, columns]  # profiled models are slow
    sigma = LIVER_S0 / case.snr
    fit = fit_t2star(own, case.times_ms, model=model, sigma=sigma, n_coils=1, field_strength_t=case.field_t)
    inside = made.liver[:, rows, columns] & fit.valid
    of_map = float(np.median(fit.r2star_per_s[inside])) / made.rate_per_s - 1 if inside.any() else float("nan")
    return Found(case, model, of_map, None, False, False, (), 0.0, None, fraction_covered=False)


def by_companion(case: Case, model: str) -> Found:
    """The complex fit beside the magnitudes; a gate that refuses it leaves nothing."""
    made = complex_scene(case)
    found, _ = companion(case, made.signal)
    rate = _in_liver(found.r2star_per_s, made) if not found.refused else None
    of_map = float("nan") if rate is None else rate / made.rate_per_s - 1
    codes = (found.refused,) if found.refused else ()
    return Found(case, model, of_map, None, False, False, codes, 0.0, None, fraction_covered=False)


def companion(case: Case, signal: Array) -> tuple[Companion, Array]:
    """The complex fit of a signal (1, K, L, M), and the rates that its magnitudes have."""
    size = np.abs(signal).astype(np.float32)
    fit = fit_t2star(size, case.times_ms, model="automatic", field_strength_t=case.field_t)
    rates = np.where(fit.valid, fit.r2star_per_s, np.nan)
    return fit_complex(signal, case.times_ms, case.field_t, rates), rates


def _in_liver(rates: Array | None, made: Scene) -> float | None:
    known = np.empty(0) if rates is None else rates[made.liver & np.isfinite(rates)]
    return float(np.median(known)) if known.size else None


SWING_RAD = 0.6  # of read-outs that alternate, as in a real series
SPOILT: dict[str, Callable[[Array, Array], Array]] = {  # phase, and that of another abdomen -> phase
    "as it is": lambda phase, _: phase,
    "of the other sign": lambda phase, _: -phase,
    "two echoes swapped": lambda phase, _: phase[..., [0, 1, 4, 3, 2, *range(5, phase.shape[-1])]],
    "echoes the other way round": lambda phase, _: phase[..., ::-1],
    "twice as large": lambda phase, _: 2 * phase,
    "half as large": lambda phase, _: phase / 2,
    "nothing": lambda phase, _: np.zeros_like(phase),
    "noise": lambda phase, _: np.random.default_rng(HELD_OUT).uniform(-np.pi, np.pi, phase.shape),
    "upside down": lambda phase, _: phase[:, ::-1],
    "of another scan of the same body": lambda _, other: other,
}


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gates make of a phase."""

    kind: str
    refused: str
    apart: float  # median rate of the liver over that of its magnitudes, less one; 0 where it is refused


def judge(job: tuple[Case, str]) -> Judged:
    """Spoil the phase of a case and fit it."""
    case, kind = job
    made = complex_scene(case, SWING_RAD)
    other = complex_scene(replace(case, seed=case.seed + 1, rate_per_s=50.0, fraction=0.0))
    phase = SPOILT[kind](np.angle(made.signal), np.angle(other.signal))
    found, rates = companion(case, np.abs(made.signal) * np.exp(1j * phase))
    own, of_size = _in_liver(found.r2star_per_s, made), _in_liver(rates, made)
    apart = 0.0 if found.refused or own is None or of_size is None else own / of_size - 1
    return Judged(kind, found.refused, apart)


def with_spoilt_phase(seeds: Sequence[int]) -> list[tuple[Case, str]]:
    """Every way of spoiling for every train and field."""
    trains = SHORT | LONG
    grid = itertools.product(trains, FIELDS_T, ((0.0, 60.0), (0.2, 150.0), (0.0, 400.0)), seeds, SPOILT)
    return [
        (Case(train, trains[train], field, fraction, rate, 50.0, seed), kind)
        for train, field, (fraction, rate), seed, kind in grid
    ]


def of_spoilt(found: Sequence[Judged], caption: str) -> Table:
    """How many are refused, and by which gate, how far the others lie from the magnitudes."""
    rows = []
    for kind in SPOILT:
        mine = [one for one in found if one.kind == kind]
        gates = Counter(one.refused for one in mine if one.refused)
        passed = [abs(one.apart) for one in mine if not one.refused]
        by = ", ".join(f"{gate} {count}" for gate, count in gates.most_common()) or "–"
        near = sum(apart <= FALSE for apart in passed)
        most = f"{max(passed):.1%}" if passed else "–"
        rows.append([kind, str(len(mine)), str(len(mine) - len(passed)), f"{near} of {len(passed)}", most, by])
    columns = ["phase", "scans", "refused", f"within {FALSE:.0%} of the magnitudes, of the others", "furthest", "by"]
    return Table(caption, columns, rows)


ONE, AUTOMATIC, FAT_WATER, COMPLEX = "one exponential", "automatic", "fat-water", "complex"
MODELS: dict[str, Callable[[Case, str], Found]] = {
    ONE: by_node, AUTOMATIC: by_node, FAT_WATER: by_solver, COMPLEX: by_companion,
}  # fmt: skip


SWAPPED, MUCH_SWAPPED = 0.3, 0.01  # by how much a fraction is off that took fat for water; of a liver's voxels
SWAP_SEED = 47_000


@dataclass(frozen=True, slots=True)
class Swapped:
    """How much of a liver was swapped, by which gate the fit was refused, and what it took."""

    case: Case
    share: float
    refused: str
    cpu_s: float


def swapped(case: Case) -> Swapped:
    """Fit phase whose read-outs alternate, and count voxels in which fat was taken for water."""
    made = complex_scene(case, SWING_RAD)
    size = np.abs(made.signal).astype(np.float32)
    fit = fit_t2star(size, case.times_ms, model="automatic", field_strength_t=case.field_t)
    rates = np.where(fit.valid, fit.r2star_per_s, np.nan)
    started = time.process_time()
    found = fit_complex(made.signal, case.times_ms, case.field_t, rates)
    seconds = time.process_time() - started
    off = np.ones(1) if found.fat_fraction is None else np.abs(found.fat_fraction[made.liver] - made.fraction)
    return Swapped(case, float(np.mean(~(off <= SWAPPED))), found.refused, seconds)


def of_swaps(processes: int) -> Table:
    """In how many livers fat was taken for water, of abdomens that nothing was tuned on."""
    points = itertools.product(SHORT, FIELDS_T, (0.0, 0.1, 0.3), (100.0, 300.0, 600.0))
    planned = [
        Case(train, SHORT[train], field_t, fraction, rate, 50.0, SWAP_SEED + k)
        for k, (train, field_t, fraction, rate) in enumerate(points)
    ]
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(swapped, planned))
    rows = []
    for name, some in (("all", found), ("of which pass every gate", [one for one in found if not one.refused])):
        much = sum(one.share > MUCH_SWAPPED for one in some)
        worst, seconds = max(one.share for one in some), np.median([one.cpu_s for one in some])
        rows.append([name, str(len(some)), str(much), f"{worst:.1%}", f"{seconds:.2f}"])
    heads = ["slices", "count", "over 1 % of the liver swapped", "most of a liver", f"CPU s, {SHAPE[0]} × {SHAPE[1]}"]
    return Table("Fat taken for water", heads, rows)


def cases(trains: Iterable[str], seeds: Sequence[int], snr: Sequence[float] = SNR) -> Iterator[Case]:
    """Every abdomen of these trains."""
    known = SHORT | LONG
    grid = itertools.product(trains, FIELDS_T, FRACTIONS, RATES_PER_S, snr, seeds)
    for train, field, fraction, rate, ratio, seed in grid:
        yield Case(train, known[train], field, fraction, rate, ratio, seed)


# ---- tables


def by_truth(found: Sequence[Found], caption: str) -> Table:
    """Median and largest absolute error of maps and regions, by model, fat and rate."""
    cells: dict[tuple[str, float], dict[float, list[Found]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        cells[one.model, one.case.fraction][one.case.rate_per_s].append(one)
    rates = sorted({one.case.rate_per_s for one in found})
    rows = [
        [model, f"{100 * fraction:.0f} %", *(_errors([one.of_map for one in by_rate[rate]]) for rate in rates)]
        for (model, fraction), by_rate in sorted(cells.items())
    ]
    return Table(caption, ["model", "fat", *(f"{rate:.0f} /s" for rate in rates)], rows)


def _errors(errors: Sequence[float]) -> str:
    known = 100 * np.array([one for one in errors if np.isfinite(one)])
    return f"{np.median(known):+.1f} ({np.abs(known).max():.0f})" if known.size else "–"


def of_regions(found: Sequence[Found], caption: str) -> Table:
    """What the node says of the liver, by fat and rate."""
    cells: dict[tuple[str, float], dict[float, list[Found]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        cells[one.model, one.case.fraction][one.case.rate_per_s].append(one)
    rates = sorted({one.case.rate_per_s for one in found})
    rows = [
        [model, f"{100 * fraction:.0f} %", *(_said(by_rate[rate]) for rate in rates)]
        for (model, fraction), by_rate in sorted(cells.items())
    ]
    note = "Median error (largest) of the numbers given, in %; share that has one; share of their intervals that hold."
    return Table(caption, ["model", "fat", *(f"{rate:.0f} /s" for rate in rates)], rows, [note])


def _said(found: Sequence[Found]) -> str:
    given = [one for one in found if one.of_region is not None]
    share = f"{len(given)}/{len(found)}"
    if not given:
        return share
    errors = _errors([one.of_region for one in given if one.of_region is not None])
    return f"{errors}, {share}, {sum(one.covered for one in given) / len(given):.0%}"


def choices(found: Sequence[Found], caption: str) -> Table:
    """How often a region's number is said to be corrected for fat, and how often by over FALSE, by model and fat."""
    rows = []
    fractions = sorted({one.case.fraction for one in found})
    for model in sorted({one.model for one in found}):
        for what, is_so in (("said", _is_said), (f"over {FALSE:.0%}", _is_large)):
            given = [one for one in found if one.model == model and one.of_region is not None]
            counts = [[is_so(one) for one in given if one.case.fraction == fraction] for fraction in fractions]
            rows.append([model, what, *(f"{sum(some)}/{len(some)}" for some in counts)])
    return Table(caption, ["model", "corrected", *(f"{100 * fraction:.0f} %" for fraction in fractions)], rows)


def _is_said(one: Found) -> bool:
    return "fat-corrected" in one.codes


def _is_large(one: Found) -> bool:
    return abs(one.moved) > FALSE


def totals(found: Sequence[Found], caption: str) -> Table:
    """Over all cases: numbers, how wrong they are, whether their intervals hold."""
    columns = ["model", "cases", "numbers", "without doubt", "over 3 % off", "over 10 % off", "intervals hold"]
    rows = []
    for model in sorted({one.model for one in found}):
        mine = [one for one in found if one.model == model]
        errors = np.array([one.of_region for one in mine if one.of_region is not None])
        sure = sum(one.of_region is not None and not one.doubted for one in mine)
        held = sum(one.covered for one in mine)
        far = [f"{int(np.sum(np.abs(errors) > limit))}" for limit in (0.03, 0.1)]
        rows.append([model, str(len(mine)), str(errors.size), str(sure), *far, f"{held / errors.size:.1%}"])
    return Table(caption, columns, rows)


def of_gates(found: Sequence[Found], caption: str) -> Table:
    """How many complex fits pass, by fat and rate, and which gates refuse the others."""
    mine = [one for one in found if one.model == COMPLEX]
    rates = sorted({one.case.rate_per_s for one in mine})
    rows = []
    for fraction in sorted({one.case.fraction for one in mine}):
        row = [[one for one in mine if (one.case.fraction, one.case.rate_per_s) == (fraction, rate)] for rate in rates]
        gates = Counter(code for some in row for one in some for code in one.codes)
        by = ", ".join(f"{gate} {count}" for gate, count in gates.most_common()) or "–"
        passed = [f"{sum(not one.codes for one in some)}/{len(some)}" for some in row]
        rows.append([f"{100 * fraction:.0f} %", *passed, by])
    return Table(caption, ["fat", *(f"{rate:.0f} /s" for rate in rates), "refused by"], rows)


def of_fractions(found: Sequence[Found], caption: str) -> Table:
    """The signal fat fraction, by fat and rate: median error in points (largest), share given, share that hold."""
    rates = sorted({one.case.rate_per_s for one in found})
    rows = []
    for fraction in sorted({one.case.fraction for one in found}):
        cells = []
        for rate in rates:
            some = [one for one in found if (one.case.fraction, one.case.rate_per_s) == (fraction, rate)]
            given = [100 * (one.fraction - fraction) for one in some if one.fraction is not None]
            held = sum(one.fraction_covered for one in some)
            middle = f"{np.median(given):+.1f} ({np.abs(given).max():.0f}), " if given else ""
            cells.append(f"{middle}{len(given)}/{len(some)}" + (f", {held / len(given):.0%}" if given else ""))
        rows.append([f"{100 * fraction:.0f} %", *cells])
    return Table(caption, ["fat", *(f"{rate:.0f} /s" for rate in rates)], rows)


def where_untold(seeds: Sequence[int]) -> Iterator[Case]:
    """Echoes in phase, which cannot tell fat."""
    for field, fraction, rate, seed in itertools.product(FIELDS_T, (0.0, 0.1, 0.2, 0.3), (30.0, 100.0, 200.0), seeds):
        yield Case("in phase", IN_PHASE[field], field, fraction, rate, 50.0, seed)


def of_another_spectrum(seeds: Sequence[int]) -> Iterator[Case]:
    """Fat of another spectrum than the one that is fitted."""
    for case in cases(SHORT, seeds, (50.0,)):
        if case.fraction:
            yield replace(case, spectrum="Yu")


def speed(shape: tuple[int, int] = (192, 256), repeats: int = 5) -> Table:
    """Seconds of one thread for a slice, total variation and weights automatic, by the solver's own models."""
    train = next(iter(SHORT))
    made = scene(Case(train, SHORT[train], 1.5, 0.2, 200.0, 50.0, HELD_OUT), shape)
    rows = []
    for model in ("mono-exponential", "automatic", "fat-water"):
        times = [_seconds(made, SHORT[train], model) for _ in range(1 if model == "fat-water" else repeats)]
        rows.append([model, f"{1000 * min(times):.0f} ms"])
    return Table(f"One slice of {shape[0]} × {shape[1]} × {len(SHORT[train])}, one thread", ["model", "CPU time"], rows)


def _seconds(made: Scene, times_ms: tuple[float, ...], model: str) -> float:
    fit_t2star(made.signal[:, :16, :16], times_ms, model=model, field_strength_t=1.5)  # compiled, or read from the disk
    begin = time.process_time()
    fit_t2star(made.signal, times_ms, model=model, field_strength_t=1.5, threads=1)
    return time.process_time() - begin


def _run(job: tuple[Case, str]) -> Found:
    case, model = job
    return MODELS[model](case, model)


def run(jobs: Sequence[tuple[Case, str]], processes: int) -> list[Found]:
    """Fit all of them."""
    return _all(_run, jobs, processes)


def _all(work: Callable[[tuple[Case, str]], Result], jobs: Sequence[tuple[Case, str]], processes: int) -> list[Result]:
    found, started = [], time.perf_counter()
    with ProcessPoolExecutor(processes) as pool:
        for number, one in enumerate(pool.map(work, jobs, chunksize=8), 1):
            found.append(one)
            if number % 200 == 0:
                seconds = time.perf_counter() - started
                print(f"{number} of {len(jobs)} fits, {seconds:.0f} s", file=sys.stderr, flush=True)  # noqa: T201
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2, help="abdomens for each point")
    parser.add_argument("--first-seed", type=int, default=HELD_OUT)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--swaps", action="store_true", help="only count voxels in which fat is taken for water")
    options = parser.parse_args()
    if options.swaps:
        _print(of_swaps(options.processes))
        return
    if options.models != [COMPLEX]:
        _print(speed())
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    ours = [model for model in options.models if model in {ONE, AUTOMATIC}]
    theirs = [model for model in options.models if model not in ours]
    for name, trains in (("short trains", SHORT), ("2.58–18.88 ms × 8", LONG)):
        found = run([(case, model) for model in ours for case in cases(trains, seeds)], options.processes)
        beside = [(case, model) for model in theirs for case in cases(trains, seeds[:1], (50.0,))]
        also = run(beside, options.processes)
        _print(by_truth(found + also, f"R2* maps, {name}: median error in % (largest)"))
        if COMPLEX in theirs:
            _print(of_gates(also, f"Complex fits that pass every gate, {name}"))
        if ours:
            _print(
                of_regions(found, f"R2* of the region, {name}"),
                totals(found, f"All cases, {name}"),
                choices(found, f"Regions corrected for fat, {name}"),
            )
        automatic = [one for one in found if one.model == AUTOMATIC]
        if automatic:
            _print(of_fractions(automatic, f"Signal fat fraction, {name}: error in points, share given, that hold"))
    if COMPLEX in theirs:
        _print(of_spoilt(_all(judge, with_spoilt_phase(seeds[:1]), options.processes), "Spoilt phase"))
    if not ours:
        return
    found = run([(case, model) for model in ours for case in where_untold(seeds)], options.processes)
    _print(of_regions(found, "R2* of the region, echoes in phase"))
    found = run([(case, model) for model in ours for case in of_another_spectrum(seeds[:1])], options.processes)
    _print(of_regions(found, "R2* of the region, short trains, fat of another spectrum (Yu 2008)"))


def _print(*tables: Table) -> None:
    for table in tables:
        print(table.markdown(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
