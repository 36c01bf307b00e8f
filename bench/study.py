"""The paper's experiments, run again beside its printed numbers: ``python -m bench.study``.

B is Brigliadori, "Quantification of Hepatic Iron Overload using MRI"; figures and tables carry its numbers. Its
patients are not public: abdominal phantoms with the T2* its scanner reported stand in for them, whose truth is known.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import figures
from dicomnode.compare import page
from dicomnode.compare.methods import FIELD, LAMBDAS, SWEEP, number
from dicomnode.compare.tables import COLUMNS, Mark, Means, Table, best_roi_table, csv_text, roi_table
from dicomnode.measure import regions
from dicomnode.model import Plane
from solver import fit_t2star, phantom, published
from solver.phantom import PAPER_ECHO_TIMES_MS, PAPER_S0, PAPER_T2STAR_MS, Abdomen, Phantom, Receiver

Array = NDArray[Any]

CLEAN, MILD, SEVERE, RICIAN = "no noise", "noise of variance 10", "noise of variance 100", "Rician noise of σ 10"
VARIANCES = {CLEAN: 0.0, MILD: 10.0, SEVERE: 100.0, RICIAN: 100.0}
PUBLISHED_LAMBDAS = {1e-5: 1000, 10.0: 400, 100.0: 400}  # and how many iterations Algorithm 1 may take
SWEEP_ITERATIONS = 200  # of Algorithm 1
PRINTED_S0 = (154.8006, 254.9949, 355.0071, 455.0027)  # B, Table 1
PRINTED_T2STAR_MS = (5.0113, 10.0004, 14.9993, 19.9997)
SCANNER_T2STAR_MS = (9.1323, 4.2624, 16.2949, 10.7012)  # B, Table 2
PATIENT_ITERATIONS = 60  # of Algorithm 1; a fifth of a second each
PATIENTS = ("Patient 1", "Patient 2", "Patient 3", "Patient 4")
SEED = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one method made of one stack of images: s0 and T2* in ms (slices, K, L), seconds of one thread's time."""

    s0: Array
    t2star_ms: Array
    seconds: float
    iterations: int
    verdict: str


Method = Callable[[Array], Estimate]


def algorithm_1(lambda_: float, maximum_iterations: int) -> Method:
    """Algorithm 1 of B with λ1 = λ2."""

    def fit(signal: Array) -> Estimate:
        begin = time.process_time()
        found = published.fit_admm(
            signal, PAPER_ECHO_TIMES_MS, lambda1=lambda_, lambda2=lambda_, maximum_iterations=maximum_iterations
        )
        return _published_estimate(found, time.process_time() - begin)

    return fit


def levenberg_marquardt(start: tuple[float, float]) -> Method:
    """Eqs 15–16 of B from one of its starts."""

    def fit(signal: Array) -> Estimate:
        begin = time.process_time()
        found = published.fit_levenberg_marquardt(signal, PAPER_ECHO_TIMES_MS, start=start)
        return _published_estimate(found, time.process_time() - begin)

    return fit


def _published_estimate(found: published.PublishedFit, seconds: float) -> Estimate:
    with np.errstate(divide="ignore"):
        return Estimate(found.s0, 1 / found.r2star_per_ms, seconds, found.iterations, found.verdict)


def default(**arguments: Any) -> Method:
    """Fit as the node does, σ and weights from the data, but for what is said otherwise."""

    def fit(signal: Array) -> Estimate:
        begin = time.process_time()
        found = fit_t2star(signal, PAPER_ECHO_TIMES_MS, **arguments)
        seconds = time.process_time() - begin
        return Estimate(found.s0, found.t2star_ms, seconds, found.iterations, found.verdict)

    return fit


DEFAULT, GAUSSIAN, BAYESIAN, LEARNED = "default", 'default, noise="gaussian"', "Bayesian", "learned"
ALGORITHM_1, ALGORITHM_1_STRONG = "Algorithm 1, λ = 1e−5", "Algorithm 1, λ = 10"
LM, LM_OTHER = "LM from [100, 0.2]", "LM from [50, 0.05]"


