"""``method="bayesian"`` beside total variation and beside long sampling: ``python -m bench.bayes [--quick]``.

Phantoms whose truth is known say what maps and deviations are worth; long sampling of the very same posterior, with
dense matrices and the likelihood itself, says what the method leaves out. About four minutes.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg

from bench.solver import machine, slice_of_liver
from bench.solver_figures import CASES, S0, TIMES
from dicomnode.compare.tables import Table
from solver import T2StarFit, fit_t2star
from solver.bayesian import CORE, FREEDOM, OPEN, TAIL, Field, Posterior, Quadratic, Where, posterior
from solver.fields import ANCHOR, bends, linked
from solver.likelihood import MonoExponential
from solver.phantom import PAPER_ECHO_TIMES_MS, Abdomen, Phantom, Receiver, abdomen, acquire
from solver.tuning import sharpened, smooth_start
from solver.uncertainty import cramer_rao

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

METHODS: Mapping[str, Mapping[str, Any]] = {"TV": {}, "Bayesian": {"method": "bayesian"}}
REGIONS = ("liver", "vessels", "lesion")
ABDOMEN = Abdomen(shape=(144, 192))
FINE = replace(ABDOMEN, texture=0.2, texture_scale_mm=6.0)
LESIONS_MM = (7.0, 9.0, 12.0)  # one a seed
COILS = (1, 2, 4, 8, 16)
PATCH = 12  # voxels a side: a dense matrix of which a sweep takes a hundredth of a second
SWEEPS, BURN = 300, 50
SEED = 200  # of the first phantom: nothing was tuned on these
BOUNDS = (1e-4, 60.0)


@dataclass(frozen=True, slots=True)
class Exam:
    """An abdomen, its image (1, K, L, M) and the Cramér-Rao deviation (1, K, L) of R2* in 1/s of single voxels."""

    truth: Phantom
    image: NDArray[np.float32]
    bound: NDArray[Any]


def exam(t2star_ms: float, snr: float, seed: int, coils: int = 1, anatomy: Abdomen = ABDOMEN) -> Exam:
    """Draw an abdomen with texture, vessels and a lesion, and its image."""
    rng = np.random.default_rng(seed)
    lesion_mm = LESIONS_MM[seed % len(LESIONS_MM)]
    truth = abdomen(replace(anatomy, liver_t2star_ms=t2star_ms, lesion_diameter_mm=lesion_mm), rng)
    image = acquire(truth, PAPER_ECHO_TIMES_MS, Receiver(S0 / snr, coils), rng).astype(np.float32)
    bound = cramer_rao(truth.s0 * snr / S0, truth.r2star_per_s, TIMES / 1000, coils)[1]
    return Exam(truth, image, bound)


@dataclass(frozen=True, slots=True)
class Score:
    """Of the voxels of a region with an answer: squares and coverage, and how many they are."""

    voxels: int
    error: float  # sum of squares
    bound: float  # the same of the Cramér-Rao deviations
    covered: int  # by 1.96 stated deviations

    @classmethod
    def of(cls, one: Exam, found: T2StarFit, region: str) -> Score:
        """Score a region."""
        use = one.truth.regions[region] & found.valid
        error = (found.r2star_per_s - one.truth.r2star_per_s)[use]
        inside = np.abs(error) < 1.96 * found.r2star_sd_per_s[use]
        return cls(int(use.sum()), float(np.sum(error**2)), float(np.sum(one.bound[use] ** 2)), int(inside.sum()))


def pooled(scores: list[Score]) -> str:
    """RMSE over the Cramér-Rao deviation and coverage of the voxels of all exams together."""
    voxels = sum(one.voxels for one in scores)
    if not voxels:
        return "–"
    ratios = [one.error / one.bound for one in scores if one.voxels]
    return f"{np.sqrt(np.mean(ratios)):.2f}, {sum(one.covered for one in scores) / voxels:.3f}"


def regions_table(seeds: int, anatomy: Abdomen, head: str) -> Table:
    """Compare the methods region by region, case by case."""
    found: dict[tuple[str, str, tuple[float, float]], list[Score]] = {}
    for case in CASES:
        for seed in range(SEED, SEED + seeds):
            one = exam(*case, seed, anatomy=anatomy)
            for name, options in METHODS.items():
                fit = fit_t2star(one.image, TIMES, spacing=one.truth.spacing_mm, **options)
                for region in REGIONS:
                    found.setdefault((name, region, case), []).append(Score.of(one, fit, region))
    rows = []
    for case in CASES:
        cells = [pooled(found[name, region, case]) for region in REGIONS for name in METHODS]
        rows.append([f"{case[0]:g} ms, {case[1]:g}", *cells])
    every = [
        pooled([score for case in CASES for score in found[name, region, case]])
        for region in REGIONS
        for name in METHODS
    ]
    rows.append(["all", *every])
    columns = [head, *[f"{region}: {name}" for region in REGIONS for name in METHODS]]
    notes = [
        f"{seeds} a case, lesions of 7, 9 and 12 mm. Each cell: RMSE of R2* over the Cramér–Rao bound of "
        "single voxels, share of voxels within 1.96 stated deviations; voxels with an answer."
    ]
    return Table(
        f"Bayesian beside TV: texture of {100 * anatomy.texture:g} % over {anatomy.texture_scale_mm:g} mm",
        columns,
        rows,
        notes,
    )


def sigma_table() -> Table:
    """Sigma that the maps are fitted with over the true one, by the number of coils."""
    rows = []
    for coils in COILS:
        one = exam(6.0, 60.0, 7, coils)
        found = fit_t2star(one.image, TIMES, method="bayesian")
        rows.append([str(coils), f"{found.n_coils:g}", f"{found.sigma / (S0 / 60.0):.3f}"])
    return Table("Sigma of the fit, T2* 6 ms, S0/σ 60", ["N", "N found", "σ̂/σ"], rows)


def time_table(repeats: int) -> Table:
    """CPU time of one slice, the least of several."""
    images, times = slice_of_liver()
    rows = []
    for name, options in METHODS.items():
        seconds = []
        for _ in range(repeats):
            begin = time.process_time()
            fit_t2star(images, times, threads=1, **options)
            seconds.append(time.process_time() - begin)
        rows.append([name, f"{min(seconds):.2f}"])
    return Table("CPU seconds of a slice of 192×256×8, one thread", ["method", "s"], rows)


@dataclass(frozen=True, slots=True)
class Prior:
    """The prior of a patch as dense matrices: state to maps, to slopes, to bends."""

    maps: NDArray[Any]  # (2 n, d)
    slopes: NDArray[Any]  # (2 maps, links, d) in units of their scales and places
    bends: NDArray[Any]  # (6 kinds and maps, knots, d)
    heights: NDArray[Any]  # (2 knots, d)

    @classmethod
    def of(cls, field: Field, found: Posterior) -> Prior:
        """Apply what is linear to every unit vector."""
        grid, scales = field.grid, found.scales
        d = 2 * grid.shape[0] * grid.shape[1] + 2 * grid.knots[0] * grid.knots[1]
        here = field.links > 0
        distance = np.sqrt(scales.of_links())[here]
        columns: list[list[NDArray[Any]]] = [[], [], [], []]
        for unit in np.eye(d):
            alpha, c = grid.split(unit)
            slopes = linked(alpha, field.spacing)
            columns[0].append(grid.maps(unit, scales.jumps, scales.trends).ravel())
            columns[1].append(np.stack([slopes[:, m][here] / distance for m in range(2)]))
            columns[2].append(bends(c).reshape(6, -1))
            columns[3].append(c.ravel())
        maps, slopes, bent, heights = (np.stack(one, axis=-1) for one in columns)
        return cls(maps, slopes, bent, heights)


def sample(likelihood: MonoExponential, field: Field, found: Posterior, sweeps: int, seed: int) -> NDArray[Any]:
    """Draws (sweeps, 2, K, L) of ln a and ln r from the posterior under the scales that were found.

    Gibbs sampling of the precisions of links and knots and, all at once, of the state; that draw is from the Gaussian
    of the likelihood's quadratic model and is accepted by Metropolis's rule with the likelihood itself.
    """
    rng = np.random.default_rng(seed)
    prior = Prior.of(field, found)
    centre = np.log(found.x).ravel()

    def value(theta: NDArray[Any]) -> float:
        return float(np.sum(likelihood.terms(np.exp(theta).reshape(2, -1))[0]))

    here = Quadratic.at(likelihood, np.log(found.x), field.free).held(field.free, OPEN)
    h, gradient = [np.diag(v.ravel()) for v in here.curvature], here.gradient.ravel()
    curvature = np.block([[h[0], h[1]], [h[1], h[2]]])
    told = prior.maps.T @ curvature @ prior.maps + ANCHOR * prior.heights.T @ prior.heights
    wanted = prior.maps.T @ (curvature @ centre - gradient)

    def excess(theta: NDArray[Any]) -> float:
        """-ln likelihood over its quadratic model."""
        step = theta - centre
        return value(theta) - float(gradient @ step + 0.5 * step @ curvature @ step)

    alike = told + 4 * np.einsum("mld,mle->de", prior.slopes, prior.slopes)
    state = np.linalg.solve(alike + np.einsum("kpd,kpe->de", prior.bends, prior.bends), wanted)
    theta = prior.maps @ state
    worth, draws = excess(theta), []
    for _ in range(sweeps):
        q = np.sum((prior.slopes @ state) ** 2, axis=0)
        b = np.sum((prior.bends @ state) ** 2, axis=0)
        links = rng.standard_gamma(TAIL / 2, q.size) * 2 / (CORE + q)
        knots = rng.standard_gamma((FREEDOM + 6) / 2, b.size) * 2 / (FREEDOM + b)
        precision = told.copy()
        for slopes in prior.slopes:
            precision += slopes.T @ (links[:, None] * slopes)
        for bent in prior.bends:
            precision += bent.T @ (knots[:, None] * bent)
        root = linalg.cholesky(precision, lower=True)
        mean = linalg.cho_solve((root, True), wanted)
        trial = mean + linalg.solve_triangular(root, rng.standard_normal(mean.size), lower=True, trans="T")
        other = prior.maps @ trial
        new = excess(other)
        if np.log(rng.random()) < worth - new:
            state, theta, worth = trial, other, new
        draws.append(theta)
    return np.array(draws).reshape(sweeps, 2, *field.grid.shape)


PATCHES = (  # T2*, S0/sigma, region in whose middle the patch lies, seed
    (4.0, 30.0, "liver", 0),
    (4.0, 30.0, "vessels", 0),
    (10.0, 30.0, "lesion", 1),
    (10.0, 100.0, "vessels", 1),
    (2.2, 100.0, "liver", 2),
    (20.0, 30.0, "lesion", 2),
)


def patch(t2star_ms: float, snr: float, region: str, seed: int) -> NDArray[np.float64]:
    """Signals (M, K, L) in units of sigma around the middle of a region."""
    one = exam(t2star_ms, snr, seed)
    rows, columns = np.nonzero(one.truth.regions[region][0])
    at = int(np.argmin((rows - np.median(rows)) ** 2 + (columns - np.median(columns)) ** 2))
    top, left = rows[at] - PATCH // 2, columns[at] - PATCH // 2
    part = one.image[0, top : top + PATCH, left : left + PATCH].astype(np.float64)
    return np.ascontiguousarray(np.moveaxis(part, -1, 0)) / (S0 / snr)


def sampling_table(sweeps: int) -> Table:
    """Compare mean and deviation of ln R2* with those of long sampling, patch by patch."""
    rows = []
    for spec in PATCHES:
        s = patch(*spec)
        free, t = np.ones(s.shape[1:], bool), TIMES / TIMES[-1]
        likelihood = MonoExponential(s.reshape(len(s), -1), t, 0.0)
        start = sharpened(smooth_start(s, t, 1.0, free, BOUNDS), s, t, 1.0, free)
        found = posterior(likelihood, start, Where(free, (1.0, 1.0), BOUNDS))
        draws = sample(likelihood, Field.of(free, (1.0, 1.0), np.float64), found, sweeps + BURN, 1)[BURN:, 1]
        mean, sd = draws.mean(axis=0), draws.std(axis=0)
        off = np.abs(np.log(found.x[1]) - mean) / sd
        halves = np.abs(draws[::2].mean(axis=0) - draws[1::2].mean(axis=0)) / sd
        ratio = np.sqrt(np.mean(found.relative_sd**2) / np.mean(sd**2))
        moved = np.mean(np.any(np.diff(draws, axis=0) != 0, axis=(1, 2)))
        name = f"{spec[2]}, {spec[0]:g} ms, {spec[1]:g}"
        rows.append([name, f"{off.mean():.2f}", f"{ratio:.2f}", f"{halves.mean():.2f}", f"{moved:.2f}"])
    columns = ["patch", "mean off by, sd", "sd ratio", "halves of the draws differ by, sd", "accepted"]
    return Table(f"Beside {sweeps} sweeps of exact sampling, {PATCH}×{PATCH} voxels", columns, rows)


def tables(quick: bool) -> Iterator[Table]:
    """Every table as it comes; fewer phantoms and sweeps when ``quick``."""
    seeds, sweeps = (1, 100) if quick else (4, SWEEPS)
    yield time_table(3)
    yield sigma_table()
    yield regions_table(seeds, ABDOMEN, "T2*, S0/σ")
    yield regions_table(1, FINE, "finer texture")
    yield sampling_table(sweeps)
    yield machine()


def main() -> None:
    """Print every table."""
    for one in tables("--quick" in sys.argv[1:]):
        sys.stdout.write(one.markdown() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
