"""Noise of a stack: sigma and N, from whatever in it tells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from solver.coils import coils_of_tissue
from solver.noise import NoiseEstimate, coils_of, difference_sigma, mean_of_noise, noise_only, residual_sigma
from solver.voxelwise import variable_projection

if TYPE_CHECKING:
    from numpy.typing import NDArray

APART = 2  # voxels; interpolation to twice as many makes differences of neighbours small
GROWS = 1.3  # differences of voxels twice as far apart, by more than that: neighbours share their noise
CLEAR = 4.0  # sigma above the floor
LOUDER = 1.1  # than tissue: beyond it, air holds more than noise
AGREE = 1.25  # between two ways to sigma of tissue, neither of which is then misled
DECAYED = 2.0  # root mean square of the first echo over that of the late ones
HIGHER = 1.15  # a floor in tissue over that of air
ALIKE = 1.5  # N in tissue and in air
SHARED = 8  # samples that have the largest value of a slice: more of them are clipped


@dataclass(frozen=True, slots=True)
class Tissue:
    """Noise deviation as tissue shows it, 0 where it does not."""

    sigma: float
    sure: bool  # two ways agree
    first: float  # median of the first echo


@dataclass(frozen=True, slots=True)
class Slices:
    """Signals (M, K, L) of some slices of a stack, and which voxels of each may be used."""

    signals: list[NDArray[Any]]
    usable: list[NDArray[np.bool_]]

    def pick(self, which: list[NDArray[np.bool_]]) -> NDArray[Any]:
        """Signals (M, n) of the voxels chosen in each slice."""
        return np.concatenate([s[:, w] for s, w in zip(self.signals, which, strict=True)], axis=1)

    def choose(self, rule: Any) -> list[NDArray[np.bool_]]:
        """Apply a rule of signals and usable voxels to each slice."""
        return [rule(s, u) for s, u in zip(self.signals, self.usable, strict=True)]


def estimate_noise(
    stacks: list[NDArray[Any]],
    finite: list[NDArray[np.bool_]],
    chosen: list[NDArray[np.bool_]],
    t: NDArray[Any],
    bounds: tuple[float, float],
    *,
    n_coils: float | None = None,
    seek_coils: bool = True,
) -> NoiseEstimate:
    """Noise of slices (M, K, L): from air, else from echoes that have decayed, else from tissue that was ``chosen``.

    Air may be anywhere where the signals are ``finite``, also where nothing is to be fitted. Where tissue contradicts
    the air (vendors filter or scale it, ghosts fill it) the tissue is believed. Without ``seek_coils`` N is not looked
    for in the decays, which only one exponential and its floor explain.
    """
    slices = Slices(stacks, _unclipped(stacks, chosen))
    bright = slices.choose(_bright)
    tissue = _tissue(slices, bright, t, bounds)
    everywhere = Slices(stacks, _unclipped(stacks, finite))
    lit = everywhere.pick(everywhere.choose(lambda s, u: (np.mean(s > 0, axis=0) > 0.5) & u))
    late = max(2, t.size // 3)
    # Air may be as much as four times quieter than tissue, which holds what no model explains, unless it is known not
    # to; a few echoes that look like noise must agree with it.
    quietest = tissue.sigma * (1 / (1.3 if tissue.sure else 4.0))
    found = _silent("air", lit, (quietest, tissue.sigma / 0.75), n_coils)
    if found is None:
        found = _silent("late echoes", lit[-late:], (tissue.sigma / 1.5, tissue.sigma / 0.6), n_coils)
    inside = _silent("late echoes", slices.pick(slices.choose(_decayed))[-late:], (0.0, 0.0), n_coils)
    if inside is not None and (found is None or _contradicts(inside, found)):
        found = inside
    if found is not None:
        # Only tissue clear of the floor knows the noise better than what looks like noise alone.
        clear = tissue.first > (np.sqrt(2 * found.n_coils) + CLEAR) * found.sigma
        if clear and 0 < tissue.sigma < found.sigma / LOUDER:
            return NoiseEstimate(tissue.sigma, found.n_coils, "residuals", found.coils_source)
        return found
    if tissue.sigma > 0:
        n, source = (n_coils, "given") if n_coils else (1.0, "assumed")
        if not n_coils and seek_coils:
            n, source = _coils(slices, tissue.sigma, t, bounds)
        return NoiseEstimate(tissue.sigma, n, "residuals", source)
    differences = [difference_sigma(s, u & (s[0] > 0)) for s, u in zip(stacks, chosen, strict=True)]
    return NoiseEstimate(
        float(np.median(differences)), n_coils or 1.0, "differences", "given" if n_coils else "unknown"
    )


def _unclipped(stacks: list[NDArray[Any]], usable: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
    """Usable voxels without those at a largest value that many share, unless that is most of them."""
    kept = []
    for s, u in zip(stacks, usable, strict=True):
        at_top = s == s.max(initial=0)
        clipped = np.any(at_top, axis=0) & u
        many = np.count_nonzero(at_top) > SHARED and np.count_nonzero(clipped) < 0.75 * np.count_nonzero(u & (s[0] > 0))
        kept.append(u & ~clipped if many else u)
    return kept


def _bright(s: NDArray[Any], usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of tissue, by the first echo."""
    lit = usable & (s[0] > 0)
    chosen: NDArray[np.bool_] = lit & (s[0] >= (0.25 * np.quantile(s[0][lit], 0.98) if lit.any() else 0.0))
    return chosen