def methods(noise: str = RICIAN) -> Mapping[str, Method]:
    """Every method of the phantom tables by the name it has there; the learned one knows only noise of magnitudes."""
    learned = {LEARNED: default(method="learned")} if noise == RICIAN else {}
    return {
        **{f"Algorithm 1, λ = {number(value)}": algorithm_1(value, n) for value, n in PUBLISHED_LAMBDAS.items()},
        LM: levenberg_marquardt(published.START),
        LM_OTHER: levenberg_marquardt(published.OTHER_START),
        DEFAULT: default(),
        GAUSSIAN: default(noise="gaussian"),
        BAYESIAN: default(method="bayesian"),
        **learned,
        **_of_the_field(),
    }


def _of_the_field() -> Mapping[str, Method]:
    """What others fit by, as ``dicomnode compare`` sets it beside ADMM."""
    return {one.label: default(**one.arguments) for one in FIELD.values()}


def paper_signal(noise: str) -> Array:
    """Return the four images (4, 32, 32, 8) with the paper's Gaussian noise, or with the noise of a real magnitude."""
    clean = phantom.signal(phantom.paper_images(), PAPER_ECHO_TIMES_MS)
    add = phantom.add_rician if noise == RICIAN else phantom.add_gaussian
    return add(clean, float(np.sqrt(VARIANCES[noise])), np.random.default_rng(SEED + list(VARIANCES).index(noise)))


IMAGES = tuple(f"Image {k + 1}" for k in range(4))
QUANTITIES = (("a", "s0", PAPER_S0, PRINTED_S0), ("T2* in ms", "t2star_ms", PAPER_T2STAR_MS, PRINTED_T2STAR_MS))


def estimate_tables(noise: str, estimates: Mapping[str, Estimate]) -> list[Table]:
    """Return one table for a and one for T2*, mean ± standard deviation over each image (Table 1 of B)."""
    tables = []
    for (name, attribute, truth, printed), means in zip(QUANTITIES, image_means(noise, estimates), strict=True):
        rows = [["true value", *[f"{value:g}" for value in truth]]]
        if noise == CLEAN:
            rows.append(["B, Table 1", *[f"{p:.4f} ({abs(p - t):.4f})" for p, t in zip(printed, truth, strict=True)]])
        marks: dict[tuple[int, int], Mark] = {}
        for method, estimate in estimates.items():
            marks |= {(len(rows), 1 + k): mark for k, mark in enumerate(means.marks(method, WHOLE))}
            maps = getattr(estimate, attribute)
            rows.append([method, *[_mean_and_spread(one, t) for one, t in zip(maps, truth, strict=True)]])
        caption = f"{name}, {noise}: mean ± standard deviation over voxels (absolute error of the mean)"
        tables.append(Table(caption, ["method", *IMAGES], rows, _warning(noise), marks))
    return tables


WHOLE = "whole image"


def image_means(noise: str, estimates: Mapping[str, Estimate]) -> list[Means]:
    """Return the means over each image, of a and of T2*."""
    everything = np.ones(estimates[next(iter(estimates))].s0.shape[1:], bool)
    return [
        Means(
            f"{name}, {noise}",
            IMAGES,
            "true value",
            {WHOLE: truth},
            {
                method: {WHOLE: [_mean_in(image, everything) for image in getattr(one, attribute)]}
                for method, one in estimates.items()
            },
        )
        for name, attribute, truth, _ in QUANTITIES
    ]


def _warning(noise: str) -> list[str]:
    if noise not in {MILD, SEVERE}:
        return []
    return [
        "This noise is Gaussian as in B and has no floor. Where the default takes it for the noise of magnitudes "
        "it reads fast decays too fast; the tables of Rician noise show what it is made for."
    ]


def _mean_and_spread(values: Array, truth: float) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "no voxel valid"
    missing = values.size - finite.size
    text = f"{finite.mean():.4f} ± {finite.std():.4f} ({abs(finite.mean() - truth):.4f})"
    return text + (f", {missing} voxels without answer" if missing else "")


