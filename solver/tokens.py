"""Decays without their units: a closed-form start, and every echo as that start sees it.

Magnitudes y are in units of sigma over N coils, echo times t in units of the last, the decay is a exp(-r t). What comes
out knows neither scale nor unit of time, so that a network has neither to learn.
"""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.vector_math import fast_exp, fast_log, kernel, row_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = 6  # of scoring; the last moves less than a hundredth of a deviation
LEAST_LOG, MOST_LOG = -1.0, 10.0  # of the amplitude
FARTHEST = 8.0  # residual that a token tells, in expected deviations
OF_ECHO = 8  # numbers of a token, the last is 1
SHARE = 5  # the place of what an echo tells of the amplitude, among all
OF_DECAY = 12  # numbers that describe a decay as a whole


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is left of n decays without their units."""

    log_a: NDArray[Any]  # (n,) of the start, a in units of sigma
    log_r: NDArray[Any]  # (n,) of the start, r per last echo time
    sd: NDArray[Any]  # (n,) Cramér-Rao deviation of log_r
    middle: NDArray[Any]  # (n,) how log_a moves with log_r along the ridge of the likelihood
    misfit: NDArray[Any]  # (n,) mean square of the residuals in expected deviations
    of_echo: NDArray[Any]  # (OF_ECHO, M, n)
    of_decay: NDArray[Any]  # (OF_DECAY, n)


@row_kernel
def _straighten(y: Any, tm: Any, n: Any, b0: Any, b1: Any, b2: Any, c0: Any, c1: Any) -> None:
    """Add an echo to the straight line through ln A, A^2 = y^2 - 2N, with the weights that noise leaves it."""
    f = y.dtype.type
    floor = f(2) * np.sqrt(n) + f(0.5)
    for j in range(y.size):
        power = y[j] * y[j] - f(2) * n
        w = power * power / (power + n) if power > floor else f(1e-3)
        log_mean = f(0.5) * fast_log(max(power, floor))
        b0[j] += w
        b1[j] += w * tm
        b2[j] += w * tm * tm
        c0[j] += w * log_mean
        c1[j] += w * tm * log_mean


@row_kernel
def _begin(b0: Any, b1: Any, b2: Any, c0: Any, c1: Any, least: Any, most: Any, la: Any, lr: Any) -> None:
    f = la.dtype.type
    for j in range(la.size):
        determinant = max(b0[j] * b2[j] - b1[j] * b1[j], f(1e-9) * b0[j] * b2[j] + f(1e-20))
        r = min(max((b1[j] * c0[j] - b0[j] * c1[j]) / determinant, least), most)
        la[j] = min(max((c0[j] + b1[j] * r) / b0[j], f(LEAST_LOG)), f(MOST_LOG))
        lr[j] = fast_log(r)


@row_kernel
def _score(y: Any, tm: Any, n: Any, la: Any, lr: Any, g0: Any, g1: Any, h00: Any, h01: Any, h11: Any) -> None:
    """Add an echo's score and information of (ln a, ln r): E[y^2] = A^2 + 2N, var(y^2) = 4 (A^2 + N)."""
    f = y.dtype.type
    for j in range(y.size):
        x = fast_exp(lr[j]) * tm
        power = fast_exp(f(2) * max(la[j] - x, f(-6)))
        told = power / (power + n)
        score = f(0.5) * told * (y[j] * y[j] - f(2) * n - power)
        w = power * told
        g0[j] += score
        g1[j] -= score * x
        h00[j] += w
        h01[j] -= w * x
        h11[j] += w * x * x


@row_kernel
def _move(g0: Any, g1: Any, h00: Any, h01: Any, h11: Any, least: Any, most: Any, la: Any, lr: Any) -> None:
    """One damped step of scoring."""
    f = la.dtype.type
    for j in range(la.size):
        i00, i11 = h00[j] + f(1e-3), h11[j] + f(0.02)
        determinant = max(i00 * i11 - h01[j] * h01[j], f(1e-12))
        by_a = (i11 * g0[j] - h01[j] * g1[j]) / determinant
        by_r = (i00 * g1[j] - h01[j] * g0[j]) / determinant
        short = f(1) / max(f(1), abs(by_a) * f(1.5), abs(by_r) * f(2))
        la[j] = min(max(la[j] + short * by_a, f(LEAST_LOG)), f(MOST_LOG))
        lr[j] = min(max(lr[j] + short * by_r, least), most)


@row_kernel
def _look(y: Any, tm: Any, n: Any, la: Any, lr: Any, middle: Any, moments: Any) -> None:
    """Add an echo to the moments of r t about their middle, and to the squares of the residuals."""
    f = y.dtype.type
    second, third, fourth, chi = moments[0], moments[1], moments[2], moments[3]
    for j in range(y.size):
        x = fast_exp(lr[j]) * tm
        power = fast_exp(f(2) * max(la[j] - x, f(-6)))
        off = middle[j] - x
        w = power * power / (power + n) * off * off
        second[j] += w
        third[j] += w * off
        fourth[j] += w * off * off
        level = power + f(2) * n
        mean = np.sqrt(level)
        z = (y[j] - mean) * mean / np.sqrt(power + n)
        chi[j] += z * z


