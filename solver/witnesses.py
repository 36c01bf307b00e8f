"""What tells the noise of a stack: quiet air, decayed tissue, patches of bright tissue, moments of weak signal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.air import Crowd, lowest_crowd
from solver.coils import Moments, coils_by_moments, ratio_of_coils, whole_coils
from solver.patches import Patches, tissue_noise
from solver.sigma_map import Places, Surface, deviation, surface_of
from solver.tiles import TILE, Tiles, mean_echoes, quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATCHES = 96  # of a slice, and a third of that where only their sigma is compared
MAPPED = 240  # of a slice where sigma may vary
CHANCE = 1.3  # times the scatter of ln sigma between patches that chance makes
APART = 0.08  # between ln sigma of patches and of dark tiles: more than chance
CLEAR = 3.5  # root mean squares of the floor: of such a magnitude the deviation is sigma
ZEROS = 0.02  # share of a tile's samples that may be 0 by chance
ZEROED = 0.9  # with more, a tile is no data
SHARED = 0.88  # of the deviation of samples two apart: neighbours share their noise
NEARER, NEAR = 0.05, 0.15  # of ln sigma, to that of air: then air decides whether neighbours share
WHITE = 2.0  # times the scatter of the power of tiles of white noise: with more, neighbours share it
WILD = 0.4  # of ln sigma between patches: these tell nothing
UNEVEN = 0.11  # of ln sigma between patches: more than chance
LIT = 5.0  # sigma of the first echo of a tile of tissue
SMALL = 27.0  # times the variance of rounding, 1.5 grey levels: noise that is 0 now and then
REFUTED = 0.7  # of N: with less in the late echoes of tissue, what was taken for sigma is more than that
MANY = 50  # tiles of tissue whose lowest late power bounds the floor
LOWEST = 0.02  # quantile of that
DECAYED = 4.0  # power of the first echo over that of the late ones
CROWDED = 6  # dark tiles around one, of eight
STILL = 0.15  # early ones of the late echoes may have more than the last, in power, where nothing is left
ALIKE = 1.3  # times N, by shape, at most, of what is left in dark tiles
FLAT = 0.02  # of its power may early echoes have more than late ones, where noise is the brightest there is
PURE = 0.05  # of the variance of stored samples, at least, is noise and not rounding
QUIET = 0.8  # of the power that the noise of tissue would have in air
SQUEEZED = 0.43  # variance of a Rician magnitude without signal, in sigma^2
LOUDEST = 16.0  # N of a floor that tissue is asked to be clear of
IN_SIGHT = 2.5  # sigma of the first echo of what counts as tissue where its median sigma is asked for
ASKED = 200  # tiles that tell that median


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices (M, K, L) of magnitudes, joined over tiles."""

    slices: list[NDArray[Any]]
    tiles: Tiles
    rounding: float  # variance that storing whole numbers adds
    n_coils: float | None  # where it is given

    def coils(self, air: Crowd | None) -> float:
        """N as given, else by the shape of air, else 1."""
        return self.n_coils or max(air.n_coils if air else 1.0, 1.0)

    def pure(self, square: Any) -> Any:
        """Variance of the noise without that of rounding."""
        return np.maximum(square - self.rounding, PURE * square)


@dataclass(frozen=True, slots=True)
class Witnesses:
    """What each of them says."""

    air: Crowd | None
    floor: Crowd | None  # of tissue that has decayed
    tissue: Patches
    shared: bool  # neighbours share their noise
    surface: Surface | None  # of sigma, where it varies
    typical: float  # sigma of tissue: where it varies, its median
    bound: float  # N that the late echoes of tissue allow, inf if unknown
    moments: Moments


def hear(stack: Stack) -> Witnesses:
    """Ask every witness."""
    tiles = stack.tiles
    alive = tiles.sound & (tiles.zeros <= _natural_zeros(tiles, stack.rounding))
    air = lowest_crowd(tiles.magnitude, tiles.power, np.flatnonzero(alive))
    floor = _decayed(tiles, alive)
    near, lowest = _clear_patches(stack, air)
    if air is not None and not near.found and air.slope > FLAT:  # the brightest there is, and it decays
        air = None
        near, lowest = _clear_patches(stack, air)
    tissue, shared = _of_any_stride(stack, near, lowest, air)
    if not tissue.found:
        return Witnesses(air, floor, tissue, shared, None, 0.0, np.inf, Moments())
    surface, some, each, bound = _map_of_sigma(stack, tissue, lowest, air or floor)
    moments = coils_by_moments(stack.slices, tiles, some, each)
    return Witnesses(air, floor, tissue, shared, surface, _typical(stack, tissue, surface), bound, moments)


