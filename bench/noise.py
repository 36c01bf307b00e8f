"""How right sigma and N are on digital exams whose noise is known: ``python -m bench.noise [--exams 300] [--seed 1]``.

Every exam is an abdomen with fat that beats, texture, a receiver that blurs, and one thing that scanners do to the
noise. Sigma is compared with sqrt(sigma^2 + 1/12) where numbers are stored whole.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from solver import fit_t2star, phantom
from solver.model import fat_water
from solver.phantom import PAPER_ECHO_TIMES_MS, Abdomen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Array = NDArray[Any]
LIVER = 300.0  # signal of the liver at echo time 0, before it is scaled to what is stored
REFERENCE = 700.0  # stored value of the brightest tissue


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be imaged: complex and free of noise."""

    clean: NDArray[np.complex128]  # (M, K, L), the liver about LIVER at echo time 0
    times_ms: NDArray[np.float64]
    liver: NDArray[np.bool_]  # parenchyma without its edge
    body: NDArray[np.bool_]
    snr: float  # of the liver at echo time 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.body.shape
        return rows, columns


@dataclass(frozen=True, slots=True)
class Exam:
    """Stored magnitudes and the truth about their noise."""

    signal: Array  # (K, L, M)
    times_ms: NDArray[np.float64]
    liver: NDArray[np.bool_]
    body: NDArray[np.bool_]
    sigma: Array  # (K, L), of the stored numbers, rounding included
    n_coils: float
    condition: str

    @property
    def typical(self) -> float:
        """Noise deviation in the middle of the tissue."""
        return float(np.median(self.sigma[self.body]))


@dataclass(frozen=True, slots=True)
class Receiver:
    """What a scanner does to signal and noise."""

    coils: int = 1
    ghost: float = 0.0  # amplitude, of a copy shifted along the rows
    wander: float = 0.0  # of the signal between echoes: motion and flow
    zoom: tuple[float, float] = (1.0, 1.0)  # voxels made of one by zero filling
    window: float = 0.0  # of a raw filter: 0 none, 1 a full Hann window
    g_factor: float = 1.0  # of the noise in the middle over that at the border
    shading: float = 0.0  # of an intensity correction that scales signal and noise alike
    air: float = 1.0  # factor on what lies outside the body
    grey: float = 0.0  # sigma in stored units, 0: whatever the brightest voxel makes of it
    clipped: float = 0.0  # share of the voxels in the body that are clipped at the first echo
    whole: bool = True
    echoes: int = 0  # of the train, evenly chosen; 0: all


def scene(rng: np.random.Generator, times_ms: NDArray[np.float64], *, air: bool = True) -> Scene:
    """Draw an abdomen with any iron, fat, texture and noise."""
    size = (int(rng.integers(96, 224)), int(rng.integers(128, 288)))
    field = float(rng.choice([1.5, 3.0]))
    anatomy = Abdomen(
        shape=size,
        spacing_mm=(400 / size[1],) * 2,
        liver_t2star_ms=float(np.exp(rng.uniform(np.log(0.8), np.log(32)))),
        liver_s0=LIVER,
        texture=float(rng.uniform(0.02, 0.1)),
        shading=float(rng.uniform(0, 0.6)),
        air=air,
        fat_mm=float(rng.uniform(4, 35)),
        field_strength_t=field,
        inhomogeneity_ppm=float(rng.uniform(0.1, 0.8)),
    )
    truth = phantom.abdomen(anatomy, rng)
    clean = np.moveaxis(phantom.complex_signal(truth, times_ms.tolist())[0], -1, 0)
    fraction = np.where(truth.regions["fat"][0], 0.9, 0.0)
    fraction += np.where(truth.regions["liver"][0], rng.choice([0.0, 0.05, 0.25], p=[0.5, 0.25, 0.25]), 0.0)
    unit = np.ones(1)
    for m, t in enumerate(times_ms):
        beat = [fat_water(field, 1.0)(unit, 0 * unit, np.array([[f]]), np.array([t]))[0][0, 0] for f in (0.0, 0.9)]
        clean[m] *= np.interp(fraction, (0.0, 0.9), beat)
    mottle = 1 + 0.04 * ndimage.gaussian_filter(rng.standard_normal(size), 1.5) / 0.19
    mottle[truth.regions["stomach"][0]] *= np.exp(rng.standard_normal(size))[truth.regions["stomach"][0]] ** 0.15
    blur = float(rng.uniform(0.3, 0.9))
    clean = _complex(lambda part: ndimage.gaussian_filter(part, (0, blur, blur)), clean * mottle)
    liver = ndimage.binary_erosion(truth.regions["liver"][0], iterations=2)
    return Scene(clean, times_ms, liver, truth.regions["body"][0], float(np.exp(rng.uniform(np.log(15), np.log(160)))))


