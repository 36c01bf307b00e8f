"""The learned posterior beside maximum likelihood and the exact one: ``python -m bench.learned``.

Decays are drawn from the prior that the network was trained with, by noise drawn another way (scipy's non-central
chi-square), on echo trains that nobody drew: those of scanners. The exact posterior is a quadrature over ln S0 and
ln R2* that knows nothing of the network.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import ncx2

from dicomnode.compare.tables import Table
from solver import fit_t2star, learned
from solver.arguments import Settings
from solver.learned import TRAINED, Outside
from solver.likelihood import MonoExponential
from solver.phantom import PAPER_ECHO_TIMES_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Array = NDArray[Any]

TRAINS: Mapping[str, tuple[Array, float]] = {  # echo times in ms, N; "unseen" numbers of echoes are none of training
    "3 × 5 ms, N 1": (5.0 * np.arange(1, 4), 1),
    "3 from 1 by 0.8 ms, N 8": (1 + 0.8 * np.arange(3), 8),
    "4 × 2.2 ms, N 1": (2.2 * np.arange(1, 5), 1),
    "4 from 8 by 3 ms, N 4": (8 + 3.0 * np.arange(4), 4),
    "5 from 1.1 by 2.2 ms, N 1, unseen": (1.1 + 2.2 * np.arange(5), 1),
    "5: 1, 2, 4, 7, 11 ms, N 3, unseen": (np.array([1.0, 2, 4, 7, 11]), 3),
    "6 from 1.2 by 1 ms, N 1": (1.2 + np.arange(6), 1),
    "6 from 1.2 by 1 ms, N 16": (1.2 + np.arange(6), 16),
    "7 × 2.3 ms, N 1, unseen": (2.3 * np.arange(1, 8), 1),
    "8, the paper's, N 1": (np.array(PAPER_ECHO_TIMES_MS), 1),
    "8, the paper's, N 6": (np.array(PAPER_ECHO_TIMES_MS), 6),
    "12 from 0.95 by 1.1 ms, N 1": (0.95 + 1.1 * np.arange(12), 1),
    "13 from 1.3 by 1.4 ms, N 2, unseen": (1.3 + 1.4 * np.arange(13), 2),
    "16 from 1 by 1.2 ms, N 1": (1 + 1.2 * np.arange(16), 1),
}
FEW = 6  # echoes, at most, where the form of the posterior matters
BANDS = ((5.0, 15.0), (15.0, 50.0), (50.0, 200.0), (200.0, 2000.0))  # of S0 / sigma
QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
DECAYS = 3000
PLANE = (80, 100)  # of one tissue
SEED = 17
RATES, AMPLITUDES = 81, 25  # nodes of the quadrature
TISSUE = (
    (2.2, 20.0),
    (2.2, 50.0),
    (4.0, 20.0),
    (4.0, 100.0),
    (10.0, 20.0),
    (10.0, 100.0),
    (20.0, 30.0),
)  # T2* ms, S0/σ


@dataclass(frozen=True, slots=True)
class Truth:
    """Decays in units of sigma (n, M) and what made them."""

    t_ms: Array
    coils: float
    signal: Array
    r2star_per_s: Array

    def within(self, use: NDArray[np.bool_]) -> Truth:
        """Some of them."""
        return Truth(self.t_ms, self.coils, self.signal[use], self.r2star_per_s[use])


def drawn(rng: np.random.Generator, t_ms: Array, coils: float, snr: tuple[float, float], count: int = DECAYS) -> Truth:
    """Draw decays evenly in ln S0 within a band, evenly in ln R2* over all that was trained on."""
    low, high = TRAINED.log_rates(t_ms / t_ms[-1])
    per_ms = np.exp(rng.uniform(low, high, count)) / t_ms[-1]
    s0 = np.exp(rng.uniform(np.log(snr[0]), np.log(snr[1]), count))
    return measured(rng, t_ms, coils, s0, per_ms)


def measured(rng: np.random.Generator, t_ms: Array, coils: float, s0: Any, per_ms: Any) -> Truth:
    """Magnitudes of n coils in units of sigma."""
    clean = np.atleast_1d(s0)[:, None] * np.exp(-np.outer(per_ms, t_ms))
    squares = ncx2.rvs(2 * coils, np.maximum(clean**2, 1e-12), random_state=rng)
    return Truth(t_ms, coils, np.sqrt(squares), 1000 * np.broadcast_to(per_ms, len(clean)))


@dataclass(frozen=True, slots=True)
class Answer:
    """Quantiles of R2* in 1/s (QUANTILES, n)."""

    quantiles: Array

    def rms(self, true: Array) -> float:
        """Root mean square error of the logarithm of the median."""
        return float(np.sqrt(np.mean(np.log(self.quantiles[3] / true) ** 2)))

    def coverage(self, true: Array) -> float:
        """Share of the 95 % intervals that hold the truth."""
        return float(np.mean((true > self.quantiles[0]) & (true < self.quantiles[-1])))

    def pinball(self, true: Array) -> float:
        """Mean pinball loss over the quantiles, relative to the truth."""
        over = 1 - self.quantiles / true
        q = np.array(QUANTILES)[:, None]
        return float(np.mean(np.maximum(q * over, (q - 1) * over)))


def by_network(truth: Truth, plane: tuple[int, ...] = (-1,)) -> tuple[Answer, NDArray[np.bool_]]:
    """What ``method="learned"`` says, and of which decays, of single ones or of neighbours in a plane."""
    signal = truth.signal.reshape(*plane, truth.t_ms.size)
    fit = fit_t2star(signal, truth.t_ms, method="learned", sigma=1.0, n_coils=truth.coils)
    found = learned.posterior(signal, fit)
    return Answer(np.stack([found.quantile(q).ravel() for q in QUANTILES])), found.valid.ravel()


def by_likelihood(truth: Truth, plane: tuple[int, ...] = (-1,)) -> tuple[Answer, NDArray[np.bool_]]:
    """Maximum likelihood with its Gaussian interval."""
    signal = truth.signal.reshape(*plane, truth.t_ms.size)
    options: dict[str, Any] = {"method": "nls", "noise": "rician", "sigma": 1.0, "n_coils": truth.coils}
    fit = fit_t2star(signal, truth.t_ms, **options)
    z = ndtri(QUANTILES)[:, None]
    return Answer(fit.r2star_per_s.ravel() + z * fit.r2star_sd_per_s.ravel()), fit.valid.ravel()


def by_quadrature(truth: Truth) -> Answer:
    """The exact posterior: all of the prior coarsely, then finely where a coarse node holds more than nothing."""
    t = truth.t_ms / truth.t_ms[-1]
    low, high = (np.full(len(truth.signal), end) for end in TRAINED.log_rates(t))
    for _ in range(3):
        step = (high - low) / (RATES - 1)
        nodes = low + step * np.arange(RATES)[:, None]
        log_p = _log_marginal(truth, t, nodes)
        holds = log_p > log_p.max(axis=0) - 18
        first, last = holds.argmax(axis=0), RATES - 1 - holds[::-1].argmax(axis=0)
        fine = (low, step)
        low, high = low + step * np.maximum(first - 1, 0), low + step * np.minimum(last + 1, RATES - 1)
    p = np.exp(log_p - log_p.max(axis=0))
    total = np.concatenate([np.zeros((1, p.shape[1])), np.cumsum((p[1:] + p[:-1]) / 2, axis=0)])
    at = [[np.interp(q, one / one[-1], np.arange(RATES)) for one in total.T] for q in QUANTILES]
    return Answer(np.exp(fine[0] + fine[1] * np.array(at)) * 1000 / truth.t_ms[-1])


def _log_marginal(truth: Truth, t: Array, log_r: Array) -> Array:
    """Ln of the likelihood (RATES, n) of rates, integrated over ln S0."""
    n = log_r.shape[1]
    out = np.empty(log_r.shape)
    likelihood = MonoExponential(np.ascontiguousarray(truth.signal.T), t, truth.coils - 1)
    many = MonoExponential(np.tile(likelihood.s, AMPLITUDES), t, truth.coils - 1)
    away = np.linspace(-5.5, 5.5, AMPLITUDES)[:, None]
    log_a = np.log(truth.signal[:, 0] + 1) + np.exp(log_r[0]) * t[0]
    for k, one in enumerate(log_r):
        r = np.exp(one)
        log_a, width = _peak(likelihood, log_a, r)
        nodes = np.clip(log_a + width * away, *np.log(TRAINED.snr))
        value = -many.terms(np.stack([np.exp(nodes).ravel(), np.tile(r, AMPLITUDES)]))[0].reshape(AMPLITUDES, n)
        top = value.max(axis=0)
        out[k] = top + np.log(np.trapezoid(np.exp(value - top), nodes, axis=0) + 1e-300)
    return out


def _peak(likelihood: MonoExponential, log_a: Array, r: Array) -> tuple[Array, Array]:
    """Where in ln S0 the likelihood of a rate is largest, within the prior, and how wide it is there."""
    low, high = np.log(TRAINED.snr)
    for _ in range(12):
        log_a = np.clip(log_a, low, high)
        a = np.exp(log_a)
        terms = likelihood.terms(np.stack([a, r]))
        slope, curvature = terms[1] * a, terms[3] * a * a
        log_a = log_a - np.clip(slope / (curvature + 0.3), -1, 1)
    return np.clip(log_a, low, high), 1 / np.sqrt(curvature + 0.2)


def judged(rng: np.random.Generator, t_ms: Array, coils: float, band: tuple[float, float]) -> dict[str, float]:
    """Every figure of a train at a band of S0 / sigma, over the decays that the network and the likelihood answer."""
    truth = drawn(rng, t_ms, coils, band)
    network, answered = by_network(truth)
    likelihood, valid = by_likelihood(truth)
    exact = by_quadrature(truth.within(answered))
    of_network, true = Answer(network.quantiles[:, answered]), truth.r2star_per_s[answered]
    both = answered & valid
    pinballs = [Answer(one.quantiles[:, both]).pinball(truth.r2star_per_s[both]) for one in (network, likelihood)]
    of_exact = Answer(exact.quantiles[:, both[answered]]).pinball(truth.r2star_per_s[both])
    return {
        "answered": float(answered.mean()),
        "rms": of_network.rms(true) / exact.rms(true),
        "coverage": of_network.coverage(true),
        "exact coverage": exact.coverage(true),
        "likelihood coverage": Answer(likelihood.quantiles[:, both]).coverage(truth.r2star_per_s[both]),
        "pinball": pinballs[0] / pinballs[1] - 1,
        "exact pinball": of_exact / pinballs[1] - 1,
    }


def posterior_tables() -> Iterator[Table]:
    """RMSE and coverage, then pinball loss, of every train and band."""
    rng = np.random.default_rng(SEED)
    found = {name: [judged(rng, *train, band) for band in BANDS] for name, train in TRAINS.items()}
    bands = [f"S0/σ {low:g}–{high:g}" for low, high in BANDS]
    rows = [[name, *[_coverage_cell(one) for one in cells]] for name, cells in found.items()]
    yield Table(
        "RMSE of ln R2* over the exact posterior's; 95 % intervals: learned, exact, likelihood", ["train", *bands], rows
    )
    rows = [
        [name, *[f"{one['pinball']:+.1%} ({one['exact pinball']:+.1%})" for one in cells]]
        for name, cells in found.items()
    ]
    yield Table("Pinball loss beside maximum likelihood's: learned (exact)", ["losses", *bands], rows)
    every = [one for cells in found.values() for one in cells]
    few = [one["pinball"] for name, cells in found.items() if len(TRAINS[name][0]) <= FEW for one in cells]
    row = [
        f"{max(one['rms'] for one in every):.3f}",
        f"{min(one['coverage'] for one in every):.3f} to {max(one['coverage'] for one in every):.3f}",
        f"{min(one['exact coverage'] for one in every):.3f} to {max(one['exact coverage'] for one in every):.3f}",
        f"{np.mean(few):+.1%}",
        f"{max(few):+.1%}",
    ]
    columns = ["all cells", "worst RMSE ratio", "coverage", "exact", "pinball to 6 echoes, mean", "least"]
    yield Table("All together", columns, [["learned", *row]])


def _coverage_cell(one: Mapping[str, float]) -> str:
    return f"{one['rms']:.2f}; {one['coverage']:.3f}, {one['exact coverage']:.3f}, {one['likelihood coverage']:.3f}"


def tissue_table() -> Table:
    """A plane of one tissue: bias of the median and intervals, paper's echoes, one coil."""
    rng, t_ms = np.random.default_rng(SEED + 1), np.array(PAPER_ECHO_TIMES_MS)
    rows = []
    for t2star_ms, snr in TISSUE:
        truth = measured(rng, t_ms, 1.0, np.full(PLANE[0] * PLANE[1], snr), 1 / t2star_ms)
        (network, answered), (likelihood, valid) = by_network(truth, PLANE), by_likelihood(truth, PLANE)
        cells = [_tissue_cell(network, answered, truth), _tissue_cell(likelihood, valid, truth)]
        exact = by_quadrature(truth.within(answered))
        rows.append(
            [
                f"{t2star_ms:g} ms, {snr:g}",
                *cells,
                _tissue_cell(exact, np.ones(answered.sum(), bool), truth.within(answered)),
            ]
        )
    title = "One tissue: mean error of R2*, RMSE relative to it, 95 % intervals, voxels answered"
    return Table(title, ["T2*, S0/σ", "learned", "maximum likelihood", "exact posterior"], rows)


