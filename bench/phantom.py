"""A rack of vials in a bath, as a physicist scans it every week: the same rates, laid down a little differently."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.anatomy import Exam

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATES_PER_S = (25.0, 45.0, 70.0, 100.0, 140.0, 190.0, 250.0, 320.0)
ECHO_TIMES_MS = tuple(1.2 + 1.1 * echo for echo in range(8))
ROWS, COLUMNS, SPACING_MM = 80, 128, 1.6
RADIUS_MM, WALL_MM, PITCH_MM = 10.0, 1.6, 28.0
VIAL, BATH = 1000.0, 1300.0  # signal at echo time 0
BATH_PER_S = 8.0
FINER = 4  # samples a side of a voxel, so that edges share it


@dataclass(frozen=True, slots=True)
class Setting:
    """What differs from scan to scan: how it was laid down, how warm it is, how the scanner does today."""

    shift_mm: tuple[float, float] = (0.0, 0.0)  # to the right, down
    turned_deg: float = 0.0
    factors: tuple[float, ...] = (1.0,) * len(RATES_PER_S)  # on the rate of each vial
    gain: float = 1.0
    noise: float = 8.0  # standard deviation of the real and the imaginary part


def scan(setting: Setting, rng: np.random.Generator, slices: int = 1, field_t: float = 1.5) -> Exam:
    """One scan as the scanner would give it, magnitudes rounded to whole numbers."""
    clean = np.stack([_clean(setting)] * slices)
    real, imaginary = rng.normal(0.0, setting.noise, (2, *clean.shape))
    signal = np.rint(np.hypot(clean + real, imaginary)).astype(np.uint16)
    shape, nothing = signal.shape[:3], np.zeros(signal.shape[:3], bool)
    half = (-COLUMNS / 2 * SPACING_MM, -ROWS / 2 * SPACING_MM)
    return Exam(
        signal=signal,
        echo_times_ms=ECHO_TIMES_MS,
        spacing_mm=(SPACING_MM, SPACING_MM, 8.0),
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        positions_mm=tuple((*half, 8.0 * k) for k in range(slices)),
        field_t=field_t,
        labels=np.zeros(shape, np.uint8),
        r2star_per_s=np.zeros(shape, np.float32),
        liver=nothing,
        whole=nothing,
        sigma=setting.noise,
        n_coils=1,
        noise_map=np.ones(shape, np.float32),
        meta={"scene": "vials"},
    )


def middles_mm(setting: Setting) -> NDArray[np.float64]:
    """The middle of each vial, to the right and down from the middle of the image, in the order of its rates."""
    places = np.array([((k % 4 - 1.5) * PITCH_MM, (k // 4 - 0.5) * PITCH_MM) for k in range(len(RATES_PER_S))])
    angle = math.radians(setting.turned_deg)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return np.asarray(places @ turn + np.array(setting.shift_mm))


def _clean(setting: Setting) -> NDArray[np.float64]:
    """Signal (K, L, M) without noise: each voxel the mean over what lies in it."""
    rows, columns = ((np.arange(n * FINER) + 0.5) / FINER - 0.5 for n in (ROWS, COLUMNS))
    x = (columns[None] - COLUMNS / 2) * SPACING_MM
    y = (rows[:, None] - ROWS / 2) * SPACING_MM
    s0 = np.where((np.abs(x) < 72.0) & (np.abs(y) < 44.0), BATH, 0.0)
    rate = np.full(s0.shape, BATH_PER_S)
    for middle, own, factor in zip(middles_mm(setting), RATES_PER_S, setting.factors, strict=True):
        away = np.hypot(x - middle[0], y - middle[1])
        s0[away < RADIUS_MM + WALL_MM] = 0.0
        s0[away < RADIUS_MM] = VIAL
        rate[away < RADIUS_MM] = own * factor
    times_s = np.array(ECHO_TIMES_MS) * 1e-3
    fine = setting.gain * s0[..., None] * np.exp(-rate[..., None] * times_s)
    return np.asarray(fine.reshape(ROWS, FINER, COLUMNS, FINER, -1).mean(axis=(1, 3)))