def _complex(change: Callable[[Any], Any], image: Any) -> Any:
    return change(image.real) + 1j * change(image.imag)


def receive(seen: Scene, condition: str, rng: np.random.Generator) -> Exam:
    """Image a scene under one of the ``CONDITIONS``."""
    receiver = CONDITIONS[condition](rng)
    if receiver.echoes:
        some = np.unique(np.linspace(0, len(seen.clean) - 1, receiver.echoes).round().astype(int))
        seen = replace(seen, clean=seen.clean[some], times_ms=seen.times_ms[some])
    clean = _moved(seen.clean, receiver, rng)
    sigma = LIVER / seen.snr
    field = _sensitivity(seen.shape, receiver, rng)
    noise = [sigma * field * _white(clean.shape, rng) for _ in range(receiver.coils)]
    if receiver.window:
        passed = [_filtered(one, receiver.window) for one in noise]
        noise = [one / np.sqrt(np.mean(np.abs(passed[0]) ** 2) / np.mean(np.abs(noise[0]) ** 2)) for one in passed]
    share = clean / np.sqrt(receiver.coils)
    zoom = tuple(round(f * n) for f, n in zip(receiver.zoom, seen.shape, strict=True))
    power = sum(np.abs(_zero_filled(share + one, zoom)) ** 2 for one in noise)
    maps = [_resized(m, zoom) for m in (seen.liver, seen.body)]
    true_sigma = (
        sigma * ndimage.zoom(field, np.divide(zoom, seen.shape), order=1) if zoom != seen.shape else sigma * field
    )
    image = np.sqrt(power) * np.where(maps[1], 1.0, receiver.air)
    true_sigma = true_sigma * np.ones(zoom)
    image, true_sigma = _corrected(image, true_sigma, receiver, rng)
    return _stored(image, true_sigma, replace(seen, liver=maps[0], body=maps[1]), receiver, condition)


