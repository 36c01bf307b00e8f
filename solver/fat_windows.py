"""Fraction of fat of small windows of a slice, from mean squares of magnitudes.

A voxel holds water and fat, |S_m| = a q_m(f) exp(-r t_m) with q_m² = 1 + 2 f b_m + f² g_m, b = Re c - 1, g = |c - 1|²,
c_m the signal of the peaks of fat. Noise adds 2N to its square, in units of sigma, and nothing else to the mean, so
that P_m = a² q_m² exp(-2 r t_m), of variance (4 P_m + 4N) / n over n voxels, is fitted without a bias by the floor. f
is signed: a clamp at 0 would be wrong by as much as noise makes of it. Odd and even echoes may differ by a common
factor (``decay``), of which little is expected; the floor may be higher or lower than supposed, by as much as is not
known of it: a floor that is higher looks like fat beside a fast decay. ``train`` holds t, b, g (3, M); maps ``x``
(2, K, L) are a and r of one exponential, which tell which voxels are alike.
"""
# ruff: noqa: PLR0917  kernels take their arrays one by one

from __future__ import annotations

from typing import Any

import numpy as np

from solver.uncertainty import BLOCK, told
from solver.vector_math import fast_exp, kernel, row_kernel

STRIDE = 2  # voxels between the centres of windows
REACH = 3  # a window reaches so far to each side
APART = 4  # windows, in strides, between those that share no voxel
RINGS = 2  # of them around one: what all of them say is where its own estimate is drawn to
ALIKE = 0.3  # relative difference of amplitude or rate: more is another tissue
SLOW = 0.15  # per last echo time: rates that differ by less are alike
FEWEST = 6  # voxels of a window
STEPS = 12
LEVEL, RATE, RAISED, FAT, SIDES = range(5)  # parameters: ln a², twice the rate, floor's error, fraction, swing
SIZE = 5
HELD = 1e12  # precision of a parameter that does not move
MOST_STEP = (0.7, 0.5, 1e9, 0.15, 0.1)  # of each, of the rate relative
LEAST, MOST = -0.3, 1.1  # of the fraction, signed
WEAKLY = 0.5  # deviation of a fraction before anything is measured
MOSTLY = 0.85  # where a second search begins, for tissue in which fat outweighs water
BAD = 3.0  # reduced chi-square of the first that asks for it
BETTER = 0.5  # of that, what the second must reach
MISSED = 2.0  # half the mean square of what is left, where about 0.5 is expected
FRACTION, VARIANCE, MISFIT, SWING, SWING_VARIANCE, LOUDER, FASTER = range(7)  # what is known of a window


@kernel
def _alike(x: Any, i: int, j: int, p: int, q: int) -> bool:
    """Whether (p, q) is tissue like (i, j) by what one exponential says."""
    same: bool = abs(x[0, p, q] - x[0, i, j]) < ALIKE * x[0, i, j]
    as_fast: bool = abs(x[1, p, q] - x[1, i, j]) < ALIKE * x[1, i, j] + SLOW
    return same and as_fast


@kernel
def pool(s: Any, x: Any, free: Any, floor: float, power: Any, count: Any) -> None:
    """Mean squares (..., M) of the alike voxels of the window around every STRIDE-th voxel, less the floor.

    ``s`` is (K, L, M): here, and in ``power``, the echoes of a place lie together.
    """
    rows, columns = free.shape
    echoes = s.shape[2]
    power[:] = 0.0
    count[:] = 0.0
    for a in range(count.shape[0]):
        for c in range(count.shape[1]):
            i, j = a * STRIDE, c * STRIDE
            if not free[i, j] or x[0, i, j] <= 0.0:
                continue
            for p in range(max(i - REACH, 0), min(i + REACH + 1, rows)):
                for q in range(max(j - REACH, 0), min(j + REACH + 1, columns)):
                    if free[p, q] and _alike(x, i, j, p, q):
                        count[a, c] += 1.0
                        for m in range(echoes):
                            power[a, c, m] += s[p, q, m] * s[p, q, m]
            for m in range(echoes):
                power[a, c, m] = power[a, c, m] / max(count[a, c], 1.0) - floor


@kernel
def _neighbour(count: Any, middle: Any, p: int, q: int, a: int, c: int) -> bool:
    """Whether there is a window (a, c) of tissue like that of (p, q)."""
    if not (0 <= a < count.shape[0] and 0 <= c < count.shape[1]) or count[a, c] == 0.0:
        return False
    same: bool = _alike(middle, p, q, a, c)
    return same


