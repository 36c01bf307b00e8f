"""From probabilities to masks at the image's resolution: the liver, its parenchyma, the region to measure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]

RIM_MM = 4.0  # of the liver that is left out: partial volume, breathing
THIN_RIM_MM = 2.0  # where the liver is too thin for that
GAS_MM = (25.0, 20.0, 15.0, 10.0)  # from lungs and gas; the first that leaves enough is kept
FAR_LEFT, FAR_ENOUGH_MM2 = 0.5, 2500.0  # of the region, or as much: what must be left far from gas
ENOUGH_MM2 = 600.0  # a region smaller than that is "too thin"
SMALLEST_PIECE = 0.12  # of the largest: smaller pieces of a slice are not followed
BAND_MM = (8.0, 5.0)  # within and beyond the network's border, where the maps may move it
BEYOND_BAND = 4  # pixels that smoothing reaches beyond it
LOCAL_MM = 18.0  # over which the liver's own rate and brightness may change
VESSEL_REACH_MM = 14.0
ZONE_MM = 4.0  # smoothing that tells a zone from texture and noise
ZONE_DEVIATIONS = 4.0  # of the smoothed rate within the liver, from which on a zone is another tissue's,
ZONE_LOGS = (0.22, 0.40)  # but never nearer, and never farther, than these differences of logarithms: 25 % and 50 %
ZONE_KNOWN = 0.8  # of the liver must have a valid fit: near the limit of what is measurable, noise makes zones
ZONE_FILLED = 0.3  # of the smoothing's weight must be known
FEWEST = 60  # pixels from which the maps' distribution is learnt
TRUST_IN_MAPS = 2.0  # weight of the maps' likeness against the network's log odds
TAIL = 2.2  # deviations at which a pixel is as unlike as like


@dataclass(frozen=True, eq=False)
class Rates:
    """R2* (1/s), S0 and where they are known, of a turned slice (K, L)."""

    r2star: Array
    s0: Array
    valid: Mask

    @cached_property
    def logs(self) -> tuple[Array, Array]:
        """Natural logarithms, bounded where nothing is known."""
        return np.log(np.maximum(self.r2star, 1.0)), np.log(np.maximum(self.s0, 1e-3))


def depth_mm(mask: Mask, spacing_mm: tuple[float, float]) -> Array:
    """Distance to the nearest pixel outside; the image's edge counts as outside."""
    inside: Array = ndi.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)[1:-1, 1:-1]
    return inside


