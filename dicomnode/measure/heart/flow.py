"""Whether blood bends the decay of the septum: what one exponential cannot be told apart from more iron, or less.

Ghosts of blood that pulses add a signal that hardly decays. The floor of noise looks like it and is known to the fit;
what is left above both is blood, and a fit with an offset says how far it moves the rate (He 2008, Magn Reson Med
60:1082, on truncation; Ghugre 2006, J Magn Reson Imaging 23:9, on an offset).
"""

from __future__ import annotations

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
LEFT = 0.3
SEEN = 4.0  # standard errors by which lungs and air beside the blood are brighter than elsewhere
FAINT, STRONG = 0.045, 0.10  # of the septum
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


def ghosts(
    signal: NDArray[np.float32], maps: Maps, mask: NDArray[np.bool_], pools: NDArray[np.bool_]
) -> tuple[Flag, ...]:
    """What ghosts of the blood in ``pools`` (slices, K, L) are seen in lungs and air, along rows or along columns.

    They lie over the septum, too, and hardly decay.
    """
    shares = [_ghost(signal[k], float(maps.sigma[k]), mask[k], pools[k]) for k in np.flatnonzero(mask.any(axis=(1, 2)))]
    share = max(shares, default=0.0)
    if share <= FAINT:
        return ()
    grade = Grade.NOT_MEASURABLE if share > STRONG else Grade.LOW_CONFIDENCE
    sentence = f"blood that flows leaves ghosts beside the heart, of {share:.0%} of what the septum gives late"
    return (Flag(GHOSTS, grade, f"{sentence}: they make T2* too long"),)


def _ghost(signal: NDArray[np.float32], sigma: float, mask: NDArray[np.bool_], pool: NDArray[np.bool_]) -> float:
    """The amplitude of ghosts at the last echo over that of the septum; 0 where none are seen for sure.

    Where the septum is lost by then, over ``LEFT`` of its first echo: later echoes tell nothing of its rate.
    """
    septum = np.median(signal[mask].astype(np.float64), axis=0)
    dark = np.asarray(ndimage.binary_erosion(signal[..., 0] < DARK * septum[0], iterations=EDGE), bool)
    power = np.asarray(ndimage.uniform_filter(np.square(signal[..., -1].astype(np.float64)), BLOCK))
    rows = np.broadcast_to(np.any(pool, axis=1, keepdims=True), dark.shape)
    columns = np.broadcast_to(np.any(pool, axis=0, keepdims=True), dark.shape)
    elsewhere = power[dark & ~rows & ~columns]
    found = 0.0
    for beside in (dark & rows & ~columns, dark & columns & ~rows):
        near = power[beside]
        fewest = min(near.size, elsewhere.size)
        if fewest < FEWEST_DARK:
            continue
        more = float(np.percentile(near, BRIGHT) - np.percentile(elsewhere, BRIGHT))
        if more > SEEN * 2.0 * sigma**2 / np.sqrt(fewest):
            found = max(found, float(np.sqrt(more)) / max(float(septum[-1]), LEFT * float(septum[0])))
    return found


def _bent(
    amplitude: NDArray[np.float64], times: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[float, float] | None:
    """The offset over the amplitude at time 0, and the rate beside it in 1/s; None where nothing asks for one.

    A exp(-r t) + C with C >= 0, least squares, A and C solved for on a grid of r.
    """
    if len(times) < FEWEST_ECHOES or not amplitude[0] > 0:
        return None
    rates = np.geomspace(1.0, 1000.0, 400) / 1000.0
    decays = np.exp(-rates[:, None] * times)
    left, _, _ = _least_squares(decays[:, :, None], amplitude, noise)
    alone = int(np.argmin(left))
    both = np.stack([decays, np.ones_like(decays)], axis=-1)
    within, start, offset = _least_squares(both, amplitude, noise)
    allowed = (offset > 0) & (start > 0) & (rates <= FASTEST * rates[alone])
    if not allowed.any():
        return None
    best = int(np.argmin(np.where(allowed, within, np.inf)))
    if left[alone] - within[best] < SURE:
        return None
    return float(offset[best] / (start[best] + offset[best])), 1000.0 * float(rates[best])


def _least_squares(
    shapes: NDArray[np.float64], values: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Chi-square, first and last factor of the combinations (n, echoes, factors) that fit the values best."""
    scaled, wanted = shapes / noise[:, None], values / noise
    normal = np.einsum("nei,nej->nij", scaled, scaled)
    factors = np.linalg.solve(normal, np.einsum("nei,e->ni", scaled, wanted)[..., None])[..., 0]
    left = np.square(np.einsum("nei,ni->ne", scaled, factors) - wanted).sum(axis=1)
    return left, factors[:, 0], factors[:, -1]
