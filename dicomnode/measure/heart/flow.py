"""Whether blood bends the decay of the septum: what one exponential cannot be told apart from more iron, or less.

Ghosts of blood that pulses add a signal that hardly decays. The floor of noise looks like it and is known to the fit;
what is left above both is blood, and a fit with an offset says how far it moves the rate (He 2008, Magn Reson Med
60:1082, on truncation; Ghugre 2006, J Magn Reson Imaging 23:9, on an offset).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomnode.model import Flag, Grade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicomnode.model import Maps

FEWEST_ECHOES = 5  # of three unknowns
MUCH, MOST = 0.06, 0.15  # of the rate of the maps: how far it moves where an offset is allowed for
SURE = 7.0  # chi-square by which the offset has to explain the decay better
VOXELS_ALIKE = 6.0  # that share their noise, and what a median of them has more of it
TEXTURE = 0.002  # of the first echo: what the unevenness of a septum leaves of one exponential
FASTEST = 5.0  # times the rate without an offset, up to which one is sought
DARK = 0.15  # of the septum's first echo: lungs and air
EDGE, BLOCK = 3, 5  # voxels: left out at the edge of what is dark, averaged
FEWEST_DARK = 150  # voxels beside the heart, and elsewhere
BRIGHT = 75.0  # per cent of them that are darker: ghosts need not lie everywhere
SEEN = 4.0  # standard errors by which lungs and air beside the blood are brighter than elsewhere
UNSEEN = 0.02  # of the septum's first echo: what may be there where too little is dark to tell
NEARER = 2.0  # times those over lungs and air: the septum lies between both ventricles, and ghosts fade with distance
SLIGHT = 0.01  # of R2*: ghosts that are seen and do less are not worth a word
RATES = np.geomspace(1.0, 1000.0, 2000) / 1000.0  # per ms, that are tried
CODE, GHOSTS = "blood-flow", "blood-ghosts"


def flags(
    signal: NDArray[np.float32],
    echo_times_ms: Sequence[float],
    maps: Maps,
    mask: NDArray[np.bool_],
    n_coils: float,
) -> tuple[Flag, ...]:
    """What speaks for blood in the septum; ``signal`` is (slices, K, L, M), ``mask`` (slices, K, L) and not empty."""
    median = np.median(signal[mask].astype(np.float64), axis=0)
    sigma = float(np.median(maps.sigma))
    # E[M^2] = A^2 + 2 N sigma^2: what is left without the floor of noise.
    amplitude = np.sqrt(np.maximum(median**2 - 2.0 * n_coils * sigma**2, 0.0))
    noise = np.hypot(sigma * np.sqrt(VOXELS_ALIKE / mask.sum()), TEXTURE * median[0])
    bent = _bent(amplitude, np.asarray(echo_times_ms, np.float64), noise * median / np.maximum(amplitude, 0.1 * median))
    inside = mask & maps.valid
    if bent is None or not inside.any():
        return ()
    share, moved = bent[0], bent[1] / float(np.median(maps.r2star_per_s[inside])) - 1.0
    if moved <= MUCH:
        return ()
    grade = Grade.NOT_MEASURABLE if moved > MOST else Grade.LOW_CONFIDENCE
    sentence = (
        f"the decay levels off at {share:.0%} of its start, above the noise, as blood that flows or a second tissue "
        f"makes it: without that R2* is {moved:.0%} faster"
    )
    return (Flag(CODE, grade, sentence),)


@dataclass(frozen=True, slots=True)
class Ghosts:
    """Ghosts of blood over the septum, as lungs and air beside it show them."""

    flags: tuple[Flag, ...] = ()
    moved: float = 0.0  # of R2*: by how much they may make it too slow, seen or not


def ghosts(
    signal: NDArray[np.float32],
    echo_times_ms: Sequence[float],
    maps: Maps,
    mask: NDArray[np.bool_],
    pools: NDArray[np.bool_],
) -> Ghosts:
    """What ghosts of bright blood in ``pools`` (slices, K, L) do, looked for in lungs and air, along rows and columns.

    They lie over the septum, too, and hardly decay: R2* is fitted again without as much as may be there.
    """
    times = np.asarray(echo_times_ms, np.float64)
    seen, moved = 0.0, 0.0
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        septum = np.median(signal[k][mask[k]].astype(np.float64), axis=0)
        least, most = _ghost(signal[k], septum, float(maps.sigma[k]), pools[k])
        seen = max(seen, _faster(septum, times, least))
        moved = max(moved, _faster(septum, times, most))
    if seen <= SLIGHT:
        return Ghosts((), moved)
    grade = Grade.NOT_MEASURABLE if moved > MUCH else Grade.LOW_CONFIDENCE
    sentence = (
        f"blood that flows leaves ghosts beside the heart, which make T2* too long: without them by up to {moved:.0%}"
    )
    return Ghosts((Flag(GHOSTS, grade, sentence),), moved)


def _ghost(
    signal: NDArray[np.float32], septum: NDArray[np.float64], sigma: float, pool: NDArray[np.bool_]
) -> tuple[float, float]:
    """The amplitude that ghosts have at least and at most at the last echo, in the units of the signal."""
    dark = np.asarray(ndimage.binary_erosion(signal[..., 0] < DARK * septum[0], iterations=EDGE), bool)
    last = signal[..., -1].astype(np.float64)
    dark &= np.asarray(ndimage.minimum_filter(last, BLOCK)) > 0  # zeros that a scanner wrote tell nothing
    power = np.asarray(ndimage.uniform_filter(np.square(last), BLOCK))
    rows = np.broadcast_to(np.any(pool, axis=1, keepdims=True), dark.shape)
    columns = np.broadcast_to(np.any(pool, axis=0, keepdims=True), dark.shape)
    elsewhere = power[dark & ~rows & ~columns]
    least, most = 0.0, 0.0
    for beside in (dark & rows & ~columns, dark & columns & ~rows):
        near = power[beside]
        fewest = min(near.size, elsewhere.size)
        if fewest < FEWEST_DARK:
            most = max(most, UNSEEN * float(septum[0]))
            continue
        more = float(np.percentile(near, BRIGHT) - np.percentile(elsewhere, BRIGHT))
        doubt = SEEN * 2.0 * sigma**2 / np.sqrt(fewest)
        least = max(least, float(np.sqrt(max(more - doubt, 0.0))))
        most = max(most, NEARER * float(np.sqrt(max(more, 0.0) + doubt)))
    return least, most


def _faster(septum: NDArray[np.float64], times: NDArray[np.float64], ghost: float) -> float:
    """By how much the rate of a decay grows that a constant is taken from."""
    if not 0 < ghost < septum[0]:
        return 0.0
    above = septum > 2.0 * ghost
    above[:2] = True  # what is mostly ghost tells nothing of the septum
    with_, without = (_rate(values[above], times[above]) for values in (septum, septum - ghost))
    return without / with_ - 1.0


def _rate(values: NDArray[np.float64], times: NDArray[np.float64]) -> float:
    left, _, _ = _least_squares(np.exp(-RATES[:, None] * times)[:, :, None], values, np.ones_like(values))
    return float(RATES[np.argmin(left)])


def _bent(
    amplitude: NDArray[np.float64], times: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[float, float] | None:
    """The offset over the amplitude at time 0, and the rate beside it in 1/s; None where nothing asks for one.

    A exp(-r t) + C with C >= 0, least squares, A and C solved for on a grid of r.
    """
    if len(times) < FEWEST_ECHOES or not amplitude[0] > 0:
        return None
    decays = np.exp(-RATES[:, None] * times)
    left, _, _ = _least_squares(decays[:, :, None], amplitude, noise)
    alone = int(np.argmin(left))
    both = np.stack([decays, np.ones_like(decays)], axis=-1)
    within, start, offset = _least_squares(both, amplitude, noise)
    allowed = (offset > 0) & (start > 0) & (FASTEST * RATES[alone] >= RATES)
    if not allowed.any():
        return None
    best = int(np.argmin(np.where(allowed, within, np.inf)))
    if left[alone] - within[best] < SURE:
        return None
    return float(offset[best] / (start[best] + offset[best])), 1000.0 * float(RATES[best])


def _least_squares(
    shapes: NDArray[np.float64], values: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Chi-square, first and last factor of the combinations (n, echoes, factors) that fit the values best."""
    scaled, wanted = shapes / noise[:, None], values / noise
    normal = np.einsum("nei,nej->nij", scaled, scaled)
    factors = np.linalg.solve(normal, np.einsum("nei,e->ni", scaled, wanted)[..., None])[..., 0]
    left = np.square(np.einsum("nei,ni->ne", scaled, factors) - wanted).sum(axis=1)
    return left, factors[:, 0], factors[:, -1]