def verdict_table(runs: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """Say how every run ended and what it cost."""
    rows = [
        [noise, name, one.verdict, str(one.iterations), f"{one.seconds:.2f}"]
        for noise, estimates in runs.items()
        for name, one in estimates.items()
    ]
    notes = (
        "Algorithm 1 has one μ for both splittings, though the curvature in r is about a million times that in a: "
        "where it stops early, TV has smoothed a but hardly r.",
    )
    return Table("How each run ended", ["noise", "method", "verdict", "iterations", "CPU s"], rows, notes)


def damping_table() -> Table:
    """Show what η does in eqs 15–16 (Table 5 of B): held fixed, and adapted voxel by voxel."""
    s = paper_signal(CLEAN)[:, :1, :1]
    t = np.array(PAPER_ECHO_TIMES_MS)
    rows = []
    for start in (published.START, published.OTHER_START):
        for eta in (1e-8, 1.0, 1e4, 1e6):
            fixed = _fixed_damping(s, t, start, eta)
            adaptive = published.fit_levenberg_marquardt(s, t, start=start, eta=eta)
            row = [f"[{start[0]:g}, {start[1]:g}]", f"{eta:g}"]
            rows.append([*row, _four(fixed), _four(1 / adaptive.r2star_per_ms), str(adaptive.iterations)])
    columns = ["start", "η", "T2* in ms, η fixed, 1000 iterations", "T2* in ms, η adapted", "iterations"]
    note = (
        "With η fixed as printed no start and no η finds all four images; raised where a step fails, η finds them all."
    )
    return Table("Effect of η in eqs 15–16 (Table 5 of B), no noise; truth 5, 10, 15, 20", columns, rows, [note])


def _fixed_damping(s: Array, t: Array, start: tuple[float, float], eta: float) -> Array:
    state = published.lm_start(s, t, start, eta)
    with np.errstate(all="ignore"):
        for _ in range(1000):
            a, r = published.lm_update(s, t, state)
            state = published.LmState(a, r, state.eta, state.loss)
        return 1 / state.r


def _four(values: Array) -> str:
    return ", ".join("diverged" if not 0 < v < 1e3 else f"{v:.4f}" for v in values.ravel())


@dataclass(frozen=True, slots=True)
class Patient:
    """A stand-in for one of the paper's patients: truth, measured signal (1, K, L, M) and its regions."""

    truth: Phantom
    signal: Array
    rois: Mapping[str, NDArray[np.bool_]]


def patients() -> list[Patient]:
    """Return four abdomens of 192×256 with the T2* that B's scanner reported, Rician noise with S0/σ of 60."""
    return [_patient(t2star_ms, SEED + k) for k, t2star_ms in enumerate(SCANNER_T2STAR_MS)]


def _patient(t2star_ms: float, seed: int) -> Patient:
    rng = np.random.default_rng(seed)
    truth = phantom.abdomen(Abdomen(liver_t2star_ms=t2star_ms), rng)
    return Patient(truth, phantom.acquire(truth, PAPER_ECHO_TIMES_MS, Receiver(sigma=5.0), rng), _rois(truth))


REGIONS = {regions.RIGHT: "Right ROI", regions.VESSEL: "Vasc ROI", regions.EDGE: "Edge ROI", regions.LEFT: "Left ROI"}


def _rois(truth: Phantom) -> Mapping[str, NDArray[np.bool_]]:
    """Circles of up to 4 cm that the node places in a liver's mask, as B's Figure 24 shows them."""
    liver, vessels = truth.regions["liver"][0], truth.regions["vessels"][0]
    rows, columns = liver.shape
    plane = Plane(rows, columns, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), truth.spacing_mm, "")
    found = regions.circles(liver | vessels, liver, plane)
    return {REGIONS[name]: disc[None] for name, disc in found.items()}


def patient_means(found: Mapping[str, list[Estimate]], subjects: list[Patient]) -> Means:
    """Return mean T2* per region, with the truth where B has its scanner's value."""
    truth = _means([p.truth.t2star_ms for p in subjects], subjects)
    layout = {name: _means([e.t2star_ms for e in estimates], subjects) for name, estimates in found.items()}
    return Means("T2* in ms", PATIENTS, "truth", truth, layout)


