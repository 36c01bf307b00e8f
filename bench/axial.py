"""What a real axial series of 12 echoes says of fat and field: ``python -m bench.axial FILE``.

Magnitudes (K, L, M) of one slice, their echo times and field, without a truth. Of its voxels whose magnitudes beat most
the frequency of fat is asked for: each is the better of water and fat, one rate and a factor between odd and even
echoes, over grids of all of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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


def beating(magnitudes: Array) -> Array:
    """The voxels (n, M) of the body that beat most."""
    body = magnitudes[magnitudes[..., :2].max(-1) > BRIGHT]
    swing = np.abs(np.diff(np.log(np.maximum(body, 1.0)), 2, axis=1)).mean(1)
    found: Array = body[swing > np.quantile(swing, BEATING)]
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
    voxels, rows = beating(magnitudes).astype(np.float32), []
    for speed in SPEEDS:
        left, fraction = explained(voxels, t_s, field_t, speed)
        quarter, half, most = np.quantile(fraction, [0.25, 0.5, 0.9])
        rows.append([f"{speed:.2f}", f"{np.median(left):.1%}", f"{quarter:.0%}", f"{half:.0%}", f"{most:.0%}"])
    columns = ["speed of fat", "left", "fat, lower quartile", "median", "upper decile"]
    return Table(f"Fat of the {len(voxels)} voxels that beat most, by its speed over the expected one", columns, rows)


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
    for table in (of_speeds(magnitudes, t_ms / 1000, field_t), of_boxes(magnitudes, t_ms, field_t)):
        print(table.markdown(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
