"""How well a fitted rate is known, and up to where it can be measured."""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from solver.noise import INFORMATION_STEPS, information_table
from solver.proximal_newton import ROUGH, Problem, Solution, minimise
from solver.vector_math import fast_exp, kernel, row_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solver.arguments import Settings

BLOCK = 512  # voxels whose scratch stays in the first-level cache
WINDOW = 9  # pixels
STEPS = 4  # from the fit under given weights; what has not settled by then is air under strong ones
LOST_TEXTURE = 1.06  # the replicate cannot lose again what the fit has lost of the texture


@row_kernel
def _decay(r: Any, tm: Any, out: Any) -> None:
    for j in range(r.size):
        out[j] = fast_exp(-r[j] * tm)


@row_kernel
def told(mean: Any, table: Any, n_coils: float, out: Any) -> None:
    """Share of what each sample tells of its signal (units of sigma) that a floor leaves; no ``table``: all of it."""
    last = table.size - 1
    for j in range(mean.size):
        known = 1.0
        if last > 0:
            signal = np.float64(mean[j])
            place = signal * INFORMATION_STEPS
            k = min(int(place), last - 1)
            within = table[k] + (place - k) * (table[k + 1] - table[k])
            known = within if place < last else 1.0 - (n_coils - 0.5) / (signal * signal)
        out[j] = known


@row_kernel
def _scale(e: Any, factor: Any) -> None:
    for j in range(e.size):
        e[j] *= factor[j]


@row_kernel
def _product(a: Any, e: Any, out: Any) -> None:
    for j in range(a.size):
        out[j] = a[j] * e[j]


@row_kernel
def _add(a: Any, e: Any, known: Any, tm: Any, aa: Any, ar: Any, rr: Any) -> None:
    for j in range(a.size):
        by_a = known[j] * e[j] * e[j]
        slope = -tm * np.float64(a[j])
        aa[j] += by_a
        ar[j] += by_a * slope
        rr[j] += by_a * slope * slope


@kernel
def _add_information(a: Any, r: Any, t: Any, factor: Any, table: Any, n_coils: float, total: Any) -> None:
    """Add what the samples tell of a and r; ``table`` as of ``told``, ``factor`` empty where it is 1."""
    e, mean, known = np.empty(BLOCK, a.dtype), np.empty(BLOCK, a.dtype), np.empty(BLOCK)
    for start in range(0, a.size, BLOCK):
        part = slice(start, min(start + BLOCK, a.size))
        n = part.stop - start
        for m in range(t.size):
            _decay(r[part], t[m], e[:n])
            if factor.size:
                _scale(e[:n], factor[m, part])
            _product(a[part], e[:n], mean[:n])
            told(mean[:n], table, n_coils, known[:n])
            _add(a[part], e[:n], known[:n], t[m], total[0, part], total[1, part], total[2, part])


def table_of(n_coils: float) -> NDArray[np.float64]:
    """What a sample tells of its signal, for ``told``; empty where there is no floor."""
    return information_table(float(n_coils)) if n_coils else np.empty(0)


def flat(values: NDArray[Any]) -> NDArray[Any]:
    """Maps in one row, in their own precision, without what is not a number or no amplitude or rate."""
    row: NDArray[Any] = np.clip(np.nan_to_num(np.ravel(values)), 0, 1e12)
    return row