def _decayed(s: NDArray[Any], usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels whose surroundings have lost most of their signal; their own noise has no say."""
    late = np.mean(np.square(s[-max(2, len(s) // 3) :]), axis=0)
    first, last = (ndimage.uniform_filter(power * usable, 5, mode="constant") for power in (s[0] * s[0], late))
    chosen: NDArray[np.bool_] = usable & (first > DECAYED**2 * last) & np.all(s > 0, axis=0)
    return chosen


def _silent(
    source: str, samples: NDArray[Any], between: tuple[float, float], n_coils: float | None
) -> NoiseEstimate | None:
    """Noise of what in the samples (M, n) is noise alone."""
    silent = noise_only(samples, between, n_coils)
    if silent is None:
        return None
    n = n_coils or coils_of(silent)
    sigma = float(np.sqrt(np.mean(np.square(silent, dtype=np.float64)) / (2 * n)))
    return NoiseEstimate(sigma, n, source, "given" if n_coils else source)


def _contradicts(inside: NoiseEstimate, air: NoiseEstimate) -> bool:
    """Whether tissue that has decayed rests on a higher floor than air, of about as many coils."""
    alike = 1 / ALIKE < inside.n_coils / air.n_coils < ALIKE
    floors = [mean_of_noise(one.n_coils) * one.sigma for one in (inside, air)]
    return alike and floors[0] > HIGHER * floors[1]


def _tissue(slices: Slices, bright: list[NDArray[np.bool_]], t: NDArray[Any], bounds: tuple[float, float]) -> Tissue:
    """Noise deviation from what fits leave, or from differences between voxels where these are less.

    The first counts as noise what one exponential does not explain, the second what is not smooth: the smaller is
    nearer the truth. Differences are those of the first echo, where it is clear of the floor, which has less noise.
    """
    samples = np.ascontiguousarray(slices.pick(bright))
    if not samples.size:
        return Tissue(0.0, sure=False, first=0.0)
    residual = residual_sigma(*variable_projection(samples, t, *bounds), t)
    differences, further = (_differences(slices, bright, apart) for apart in (APART, 2 * APART))
    if further > GROWS * differences:
        differences = 0.0  # interpolated, or full of structure
    first = float(np.median(samples[0]))
    if not residual or not differences or first < (1 + CLEAR) * differences:
        return Tissue(residual, sure=False, first=first)
    sure = 1 / AGREE < residual / differences < AGREE
    return Tissue(min(residual, differences), sure, first)


def _differences(slices: Slices, bright: list[NDArray[np.bool_]], apart: int) -> float:
    """Noise deviation from differences of the first echo, the median of the slices."""
    each = (difference_sigma(s[:1], b, apart) for s, b in zip(slices.signals, bright, strict=True))
    found = [sigma for sigma in each if sigma > 0]
    return float(np.median(found)) if found else 0.0


def _coils(slices: Slices, sigma: float, t: NDArray[Any], bounds: tuple[float, float]) -> tuple[float, str]:
    """N from how tissue decays, and whether it is known."""
    samples = slices.pick(slices.choose(lambda s, u: u & (s[0] > (1 + CLEAR) * sigma)))
    return coils_of_tissue(samples / samples.dtype.type(sigma), t, bounds)
