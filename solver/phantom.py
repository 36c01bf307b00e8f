"""Digital phantoms: multi-echo images whose truth is known.

The paper's phantom is B (Brigliadori, "Quantification of Hepatic Iron Overload using MRI"), Experiments. The abdomen is
drawn from ellipses in fractions of the body, so that it keeps its proportions at any matrix size, with vessels and the
lesion in millimetres, because their size decides whether a regulariser smooths them away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from solver.model import GYROMAGNETIC_RATIO_MHZ_PER_T, fat_turning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array = NDArray[np.floating[Any]]
Complex = NDArray[np.complex128]
Mask = NDArray[np.bool_]

PAPER_ECHO_TIMES_MS = (2.58, 4.81, 7.59, 9.89, 12.12, 14.35, 16.58, 18.88)
PAPER_S0 = (155.0, 255.0, 355.0, 455.0)
PAPER_T2STAR_MS = (5.0, 10.0, 15.0, 20.0)
FAT_SHIFT_PPM = -3.4  # the main peak of fat relative to water


@dataclass(frozen=True, slots=True)
class Fat:
    """Fat that shares voxels with water: its signal fraction (slices, K, L), and the field that lets it turn, in T."""

    fraction: Array
    field_strength_t: float

    def beside_water(self, t_ms: NDArray[np.float64]) -> Complex:
        """What a voxel's water is multiplied by at each echo, (slices, K, L, M): six peaks (Hamilton et al. 2011)."""
        fraction = self.fraction[..., None]
        mixed: Complex = 1 - fraction + fraction * fat_turning(t_ms, self.field_strength_t)
        return mixed


@dataclass(frozen=True, slots=True)
class Phantom:
    """The truth of an object: every map is (slices, K, L).

    ``s0`` in signal units, ``r2star_per_s`` in 1/s (0 in air), ``off_resonance_hz`` and ``phase_rad`` for the complex
    signal, ``regions`` named masks of the same shape, ``spacing_mm`` between rows and columns.
    """

    s0: Array
    r2star_per_s: Array
    off_resonance_hz: Array
    phase_rad: Array
    regions: Mapping[str, Mask]
    spacing_mm: tuple[float, float]
    fat: Fat | None = None

    @property
    def t2star_ms(self) -> Array:
        """T2* in ms; NaN where nothing decays."""
        return 1000.0 / np.where(self.r2star_per_s > 0, self.r2star_per_s, np.nan)


def paper_images(shape: tuple[int, int] = (32, 32)) -> Phantom:
    """Return the four uniform images of B (Table 1) as the four slices of one phantom."""
    size = (len(PAPER_S0), *shape)
    rate = 1000.0 / np.array(PAPER_T2STAR_MS)
    return Phantom(
        s0=_uniform(PAPER_S0, size),
        r2star_per_s=_uniform(rate, size),
        off_resonance_hz=np.zeros(size),
        phase_rad=np.zeros(size),
        regions={"body": np.ones(size, dtype=bool)},
        spacing_mm=(1.0, 1.0),
    )