def _tissue_cell(answer: Answer, use: NDArray[np.bool_], truth: Truth) -> str:
    some, true = Answer(answer.quantiles[:, use]), truth.r2star_per_s[use]
    relative = some.quantiles[3] / true - 1
    rms = np.sqrt(np.mean(relative**2))
    return f"{relative.mean():+.1%}, {rms:.1%}, {some.coverage(true):.3f}, {use.mean():.0%}"


def domain_table() -> Table:
    """What lies outside of what was trained on: how much of it is answered, and how good the answer would have been."""
    rng, rows = np.random.default_rng(SEED + 2), []
    for name, truth in outside(rng):
        fit = fit_t2star(truth.signal, truth.t_ms, method="learned", sigma=1.0, n_coils=truth.coils)
        settings = Settings.again(fit.parameters)
        read = learned.read_decays(truth.signal.T, settings)
        wanted = Answer(np.stack([np.exp(read.mixture.quantile(q)) for q in QUANTILES]) * 1000 / truth.t_ms[-1])
        reasons = np.bincount(read.outside, minlength=len(Outside))
        reason = Outside(int(np.argmax(np.where(np.arange(len(Outside)) == 0, 0, reasons))))
        rows.append(
            [name, f"{fit.valid.mean():.1%}", reason.name.lower(), f"{wanted.coverage(truth.r2star_per_s):.3f}"]
        )
    columns = ["outside by", "answered", "reason of most", "coverage, had it answered"]
    return Table("Outside of what was trained on", columns, rows)