def _map_of_sigma(
    stack: Stack, tissue: Patches, lowest: float, told: Crowd | None
) -> tuple[Surface | None, NDArray[Any], NDArray[Any], float]:
    """Sigma where it varies, lit tiles, sigma of each, and N that their late echoes allow.

    No sigma is believed that puts the floor, of N as far as that was told, above what late echoes have: where dark
    tiles have made it so, they are tissue that decays slowly; where patches alone do, sigma is the same everywhere.
    """
    some = lit(stack, tissue.sigma)
    flat = np.full(some.size, tissue.sigma)
    least = REFUTED * (stack.n_coils or (whole_coils(told.n_coils) if told is not None else 1.0))
    for dark in (told, None):
        surface = _varying(stack, tissue, lowest, dark)
        each = flat if surface is None else np.exp(surface.at(_where(stack.tiles, some)))
        bound = _bound(stack, some, each)
        if surface is None or bound >= least:
            return surface, some, each, bound
    even = _bound(stack, some, flat)
    return (None, some, flat, even) if even >= least else (surface, some, each, bound)


def lit(stack: Stack, sigma: float) -> NDArray[Any]:
    """Tiles of tissue, without a sample that was set to 0; small whole numbers may be 0 by themselves."""
    tiles, few = stack.tiles, sigma**2 < SMALL * stack.rounding
    return np.flatnonzero(tiles.sound & (tiles.zeros <= few * ZEROED / 2) & (tiles.magnitude[0] > LIT * sigma))


def _natural_zeros(tiles: Tiles, rounding: float) -> Any:
    """Share of the samples of each tile that may be 0: by chance, or because whole numbers are small."""
    if not rounding:
        return ZEROS
    power = np.maximum(mean_echoes(tiles.power, 0, tiles.echoes) / (12 * rounding), 0.02)  # in grey levels
    # A Rayleigh magnitude of that power is under half a grey level in so many samples; half as many again by chance.
    return np.minimum(ZEROS + 1.5 * (1 - np.exp(-0.25 / power)), ZEROED)


