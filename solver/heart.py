"""A digital heart in its short axis: multi-echo images of the left ventricle whose truth is known.

The image is seen as readers see it: the right ventricle on the left, the front of the chest above it, the diaphragm
with the liver's dome below. Lengths are millimetres from the middle of the left ventricle, right and down. Echo times
of clinical protocols after Westwood 2003 (JMRI 18:33); the veins and lungs that bend the field near the free wall, but
not near the septum, after Anderson 2001 (Eur Heart J 22:2171).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from solver.model import GYROMAGNETIC_RATIO_MHZ_PER_T
from solver.phantom import Phantom

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

WESTWOOD_ECHO_TIMES_MS = (2.6, 4.62, 6.64, 8.66, 10.68, 12.7, 14.72, 16.74)
MYOCARDIUM_S0 = 300.0
# S0 relative to the myocardium, T2* in ms at 1.5 T.
TISSUES: Mapping[str, tuple[float, float]] = {
    "lung": (0.05, 1.5),
    "fat": (1.30, 45.0),
    "muscle": (0.80, 30.0),
    "liver": (0.90, 8.0),
    "spleen": (0.95, 20.0),
    "aorta": (1.35, 90.0),
    "pool": (1.35, 90.0),  # of the left ventricle
    "right pool": (1.30, 55.0),  # less oxygen
    "vein": (0.90, 6.0),
}
BLOOD = ("pool", "right pool", "aorta")
SLOW_RIM_MM = 2.0  # of blood among the trabeculae, which a black-blood preparation does not darken fully
SLOW_S0 = 0.45
EDGE_VOXELS = 0.45  # width of the point spread
SEPTUM_DEG = 45.0  # to either side of its middle


@dataclass(frozen=True, slots=True)
class Heart:
    """What the short axis is made of; times in ms, lengths in mm, angles in degrees, fractions as stated."""

    shape: tuple[int, int] = (192, 256)
    slices: int = 1
    spacing_mm: tuple[float, float] = (1.5625, 1.5625)
    t2star_ms: float = 20.0  # of the septum
    blood: Literal["bright", "black"] = "bright"
    flow: float = 0.0  # of the blood's signal, that ghosts spread over the heart; it does not decay
    pool_mm: float = 23.0  # radius of the left ventricle's blood
    wall_mm: float = 10.0
    shift_mm: tuple[float, float] = (5.0, 15.0)  # of its middle from that of the image, down and right
    turn_deg: float = 0.0  # of the whole chest, anticlockwise
    liver_t2star_ms: float = 8.0
    texture: float = 0.05  # R2* varies smoothly by at most this fraction
    lung_per_s: float = 25.0  # faster decay of the myocardium beside the lung
    field_strength_t: float = 1.5


def heart(anatomy: Heart, rng: np.random.Generator) -> Phantom:
    """Draw a heart; only the texture of R2* comes from ``rng``.

    The regions are "body", "air", "septum", "wall" (the rest of the left ventricle's muscle), "right wall" and each
    tissue. Raises ValueError for sizes that cannot be drawn.
    """
    if min(anatomy.t2star_ms, anatomy.liver_t2star_ms, anatomy.pool_mm, anatomy.wall_mm, *anatomy.spacing_mm) <= 0:
        raise ValueError("times, radii and spacings of a heart must be positive")
    labels = np.stack([_paint(anatomy, k) for k in range(anatomy.slices)])
    names = ("air", "septum", "wall", "right wall", "papillary", "slow", *TISSUES)
    regions = {name: labels == name for name in names}
    regions["body"] = ~regions["air"]
    rows, columns = _from_centre(anatomy)
    smooth_ppm = 0.4 * (0.6 * rows - 0.4 * columns) / 150.0
    return Phantom(
        s0=_amplitudes(labels, anatomy) * _shading(anatomy),
        r2star_per_s=_rates(regions, anatomy) * _texture(anatomy, rng),
        off_resonance_hz=np.broadcast_to(
            GYROMAGNETIC_RATIO_MHZ_PER_T * anatomy.field_strength_t * smooth_ppm, labels.shape
        ).copy(),
        phase_rad=np.zeros(labels.shape),
        regions=regions,
        spacing_mm=anatomy.spacing_mm,
    )


def complex_signal(anatomy: Heart, phantom: Phantom, echo_times_ms: Sequence[float]) -> NDArray[np.complex128]:
    """Return the noise-free complex signal (slices, K, L, M): decays, a little blurred, with ghosts of blood.

    Blood that pulses is written along the phase direction, here the rows, at every heart beat another strength.
    """
    t = np.asarray(echo_times_ms, dtype=np.float64) / 1000.0
    phase = phantom.phase_rad[..., None] + 2 * np.pi * phantom.off_resonance_hz[..., None] * t
    decay = phantom.s0[..., None] * np.exp(-phantom.r2star_per_s[..., None] * t) * np.exp(1j * phase)
    width = (0.0, EDGE_VOXELS, EDGE_VOXELS, 0.0)
    seen: NDArray[np.complex128] = ndimage.gaussian_filter(decay.real, width) + 1j * ndimage.gaussian_filter(
        decay.imag, width
    )
    if anatomy.flow:
        blood = np.logical_or.reduce([phantom.regions[name] for name in BLOOD])
        pulsing = np.where(blood, TISSUES["pool"][0] * MYOCARDIUM_S0, 0.0)
        spread = ndimage.uniform_filter1d(pulsing, phantom.s0.shape[2] // 2, axis=2, mode="constant")
        seen += anatomy.flow * spread[..., None] * np.exp(1j * phase)
    return seen


def _paint(anatomy: Heart, k: int) -> NDArray[np.str_]:
    """Label one slice, later structures over earlier ones; towards the apex the ventricles are smaller."""
    y, x = _from_centre(anatomy)
    along = (k - (anatomy.slices - 1) / 2) / max(anatomy.slices, 1)
    size = 1.0 - 0.15 * along
    pool, wall = anatomy.pool_mm * size, anatomy.wall_mm
    labels = np.full(anatomy.shape, "air", dtype="<U10")
    for name, shrink in (("fat", 0.0), ("muscle", 12.0), ("lung", 24.0)):
        labels[_ellipse(y, x, (0, -15, 128 - shrink, 172 - shrink))] = name
    labels[_ellipse(y, x, (112, -70, 78, 105)) & (labels == "lung")] = "liver"
    labels[_ellipse(y, x, (100, 75, 48, 45)) & (labels == "lung")] = "spleen"
    labels[_ellipse(y, x, (-6, -24, 46, 52 + wall)) & (labels == "lung")] = "fat"
    middle_mm, outer = -(pool + wall) * 0.62, pool + wall
    right = _ellipse(y, x, (2, middle_mm - 14, 0.92 * outer, 1.02 * outer))
    inside = _ellipse(y, x, (2, middle_mm - 14, 0.92 * outer - 4, 1.02 * outer - 4))
    labels[right], labels[inside] = "right wall", "right pool"
    labels[_ellipse(y, x, (48, 62, 11, 11))] = "aorta"
    ring, blood = _ellipse(y, x, (0, 0, outer, outer)), _ellipse(y, x, (0, 0, pool, pool))
    labels[ring] = "wall"
    angle = np.degrees(np.arctan2(y, -x))  # 0 towards the right ventricle
    labels[ring & (np.abs(angle) <= SEPTUM_DEG)] = "septum"
    labels[blood] = "slow" if anatomy.blood == "black" else "pool"
    labels[_ellipse(y, x, (0, 0, pool - SLOW_RIM_MM, pool - SLOW_RIM_MM))] = "pool"
    for row, column in ((0.5, 0.55), (-0.55, 0.5)):
        labels[_ellipse(y, x, (row * pool, column * pool, 4.0, 4.5))] = "papillary"
    labels[_ellipse(y, x, (0.74 * outer + 2, -0.74 * outer - 2, 2.5, 2.5))] = "vein"
    labels[_ellipse(y, x, (0.55 * outer + 1.5, 0.87 * outer + 1.5, 2.5, 2.5))] = "vein"
    return labels


def _from_centre(anatomy: Heart) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Down and right from the middle of the left ventricle, in the chest's own directions, mm."""
    down, right = (
        (np.arange(n) - (n - 1) / 2) * step - shift
        for n, step, shift in zip(anatomy.shape, anatomy.spacing_mm, anatomy.shift_mm, strict=True)
    )
    turn = np.radians(anatomy.turn_deg)
    y = np.cos(turn) * down[:, None] + np.sin(turn) * right[None, :]
    x = -np.sin(turn) * down[:, None] + np.cos(turn) * right[None, :]
    return y, x


def _ellipse(y: NDArray[np.float64], x: NDArray[np.float64], at: tuple[float, float, float, float]) -> Mask:
    """Inside an ellipse: its middle down and right, its half height and half width."""
    row, column, height, width = at
    inside: Mask = ((y - row) / height) ** 2 + ((x - column) / width) ** 2 < 1
    return inside


def _amplitudes(labels: NDArray[np.str_], anatomy: Heart) -> NDArray[Any]:
    relative = {name: amplitude for name, (amplitude, _) in TISSUES.items()}
    relative |= dict.fromkeys(("septum", "wall", "right wall", "papillary"), 1.0) | {"slow": SLOW_S0}
    if anatomy.blood == "black":
        relative |= dict.fromkeys(BLOOD, 0.06)
    s0 = np.zeros(labels.shape)
    for name, amplitude in relative.items():
        s0[labels == name] = amplitude * MYOCARDIUM_S0
    return s0


def _rates(regions: Mapping[str, Mask], anatomy: Heart) -> NDArray[np.float64]:
    rate = np.zeros(regions["air"].shape)
    for name, (_, t2star_ms) in TISSUES.items():
        rate[regions[name]] = 1000.0 / t2star_ms
    rate[regions["liver"]] = 1000.0 / anatomy.liver_t2star_ms
    rate[regions["slow"]] = 1000.0 / TISSUES["pool"][1]
    muscle = np.logical_or.reduce([regions[name] for name in ("septum", "wall", "right wall", "papillary")])
    step = (1e6, *anatomy.spacing_mm)
    to_lung = ndimage.distance_transform_edt(~(regions["lung"] | regions["vein"]), sampling=step)
    beside = anatomy.lung_per_s * np.exp(-to_lung / 6.0) * ~regions["septum"]
    rate[muscle] = 1000.0 / anatomy.t2star_ms + beside[muscle]
    return rate


def _shading(anatomy: Heart) -> NDArray[np.float64]:
    """Sensitivity of a coil on the front of the chest: 1 there, 0.6 at the back."""
    y, x = _from_centre(anatomy)
    forward = np.clip((-0.6 * y - 0.8 * x + 150) / 300, 0, 1)
    return np.asarray(0.6 + 0.4 * forward)


def _texture(anatomy: Heart, rng: np.random.Generator) -> NDArray[np.float64]:
    white = rng.standard_normal((anatomy.slices, *anatomy.shape))
    smooth = ndimage.gaussian_filter(white, (1.0, *(8.0 / step for step in anatomy.spacing_mm)), mode="wrap")
    spread = float(smooth.std()) or 1.0
    return np.asarray(1 + anatomy.texture * np.clip(smooth / (2 * spread), -1, 1))
