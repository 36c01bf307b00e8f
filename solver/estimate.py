"""Noise of a stack: sigma and N, from witnesses that know nothing of each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.coils import FEWEST_ECHOES, coils_of_tissue, whole_coils
from solver.noise import NoiseEstimate, difference_sigma, residual_sigma
from solver.patches import FEWEST
from solver.tiles import tiles_of
from solver.voxelwise import variable_projection
from solver.witnesses import LIT, MANY, UNEVEN, WILD, Stack, Witnesses, hear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solver.air import Crowd
    from solver.sigma_map import Surface

SHARED_TOP = 8  # samples that have the largest value of a slice: more of them are clipped
MOST = 0.75  # of the voxels: so many at the largest value are not clipped but uniform
AGREE = 1.2  # between two deviations
ALIKE = 1.25  # between two N, where only one witness tells it
COARSE = 4.0  # times the variance of rounding: rounded noise has no distribution of its own
IMPOSSIBLE = 0.7  # of N = 1 that late echoes allow: with less, sigma is less
WHOLE = 0.08  # relative distance from a whole number within which N by the shape of air is believed to be it
SURE = 0.25  # relative deviation of N by moments
MOMENTS_AGREE = 0.4  # with N by shape, relative, or two deviations
ONE = 1.4  # N that late echoes allow: with less it is one
UNSEEN = 40.0  # N that they allow: with more, no floor is near any echo
MOST_COILS = 64.0
IN_REACH = 0.45  # of N that late echoes allow
LOUDER = 2.0  # times the power of a floor
DECAYS_KNOW = 1.5  # factor that N by decays may be wrong by
# Relative deviation of sigma by the word of confidence; bench.noise measures how often a word is wrong.
DEVIATIONS = {"high": 0.03, "fair": 0.06, "low": 0.2, "unknown": 0.5}


@dataclass(frozen=True, slots=True)
class Claim:
    """What the witnesses come to."""

    sigma: float
    source: str
    n: float
    coils_source: str
    reach: tuple[float, float]  # N that the data allow
    word: str  # of confidence in sigma and N: high, fair, low, unknown
    word_of_sigma: str = ""  # where it is another
    surface: Surface | None = None


def estimate_noise(
    stacks: list[NDArray[Any]],
    usable: list[NDArray[np.bool_]],
    t: NDArray[Any],
    bounds: tuple[float, float],
    *,
    rounding: float = 0.0,
    n_coils: float | None = None,
    seek_coils: bool = True,
) -> NoiseEstimate:
    """Noise of slices (M, K, L), of sigma 0 where nothing in them tells it.

    ``rounding`` is the variance that storing whole numbers adds; ``t`` and ``bounds`` are those of the fit. Without
    ``seek_coils`` N is not looked for in the decays, which only one exponential and its floor explain.
    """
    stack = Stack(stacks, tiles_of(stacks, _unclipped(stacks, usable)), rounding, n_coils)
    claim = None
    if stack.tiles.sound.size >= FEWEST:
        heard = hear(stack)
        claim = _judged(heard, stack)
        if claim is not None and claim.coils_source == "unknown" and seek_coils and not n_coils:
            claim = _with_decays(claim, heard, stack, (t, bounds))
    return _told(claim or _few(stack, usable, t, bounds), stack)


def _unclipped(stacks: list[NDArray[Any]], usable: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
    """Usable voxels without those at a largest value that many share, unless that is most of them."""
    kept = []
    for s, u in zip(stacks, usable, strict=True):
        at_top = s == s.max()
        sound = u
        if np.count_nonzero(at_top) > SHARED_TOP:
            clipped = np.any(at_top, axis=0)
            few = np.count_nonzero(clipped & u) < MOST * np.count_nonzero(u & (s[0] > 0))
            sound = u & ~clipped if few else u
        kept.append(sound)
    return kept


def _told(claim: Claim, stack: Stack) -> NoiseEstimate:
    n, source, reach = claim.n, claim.coils_source, claim.reach
    if stack.n_coils is not None:
        n, source, reach = stack.n_coils, "given", (stack.n_coils, stack.n_coils)
    low, high = (min(max(1.0, one), MOST_COILS) for one in reach)
    deviation = DEVIATIONS[claim.word_of_sigma or claim.word]
    reach = (min(low, n), max(high, n))
    return NoiseEstimate(claim.sigma, n, claim.source, source, claim.word, reach, deviation, claim.surface)


def _judged(heard: Witnesses, stack: Stack) -> Claim | None:
    """Believe the witnesses as far as they agree; None where there are none."""
    if not heard.tissue.found:
        return _silence(heard, stack)
    coarse = heard.tissue.sigma**2 <= COARSE * stack.rounding
    if heard.air is None:
        impossible = heard.bound < IMPOSSIBLE and not coarse
        return _below_late_echoes(heard) if impossible else _tissue_alone(heard, stack, coarse=coarse)
    return _beside_air(heard, heard.air, stack, coarse=coarse)


def _stored(noise: Crowd, n: float, rounding: float) -> float:
    """Noise deviation of a sample with signal, rounding included, which adds to the power of N coils once."""
    return math.sqrt(max(noise.power - rounding, 0.0) / (2 * n) + rounding)


def _around(n: float, factor: float) -> tuple[float, float]:
    return n / factor, n * factor


def _word(heard: Witnesses) -> str:
    return "high" if heard.tissue.scatter < UNEVEN and heard.surface is None else "fair"


def _silence(heard: Witnesses, stack: Stack) -> Claim | None:
    """Where no tissue tells anything."""
    one, source = (heard.air, "air") if heard.air else (heard.floor, "late echoes")
    if one is None:
        return None
    n = stack.n_coils or whole_coils(one.n_coils)
    word = "fair" if 1 / ALIKE < one.n_coils / n < ALIKE else "low"
    if np.count_nonzero(stack.tiles.sound & (stack.tiles.late_power > LOUDER * one.power)) > MANY:
        word = "unknown"  # there is something that never comes down to this floor, nor is clear of it
    return Claim(_stored(one, n, stack.rounding), source, n, source, _around(n, ALIKE), word)


def _below_late_echoes(heard: Witnesses) -> Claim:
    """Where tissue tells more noise than its late echoes have power: what they have is the most there can be."""
    sigma = heard.tissue.sigma * math.sqrt(min(heard.bound, 1.0))
    return Claim(sigma, "late echoes", 1.0, "late echoes", (1.0, 1.0), "low")


def _beside_air(heard: Witnesses, air: Crowd, stack: Stack, *, coarse: bool) -> Claim:
    """Where there are air and tissue."""
    shape = stack.coils(air)
    power = max(air.power - stack.rounding, 0.0) / (2 * float(stack.pure(heard.tissue.sigma**2)))
    whole = stack.n_coils is not None or abs(shape - round(shape)) < WHOLE * shape
    if heard.bound < IMPOSSIBLE and not coarse and not 1 / ALIKE < power / shape < ALIKE:
        return _below_late_echoes(heard)
    n = stack.n_coils or whole_coils(shape)
    if heard.surface is not None and whole:  # the shape does not know sigma
        return Claim(heard.typical, "tissue", n, "air", _around(n, AGREE), "fair", surface=heard.surface)
    if not 1 / AGREE**2 < power / shape < AGREE**2:
        return _changed_air(heard, shape, coarse=coarse)
    if not stack.n_coils and not whole and (power > shape or power < 3):
        n = whole_coils(math.sqrt(power * shape))
    believed = (abs(math.log(power / n)) < 0.1 or (heard.shared and whole)) and not coarse
    sigma, source = (_stored(air, n, stack.rounding), "air") if believed else (heard.tissue.sigma, "tissue")
    return Claim(sigma, source, n, "air", _around(n, 1.1), _word(heard))


def _changed_air(heard: Witnesses, shape: float, *, coarse: bool) -> Claim:
    """Where air has not the power of the noise of tissue: scaled or filtered, N may still be that of its shape."""
    sigma, moments = heard.tissue.sigma, heard.moments
    off = abs(max(moments.n, 1.0) - shape)
    if coarse or moments.deviation >= SURE * max(moments.n, 1.0):
        n = whole_coils(min(shape, max(heard.bound, 1.0)))
        return Claim(sigma, "tissue", n, "air", (1.0, heard.bound), "low")
    if off < MOMENTS_AGREE * shape or off < 2 * moments.deviation:
        n = whole_coils(shape)
        return Claim(sigma, "tissue", n, "air", _around(n, 1.3), "fair" if heard.tissue.scatter < WILD else "low")
    return _by_moments(heard, "low")


def _by_moments(heard: Witnesses, word: str) -> Claim:
    n = whole_coils(min(max(heard.moments.n, 1.0), 1.1 * max(heard.bound, 1.0)))
    reach = 2 * heard.moments.deviation
    return Claim(heard.typical, "tissue", n, "moments", (n - reach, n + reach), word, surface=heard.surface)


def _tissue_alone(heard: Witnesses, stack: Stack, *, coarse: bool) -> Claim:
    """Where nothing is noise alone."""
    known = Claim(heard.typical, "tissue", 1.0, "late echoes", (1.0, 1.0), _word(heard), surface=heard.surface)
    if heard.bound < ONE:
        return known
    if heard.floor is not None and not coarse:
        # A constant that is no noise has twice the power that its shape makes one think.
        power = max(heard.floor.power - stack.rounding, 0.0) / (2 * float(stack.pure(heard.tissue.sigma**2)))
        if 1 / ALIKE < power / heard.floor.n_coils < ALIKE:
            n = whole_coils(min(heard.floor.n_coils, heard.bound))  # remains of signal raise the power more
            return replace(known, n=n, reach=_around(n, AGREE))
    if not coarse and heard.moments.deviation < SURE * max(heard.moments.n, 1.0):
        return _by_moments(heard, "fair")
    return _without_coils(known, heard.bound, "unknown")


def _without_coils(known: Claim, bound: float, source: str) -> Claim:
    """The same with N = 1 for want of anything better: sigma is as well known as it was."""
    word = known.word if source == "assumed" else "low"
    return Claim(known.sigma, known.source, 1.0, source, (1.0, bound), word, known.word, known.surface)


def _with_decays(known: Claim, heard: Witnesses, stack: Stack, fit: tuple[NDArray[Any], tuple[float, float]]) -> Claim:
    """Look for N in how tissue decays, where five echoes or more come near a floor."""
    word = known.word_of_sigma
    sure = Claim(known.sigma, known.source, 1.0, "", known.reach, word, surface=known.surface)
    if stack.tiles.echoes < FEWEST_ECHOES or heard.tissue.sigma**2 <= COARSE * stack.rounding:
        return known
    if heard.bound > UNSEEN:
        return _without_coils(sure, heard.bound, "assumed")
    n, source = coils_of_tissue(_samples(stack, heard), *fit)
    if source != "decays" or n > AGREE * heard.bound:
        return _without_coils(sure, heard.bound, "unclear" if source == "decays" else source)
    n = whole_coils(n)
    # Of a floor far below the late echoes decays tell little: fat and slow parts bend them too.
    near = n > IN_REACH * heard.bound
    reach, doubt = (_around(n, DECAYS_KNOW), "fair") if near else ((1.0, DECAYS_KNOW * n), "low")
    return replace(sure, n=n, coils_source=source, reach=reach, word=doubt, word_of_sigma=word)


def _samples(stack: Stack, heard: Witnesses) -> NDArray[Any]:
    """Samples (M, n) of tissue in units of their sigma."""
    kept = []
    for k, s in enumerate(stack.slices):
        sigma = heard.surface.map(k, s.shape[1:]) if heard.surface else np.full(s.shape[1:], heard.tissue.sigma)
        bright = s[0] > LIT * sigma
        kept.append(s[:, bright] / sigma[bright].astype(s.dtype))
    return np.concatenate(kept, axis=1)


def _few(stack: Stack, usable: list[NDArray[np.bool_]], t: NDArray[Any], bounds: tuple[float, float]) -> Claim:
    """Where there are too few voxels for tiles and patches: from residuals of fits, of two echoes from differences."""
    bright = [u & (s[0] > 0) for s, u in zip(stack.slices, usable, strict=True)]
    pairs = list(zip(stack.slices, bright, strict=True))
    samples = np.ascontiguousarray(np.concatenate([s[:, b] for s, b in pairs], axis=1))
    sigma = residual_sigma(*variable_projection(samples, t, *bounds), t)
    if sigma > 0:
        return Claim(sigma, "residuals", 1.0, "unknown", (1.0, MOST_COILS), "low")
    sigma = float(np.median([difference_sigma(s, b) for s, b in pairs]))
    return Claim(sigma, "differences", 1.0, "unknown", (1.0, MOST_COILS), "unknown")
