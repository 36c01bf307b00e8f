"""Noise of a stack: sigma and N, from witnesses that know nothing of each other, and how far they are to be believed.

Quiet air and decayed tissue hold noise alone; patches of bright tissue hold it on top of their decays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.air import Crowd, lowest_crowd
from solver.coils import FEWEST_ECHOES, Moments, coils_by_moments, coils_of_tissue, whole_coils
from solver.noise import NoiseEstimate, difference_sigma, residual_sigma
from solver.patches import FEWEST, Patches, tissue_noise
from solver.sigma_map import Places, Surface, surface_of
from solver.tiles import TILE, Tiles, tiles_of
from solver.voxelwise import variable_projection

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARED_TOP = 8  # samples that have the largest value of a slice: more of them are clipped
MOST = 0.75  # of the voxels: so many at the largest value are not clipped but uniform
PATCHES = 160  # of a slice, and a third of that where only their sigma is compared
CLEAR = 3.5  # root mean squares of the floor: of such a magnitude the deviation is sigma
ZEROS = 0.02  # share of a tile's samples that may be 0 by chance
ZEROED = 0.9  # with more, a tile is no data
AGREE = 1.2  # between two deviations
SHARED = 0.88  # of the deviation of samples two apart: neighbours share their noise
NEARER, NEAR = 0.05, 0.15  # of ln sigma, to that of air: then air decides whether neighbours share
UNEVEN = 0.11  # of ln sigma between patches: more than chance
WILD = 0.4  # these patches tell nothing
SMALL = 27.0  # times the variance of rounding, 1.5 grey levels: noise that is 0 now and then
LIT = 5.0  # sigma of the first echo of a tile of tissue
MANY = 50  # tiles of tissue whose lowest late power bounds the floor
LOWEST = 0.02  # quantile of that
FLAT = 0.02  # of its power may early echoes have more than late ones, where noise is the brightest there is
IMPOSSIBLE = 0.7  # of a bound: with less, sigma is less
DECAYED = 4.0  # power of the first echo over that of the late ones
UNSEEN = 40.0  # N that the late echoes allow: with more, no floor is near any echo
MOST_COILS = 64.0
PURE = 0.05  # of the variance of stored samples, at least, is noise and not rounding
QUIET = 0.8  # of the power that the noise of tissue would have in air
SQUEEZED = 0.43  # variance of a Rician magnitude without signal, in sigma^2
LOUDEST = 16.0  # N of a floor that tissue is asked to be clear of
SURE = 0.25  # relative deviation of N by moments
# Relative deviation of sigma by the word of confidence, as bench.noise measures it.
DEVIATIONS = {"given": 0.0, "high": 0.03, "fair": 0.06, "low": 0.2, "unknown": 0.5}


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices (M, K, L) with their usable voxels; ``rounding`` is the variance that storing whole numbers adds."""

    slices: list[NDArray[Any]]
    tiles: Tiles
    rounding: float
    n_coils: float | None  # where it is given
    t: NDArray[Any]
    bounds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Witnesses:
    """What each of them says."""

    air: Crowd | None
    floor: Crowd | None  # of tissue that has decayed
    tissue: Patches
    shared: bool  # neighbours share their noise
    bound: float  # N that the late echoes of tissue allow, inf if unknown
    moments: Moments
    surface: Surface | None


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

    ``rounding`` is the variance that storing whole numbers adds; ``t`` and ``bounds`` are those of the fit.
    Without ``seek_coils`` N is not looked for in the decays, which only one exponential and its floor explain.
    """
    stack = Stack(stacks, tiles_of(stacks, _unclipped(stacks, usable)), rounding, n_coils, t, bounds)
    if stack.tiles.sound.size < FEWEST:
        return _few(stack, usable)
    heard = hear(stack)
    if not heard.tissue.found:
        return _silence(heard, stack) or _few(stack, usable)
    if heard.air is not None:
        return _beside_air(heard, heard.air, stack)
    return _without_air(heard, stack, seek_coils=seek_coils)


def _unclipped(stacks: list[NDArray[Any]], usable: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
    """Usable voxels without those at a largest value that many share, unless that is most of them."""
    kept = []
    for s, u in zip(stacks, usable, strict=True):
        at_top = s == s.max()
        if np.count_nonzero(at_top) > SHARED_TOP:
            clipped = np.any(at_top, axis=0)
            kept.append(u & ~clipped if np.count_nonzero(clipped & u) < MOST * np.count_nonzero(u & (s[0] > 0)) else u)
        else:
            kept.append(u)
    return kept


def hear(stack: Stack) -> Witnesses:
    """Ask every witness."""
    tiles = stack.tiles
    alive = np.flatnonzero(tiles.sound & (tiles.zeros <= _natural_zeros(tiles, stack.rounding)))
    air, floor = lowest_crowd(tiles.magnitude, tiles.power, alive), _decayed(tiles, alive)
    near, lowest = _clear_patches(stack, air)
    if air is not None and not near.found and air.slope > FLAT:  # the brightest there is, and it decays
        air = None
        near, lowest = _clear_patches(stack, air)
    expected = math.sqrt(air.power / (2 * _coils(stack, air))) if air else 0.0
    tissue, shared = _choose(near, _patches(stack, lowest, 2), expected)
    if shared:
        further, more = _choose(tissue, _patches(stack, lowest, 4), expected)
        tissue = further if more and further.scatter < UNEVEN else tissue
    if not tissue.found:
        return Witnesses(air, floor, tissue, shared, np.inf, Moments(), None)
    surface = surface_of(_places(tiles, tissue.tiles, np.log(tissue.each)))
    some = _lit(stack, tissue.sigma)
    each = np.exp(surface.at(_where(tiles, some))) if surface else np.full(some.size, tissue.sigma)
    bound = _bound(stack, some, each)
    return Witnesses(air, floor, tissue, shared, bound, coils_by_moments(stack.slices, tiles, some, each), surface)


def _clear_patches(stack: Stack, air: Crowd | None) -> tuple[Patches, float]:
    """Patches whose echoes are clear of the floor, and the power of the floor supposed.

    Where there is no air, or air that was made quiet, the floor is first looked for below the tissue.
    """
    lowest, n = air.power if air else 0.0, _coils(stack, air)
    near = _patches(stack, lowest, 1)
    if not near.found or lowest > QUIET * 2 * n * near.sigma**2:
        return near, lowest
    lowest = 2 * n * near.sigma**2 / SQUEEZED
    near = _patches(stack, lowest, 1)
    if not near.found:
        return near, lowest
    some = _lit(stack, near.sigma)
    bound = 2 * near.sigma**2 * _bound(stack, some, np.full(some.size, near.sigma))
    higher = max(2 * n * near.sigma**2, min(bound, LOUDEST * 2 * near.sigma**2))
    clearer = _patches(stack, higher, 1)
    return (clearer, higher) if clearer.found else (near, lowest)


def _natural_zeros(tiles: Tiles, rounding: float) -> Any:
    """Share of the samples of each tile that may be 0: by chance, or because whole numbers are small."""
    if not rounding:
        return ZEROS
    power = np.maximum(tiles.power.mean(axis=0), 0.02)
    return np.minimum(ZEROS + 1.5 * (1 - np.exp(-0.25 / power)), ZEROED)


def _decayed(tiles: Tiles, alive: NDArray[Any]) -> Crowd | None:
    """Noise alone in the late echoes of tissue that has lost its signal, as the tiles around tell: their own noise
    has no say in which are heard.
    """
    if tiles.echoes < 3:
        return None
    late = tiles.power[tiles.late]
    sound = np.zeros(tiles.sound.size, bool)
    sound[alive] = True
    around = tiles.around(np.where(sound, late.mean(axis=0), 0.0)) / np.maximum(tiles.around(sound), 1)
    gone = sound & (around > 0) & (tiles.power[0] > DECAYED * around)
    return lowest_crowd(tiles.magnitude[tiles.late], late, np.flatnonzero(gone))


def _patches(stack: Stack, floor_power: float, stride: int) -> Patches:
    most = PATCHES * len(stack.slices) // (1 if stride == 1 else 3)
    clear, fewest = CLEAR * math.sqrt(floor_power), min(3, stack.tiles.echoes)
    found = tissue_noise(stack.slices, stack.tiles, clear, most, fewest, stride)
    if not found.found and fewest > 2:
        found = tissue_noise(stack.slices, stack.tiles, clear, most, 2, stride)
    return found


def _coils(stack: Stack, air: Crowd | None) -> float:
    """N as given, else by the shape of air, else 1."""
    return stack.n_coils or max(air.n_coils if air else 1.0, 1.0)


def _choose(near: Patches, far: Patches, expected: float) -> tuple[Patches, bool]:
    """Which of neighbouring and distant samples tells the noise of tissue, and whether neighbours share it.

    ``expected`` is sigma by the air, which sharing does not touch; 0 without air.
    """
    if not far.found or (near.found and far.scatter > WILD):
        return near, False
    shared = near.sigma < SHARED * far.sigma
    if expected and near.found:
        off = [abs(math.log(expected / one.sigma)) for one in (near, far)]
        if near.sigma < far.sigma and off[1] < off[0] - NEARER:
            shared = True
        elif off[0] < min(NEAR, off[1] - NEARER):
            shared = False
    return (far, True) if shared else (near, False)


def _lit(stack: Stack, sigma: float) -> NDArray[Any]:
    """Tiles of tissue, without a sample that was set to 0; small whole numbers may be 0 by themselves."""
    tiles, few = stack.tiles, sigma**2 < SMALL * stack.rounding
    return np.flatnonzero(tiles.sound & (tiles.zeros <= few * ZEROED / 2) & (tiles.magnitude[0] > LIT * sigma))


def _bound(stack: Stack, some: NDArray[Any], sigma: NDArray[Any]) -> float:
    """N of tissue at most: nearly the lowest late power of its tiles over 2 sigma^2; infinite where too few tell it."""
    if some.size <= MANY:
        return np.inf
    late = stack.tiles.power[stack.tiles.late][:, some].mean(axis=0)
    pure = np.maximum(sigma**2 - stack.rounding, PURE * sigma**2)
    return float(np.quantile(np.maximum(late - stack.rounding, 0.0) / (2 * pure), LOWEST))


def _where(tiles: Tiles, some: NDArray[Any]) -> NDArray[np.float64]:
    """Slice, row and column from -1 to 1, of tiles."""
    slices, rows, columns = tiles.corners(some)
    y, x = (2 * (c / TILE + 0.5) / n - 1 for c, n in zip((rows, columns), tiles.grid, strict=True))
    return np.stack([slices, y, x], axis=1)


def _places(tiles: Tiles, some: NDArray[Any], value: NDArray[Any]) -> Places:
    return Places(_where(tiles, some), value, np.ones(value.size))


def _told(
    stack: Stack,
    sigma: float,
    n: float,
    sources: tuple[str, str],
    word: str,
    reach: tuple[float, float],
    surface: Surface | None = None,
    doubt: str | None = None,
) -> NoiseEstimate:
    """Put an estimate together; ``word`` is about sigma and N, ``doubt`` the word about sigma where it is another."""
    if stack.n_coils is not None:
        n, sources, reach = stack.n_coils, (sources[0], "given"), (stack.n_coils, stack.n_coils)
    low, high = max(1.0, reach[0]), max(1.0, min(reach[1], MOST_COILS))
    return NoiseEstimate(sigma, n, *sources, word, (min(low, n), max(high, n)), DEVIATIONS[doubt or word], surface)


def _typical(heard: Witnesses, stack: Stack) -> float:
    """Noise deviation of tissue: where it varies, its median."""
    if heard.surface is None:
        return heard.tissue.sigma
    some = _lit(stack, heard.tissue.sigma)
    return float(np.exp(np.median(heard.surface.at(_where(stack.tiles, some)))))


def _stored(noise: Crowd, n: float, rounding: float) -> float:
    """Noise deviation of a sample with signal, rounding included, which adds to the power of N coils once."""
    return math.sqrt(max(noise.power - rounding, 0.0) / (2 * n) + rounding)


def _silence(heard: Witnesses, stack: Stack) -> NoiseEstimate | None:
    """Where no tissue tells anything."""
    one, source = (heard.floor, "late echoes") if heard.floor and not heard.air else (heard.air, "air")
    if one is None:
        return None
    n = stack.n_coils or whole_coils(one.n_coils)
    word = "fair" if abs(one.n_coils / n - 1) < 0.2 else "low"
    return _told(stack, _stored(one, n, stack.rounding), n, (source, source), word, (n / 1.25, n * 1.25))


def _beside_air(heard: Witnesses, air: Crowd, stack: Stack) -> NoiseEstimate:
    tissue, rounding = heard.tissue, stack.rounding
    square = tissue.sigma**2
    pure = max(square - rounding, PURE * square)
    coarse = square <= 4 * rounding  # rounded noise has no distribution
    shape = _coils(stack, air)
    power = max(air.power - rounding, 0.0) / (2 * pure)
    bound = heard.bound
    agree = 1 / AGREE**2 < power / shape < AGREE**2
    if bound < IMPOSSIBLE and not coarse and not 0.8 < power / shape < 1.25:
        return _bounded(heard, stack)
    n = stack.n_coils or whole_coils(shape)
    whole = stack.n_coils is not None or abs(shape - round(shape)) < 0.08 * shape
    if heard.surface is not None and whole:
        return _told(stack, _typical(heard, stack), n, ("tissue", "air"), "fair", (n / 1.2, n * 1.2), heard.surface)
    if agree:
        if not stack.n_coils:
            n = whole_coils(shape if whole or (power < shape and power >= 3) else math.sqrt(power * shape))
        near = abs(math.log(power / n)) < 0.1 or (heard.shared and whole)
        sigma, source = (_stored(air, n, rounding), "air") if near and not coarse else (tissue.sigma, "tissue")
        word = "high" if tissue.scatter < UNEVEN else "fair"
        return _told(stack, sigma, n, (source, "air"), word, (n / 1.1, n * 1.1))
    known = not coarse and heard.moments.deviation < SURE * max(heard.moments.n, 1.0)
    if known and 1 / 1.4 < max(heard.moments.n, 1.0) / shape < 1.4:
        word = "fair" if tissue.scatter < WILD else "low"
        return _told(stack, tissue.sigma, whole_coils(shape), ("tissue", "air"), word, (n / 1.3, n * 1.3))
    if known:
        n = whole_coils(min(max(heard.moments.n, 1.0), 1.15 * max(bound, 1.0)))
        reach = 2 * heard.moments.deviation
        return _told(stack, tissue.sigma, n, ("tissue", "moments"), "low", (n - reach, n + reach))
    n = whole_coils(min(shape, max(bound, 1.0)))
    return _told(stack, tissue.sigma, n, ("tissue", "air"), "low", (1.0, max(1.0, bound)))


def _bounded(heard: Witnesses, stack: Stack) -> NoiseEstimate:
    sigma = heard.tissue.sigma * math.sqrt(min(heard.bound, 1.0))
    return _told(stack, sigma, 1.0, ("late echoes", "late echoes"), "low", (1.0, 1.0))


def _without_air(heard: Witnesses, stack: Stack, *, seek_coils: bool) -> NoiseEstimate:
    tissue, rounding = heard.tissue, stack.rounding
    square = tissue.sigma**2
    pure = max(square - rounding, PURE * square)
    coarse = square <= 4 * rounding
    bound = heard.bound
    if bound < IMPOSSIBLE and not coarse:
        return _bounded(heard, stack)
    word = "high" if tissue.scatter < UNEVEN else "fair"
    sigma = _typical(heard, stack)
    if bound < 1.4:
        return _told(stack, sigma, 1.0, ("tissue", "late echoes"), word, (1.0, 1.0), heard.surface)
    known = not coarse and heard.moments.deviation < SURE * max(heard.moments.n, 1.0)
    if known:
        n = whole_coils(min(max(heard.moments.n, 1.0), 1.1 * max(bound, 1.0)))
        reach = 2 * heard.moments.deviation
        return _told(stack, sigma, n, ("tissue", "moments"), "fair", (n - reach, n + reach), heard.surface)
    if bound > UNSEEN and stack.tiles.echoes >= FEWEST_ECHOES:  # no floor in sight, of whatever N
        return _told(stack, sigma, 1.0, ("tissue", "assumed"), word, (1.0, max(1.0, bound)), heard.surface)
    if seek_coils and not coarse and not stack.n_coils:
        n, how = coils_of_tissue(_samples(stack, tissue.sigma, heard.surface), stack.t, stack.bounds)
        if how == "decays" and n < 1.2 * bound:
            return _told(stack, sigma, whole_coils(n), ("tissue", "decays"), "fair", (n / 1.5, n * 1.5), heard.surface)
        return _told(stack, sigma, 1.0, ("tissue", how), "low", (1.0, max(1.0, bound)), heard.surface, word)
    return _told(stack, sigma, 1.0, ("tissue", "unknown"), "low", (1.0, max(1.0, bound)), heard.surface, word)


def _samples(stack: Stack, sigma: float, surface: Surface | None) -> NDArray[Any]:
    """Samples (M, n) of tissue in units of their sigma."""
    shape = stack.slices[0].shape[1:]
    units = [surface.map(k, shape) if surface else np.full(shape, sigma) for k in range(len(stack.slices))]
    pairs = zip(stack.slices, units, strict=True)
    return np.concatenate([s[:, s[0] > LIT * u] / u[s[0] > LIT * u].astype(s.dtype) for s, u in pairs], axis=1)


def _few(stack: Stack, usable: list[NDArray[np.bool_]]) -> NoiseEstimate:
    """Where there are too few voxels for tiles and patches: from residuals of fits, of two echoes from differences."""
    s = np.ascontiguousarray(
        np.concatenate([one[:, u & (one[0] > 0)] for one, u in zip(stack.slices, usable, strict=True)], axis=1)
    )
    sigma, source = residual_sigma(*variable_projection(s, stack.t, *stack.bounds), stack.t), "residuals"
    if not sigma:
        each = [difference_sigma(one, u & (one[0] > 0)) for one, u in zip(stack.slices, usable, strict=True)]
        sigma, source = float(np.median(each)), "differences"
    word = "low" if sigma > 0 and source == "residuals" else "unknown"
    return _told(stack, sigma, 1.0, (source, "unknown"), word, (1.0, MOST_COILS))
