"""What a real axial series of 12 echoes says of fat and field: ``python -m bench.axial FILE``.

Magnitudes (K, L, M) of one slice, their echo times and field, without a truth. Of its voxels whose magnitudes beat most
the frequency of fat is asked for: each is the better of water and fat, one rate and a factor between odd and even
echoes, over grids of all of them. Where fat lies in a thin layer and where it fills a bone, it is also asked whether it
turns at another frequency as a whole, which another echo spacing would not explain.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import least_squares

from dicomnode import fit as fitting
from dicomnode.compare.tables import Table
from solver.model import FAT_PEAKS, GYROMAGNETIC_RATIO_MHZ_PER_T

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

BOXES = {  # rows, columns
    "right liver, front": (slice(115, 135), slice(60, 85)),
    "right liver, back": (slice(135, 150), slice(70, 95)),
    "left liver": (slice(100, 115), slice(110, 130)),
}
BRIGHT, BEATING = 20.0, 0.9  # in the first echoes; quantile of the mean second difference of ln of the magnitudes
SPEEDS = (0.90, 0.92, 0.94, 0.96, 0.98, 1.00, 1.02)  # of fat against water, over what spectrum and field say
FRACTIONS = np.linspace(0, 1, 41)
RATES_PER_S = (*np.arange(10.0, 200.0, 8.0), 240.0, 300.0, 400.0)
SWINGS = (-0.1, -0.05, 0.0, 0.05, 0.1)
SIGMA, SIGMA_DOUBT = 0.45, 0.06
PLACES = {  # rows, columns, and whether only what beats most there is meant
    "marrow of one arm": (slice(149, 152), slice(13, 16), False),
    "marrow of the other arm": (slice(151, 154), slice(243, 246), False),
    "rim at the back": (slice(171, 176), slice(88, 112), True),
    "rim at the front": (slice(66, 73), slice(92, 108), True),
}
MOST_SHIFT_PPM, MOST_RATE_PER_S, MOST_FIELD_HZ = 0.6, 400.0, 75.0
STARTS = tuple(itertools.product((0.2, 0.5, 0.8), (0.0, 0.25)))  # fractions of fat, shifts in ppm


def beating(magnitudes: Array) -> Array:
    """Which voxels (K, L) of the body beat most."""
    body = magnitudes[..., :2].max(-1) > BRIGHT
    swing = np.abs(np.diff(np.log(np.maximum(magnitudes, 1.0)), 2, axis=-1)).mean(-1)
    found: Array = body & (swing > np.quantile(swing[body], BEATING))
    return found


def explained(voxels: Array, t_s: Array, field_t: float, speed: float) -> tuple[Array, Array]:
    """What the best model leaves (n,), root mean square over the largest sample, and its fraction of fat (n,)."""
    ppm, amplitude = np.array(FAT_PEAKS).T
    hertz = speed * GYROMAGNETIC_RATIO_MHZ_PER_T * field_t * ppm
    fat = np.exp(2j * np.pi * np.outer(t_s, hertz)) @ (amplitude / amplitude.sum())
    signs = 1.0 - 2.0 * (np.arange(t_s.size) % 2)
    mixes = np.abs(1 - FRACTIONS[:, None] + FRACTIONS[:, None] * fat)
    decays = np.exp(-np.outer(RATES_PER_S, t_s))
    swings = 1 + np.outer(SWINGS, signs)
    shapes = np.einsum("fm,rm,sm->frsm", mixes, decays, swings).reshape(-1, t_s.size)
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    fractions = np.repeat(FRACTIONS, len(RATES_PER_S) * len(SWINGS))
    power = voxels @ shapes.T
    best = power.argmax(1)
    left = np.maximum((voxels**2).sum(1) - power.max(1) ** 2, 0.0)
    return np.sqrt(left / t_s.size) / voxels.max(1), fractions[best]


def of_speeds(magnitudes: Array, t_s: Array, field_t: float) -> Table:
    """What is left, and how much fat it is, by how fast fat turns."""
    voxels, rows = magnitudes[beating(magnitudes)].astype(np.float32), []
    for speed in SPEEDS:
        left, fraction = explained(voxels, t_s, field_t, speed)
        quarter, half, most = np.quantile(fraction, [0.25, 0.5, 0.9])
        rows.append([f"{speed:.2f}", f"{np.median(left):.1%}", f"{quarter:.0%}", f"{half:.0%}", f"{most:.0%}"])
    columns = ["speed of fat", "left", "fat, lower quartile", "median", "upper decile"]
    return Table(f"Fat of the {len(voxels)} voxels that beat most, by its speed over the expected one", columns, rows)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Magnitudes of water and fat, a field across the slice and a factor between odd and even echoes."""

    t_s: Array
    field_t: float
    shifts: bool  # all peaks of fat turn otherwise than the standard says, by as much
    two_rates: bool  # fat decays unlike water

    def magnitudes(self, x: Array) -> Array:
        """Of water, fat, shift in ppm, field in Hz, factor, rate of water and of fat: (M,)."""
        water, fat, shift, across, swing, *rates = x
        ppm, amplitude = np.array(FAT_PEAKS).T
        hertz = GYROMAGNETIC_RATIO_MHZ_PER_T * self.field_t * (ppm + shift * self.shifts)
        turning = np.exp(2j * np.pi * np.outer(self.t_s, hertz)) @ (amplitude / amplitude.sum())
        slow, fast = (np.exp(-rates[k * self.two_rates] * self.t_s) for k in (0, 1))
        swings = 1 + swing * (1.0 - 2.0 * (np.arange(self.t_s.size) % 2))
        mixed: Array = np.abs(water * slow + fat * turning * fast) * swings * np.sinc(across * self.t_s)
        return mixed

    def fit(self, voxel: Array) -> tuple[float, float, float]:
        """What the best of it leaves of a voxel (M,), over its largest sample; fraction of fat; shift in ppm."""
        top = float(voxel.max())
        low = [0.0, 0.0, -MOST_SHIFT_PPM, 0.0, SWINGS[0], 0.0, 0.0]
        high = [5 * top, 5 * top, MOST_SHIFT_PPM, MOST_FIELD_HZ, SWINGS[-1], MOST_RATE_PER_S, MOST_RATE_PER_S]
        tried = (
            least_squares(
                lambda x: self.magnitudes(x) - voxel,
                [top * (1 - fraction), top * fraction, shift, 15.0, 0.0, 50.0, 50.0],
                bounds=(low, high),
                x_scale=[top, top, 0.05, 20.0, 0.05, 30.0, 30.0],
                max_nfev=60,
            )
            for fraction, shift in STARTS
        )
        best = min(tried, key=lambda one: one.cost)
        water, fat, shift = best.x[:3]
        return float(np.sqrt(2 * best.cost / voxel.size)) / top, float(fat / (water + fat)), float(shift)