def outside(rng: np.random.Generator) -> Iterator[tuple[str, Truth]]:
    """Decays that differ from those of training in one thing."""
    paper, band, even = np.array(PAPER_ECHO_TIMES_MS), (20.0, 200.0), 1.2 * np.arange(1, 9)
    yield "2 echoes", drawn(rng, np.array([2.0, 4.0]), 1.0, band)
    yield "24 echoes", drawn(rng, 1 + np.arange(24.0), 1.0, band)
    yield "first echo at 8 spacings", drawn(rng, 8 + np.arange(6.0), 1.0, band)
    yield "first echo at 0.05 spacings", drawn(rng, 0.05 + np.arange(6.0), 1.0, band)
    yield "spacings 1 : 12", drawn(rng, np.array([1, 1.5, 2, 8, 14.0]), 1.0, band)
    yield "32 coils", drawn(rng, paper, 32.0, band)
    yield "S0/σ 1 to 3", drawn(rng, paper, 1.0, (1.0, 3.0))
    yield "S0/σ 6000 to 60,000", drawn(rng, paper, 1.0, (6e3, 6e4))
    slow, count = np.full(DECAYS, 100.0), DECAYS
    yield "R2* of 0.01 / last echo", measured(rng, even, 1.0, slow, np.full(count, 0.01 / even[-1]))
    yield "R2* of 12 / second echo", measured(rng, even, 1.0, slow, np.full(count, 12 / even[1]))
    yield "20 % fat at 1.5 T", _fatty(rng, 1.1 * np.arange(1, 13), 0.2)