def information(
    a: NDArray[Any], r: NDArray[Any], t: NDArray[Any], n_coils: float, factor: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Fisher information (3, ...) of amplitude and rate of a q exp(-r t): aa, ar, rr; a in units of sigma.

    ``n_coils`` is N of the noise, 0 for Gaussian; ``factor`` holds q (M, ...), None where it is 1.
    """
    a_flat, r_flat = flat(a), flat(r)
    total = np.zeros((3, a_flat.size))
    q = np.empty((0, 0), a_flat.dtype) if factor is None else factor.reshape(len(t), -1)
    _add_information(a_flat, r_flat, t.astype(a_flat.dtype), q, table_of(n_coils), float(n_coils), total)
    return total.reshape(3, *np.shape(a))


def cramer_rao(
    a: NDArray[Any], r: NDArray[Any], t: NDArray[Any], n_coils: float, factor: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Cramér-Rao standard deviations (2, ...) of amplitude and rate of a q exp(-r t); a in units of sigma."""
    aa, ar, rr = information(a, r, t, n_coils, factor)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation: NDArray[Any] = np.sqrt(np.stack([rr, aa]) / (aa * rr - ar * ar))
    return deviation


@row_kernel
def _weigh(a: Any, r: Any, tm: Any, w: Any, total: Any, first: Any) -> None:
    for j in range(a.size):
        e = fast_exp(-r[j] * tm)
        w[j] = e * e
        total[j] += w[j]
        first[j] += w[j] * tm


@row_kernel
def _spread(w: Any, tm: Any, total: Any, first: Any, out: Any) -> None:
    for j in range(out.size):
        off = tm - first[j] / total[j]
        out[j] += w[j] * off * off


@kernel
def _rate_deviations(a: Any, r: Any, t: Any, out: Any) -> None:
    zero, one, tiny = a.dtype.type(0), a.dtype.type(1), a.dtype.type(1e-30)
    w = np.empty((t.size, BLOCK), a.dtype)
    total, first = np.empty(BLOCK, a.dtype), np.empty(BLOCK, a.dtype)
    for start in range(0, a.size, BLOCK):
        part = slice(start, min(start + BLOCK, a.size))
        n = part.stop - start
        total[:], first[:] = tiny, zero
        out[part] = zero
        for m in range(t.size):
            _weigh(a[part], r[part], t[m], w[m, :n], total[:n], first[:n])
        for m in range(t.size):
            _spread(w[m, :n], t[m], total[:n], first[:n], out[part])
        for j in range(start, part.stop):
            out[j] = one / (a[j] * np.sqrt(out[j]))


def gaussian_deviation(a: NDArray[Any], r: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
    """Cramér-Rao deviation (...) of the rate of a exp(-r t) without a floor; a in units of sigma.

    With w = exp(-2 r t) and the mean time of these weights it is 1 / (a sqrt(sum w (t - mean)^2)), which single
    precision can sum.
    """
    out = np.empty(a.size, a.dtype)
    _rate_deviations(a.reshape(-1), r.reshape(-1), t.astype(a.dtype), out)
    return out.reshape(a.shape)


@kernel
def _shifts(a: Any, r: Any, t: Any, low: Any, high: Any, out: Any) -> None:
    for j in range(a.size):
        aa, ar, rr, ga, gr = 0.0, 0.0, 0.0, 0.0, 0.0
        for m in range(t.size):
            e = fast_exp(-r[j] * t[m])
            power = (a[j] * e) ** 2
            raised = np.sqrt(power + high) - np.sqrt(power + low)
            slope = -t[m] * a[j] * e
            aa += e * e
            ar += e * slope
            rr += slope * slope
            ga += e * raised
            gr += slope * raised
        out[j] = abs((aa * gr - ar * ga) / (aa * rr - ar * ar))


def floor_shift(a: NDArray[Any], r: NDArray[Any], t: NDArray[Any], coils: tuple[float, float]) -> NDArray[Any]:
    """How far the rate moves, to first order, when the floor is that of the second number of coils, not the first.

    ``a`` in units of sigma.
    """
    out = np.empty(a.size)
    a_flat, r_flat = (m.astype(np.float64).reshape(-1) for m in (a, r))
    _shifts(a_flat, r_flat, t.astype(np.float64), 2 * coils[0], 2 * coils[1], out)
    return out.reshape(a.shape)


def with_doubt(sd: NDArray[Any], x: NDArray[Any], settings: Settings) -> NDArray[Any]:
    """Deviation of the rate with what is not known of the floor, 2 N sigma^2: neither N nor sigma."""
    n = settings.floor_coils
    if not n:
        return sd
    # What a relative deviation of sigma does to the floor is what as much more N would do.
    floors = {settings.other_coils, n * (1 + settings.sigma_rel_sd) ** 2} - {n}
    for other in floors:
        sd = np.hypot(sd, floor_shift(x[0], x[1], settings.t, (n, other)))
    return sd


def regularised_deviation(problem: Problem, found: Solution, bound: NDArray[Any]) -> NDArray[Any]:
    """Standard deviation (K, L) of the regularised rate, by one parametric bootstrap replicate.

    Data are drawn from the fitted maps and fitted again with the same weights. How far the rates move, in units of the
    Cramér-Rao deviations ``bound``, is averaged over a window: TV joins voxels, so one replicate holds many. It counts
    noise and lost contrast alike (Efron and Tibshirani 1993, ch. 6). The draw is always the same.
    """
    drawn = problem.likelihood.redrawn(found.x.reshape(2, -1), np.random.default_rng(0))
    again = replace(problem, likelihood=drawn)
    most = STEPS if problem.thorough else 2 * STEPS
    moved = minimise(again, found.x, found.p.copy(), replace(ROUGH, most=most)).x[1] - found.x[1]
    usable = problem.free & np.isfinite(bound) & (bound > 0)
    square = (moved / np.where(usable, bound, 1)) ** 2
    least = 1.0 / max(int(np.count_nonzero(usable)), 1)
    ratio = np.maximum(_window_mean(square, usable, WINDOW), least)
    return np.where(usable, LOST_TEXTURE * np.sqrt(ratio) * bound, np.nan)


def _window_mean(values: NDArray[Any], usable: NDArray[np.bool_], window: int) -> NDArray[Any]:
    """Mean over the usable voxels of a square window."""
    kept = (np.where(usable, values, 0).astype(np.float32), usable.astype(np.float32))
    total, count = (ndimage.uniform_filter(v, window, mode="constant") for v in kept)
    mean: NDArray[Any] = total / np.maximum(count, 1e-6)
    return mean