def patient_tables(every: Means) -> list[Table]:
    """Return tables in the layout of B's 2, 3, 4 and 6, and all methods together."""
    one_by_one = [
        roi_table(f"Mean T2* per region, {name} (layout of B's table {table})", _only(every, name))
        for table, name in ((2, ALGORITHM_1), (6, LM))
    ]
    return [
        *one_by_one,
        better_table("Mean T2* per region, λ = 10 (layout of B's table 4)", every, ALGORITHM_1_STRONG, ALGORITHM_1),
        best_roi_table("Best of Algorithm 1 and LM (layout of B's table 3)", _only(every, ALGORITHM_1, LM)),
        best_roi_table("Best of all methods", every),
        roi_table("Mean T2* per region and method", every),
    ]


def _only(every: Means, *names: str) -> Means:
    return replace(every, methods={name: every.methods[name] for name in names})


def better_table(caption: str, every: Means, name: str, other: str) -> Table:
    """Return the means of a method; marked are those that are nearer than another's."""
    table = roi_table(caption, _only(every, name))
    marks, nearer = dict(table.marks), 0
    for row, region in enumerate(every.reference):
        for k in range(len(every.subjects)):
            place = (2 * row + 1, 2 + k)
            better = every.error(name, region, k) < every.error(other, region, k)
            marks[place] = replace(marks[place], nearest=better)
            nearer += better
    note = f"Marked are {nearer} of {len(marks)} that are nearer than those of {other}."
    return replace(table, notes=[note], marks=marks)


def sweep_table(errors: Mapping[str, Mapping[float, float]]) -> Table:
    """Say what λ does: error of T2* over voxels, by method and λ; marked is the least of each method."""
    rows = [[number(weight), *[f"{one[weight]:.2f}" for one in errors.values()]] for weight in LAMBDAS]
    best = {
        (LAMBDAS.index(min(one, key=lambda weight: one[weight])), 1 + column): Mark(nearest=True)
        for column, one in enumerate(errors.values())
    }
    note = (
        "λ has the unit of the signal, and one λ serves a and r: the same images twice as bright need another. "
        "The default's weights follow the noise."
    )
    return Table("Error of T2* over the λ of eq. 2 (root mean square in %)", ["λ", *errors], rows, [note], best)


def swept() -> Mapping[str, Mapping[float, float]]:
    """Return the error of T2* in % by method, noise and λ."""
    ways: Mapping[str, Callable[[float], Method]] = {
        "Algorithm 1": lambda weight: algorithm_1(weight, SWEEP_ITERATIONS),
        "eq. 2 at its minimum": lambda weight: default(**SWEPT[weight]),
    }
    return {
        f"{name}, {noise}": {weight: _error(way(weight)(paper_signal(noise))) for weight in LAMBDAS}
        for name, way in ways.items()
        for noise in (SEVERE, RICIAN)
    }


SWEPT = {weight: one.arguments for weight, one in zip(LAMBDAS, SWEEP.values(), strict=True)}


def _error(found: Estimate) -> float:
    """Root mean square of the relative error of T2*, in %."""
    relative = found.t2star_ms / np.reshape(PAPER_T2STAR_MS, (4, 1, 1)) - 1
    return float(100 * np.sqrt(np.nanmean(relative**2)))


def _means(maps: list[Array], subjects: list[Patient]) -> dict[str, list[float]]:
    return {
        roi: [_mean_in(one, p.rois[roi]) for one, p in zip(maps, subjects, strict=True)] for roi in subjects[0].rois
    }


def _mean_in(values: Array, region: NDArray[np.bool_]) -> float:
    """Mean of the finite values in a region; NaN when there is none."""
    chosen = values[region]
    chosen = chosen[np.isfinite(chosen)]
    return float(chosen.mean()) if chosen.size else float("nan")


def liver_error_table(found: Mapping[str, list[Estimate]], subjects: list[Patient]) -> Table:
    """Say what B could not: the error of R2* in the parenchyma against the truth."""
    rows = []
    for name, estimates in found.items():
        cells = [_liver_error(e, p.truth) for e, p in zip(estimates, subjects, strict=True)]
        rows.append([name, *cells])
    columns = ["R2* in parenchyma: bias, RMSE in %", *PATIENTS]
    note = f"Algorithm 1 was given {PATIENT_ITERATIONS} iterations; η = 1e−8 is slow where T2* is short."
    return Table("Against the known truth of the stand-ins", columns, rows, [note])