def _fatty(rng: np.random.Generator, t_ms: Array, fraction: float) -> Truth:
    beat = np.abs(1 - fraction + fraction * np.exp(2j * np.pi * 0.217 * t_ms))
    clean = 100 * beat * np.exp(-np.outer(np.full(DECAYS, 0.1), t_ms))
    signal = np.sqrt(ncx2.rvs(2.0, clean**2, random_state=rng))
    return Truth(t_ms, 1.0, signal, np.full(DECAYS, 100.0))


def time_table() -> Table:
    """Processor time of a slice of 192 × 256 × 8, all of it tissue."""
    truth = drawn(np.random.default_rng(SEED), np.array(PAPER_ECHO_TIMES_MS), 1.0, (20.0, 200.0), 192 * 256)
    image = truth.signal.astype(np.float32).reshape(192, 256, 8)
    options: dict[str, Any] = {"method": "learned", "sigma": 1.0, "n_coils": 1.0, "threads": 1}
    fit = fit_t2star(image, truth.t_ms, **options)
    whole = min(_seconds(lambda: fit_t2star(image, truth.t_ms, **options)) for _ in range(5))
    found = learned.posterior(image, fit)
    quantile = min(_seconds(lambda: found.quantile(0.975)) for _ in range(5))
    rows = [['fit_t2star(method="learned")', f"{1000 * whole:.0f}"], ["one more quantile", f"{1000 * quantile:.0f}"]]
    return Table("A slice of 192 × 256 × 8, sigma and N given", ["of one processor", "ms"], rows)


def _seconds(run: Any) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def main() -> None:
    """Print every table."""
    for table in (*posterior_tables(), tissue_table(), domain_table(), time_table()):
        sys.stdout.write(table.markdown() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