def _white(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    return rng.standard_normal(shape, np.float32) + 1j * rng.standard_normal(shape, np.float32)


def _moved(clean: Any, receiver: Receiver, rng: np.random.Generator) -> Any:
    """Add ghosts, whose phase differs from echo to echo, and the smooth change of motion."""
    out = clean
    if receiver.wander:
        fields = ndimage.gaussian_filter(rng.standard_normal(clean.shape), (0, 6, 6))
        out = out * (1 + receiver.wander * fields / fields.std())
    if receiver.ghost:
        shift = int(clean.shape[1] * rng.uniform(0.15, 0.4))
        turn = np.exp(2j * np.pi * rng.random(len(clean)))[:, None, None]
        out = out + receiver.ghost * turn * (np.roll(clean, shift, 1) + np.roll(clean, -shift, 1))
    return out


def _sensitivity(shape: tuple[int, int], receiver: Receiver, rng: np.random.Generator) -> Any:
    """Noise over that at the border: a hill in the middle, as parallel imaging makes it."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    place, width = rng.uniform(-0.2, 0.2, 2), rng.uniform(0.35, 0.6)
    hill = np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * width**2))
    return 1 + (receiver.g_factor - 1) * hill


def _filtered(image: Any, window: float) -> Any:
    """Multiply k-space by a window between none and Hann's."""
    for axis in (1, 2):
        f = np.fft.fftfreq(image.shape[axis])
        weight = (1 - window / 2) + window / 2 * np.cos(2 * np.pi * f)
        image = np.fft.ifft(np.fft.fft(image, axis=axis) * np.expand_dims(weight, [0, 3 - axis]), axis=axis)
    return image


def _zero_filled(image: Any, shape: tuple[int, ...]) -> Any:
    """Fill k-space (M, K, L) with zeros up to another matrix; values keep their size."""
    if image.shape[1:] == shape:
        return image
    spectrum = np.fft.fftshift(np.fft.fft2(image), axes=(1, 2))
    low = [(w - n) // 2 for w, n in zip(shape, image.shape[1:], strict=True)]
    high = [w - n - a for w, n, a in zip(shape, image.shape[1:], low, strict=True)]
    wide = np.pad(spectrum, [(0, 0), *zip(low, high, strict=True)])
    return np.fft.ifft2(np.fft.ifftshift(wide, axes=(1, 2))) * (np.prod(shape) / np.prod(image.shape[1:]))


def _resized(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    rows, columns = (np.minimum((np.arange(w) * n) // w, n - 1) for w, n in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]


def _corrected(image: Any, sigma: Any, receiver: Receiver, rng: np.random.Generator) -> tuple[Any, Any]:
    """Scale signal and noise alike, as intensity corrections do."""
    if not receiver.shading:
        return image, sigma
    y, x = np.mgrid[-1 : 1 : sigma.shape[0] * 1j, -1 : 1 : sigma.shape[1] * 1j]
    gain = 1 + receiver.shading * (rng.uniform(0.5, 1) * np.exp(-(x**2 + y**2) / 0.4) + rng.uniform(-0.3, 0.3) * y)
    return image * gain, sigma * gain


def _stored(image: Any, sigma: Any, seen: Scene, receiver: Receiver, condition: str) -> Exam:
    """Scale, clip and round."""
    bright = float(np.quantile(image[0][seen.body], 0.98))
    unit = receiver.grey / float(np.median(sigma[seen.body])) if receiver.grey else REFERENCE / bright
    image, sigma = image * unit, sigma * unit
    if receiver.clipped:
        image = np.minimum(image, np.quantile(image[0][seen.body], 1 - receiver.clipped))
    if receiver.whole:
        image, sigma = np.rint(image), np.hypot(sigma, 12**-0.5)
    signal = np.moveaxis(image, 0, -1).astype(np.uint16 if receiver.whole else np.float32)
    return Exam(signal, seen.times_ms, seen.liver, seen.body, sigma, float(receiver.coils), condition)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _two_at_once(rng: np.random.Generator) -> Receiver:
    """Join two conditions: where both change a thing, the second does."""
    one, other = (CONDITIONS[name](rng) for name in rng.choice(list(CONDITIONS)[:-1], 2, replace=False))
    changed = {f.name: getattr(other, f.name) for f in fields(Receiver) if getattr(other, f.name) != f.default}
    return replace(one, **changed)


CONDITIONS: dict[str, Callable[[np.random.Generator], Receiver]] = {
    "clean air": lambda rng: Receiver(whole=bool(rng.random() < 0.8)),
    "zeroed air": lambda _: Receiver(air=0.0),
    "scaled air": lambda rng: Receiver(air=rng.uniform(0.1, 0.8)),
    "ghosts": lambda rng: Receiver(ghost=rng.uniform(0.005, 0.06)),
    "interpolated": lambda rng: Receiver(zoom=(float(rng.choice([1.0, 1.5, 2.0])), float(rng.choice([1.5, 2.0])))),
    "raw filter": lambda rng: Receiver(window=rng.uniform(0.3, 0.9)),
    "coils": lambda rng: Receiver(coils=int(rng.choice([2, 3, 4, 8, 16, 32]))),
    "coils, zeroed air": lambda rng: Receiver(coils=int(rng.choice([2, 4, 8, 16])), air=0.0),
    "2 to 4 echoes": lambda rng: Receiver(coils=int(rng.choice([1, 1, 2])), echoes=int(rng.integers(2, 5))),
    "rounding": lambda rng: Receiver(grey=_log_uniform(rng, 0.2, 2.0)),
    "g-factor": lambda rng: Receiver(g_factor=rng.uniform(1.3, 2.5)),
    "intensity correction": lambda rng: Receiver(shading=rng.uniform(0.3, 1.5)),
    "motion": lambda rng: Receiver(wander=rng.uniform(0.003, 0.02), ghost=rng.uniform(0, 0.02)),
    "clipped": lambda rng: Receiver(clipped=rng.uniform(0.01, 0.15)),
    "two of these": _two_at_once,
}
TRAINS = (  # first echo, spacing, number
    (1.1, 1.1, 12),
    (0.9, 0.8, 16),
    (4.6, 4.61, 12),
    (1.2, 1.7, 6),
    (1.5, 1.8, 9),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one exam went."""

    condition: str
    ratio: float  # of sigma found to the truth, in the middle of the tissue
    coils_right: bool
    word: str
    rate: float  # median R2* of the liver over that with the true sigma and N; NaN where not measurable
    deviation: float  # its relative standard deviation as reported, median of the liver


def exams(count: int, seed: int) -> Iterator[Exam]:
    """Draw exams, the conditions in turn."""
    names = list(CONDITIONS)
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        first, spacing, number = TRAINS[rng.integers(len(TRAINS))]
        train = first * rng.uniform(0.9, 1.2) + spacing * rng.uniform(0.9, 1.2) * np.arange(number)
        times = np.asarray(PAPER_ECHO_TIMES_MS if rng.random() < 0.25 else train, np.float64)
        yield receive(scene(rng, times), names[k % len(names)], rng)


def outcome(exam: Exam) -> Outcome:
    """Fit an exam with its noise estimated, and with the true noise."""
    fit = partial(fit_t2star, echo_times_ms=exam.times_ms, method="nls", noise="rician", threads=1)
    found = fit(exam.signal, mask=exam.liver)
    rows, columns = (np.flatnonzero(exam.liver.any(axis=axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # voxel by voxel: the rest has no say
    true = fit(exam.signal[box], mask=exam.liver[box], sigma=exam.sigma[box], n_coils=exam.n_coils)
    known = true.valid & exam.liver[box]
    both = found.valid[box] & known
    measurable = (
        np.count_nonzero(known) > 0.5 * np.count_nonzero(exam.liver) and np.mean(found.valid[exam.liver]) > 0.25
    )
    medians = [np.nan, np.nan]
    if measurable:
        medians = [float(np.median(f.r2star_per_s[v])) for f, v in ((found, found.valid), (true, known))]
    relative = (found.r2star_sd_per_s / found.r2star_per_s)[box][both]
    return Outcome(
        condition=exam.condition,
        ratio=found.sigma / exam.typical,
        coils_right=abs(found.n_coils - exam.n_coils) < max(0.3, 0.15 * exam.n_coils),
        word=str(found.parameters["noise_confidence"]),
        rate=medians[0] / medians[1],
        deviation=float(np.median(relative)) if measurable else np.nan,
    )


def rows_of(outcomes: list[Outcome]) -> list[str]:
    """Rows of a table, by condition."""
    rows = [
        "| exams | n | within 10 % | beyond 1.5 × | N right | R2* within 1 % | of | beyond 5 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in (*CONDITIONS, "all"):
        some = [o for o in outcomes if name in (o.condition, "all")]
        if not some:
            continue
        ratio = np.array([o.ratio for o in some])
        far = np.abs(np.log(ratio)) > np.log(1.5)
        silent = sum(f and o.word != "unknown" for f, o in zip(far, some, strict=True))
        error = np.abs(np.array([o.rate for o in some]) - 1)
        error = error[np.isfinite(error)]
        rows.append(
            f"| {name} | {len(some)} | {np.mean(np.abs(ratio - 1) < 0.1):.1%} | {silent} | "
            f"{np.mean([o.coils_right for o in some]):.1%} | {np.mean(error < 0.01):.1%} | {error.size} | "
            f"{np.count_nonzero(error > 0.05)} |"
        )
    return rows


def words_of(outcomes: list[Outcome]) -> list[str]:
    """Rows of a table, by word of confidence."""
    rows = [
        "| word | n | sigma off by > 10 % | > 20 % | root mean square | N wrong | R2* off by > 2 sd |",
        "|---|---|---|---|---|---|---|",
    ]
    for word in ("high", "fair", "low", "unknown"):
        some = [o for o in outcomes if o.word == word]
        if not some:
            continue
        off = np.abs(np.log([o.ratio for o in some]))
        lost = sum(abs(o.rate - 1) > 2 * o.deviation for o in some)
        rows.append(
            f"| {word} | {len(some)} | {np.mean(off > np.log(1.1)):.1%} | {np.mean(off > np.log(1.2)):.1%} | "
            f"{np.sqrt(np.mean(off**2)):.1%} | {np.mean([not o.coils_right for o in some]):.1%} | {lost} |"
        )
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    found = [outcome(exam) for exam in exams(asked.exams, asked.seed)]
    sys.stdout.write("\n".join([*rows_of(found), "", *words_of(found), ""]))


if __name__ == "__main__":
    main()