@row_kernel
def _tell(y: Any, tm: Any, n: Any, la: Any, lr: Any, sd: Any, middle: Any, total: Any, out: Any) -> None:
    """Write the token of an echo: time, size, residual, what it pulls at a and at r, what it tells of both."""
    f = y.dtype.type
    for j in range(y.size):
        x = fast_exp(lr[j]) * tm
        power = fast_exp(f(2) * max(la[j] - x, f(-6)))
        w = power * power / (power + n)
        mean = np.sqrt(power + f(2) * n)
        z = (y[j] - mean) * mean / np.sqrt(power + n)
        z = min(max(z, f(-FARTHEST)), f(FARTHEST))
        pull = z * np.sqrt(w) * sd[j]
        off = middle[j] - x
        out[0, j] = min(x, f(10)) * f(0.5)
        out[1, j] = fast_log(f(1) + power) * f(0.25)
        out[2, j] = z * f(0.5)
        out[3, j] = pull
        out[4, j] = pull * off
        out[5, j] = w / total[j]
        out[6, j] = w * off * off * sd[j] * sd[j]
        out[7, j] = f(1)


@row_kernel
def _sum_up(t: Any, n: Any, la: Any, lr: Any, sd: Any, total: Any, moments: Any, out: Any) -> None:
    """Write what describes a decay as a whole: size, rate, deviation, skewness, kurtosis, misfit, echoes, N."""
    f, half = la.dtype.type, la.dtype.type(0.5)
    echoes = f(t.size)
    third, fourth, chi = moments[1], moments[2], moments[3]
    for j in range(la.size):
        skew = third[j] * sd[j] * sd[j] * sd[j]
        kurtosis = fourth[j] * sd[j] * sd[j] * sd[j] * sd[j]
        out[0, j] = la[j] * f(1 / 3)
        out[1, j] = fast_log(sd[j]) * half
        out[2, j] = sd[j]
        out[3, j] = (lr[j] + fast_log(t[0])) * half
        out[4, j] = lr[j] * half
        out[5, j] = (lr[j] + fast_log(t[1])) * half
        out[6, j] = skew / (f(1) + abs(skew))
        out[7, j] = kurtosis / (f(3) + kurtosis)
        out[8, j] = np.sqrt(chi[j] / echoes)
        out[9, j] = fast_log(echoes) * half
        out[10, j] = fast_log(n) * half
        out[11, j] = fast_log(f(1) + total[j]) * f(1 / 6)


@kernel
def _start(y: Any, t: Any, n: Any, least: Any, most: Any, la: Any, lr: Any, sums: Any) -> None:
    """Scoring from a straight line; leaves the information at its end in ``sums``."""
    zero = y.dtype.type(0)
    g0, g1, h00, h01, h11 = sums[0], sums[1], sums[2], sums[3], sums[4]
    sums[:] = zero
    for m in range(t.size):
        _straighten(y[m], t[m], n, g0, g1, h00, h01, h11)
    _begin(g0, g1, h00, h01, h11, np.exp(least), np.exp(most), la, lr)
    for _ in range(STEPS):
        sums[:] = zero
        for m in range(t.size):
            _score(y[m], t[m], n, la, lr, g0, g1, h00, h01, h11)
        _move(g0, g1, h00, h01, h11, least, most, la, lr)
    sums[:] = zero
    for m in range(t.size):
        _score(y[m], t[m], n, la, lr, g0, g1, h00, h01, h11)


@kernel
def _fill(y: Any, t: Any, n: Any, least: Any, most: Any, start: Any, of_echo: Any, of_decay: Any) -> None:
    f = y.dtype.type
    la, lr, sd, middle, misfit = start[0], start[1], start[2], start[3], start[4]
    sums, total = np.empty((5, la.size), y.dtype), np.empty(la.size, y.dtype)
    _start(y, t, n, least, most, la, lr, sums)
    for j in range(la.size):
        total[j] = sums[2, j] + f(1e-6)
        middle[j] = -sums[3, j] / total[j]
    sums[:] = f(0)
    for m in range(t.size):
        _look(y[m], t[m], n, la, lr, middle, sums)
    for j in range(la.size):
        sd[j] = f(1) / np.sqrt(sums[0, j] + f(1))
        misfit[j] = sums[3, j] / f(t.size)
    for m in range(t.size):
        _tell(y[m], t[m], n, la, lr, sd, middle, total, of_echo[:, m])
    _sum_up(t, n, la, lr, sd, total, sums, of_decay)


def tokens(y: NDArray[Any], t: NDArray[Any], n_coils: float, log_rates: tuple[float, float]) -> Tokens:
    """Tokens of decays y (M, n), float32, in units of sigma; ``t`` (M,) in units of the last echo time.

    ``log_rates`` bound ln r of the start. Deviations hold the information of one more unit, so that they stay finite.
    """
    of = y.dtype.type
    start = np.empty((5, y.shape[1]), y.dtype)
    of_echo = np.empty((OF_ECHO, *y.shape), y.dtype)
    of_decay = np.empty((OF_DECAY, y.shape[1]), y.dtype)
    _fill(y, t, of(n_coils), of(log_rates[0]), of(log_rates[1]), start, of_echo, of_decay)
    log_a, log_r, sd, middle, misfit = start
    return Tokens(log_a, log_r, sd, middle, misfit, of_echo, of_decay)