def box_around(probability: Array, spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
    """Return the rows and columns out of which ``outline`` cannot grow; one pixel where there is no liver."""
    found = []
    for axis, mm in enumerate(spacing_mm):
        places = np.flatnonzero((probability > 0.5).any(axis=1 - axis))
        low, high = (places[0], places[-1] + 1) if places.size else (0, 1)
        margin = int(np.ceil(BAND_MM[1] / mm)) + BEYOND_BAND
        found.append(slice(max(0, int(low) - margin), int(high) + margin))
    return found[0], found[1]


def pieces(mask: Mask, share: float = SMALLEST_PIECE) -> Mask:
    """Connected pieces that are not small beside the largest."""
    labels, count = ndi.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    large: Mask = np.isin(labels, 1 + np.flatnonzero(sizes >= share * sizes.max()))
    return large


def outline(probability: Array, rates: Rates | None, spacing_mm: tuple[float, float]) -> Mask:
    """Return the whole liver: where it is likelier than not, its border moved by what the maps say."""
    mask = pieces(ndi.binary_fill_holes(probability > 0.5))
    return mask if rates is None else _refined(mask, probability, rates, spacing_mm)


def _refined(mask: Mask, probability: Array, rates: Rates, spacing_mm: tuple[float, float]) -> Mask:
    """Let pixels near the border that look like the liver's depth join, and others leave."""
    core = depth_mm(mask, spacing_mm) > BAND_MM[0]
    known = core & rates.valid
    if known.sum() < FEWEST:
        return mask
    near = ndi.distance_transform_edt(~mask, sampling=spacing_mm) <= BAND_MM[1]
    unlike = sum(deviation**2 for deviation in _deviations(rates.logs, known, spacing_mm))
    # Where nothing is known the network stands, with a little doubt: vessels and fat often have no valid fit.
    likeness = np.where(rates.valid, 2 * np.exp(-0.5 * unlike) - 0.9, -0.15)
    certain = np.clip(probability, 0.02, 0.98)
    odds = np.log(certain / (1 - certain)) + TRUST_IN_MAPS * ndi.gaussian_filter(likeness, 0.7)
    moved = np.where(near & ~core, odds > 0, mask)
    opened: Mask = pieces(ndi.binary_opening(moved))
    return opened


def _deviations(images: Sequence[Array], known: Mask, spacing_mm: tuple[float, float]) -> Iterator[Array]:
    """Distance of each image from its local average over the core, in deviations."""
    blur = [LOCAL_MM / d for d in spacing_mm]
    weight = _blurred(known, blur) + 1e-4
    for values in images:
        local = _blurred(np.where(known, values, 0), blur) / weight
        local = np.where(weight < 0.02, np.median(values[known]), local)
        away = values - local
        spread = 1.4826 * float(np.median(np.abs(away[known] - np.median(away[known])))) + 0.03
        yield away / (TAIL * spread)


def parenchyma(mask: Mask, inside: Array, rates: Rates | None, spacing_mm: tuple[float, float]) -> Mask:
    """Leave out vessels, bile, lesions: what the network calls so, and what is unlike its surroundings on the maps."""
    kept = mask & (inside <= 0.5)
    if rates is None:
        return kept
    known = kept & rates.valid
    if known.sum() < FEWEST:
        return kept
    like = known
    for _ in range(3):
        dr, ds = _from_local(rates.logs, like, spacing_mm)
        sr, ss = (1.4826 * float(np.median(np.abs(d[like]))) + 0.015 for d in (dr, ds))
        odd = (dr < -max(3.2 * sr, 0.10)) | (dr > max(4.0 * sr, 0.2)) | (np.abs(ds) > max(3.5 * ss, 0.15))
        like = known & ~odd
        if like.sum() < FEWEST:
            return kept
    # Single pixels are noise, not vessels.
    without: Mask = kept & ~ndi.binary_opening(known & odd, np.ones((2, 2)))
    if known.sum() < ZONE_KNOWN * kept.sum():
        return without
    return without & ~_unlike_the_rest(rates.logs[0], like, spacing_mm)


def _unlike_the_rest(rate: Array, like: Mask, spacing_mm: tuple[float, float]) -> Mask:
    """Wide zones whose rate is not the liver's: disturbed by air or metal, or another organ taken for liver."""
    blur = [ZONE_MM / d for d in spacing_mm]
    weight = _blurred(like, blur)
    smooth = _blurred(np.where(like, rate, 0), blur) / np.maximum(weight, 1e-3)
    usual = float(np.median(rate[like]))
    spread = 1.4826 * float(np.median(np.abs(smooth[like] - usual)))
    away = np.clip(ZONE_DEVIATIONS * spread, *ZONE_LOGS)
    unlike: Mask = (weight > ZONE_FILLED) & (np.abs(smooth - usual) > away)
    return unlike


def _from_local(images: Sequence[Array], among: Mask, spacing_mm: tuple[float, float]) -> list[Array]:
    """Difference of each image from its average about each pixel."""
    blur = [VESSEL_REACH_MM / d for d in spacing_mm]
    weight = _blurred(among, blur) + 1e-6
    return [values - _blurred(np.where(among, values, 0), blur) / weight for values in images]


def _blurred(values: Array, pixels: list[float]) -> Array:
    """Gaussian average with nothing beyond the edge, so that a part of an image gives what the whole gives."""
    blurred: Array = ndi.gaussian_filter(values.astype(np.float32), pixels, truncate=3, mode="constant")
    return blurred


def within_the_rim(mask: Mask, kept: Mask, spacing_mm: tuple[float, float]) -> tuple[Mask, float]:
    """Return the region and the rim taken off (mm): less of it where the liver is thin."""
    depth = depth_mm(mask, spacing_mm)
    pixel = spacing_mm[0] * spacing_mm[1]
    region = kept & (depth > RIM_MM)
    if region.sum() * pixel >= ENOUGH_MM2 or not mask.any():
        return region, RIM_MM
    return kept & (depth > THIN_RIM_MM), THIN_RIM_MM


def from_gas_mm(gas: Array, spacing_mm: tuple[float, float]) -> Array:
    """Distance of every pixel to the nearest that is likelier gas or lung than not; infinite where there is none."""
    near = gas > 0.5
    if not near.any():
        return np.full(gas.shape, np.inf)
    away: Array = ndi.distance_transform_edt(~near, sampling=spacing_mm)
    return away


def far_from_gas(region: Mask, away_mm: Array, spacing_mm: tuple[float, float]) -> Mask:
    """What of a region lies as far from lungs and bowel gas, whose field speeds decays up, as leaves enough of it."""
    least = min(FAR_LEFT * region.sum(), FAR_ENOUGH_MM2 / (spacing_mm[0] * spacing_mm[1]))
    for mm in GAS_MM:
        far: Mask = region & (away_mm > mm)
        if far.sum() >= least:
            return far
    return region