def of_places(magnitudes: Array, t_s: Array, field_t: float) -> Table:
    """Whether fat turns as the standard says where it lies in a layer and where it fills a bone; medians."""
    rows, beat = [], beating(magnitudes)
    for name, (down, across, only_beating) in PLACES.items():
        here = beat[down, across] if only_beating else np.ones_like(beat[down, across])
        voxels = magnitudes[down, across][here].astype(np.float64)
        row = [name, str(len(voxels))]
        for shifts, two_rates in ((False, False), (True, False), (True, True)):
            mixture = Mixture(t_s, field_t, shifts, two_rates)
            left, fraction, shift = np.median([mixture.fit(voxel) for voxel in voxels], axis=0)
            row += [f"{left:.1%} / {fraction:.0%}"] + [f"{shift:+.2f} ppm"] * (shifts and not two_rates)
        rows.append(row)
    columns = ["where", "voxels", "left / fat", "shifted: left / fat", "by", "and of a rate of its own: left / fat"]
    return Table("Fat that may turn otherwise as a whole", columns, rows)


def of_boxes(magnitudes: Array, t_ms: Array, field_t: float) -> Table:
    """What a field across the slice does to parts of the liver."""
    noise, rows = fitting.Noise(SIGMA, 1.0, "air", "high", SIGMA_DOUBT), []
    times = tuple(map(float, t_ms))
    for name, (down, across) in BOXES.items():
        region = np.zeros((1, *magnitudes.shape[:2]), bool)
        region[0, down, across] = True
        curve, _ = fitting.decay(magnitudes[None], times, region, noise)
        bent = fitting.sensitivity(curve, noise, field_t, int(region.sum())).dephasing
        if bent is None or curve.r2star_per_s is None:
            continue
        plain = curve.r2star_per_s
        beside = plain / (1 + bent.shift)
        rows.append([name, f"{plain:.0f} /s", f"{bent.hz:.0f} Hz", f"{beside:.0f} /s", f"{bent.evidence:.0f}"])
    columns = ["part", "one exponential", "field across the slice", "rate beside it", "ln of the odds"]
    return Table("Parts of the liver, by a field that changes across the slice", columns, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help=".npz that holds magnitude, echo_times_ms, field_strength_t")
    with np.load(parser.parse_args().file) as file:
        magnitudes, t_ms, field_t = file["magnitude"], file["echo_times_ms"], float(file["field_strength_t"])
    t_s = t_ms / 1000
    tables = (of_speeds(magnitudes, t_s, field_t), of_places(magnitudes, t_s, field_t))
    for table in (*tables, of_boxes(magnitudes, t_ms, field_t)):
        print(table.markdown(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