@kernel
def join(power: Any, count: Any, middle: Any, wide: Any, total: Any) -> None:
    """Mean squares of the alike windows around each that share no voxel."""
    wide[:] = 0.0
    total[:] = 0.0
    for p in range(count.shape[0]):
        for q in range(count.shape[1]):
            if count[p, q] == 0.0:
                continue
            for k in range(-RINGS, RINGS + 1):
                for n in range(-RINGS, RINGS + 1):
                    a, c = p + APART * k, q + APART * n
                    if _neighbour(count, middle, p, q, a, c):
                        total[p, q] += count[a, c]
                        for m in range(power.shape[2]):
                            wide[p, q, m] += count[a, c] * power[a, c, m]
            for m in range(power.shape[2]):
                wide[p, q, m] /= max(total[p, q], 1.0)


@kernel
def _normal(power: Any, train: Any, n: float, coils: float, expected: Any, v: Any, h: Any, d: Any) -> float:
    """Normal equations h, d of the parameters ``v``; returns chi-square, and of what they are expected to be."""
    h[:] = 0.0
    d[:] = 0.0
    slope = np.empty(SIZE)
    chi = 0.0
    for m in range(power.size):
        t, b, g = train[0, m], train[1, m], train[2, m]
        beating = max(1.0 + v[FAT] * (2.0 * b + v[FAT] * g), 1e-8)
        side = -1.0 if m % 2 else 1.0
        factor = 1.0 + side * v[SIDES]
        model = fast_exp(v[LEVEL] - v[RATE] * t) * beating * factor * factor
        weight = n / (4.0 * model + 4.0 * coils)
        rest = power[m] - model - v[RAISED]
        chi += weight * rest * rest
        slope[LEVEL], slope[RATE], slope[RAISED] = model, -t * model, 1.0
        slope[FAT], slope[SIDES] = model * 2.0 * (b + v[FAT] * g) / beating, model * 2.0 * side / factor
        for k in range(SIZE):
            d[k] += weight * rest * slope[k]
            for i in range(k + 1):
                h[k, i] += weight * slope[k] * slope[i]
    for k in range(SIZE):
        h[k, k] += expected[1, k]
        off = expected[0, k] - v[k]
        d[k] += expected[1, k] * off
        chi += expected[1, k] * off * off
    return chi


@kernel
def _solve(h: Any, d: Any) -> bool:
    """Leave Cholesky's factor of h in its lower half, and the solution in d; False where there is none."""
    for i in range(SIZE):
        for j in range(i + 1):
            value = h[i, j]
            for k in range(j):
                value -= h[i, k] * h[j, k]
            if i == j:
                if value <= 1e-12:
                    return False
                h[i, i] = np.sqrt(value)
            else:
                h[i, j] = value / h[j, j]
    for i in range(SIZE):
        for k in range(i):
            d[i] -= h[i, k] * d[k]
        d[i] /= h[i, i]
    for i in range(SIZE - 1, -1, -1):
        for k in range(i + 1, SIZE):
            d[i] -= h[k, i] * d[k]
        d[i] /= h[i, i]
    return True


@kernel
def _search(power: Any, train: Any, n: float, coils: float, expected: Any, v: Any, h: Any, d: Any) -> Any:
    """Newton steps from ``v``; returns chi-square and the variances of fraction and swing, infinite: unknown."""
    for _ in range(STEPS):
        _normal(power, train, n, coils, expected, v, h, d)
        if not _solve(h, d):
            return np.inf, np.inf, np.inf
        shrink = 1.0
        for k in range(SIZE):
            limit = MOST_STEP[k] * (max(v[RATE], 0.1) if k == RATE else 1.0)
            shrink = min(shrink, limit / max(abs(d[k]), 1e-30))
        for k in range(SIZE):
            v[k] += shrink * d[k]
        v[RATE], v[FAT] = max(v[RATE], 0.0), min(max(v[FAT], LEAST), MOST)
        if shrink == 1.0 and abs(d[FAT]) < 1e-4:
            break
    chi = _normal(power, train, n, coils, expected, v, h, d)
    if not _solve(h, d):
        return np.inf, np.inf, np.inf
    # Entries of the inverse from Cholesky's factor: the fraction is the last but one, the swing the last.
    own = 1.0 / h[FAT, FAT]
    cross = -h[SIDES, FAT] * own / h[SIDES, SIDES]
    return chi, own * own + cross * cross, 1.0 / (h[SIDES, SIDES] * h[SIDES, SIDES])


@kernel
def _without(power: Any, train: Any, n: float, coils: float, expected: Any, v: Any, h: Any, d: Any) -> Any:
    """Chi-square without any fat; ``v`` is overwritten."""
    told = expected[1, FAT]
    expected[1, FAT] = HELD
    v[FAT] = 0.0
    chi = _search(power, train, n, coils, expected, v, h, d)[0]
    expected[1, FAT] = told
    return chi