def _liver_error(estimate: Estimate, truth: Phantom) -> str:
    liver = truth.regions["liver"]
    with np.errstate(divide="ignore"):
        relative = 1000 / estimate.t2star_ms[liver] / truth.r2star_per_s[liver] - 1
    relative = relative[np.isfinite(relative)]
    return f"{100 * relative.mean():+.1f}, {100 * np.sqrt((relative**2).mean()):.1f}"


def time_table(found: Mapping[str, list[Estimate]]) -> Table:
    """Total time for all four patients (Figure 16 of B)."""
    totals = {name: sum(one.seconds for one in estimates) for name, estimates in found.items()}
    fastest = min(totals.values())
    rows = [[name, f"{total:.2f}", f"{total / fastest:.0f}×"] for name, total in totals.items()]
    note = "CPU seconds of one process; numpy and numba held to one thread by `make study`."
    return Table("Time for all four patients (Figure 16 of B)", ["method", "CPU s", "ratio"], rows, [note])


def patient_methods() -> Mapping[str, Method]:
    """Algorithm 1 with two weights, LM from both starts, the default, Bayesian, learned, what others fit by."""
    return {
        ALGORITHM_1: algorithm_1(1e-5, PATIENT_ITERATIONS),
        ALGORITHM_1_STRONG: algorithm_1(10.0, PATIENT_ITERATIONS),
        LM: levenberg_marquardt(published.START),
        LM_OTHER: levenberg_marquardt(published.OTHER_START),
        DEFAULT: default(),
        BAYESIAN: default(method="bayesian"),
        LEARNED: default(method="learned"),
        **_of_the_field(),
    }


def study(folder: Path) -> str:
    """Run everything, write page, CSV and figures to ``folder`` and return the report."""
    folder.mkdir(parents=True, exist_ok=True)
    for ours in (default(), default(method="bayesian")):
        ours(paper_signal(MILD)[:, :8, :8])  # compile before the clock starts
    runs = {noise: {name: fit(paper_signal(noise)) for name, fit in methods(noise).items()} for noise in VARIANCES}
    tables = [table for noise, estimates in runs.items() for table in estimate_tables(noise, estimates)]
    subjects = patients()
    found = {name: [fit(p.signal) for p in subjects] for name, fit in patient_methods().items()}
    every, errors = patient_means(found, subjects), swept()
    tables += [verdict_table(runs), damping_table(), sweep_table(errors), *patient_tables(every)]
    tables += [liver_error_table(found, subjects), time_table(found)]
    pictures = figures.draw(folder, runs, {noise: paper_signal(noise) for noise in runs}, found, subjects)
    pictures.append(figures.draw_sweep(folder, errors))
    numbers = [
        row for noise, estimates in runs.items() for one in image_means(noise, estimates) for row in one.numbers()
    ]
    (folder / "study.csv").write_text(csv_text(COLUMNS, [*numbers, *every.numbers()]), encoding="utf-8")
    shown = [(one.file, one.caption) for one in pictures]
    (folder / "index.html").write_text(page.html(TITLE, [SEEDS], tables, shown), encoding="utf-8")
    return report(tables, pictures)


TITLE, SEEDS = "The paper's experiments, run again", "Seeds are fixed: another run gives the same numbers, times apart."


def report(tables: Iterable[Table], pictures: Iterable[figures.Picture]) -> str:
    """Join tables and pictures to one Markdown text."""
    head = f"# {TITLE}\n\n{SEEDS}\n"
    body = [table.markdown() for table in tables]
    images = [f"![{one.caption}]({one.file})\n\n{one.caption}\n" for one in pictures]
    return "\n".join([head, *body, "## Figures\n", *images])


def main() -> None:
    """Write build/study/report.md beside the page and print it."""
    folder = Path("build/study")
    text = study(folder)
    (folder / "report.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