def _gone(tiles: Tiles, sound: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tiles that have lost their signal, as the tiles around tell: their own noise has no say in which are heard."""
    around = tiles.around(np.where(sound, tiles.late_power, 0.0)) / np.maximum(tiles.around(sound), 1)
    gone: NDArray[np.bool_] = sound & (around > 0) & (tiles.power[0] > DECAYED * around)
    return gone


def _decayed(tiles: Tiles, alive: NDArray[np.bool_]) -> Crowd | None:
    """Noise alone in the late echoes of tissue that has lost its signal."""
    if tiles.echoes < 3:
        return None
    late = tiles.late
    return lowest_crowd(tiles.magnitude[late], tiles.power[late], np.flatnonzero(_gone(tiles, alive)))


def _patches(stack: Stack, floor_power: float, stride: int, most: int | None = None) -> Patches:
    most = (most or PATCHES // (1 if stride == 1 else 3)) * len(stack.slices)
    clear, fewest = CLEAR * math.sqrt(floor_power), min(3, stack.tiles.echoes)
    found = tissue_noise(stack.slices, stack.tiles, clear, most, fewest, stride, stack.rounding)
    if not found.found and fewest > 2:
        found = tissue_noise(stack.slices, stack.tiles, clear, most, 2, stride, stack.rounding)
    return found


def _clear_patches(stack: Stack, air: Crowd | None) -> tuple[Patches, float]:
    """Patches whose echoes are clear of the floor, and the power of the floor supposed.

    Where there is no air, or air that was made quiet, the floor is first looked for below the tissue.
    """
    lowest, n = air.power if air else 0.0, stack.coils(air)
    near = _patches(stack, lowest, 1)
    if not near.found or lowest > QUIET * 2 * n * near.sigma**2:
        return near, lowest
    lowest = 2 * n * near.sigma**2 / SQUEEZED
    near = _patches(stack, lowest, 1)
    if not near.found:
        return near, lowest
    some = lit(stack, near.sigma)
    bound = min(_bound(stack, some, np.full(some.size, near.sigma)), LOUDEST)
    higher = 2 * max(n, bound) * near.sigma**2
    clearer = _patches(stack, higher, 1)
    return (clearer, higher) if clearer.found else (near, lowest)


def _of_any_stride(stack: Stack, near: Patches, lowest: float, air: Crowd | None) -> tuple[Patches, bool]:
    """Patches of neighbours, or of samples two or four apart where neighbours share their noise, and whether they do.

    Interpolation and raw filters make neighbours share it.
    """
    tissue, shared = _choose(near, _patches(stack, lowest, 2), stack, air)
    if shared:
        further, more = _choose(tissue, _patches(stack, lowest, 4), stack, air)
        tissue = further if more and further.scatter < UNEVEN else tissue
    return tissue, shared


def _choose(near: Patches, far: Patches, stack: Stack, air: Crowd | None) -> tuple[Patches, bool]:
    """Which of neighbouring and distant samples tells the noise of tissue, and whether neighbours share it.

    Sharing does not touch sigma by the air, but makes the power of its tiles scatter.
    """
    if not far.found or (near.found and far.scatter > WILD):
        return near, False
    shared = near.sigma < SHARED * far.sigma
    if air is not None and near.found:
        off = [abs(math.log(air.power / (2 * stack.coils(air) * one.sigma**2))) / 2 for one in (near, far)]
        if near.sigma < far.sigma and off[1] < off[0] - NEARER:
            shared = True
        elif off[0] < min(NEAR, off[1] - NEARER) and air.scatter < WHITE:
            shared = False
    return (far, True) if shared else (near, False)


def _bound(stack: Stack, some: NDArray[Any], sigma: NDArray[Any]) -> float:
    """N of tissue at most: nearly the lowest late power of its tiles over 2 sigma^2; infinite where too few tell it."""
    if some.size <= MANY:
        return np.inf
    late = stack.tiles.late_power[some]
    return quantile(np.maximum(late - stack.rounding, 0.0) / (2 * stack.pure(sigma**2)), LOWEST)


def _where(tiles: Tiles, some: NDArray[Any]) -> NDArray[np.float64]:
    """Slice, row and column from -1 to 1, of tiles."""
    slices, rows, columns = tiles.corners(some)
    y, x = (2 * (c / TILE + 0.5) / n - 1 for c, n in zip((rows, columns), tiles.grid, strict=True))
    return np.stack([slices, y, x], axis=1)


def _varying(stack: Stack, tissue: Patches, lowest: float, told: Crowd | None) -> Surface | None:
    """Map sigma where patches, or tiles of which nothing but the floor is left, differ by more than chance."""
    dark, low = np.empty(0, np.int64), np.empty(0)
    if told is not None:  # which tells N
        n = stack.n_coils or whole_coils(told.n_coils)
        dark = _dark(stack.tiles, n)
        dark = dark[:: max(1, dark.size // (MAPPED * len(stack.slices)))]
        level = stack.tiles.late_power[dark].astype(np.float64)
        low = 0.5 * np.log(stack.pure(level) / (2 * n) + stack.rounding)
    each = np.log(tissue.each)
    uneven = deviation(each) > CHANCE * math.sqrt(0.5 / float(np.median(tissue.freedom)))
    apart = dark.size > 0 and abs(float(np.median(low)) - math.log(tissue.sigma)) > APART
    if not (uneven or apart):
        return None
    tissue = _patches(stack, lowest, tissue.stride, MAPPED)
    where = np.concatenate([_where(stack.tiles, some) for some in (tissue.tiles, dark)])
    return surface_of(Places(where, np.concatenate([np.log(tissue.each), low])))


def _dark(tiles: Tiles, n_coils: float) -> NDArray[Any]:
    """Tiles of tissue of which nothing is left: around them late echoes do not decay any more and look like noise."""
    if tiles.echoes < 4:
        return np.empty(0, int)
    gone = _gone(tiles, tiles.sound & (tiles.zeros == 0))
    many = tiles.around(gone)
    if not np.any(many >= CROWDED):
        return np.empty(0, int)
    late = tiles.power[tiles.late]
    half = len(late) // 2
    parts = (mean_echoes(late, 0, half), mean_echoes(late, half, len(late)))
    early, last = (tiles.around(np.where(gone, part, 0.0)) for part in parts)
    shape = np.divide(tiles.magnitude[tiles.late] ** 2, late, out=np.ones_like(late), where=late > 0).mean(axis=0)
    noisy = tiles.around(np.where(gone, shape, 0.0)) < ratio_of_coils(ALIKE * n_coils) * many
    return np.flatnonzero(gone & (many >= CROWDED) & (early < (1 + STILL) * last) & noisy)


def _typical(stack: Stack, tissue: Patches, surface: Surface | None) -> float:
    if surface is None:
        return tissue.sigma
    tiles = stack.tiles
    some = np.flatnonzero(tiles.sound & (tiles.zeros == 0) & (tiles.magnitude[0] > IN_SIGHT * tissue.sigma))
    some = some[:: max(1, some.size // ASKED)]
    return float(np.exp(np.median(surface.at(_where(tiles, some))))) if some.size else tissue.sigma