@kernel
def fit(power: Any, count: Any, train: Any, middle: Any, coils: float, expected: Any, out: Any) -> None:
    """What is known of each window (7, ...), in the order of FRACTION to FASTER; the variance infinite: nothing.

    MISFIT is reduced chi-square; LOUDER and FASTER tell how far ln a and r lie from those of one exponential.
    ``expected`` (2, SIZE) holds what is expected of each parameter, and with what precision (inverse variance, 0: not
    at all), ``middle`` (2, ...) the maps in the middle of each window. Where little is told, the curvature at a
    fraction says more than the data do: none is better known than fits with and without it tell apart.
    """
    h, d, v, other = np.empty((SIZE, SIZE)), np.empty(SIZE), np.empty(SIZE), np.empty(SIZE)
    freedom = max(train.shape[1] - 3.0, 1.0)
    out[:] = 0.0
    out[VARIANCE], out[SWING_VARIANCE] = np.inf, np.inf
    for p in range(count.shape[0]):
        for q in range(count.shape[1]):
            own = power[p, q]
            if count[p, q] < FEWEST:
                continue
            a, r = np.log(middle[0, p, q]), middle[1, p, q]
            v[:] = expected[0]
            v[LEVEL], v[RATE] = 2.0 * a, 2.0 * r
            other[:] = v
            other[FAT] = MOSTLY
            chi, variance, swings = _search(own, train, count[p, q], coils, expected, v, h, d)
            if chi > BAD * freedom:
                second = _search(own, train, count[p, q], coils, expected, other, h, d)
                if second[0] < BETTER * chi:
                    chi, variance, swings = second
                    v[:] = other
            if v[FAT] * v[FAT] > variance:
                other[:] = v
                less = _without(own, train, count[p, q], coils, expected, other, h, d) - chi
                variance = max(variance, v[FAT] * v[FAT] / max(less, 1e-6))
            out[FRACTION, p, q], out[VARIANCE, p, q], out[MISFIT, p, q] = v[FAT], variance, chi / freedom
            out[SWING, p, q], out[SWING_VARIANCE, p, q] = v[SIDES], swings
            out[LOUDER, p, q], out[FASTER, p, q] = 0.5 * v[LEVEL] - a, 0.5 * v[RATE] - r


@kernel
def scatter(own: Any, count: Any, middle: Any, mean: Any, out: Any) -> None:
    """Variance (2, ...) of the fraction between alike windows beyond that of each, and their mean misfit or 1."""
    for p in range(count.shape[0]):
        for q in range(count.shape[1]):
            spread, total, chi, n = 0.0, 0.0, 0.0, 0.0
            for k in range(-RINGS, RINGS + 1):
                for m in range(-RINGS, RINGS + 1):
                    a, c = p + APART * k, q + APART * m
                    if count[p, q] > 0.0 and _neighbour(count, middle, p, q, a, c) and own[VARIANCE, a, c] < 1e9:
                        spread += (own[FRACTION, a, c] - mean[p, q]) ** 2 / own[VARIANCE, a, c]
                        total += 1.0 / own[VARIANCE, a, c]
                        chi += own[MISFIT, a, c]
                        n += 1.0
            misfit = max(chi / max(n, 1.0), 1.0)
            # Of what n estimates scatter, n - 1 times is what their variances explain, give or take twice its root.
            explained = misfit * (n - 1.0 + 2.0 * np.sqrt(2.0 * max(n - 1.0, 0.0)))
            out[0, p, q] = max(spread - explained, 0.0) / max(total, 1e-30) * n / max(n - 1.0, 1.0)
            out[1, p, q] = misfit


@kernel
def spread_out(nodes: Any, x: Any, free: Any, out: Any) -> None:
    """Bring maps of windows (4, ...) to the voxels (4, K, L): the mean of the alike ones around each.

    Fraction, variance (infinite where a window knows nothing, NaN where no window is near), LOUDER, FASTER.
    """
    rows, columns = free.shape
    for i in range(rows):
        for j in range(columns):
            total, p, q = 0.0, i // STRIDE, j // STRIDE
            out[:, i, j] = 0.0
            for a in range(max(p - 1, 0), min(p + 2, nodes.shape[1])):
                for c in range(max(q - 1, 0), min(q + 2, nodes.shape[2])):
                    u, w = a * STRIDE, c * STRIDE
                    if free[i, j] and free[u, w] and nodes[1, a, c] < 1e9 and _alike(x, i, j, u, w):
                        near = 1.0 / (1.0 + (u - i) ** 2 + (w - j) ** 2)
                        total += near
                        for k in range(4):
                            out[k, i, j] += near * nodes[k, a, c]
            for k in range(4):
                out[k, i, j] /= max(total, 1e-30)
            if total == 0.0:
                out[1, i, j] = np.nan