def _uniform(values: ArrayLike, size: tuple[int, int, int]) -> Array:
    return np.ascontiguousarray(np.broadcast_to(np.reshape(values, (-1, 1, 1)), size), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Abdomen:
    """What the abdomen is made of; times in ms, lengths in mm, fractions as stated."""

    shape: tuple[int, int] = (192, 256)
    slices: int = 1
    spacing_mm: tuple[float, float] = (1.6, 1.6)
    liver_t2star_ms: float = 8.0
    liver_s0: float = 300.0
    texture: float = 0.08  # R2* varies smoothly by at most this fraction
    texture_scale_mm: float = 15.0
    vessels: bool = True
    lesion_diameter_mm: float = 0.0  # 0: no lesion
    lesion_factor: float = 1.6  # R2* of the lesion over that of the liver
    shading: float = 0.2  # S0 falls by this fraction from the front of the body to its back
    air: bool = True  # False: the body fills the field of view
    fat_mm: float = 14.0  # thickness of the subcutaneous ring
    field_strength_t: float = 3.0
    inhomogeneity_ppm: float = 0.5
    liver_fat: float = 0.0  # of the liver's signal


# Row, column, half-height, half-width in fractions of the body's half axes; the patient's right is on the left.
Ellipse = tuple[float, float, float, float]
ORGANS: tuple[tuple[str, Ellipse], ...] = (
    ("stomach", (-0.30, 0.55, 0.30, 0.24)),
    ("liver", (0.02, -0.44, 0.68, 0.43)),
    ("liver", (-0.36, -0.02, 0.32, 0.42)),
    ("spleen", (0.32, 0.66, 0.32, 0.18)),
    ("spine", (0.56, 0.00, 0.22, 0.14)),
    ("aorta", (0.24, 0.08, 0.09, 0.065)),
)
# Centre in the same fractions; height and width in mm.
VESSELS: tuple[Ellipse, ...] = (
    (-0.02, -0.28, 12.0, 26.0),
    (-0.28, -0.55, 9.0, 9.0),
    (0.34, -0.40, 8.0, 14.0),
    (-0.34, -0.18, 6.0, 8.0),
    (0.22, -0.70, 5.0, 5.0),
    (-0.38, 0.16, 5.0, 5.0),
    (0.46, -0.58, 4.0, 4.0),
)
LESION_CENTRE = (0.12, -0.50)
# S0 relative to the liver, T2* in ms at 3 T where the anatomy and not the iron decides it.
TISSUES: Mapping[str, tuple[float, float]] = {
    "muscle": (0.73, 30.0),
    "fat": (1.40, 40.0),
    "stomach": (0.85, 35.0),
    "spleen": (0.80, 15.0),
    "spine": (0.90, 12.0),
    "aorta": (0.60, 28.0),
    "vessels": (0.60, 25.0),
}


def abdomen(anatomy: Abdomen, rng: np.random.Generator) -> Phantom:
    """Draw an abdomen; only the texture of R2* comes from ``rng``.

    The regions are "body", "air", "liver" (parenchyma without vessels and lesion), "vessels", "lesion" and each organ.
    A lesion runs through every slice. Raises ValueError for sizes or fractions that cannot be drawn.
    """
    _check(anatomy)
    labels = np.stack([_paint(anatomy, z) for z in _heights(anatomy.slices)])
    regions = {name: labels == name for name in ("air", "fat", "muscle", "liver", "lesion", *TISSUES)}
    regions["body"] = ~regions["air"]
    return Phantom(
        s0=_proton_density(labels, anatomy) * _shading(anatomy),
        r2star_per_s=_decay_rate(labels, anatomy) * _texture(anatomy, rng),
        off_resonance_hz=_off_resonance(regions["fat"], anatomy),
        phase_rad=np.broadcast_to(_coil_phase(anatomy), labels.shape).copy(),
        regions=regions,
        spacing_mm=anatomy.spacing_mm,
        fat=Fat(anatomy.liver_fat * regions["liver"], anatomy.field_strength_t) if anatomy.liver_fat else None,
    )


def _check(anatomy: Abdomen) -> None:
    if min(*anatomy.shape, anatomy.slices) < 1:
        raise ValueError(f"shape and slices must be at least 1, not {anatomy.shape} and {anatomy.slices}")
    if not all(0 <= one < 1 for one in (anatomy.texture, anatomy.shading, anatomy.liver_fat)):
        raise ValueError("texture, shading and liver_fat are fractions from 0 up to 1")
    if min(anatomy.liver_t2star_ms, anatomy.liver_s0, anatomy.lesion_factor, *anatomy.spacing_mm) <= 0:
        raise ValueError("liver_t2star_ms, liver_s0, lesion_factor and spacing_mm must be positive")


def _heights(slices: int) -> Array:
    """Position of each slice from the feet (−1) to the head (+1); a single slice lies in the middle."""
    return (np.arange(slices) - (slices - 1) / 2) / max(slices / 2, 1)


def _paint(anatomy: Abdomen, z: float) -> NDArray[np.str_]:
    """Label one slice, later structures over earlier ones."""
    rows, columns = _body_coordinates(anatomy)
    half_mm = _half_axes_mm(anatomy)
    size = 1 - 0.12 * z * z
    inner = [1 - anatomy.fat_mm / half for half in half_mm]
    wall = [1 - (anatomy.fat_mm + 8.0) / half for half in half_mm]
    labels = np.full(anatomy.shape, "air", dtype="<U8")
    labels[_inside(rows, columns, (0, 0, 1, 1))] = "fat"
    labels[_inside(rows, columns, (0, 0, *inner))] = "muscle"
    cavity = _inside(rows, columns, (0, 0, *wall))
    for name, (row, column, height, width) in ORGANS:
        labels[_inside(rows, columns, (row + 0.03 * z, column, height * size, width * size)) & cavity] = name
    for row, column, height_mm, width_mm in VESSELS if anatomy.vessels else ():
        axes = (height_mm / 2 / half_mm[0], width_mm / 2 / half_mm[1])
        labels[_inside(rows, columns, (row, column + 0.06 * z, *axes)) & (labels == "liver")] = "vessels"
    labels[_lesion(rows, columns, anatomy)] = "lesion"
    return labels


def _half_axes_mm(anatomy: Abdomen) -> tuple[float, float]:
    """Half height and half width of the body; without air it reaches beyond the corners of the image."""
    fraction = (0.42, 0.44) if anatomy.air else (0.80, 0.80)
    height, width = (f * n * d for f, n, d in zip(fraction, anatomy.shape, anatomy.spacing_mm, strict=True))
    return height, width


def _body_coordinates(anatomy: Abdomen) -> tuple[Array, Array]:
    """Row and column of each voxel centre in fractions of the body's half axes."""
    rows, columns = (
        (np.arange(n) - (n - 1) / 2) * d / half
        for n, d, half in zip(anatomy.shape, anatomy.spacing_mm, _half_axes_mm(anatomy), strict=True)
    )
    return rows[:, None], columns[None, :]


def _inside(rows: Array, columns: Array, ellipse: tuple[float, ...]) -> Mask:
    row, column, height, width = ellipse
    inside: Mask = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1
    return inside & (height > 0) & (width > 0)


def _lesion(rows: Array, columns: Array, anatomy: Abdomen) -> Mask:
    """Return a disc about the voxel nearest to its place, so that the smallest lesion still has one voxel."""
    i = int(np.argmin(np.abs(rows[:, 0] - LESION_CENTRE[0])))
    j = int(np.argmin(np.abs(columns[0] - LESION_CENTRE[1])))
    height, width = _half_axes_mm(anatomy)
    distance_mm = np.hypot((rows - rows[i, 0]) * height, (columns - columns[0, j]) * width)
    disc: Mask = distance_mm < anatomy.lesion_diameter_mm / 2
    return disc


def _proton_density(labels: NDArray[np.str_], anatomy: Abdomen) -> Array:
    s0 = np.zeros(labels.shape)
    s0[np.isin(labels, ("liver", "lesion"))] = anatomy.liver_s0
    for name, (relative, _) in TISSUES.items():
        s0[labels == name] = relative * anatomy.liver_s0
    return s0


def _decay_rate(labels: NDArray[np.str_], anatomy: Abdomen) -> Array:
    liver = 1000.0 / anatomy.liver_t2star_ms
    rate = np.zeros(labels.shape)
    rate[labels == "liver"] = liver
    rate[labels == "lesion"] = liver * anatomy.lesion_factor
    for name, (_, t2star_ms) in TISSUES.items():
        rate[labels == name] = 1000.0 / t2star_ms
    return rate


def _texture(anatomy: Abdomen, rng: np.random.Generator) -> Array:
    """Return 1 ± texture, smooth over texture_scale_mm in the slice and from slice to slice."""
    white = rng.standard_normal((anatomy.slices, *anatomy.shape))
    widths = [anatomy.texture_scale_mm / d for d in anatomy.spacing_mm]
    smooth = gaussian_filter(white, (1.0, *widths), mode="wrap")
    spread = smooth.std()
    texture: Array = 1 + anatomy.texture * np.clip(smooth / (2 * spread if spread > 0 else 1.0), -1, 1)
    return texture


def _shading(anatomy: Abdomen) -> Array:
    """Sensitivity of a surface coil on the front of the body: 1 there, 1 − shading at the back."""
    rows, columns = _body_coordinates(anatomy)
    depth = np.clip((rows + 1) / 2, 0, 1)
    return 1 - anatomy.shading * depth * (1 - 0.2 * np.clip(columns, -1, 1) ** 2)


def _off_resonance(fat: Mask, anatomy: Abdomen) -> Array:
    """Return the B0 field, smooth but for the chemical shift of fat, in Hz."""
    rows, columns = _body_coordinates(anatomy)
    smooth = anatomy.inhomogeneity_ppm * (0.6 * rows - 0.4 * columns + 0.5 * rows * columns - 0.5 * columns**2)
    hertz_per_ppm = GYROMAGNETIC_RATIO_MHZ_PER_T * anatomy.field_strength_t
    return hertz_per_ppm * (smooth[None] + FAT_SHIFT_PPM * fat)


def _coil_phase(anatomy: Abdomen) -> Array:
    rows, columns = _body_coordinates(anatomy)
    return 0.8 * rows + 1.1 * columns


def signal(phantom: Phantom, echo_times_ms: Sequence[float]) -> Array:
    """Return the noise-free magnitude (slices, K, L, M): s0 exp(−R2* t), with the beat of its fat."""
    t = np.asarray(echo_times_ms, dtype=np.float64)
    decay = _decay(phantom, t)
    return decay if phantom.fat is None else decay * np.abs(phantom.fat.beside_water(t))


def _decay(phantom: Phantom, t_ms: Array) -> Array:
    decay: Array = phantom.s0[..., None] * np.exp(-phantom.r2star_per_s[..., None] * t_ms / 1000.0)
    return decay


def complex_signal(phantom: Phantom, echo_times_ms: Sequence[float]) -> Complex:
    """Return the noise-free complex signal (slices, K, L, M); its phase turns with the B0 field."""
    t = np.asarray(echo_times_ms, dtype=np.float64)
    phase = phantom.phase_rad[..., None] + 2 * np.pi * phantom.off_resonance_hz[..., None] * (t / 1000.0)
    turning: Complex = _decay(phantom, t) * np.exp(1j * phase)
    return turning if phantom.fat is None else turning * phantom.fat.beside_water(t)


@dataclass(frozen=True, slots=True)
class Receiver:
    """How an image is taken: noise and what the scanner does to it.

    ``sigma`` is the standard deviation of each of the real and imaginary parts of every coil, in signal units;
    magnitudes of several coils are joined by root sum of squares.
    """

    sigma: float
    coils: int = 1
    zero_filled: bool = False  # only the inner half of k-space is measured, so noise of neighbours correlates
    zeroed_air: bool = False  # the scanner writes 0 outside the body


def acquire(phantom: Phantom, echo_times_ms: Sequence[float], receiver: Receiver, rng: np.random.Generator) -> Array:
    """Return the magnitude image (slices, K, L, M) that this receiver sees of the phantom."""
    if receiver.zero_filled:
        channels = acquire_channels(phantom, echo_times_ms, receiver, rng)
        magnitude: Array = np.sqrt(np.sum(np.abs(channels) ** 2, axis=0))
    else:
        magnitude = add_noncentral_chi(signal(phantom, echo_times_ms), receiver.sigma, receiver.coils, rng)
    if receiver.zeroed_air and "air" in phantom.regions:
        magnitude[phantom.regions["air"]] = 0.0
    return magnitude


def acquire_channels(
    phantom: Phantom, echo_times_ms: Sequence[float], receiver: Receiver, rng: np.random.Generator
) -> Complex:
    """Return the complex images (coils, slices, K, L, M); the coils share the signal evenly."""
    truth: Complex = complex_signal(phantom, echo_times_ms) / np.sqrt(receiver.coils)
    size = (receiver.coils, *truth.shape)
    noise = rng.standard_normal(size) + 1j * rng.standard_normal(size)
    if not receiver.zero_filled:
        return truth[None] + receiver.sigma * noise
    # The inner half of both axes of k-space carries a quarter of the variance of white noise.
    return zero_fill(truth)[None] + receiver.sigma * 2 * zero_fill(noise)


def zero_fill(image: Complex) -> Complex:
    """Keep the inner half of k-space along K and L of (..., K, L, M) and fill the rest with zeros."""
    axes = (-3, -2)
    rows, columns = (np.abs(np.fft.fftfreq(image.shape[axis])) < 0.25 for axis in axes)
    spectrum = np.fft.fft2(image, axes=axes) * (rows[:, None, None] & columns[None, :, None])
    return np.asarray(np.fft.ifft2(spectrum, axes=axes), dtype=np.complex128)


def add_gaussian(clean: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Add noise of standard deviation ``sigma`` as the paper does; values may become negative."""
    return clean + sigma * rng.standard_normal(clean.shape)


def add_rician(clean: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Return |clean + complex noise|, each part of standard deviation ``sigma``."""
    return add_noncentral_chi(clean, sigma, 1, rng)


def add_noncentral_chi(clean: Array, sigma: float, coils: int, rng: np.random.Generator) -> Array:
    """Return the root sum of squares over N ``coils``: √((A + σx)² + σ²χ²) with χ² of 2N − 1 degrees of freedom."""
    if coils < 1:
        raise ValueError(f"coils must be at least 1, not {coils}")
    along = clean + sigma * rng.standard_normal(clean.shape)
    across = sigma * sigma * rng.chisquare(2 * coils - 1, clean.shape)
    magnitude: Array = np.sqrt(along * along + across)
    return magnitude