@kernel
def _left(s: Any, train: Any, i: int, j: int, a: float, r: float, f: float, floor: float) -> float:
    """Half the sum of squares of what sqrt(A² + floor), A = a q(f) exp(-r t), leaves of the signals of a voxel."""
    total = 0.0
    for m in range(train.shape[1]):
        signal = a * fast_exp(-r * train[0, m])
        beating = max(1.0 + f * (2.0 * train[1, m] + f * train[2, m]), 0.0)
        rest = s[m, i, j] - np.sqrt(signal * signal * beating + floor)
        total += rest * rest
    return 0.5 * total


@kernel
def sharpen(s: Any, train: Any, free: Any, nodes: Any, x: Any, floor: float, voxels: Any) -> None:
    """Where what was spread to a voxel misses its signals by far, take what fits best of windows nearby, or no fat.

    ``nodes`` (4, ...) and ``voxels`` (4, K, L), which is overwritten, as of ``spread_out``. At edges a window belongs
    to neither side (Kuwahara's filter).
    """
    rows, columns = free.shape
    for i in range(rows):
        for j in range(columns):
            if not free[i, j]:
                continue
            louder, faster = voxels[2, i, j], voxels[3, i, j]
            a, r = x[0, i, j] * np.exp(louder), x[1, i, j] + faster
            least = _left(s, train, i, j, a, r, voxels[0, i, j], floor)
            if least <= MISSED * train.shape[1]:
                continue
            plain = _left(s, train, i, j, x[0, i, j], x[1, i, j], 0.0, floor)
            if plain < least:
                least = plain
                voxels[:, i, j] = 0.0
                voxels[1, i, j] = np.nan
            p, q = i // STRIDE, j // STRIDE
            for u in range(max(p - RINGS, 0), min(p + RINGS + 1, nodes.shape[1])):
                for w in range(max(q - RINGS, 0), min(q + RINGS + 1, nodes.shape[2])):
                    k, n = u * STRIDE, w * STRIDE
                    if not free[k, n] or not nodes[1, u, w] < 1e9:
                        continue
                    a, r = x[0, k, n] * np.exp(nodes[2, u, w]), x[1, k, n] + nodes[3, u, w]
                    left = _left(s, train, i, j, a, r, nodes[0, u, w], floor)
                    if left < least:
                        least = left
                        voxels[0, i, j], voxels[1, i, j] = nodes[0, u, w], nodes[1, u, w]
                        voxels[2, i, j], voxels[3, i, j] = np.log(a / x[0, i, j]), r - x[1, i, j]


@row_kernel
def _decay(a: Any, r: Any, fraction: Any, t: Any, b: Any, g: Any, e: Any, signal: Any) -> None:
    for j in range(a.size):
        e[j] = fast_exp(-r[j] * t)
        signal[j] = a[j] * e[j] * np.sqrt(max(1.0 + fraction[j] * (2.0 * b + fraction[j] * g), 1e-8))


@row_kernel
def _add(a: Any, e: Any, signal: Any, fraction: Any, known: Any, t: Any, b: Any, g: Any, total: Any) -> None:
    for j in range(a.size):
        slope, amplitude = -t * np.float64(a[j]), max(np.float64(a[j]), 1e-12)
        by_a = known[j] * (signal[j] / amplitude) ** 2
        by = known[j] * np.float64(e[j]) * e[j] * a[j] * (b + fraction[j] * g)  # q dq/df
        total[0, j] += by_a
        total[1, j] += by_a * slope
        total[2, j] += by_a * slope * slope
        total[3, j] += by
        total[4, j] += by * slope


@kernel
def moves(a: Any, r: Any, fraction: Any, train: Any, table: Any, coils: float, out: Any) -> None:
    """How far the rate of each voxel moves with its fraction, to first order: -(H^-1 dg/df) of information H."""
    e, signal, known = np.empty(BLOCK, a.dtype), np.empty(BLOCK), np.empty(BLOCK)
    total = np.empty((5, BLOCK))
    for start in range(0, a.size, BLOCK):
        part = slice(start, min(start + BLOCK, a.size))
        n = part.stop - start
        total[:] = 0.0
        for m in range(train.shape[1]):
            t, b, g = train[0, m], train[1, m], train[2, m]
            _decay(a[part], r[part], fraction[part], a.dtype.type(t), b, g, e[:n], signal[:n])
            told(signal[:n], table, coils, known[:n])
            _add(a[part], e[:n], signal[:n], fraction[part], known[:n], t, b, g, total[:, :n])
        for j in range(n):
            aa, ar, rr, by_a, by_r = total[0, j], total[1, j], total[2, j], total[3, j], total[4, j]
            out[start + j] = -(aa * by_r - ar * by_a) / (aa * rr - ar * ar)
