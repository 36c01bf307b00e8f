"""Multi-echo magnitudes of labelled slices: fat and water, iron, susceptibility, coils, noise, a scanner's habits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy import fft
from scipy import ndimage as ndi

from bench.anatomy.tissues import GASEOUS, LABEL, NAMES, TISSUES, WHOLE_LIVER, is_any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.anatomy.geometry import Points

    Array = NDArray[Any]

FIELDS_T = (1.5, 2.89, 3.0)
MHZ_PER_T = 42.577
# Six peaks of fat: ppm from water and relative amplitude (Hamilton, NMR Biomed 24:784).
FAT_PPM = np.array([-3.80, -3.40, -2.60, -1.94, -0.39, 0.60])
FAT_SHARE = np.array([0.087, 0.693, 0.128, 0.004, 0.039, 0.048]) / 0.999
TRAINS = ("paper", "short", "long", "six", "dense", "ten")
T2STAR_MS = (0.8, 32.0)
SATURATED = 0.9  # of the fat's signal is gone where it is saturated
PROTON_DENSITY = 0.35  # share of exams with so low a flip angle that S0 hardly tells tissues apart
ALIKE = (0.02, 0.15)  # deviation of the logarithm of S0 between tissues there
FATTER = 1.3  # S0 of fat there, which relaxes faster
FAINT = 0.3  # S0 below which nothing but gas, bone and metal lies
NOISE_TILE = 48  # cells along each axis of the volume that textures are read from
_PAPER_MS = (2.58, 4.81, 7.59, 9.89, 12.12, 14.35, 16.58, 18.88)


def draw_train(rng: np.random.Generator, name: str) -> tuple[float, ...]:
    """Echo times in ms of one of six kinds of protocol."""
    u = rng.uniform
    trains = {
        "paper": np.array(_PAPER_MS),
        "short": u(0.9, 1.3) + np.arange(12) * u(0.9, 1.4),
        "long": 4.6 + 4.61 * np.arange(12) if u() < 0.4 else u(2, 4.6) + np.arange(12) * u(2.3, 4.6),
        "six": u(1.0, 2.4) + np.arange(6) * u(0.9, 2.4),
        "dense": u(0.8, 1.1) + np.arange(16) * u(0.7, 1.0),
        "ten": u(1.1, 2.3) + np.arange(rng.integers(8, 11)) * u(1.2, 2.3),
    }
    return tuple(float(t) for t in np.round(trains[name], 3))


@dataclass(frozen=True, slots=True)
class Physics:
    """How an exam was measured; every number that the signal depends on."""

    field_t: float
    echo_times_ms: tuple[float, ...]
    train: str
    s0: tuple[float, ...]  # per label
    r2star_per_s: tuple[float, ...]
    fat: tuple[float, ...]
    t2star_ms: float
    snr: float  # S0 of the liver over sigma
    n_coils: int
    fat_saturated: bool
    texture: float
    shading: float
    coils: tuple[tuple[float, float, float], ...]
    susceptibility: float
    field_ppm: float
    ghost: float
    flow: float
    air: str  # "noise", "zero" or "scaled"
    acquired: tuple[float, float]  # share of the image's rows and columns
    g_factor: float
    blur: float  # pixels
    counts: float | None  # of the brightest pixels where values are whole numbers
    clipped: bool
    bipolar: float  # relative difference of even and odd echoes
    seed: int


def draw(rng: np.random.Generator, **fixed: Any) -> Physics:
    """Draw the physics of one exam; ``fixed`` may give any field of ``Physics``."""
    u = rng.uniform
    field_t = float(fixed.get("field_t", FIELDS_T[int(rng.integers(len(FIELDS_T)))]))
    train = str(fixed.get("train", rng.choice(TRAINS)))
    shortest, longest = np.log(T2STAR_MS)
    t2star_ms = float(fixed.get("t2star_ms", np.exp(u(shortest, longest))))
    tissues = _draw_tissues(rng, field_t, t2star_ms)
    values: dict[str, Any] = {
        "field_t": field_t,
        "echo_times_ms": draw_train(rng, train),
        "train": train,
        "s0": tissues[0],
        "r2star_per_s": tissues[1],
        "fat": tissues[2],
        "t2star_ms": t2star_ms,
        "snr": float(np.exp(u(np.log(15), np.log(160)))),
        "n_coils": int(rng.choice([1, 1, 1, 2, 4])),
        "fat_saturated": bool(u() < 0.2),
        "texture": float(u(0.02, 0.1)),
        "shading": float(u(0, 1)),
        "coils": tuple((float(u(-1, 1)), float(u(-1, 1)), float(u(0.5, 1.4))) for _ in range(rng.integers(2, 7))),
        "susceptibility": float(u(0, 1)),
        "field_ppm": float(u(0.1, 0.8)),
        "ghost": float(u(0, 0.06)) if u() < 0.2 else 0.0,
        "flow": float(u(0, 0.15)) if u() < 0.3 else 0.0,
        "air": str(rng.choice(["noise", "zero", "scaled"], p=[0.86, 0.08, 0.06])),
        "acquired": (float(u(0.6, 1)), float(u(0.6, 1))) if u() < 0.35 else (1.0, 1.0),
        "g_factor": float(u(0.1, 1.0)) if u() < 0.25 else 0.0,
        "blur": float(u(0.2, 0.7)),
        "counts": float(np.exp(u(np.log(180), np.log(4000)))) if u() < 0.8 else None,
        "clipped": bool(u() < 0.03),
        "bipolar": float(u(0, 0.06)) if u() < 0.2 else 0.0,
        "seed": int(rng.integers(1 << 31)),
    }
    return Physics(**{**values, **{key: value for key, value in fixed.items() if key in values}})


def _draw_tissues(rng: np.random.Generator, field_t: float, t2star_ms: float) -> tuple[tuple[float, ...], ...]:
    u = rng.uniform
    rate, s0, fat = {}, {}, {}
    alike = float(u(*ALIKE)) if u() < PROTON_DENSITY else None
    for name, tissue in TISSUES.items():
        s0[name] = _log_uniform(rng, tissue.s0)
        if alike is not None and tissue.s0[1] > FAINT:
            s0[name] = float(np.exp(rng.normal(0, alike))) * (FATTER if name == "fat" else 1.0)
        rate[name] = _log_uniform(rng, tissue.r2star_per_s) * (field_t / 1.5) ** u(0.3, 1)
        fat[name] = float(u(*tissue.fat))
    rate["liver"] = 1000.0 / t2star_ms
    fat["liver"] = float(u(0, 0.28) if u() < 0.25 else u(0, 0.03))
    # Iron goes to other organs too, more often where the liver has much.
    for name, chance, most in (
        ("spleen", 0.35, 600.0),
        ("pancreas", 0.3, 400.0),
        ("kidney", 0.12, 200.0),
        ("marrow", 0.3, 600.0),
    ):
        if u() < chance:
            rate[name] = _log_uniform(rng, (40.0, most))
    return tuple(s0[n] for n in NAMES), tuple(rate[n] for n in NAMES), tuple(fat[n] for n in NAMES)


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    low, high = limits
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if low > 0 else 0.0


class Texture:
    """Smooth random fields over space, the same at the same place on every slice of an exam."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._tile = ndi.gaussian_filter(rng.standard_normal((NOISE_TILE,) * 3).astype(np.float32), 0.6, mode="wrap")
        self._tile /= self._tile.std()

    def draw(self) -> _Placement:
        """Place another independent field."""
        turn = np.linalg.qr(self._rng.normal(size=(3, 3)))[0].astype(np.float32)
        return _Placement(self._tile, turn, self._rng.uniform(0, NOISE_TILE, 3).astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Placement:
    tile: Array
    turn: Array
    offset: Array

    def at(self, p: Points, mm: float) -> Array:
        """Unit variance, correlated over about ``mm``."""
        axes = [(t[0] * p.x + t[1] * p.y + t[2] * p.z) / mm + o for t, o in zip(self.turn, self.offset, strict=True)]
        field: Array = ndi.map_coordinates(self.tile, axes, order=1, mode="grid-wrap") * np.float32(1.25)
        return field


FIELDS_OF_TEXTURE = ("liver", "fine", "mottle", "organ", "fat", "field")


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice before noise: complex signal (K, L, M), true water R2* (1/s) and labels at the image's pixels."""

    signal: Array
    r2star_per_s: Array
    labels: NDArray[np.uint8]
    parenchyma: Array  # share of each pixel
    whole: Array
    coil: Array


@dataclass(frozen=True, slots=True)
class Sampled:
    """Labels at points of a slice, ``over`` along each side of its pixels."""

    labels: NDArray[np.uint8]
    points: Points
    pixel_mm: float
    over: int


def measure(body: Sampled, physics: Physics, textures: dict[str, _Placement]) -> Slice:
    """Return the complex signal of a slice."""
    labels, over = body.labels, body.over
    s0, rate, fat = _properties(labels, body.points, physics, textures)
    extra, hertz = _susceptibility(labels, body.points, body.pixel_mm / over, physics, textures["field"])
    coil = _coil(labels.shape, physics)
    amplitude = (s0 * coil).astype(np.float32)
    decay = (rate + extra).astype(np.float32)
    m = len(physics.echo_times_ms)
    rows, columns = labels.shape[0] // over, labels.shape[1] // over
    signal = np.empty((rows, columns, m), np.complex64)
    for index, ms in enumerate(physics.echo_times_ms):
        t = np.float32(ms / 1000)
        peaks = np.complex64((FAT_SHARE * np.exp(2j * np.pi * MHZ_PER_T * physics.field_t * FAT_PPM * float(t))).sum())
        turn = np.exp(np.complex64(2j * np.pi) * hertz * t)
        swing = 1 + physics.bipolar * (-1) ** index
        signal[..., index] = pooled(
            amplitude * np.exp(-decay * t) * ((1 - fat) + fat * peaks) * turn * np.float32(swing), over
        )
    return Slice(
        signal=ndi.gaussian_filter(signal, (physics.blur, physics.blur, 0), truncate=2.5),
        r2star_per_s=pooled(rate, over),
        labels=_voted(labels, over),
        parenchyma=pooled((labels == LABEL["liver"]).astype(np.float32), over),
        whole=pooled(is_any(labels, WHOLE_LIVER).astype(np.float32), over),
        coil=pooled(coil, over),
    )


def _properties(
    labels: NDArray[np.uint8], points: Points, physics: Physics, textures: dict[str, _Placement]
) -> tuple[Array, Array, Array]:
    tables = (physics.s0, physics.r2star_per_s, physics.fat)
    s0, rate, fat = cast("tuple[Array, ...]", tuple(np.asarray(table, np.float32)[labels] for table in tables))
    smooth = textures["liver"].at(points, 16)
    rate = rate * (1 + np.float32(physics.texture) * np.clip(smooth / 2, -1, 1))
    s0 = s0 * (1 + np.float32(0.04) * textures["fine"].at(points, 4))
    mottle, organ = textures["mottle"].at(points, 9), textures["organ"].at(points, 7)
    for name, field, strength in (
        ("bowel", mottle, 0.35),
        ("stomach", mottle, 0.3),
        ("marrow", organ, 0.1),
        ("kidney", organ, 0.12),
    ):
        where = labels == LABEL[name]
        s0[where] *= np.exp(np.float32(strength) * field[where])
    liver = labels == LABEL["liver"]
    fat[liver] = np.clip(fat[liver] * (1 + 0.2 * textures["fat"].at(points, 24)[liver]), 0, 1)
    tubes = labels == LABEL["tube"]
    if tubes.any():  # every tube holds another concentration
        rate[tubes] *= np.exp(0.8 * textures["fat"].at(points, 30)[tubes])
    if physics.fat_saturated:
        left = 1 - np.float32(SATURATED) * fat
        s0, fat = s0 * left, (1 - np.float32(SATURATED)) * fat / left
    return s0, rate, fat


def _susceptibility(
    labels: NDArray[np.uint8], points: Points, mm: float, physics: Physics, field: _Placement
) -> tuple[Array, Array]:
    """Faster decay (1/s) and off-resonance (Hz) by air, metal and the shim."""
    gas = is_any(labels, GASEOUS).astype(np.float32)
    near, far = ndi.gaussian_filter(gas, 5 / mm, truncate=3), ndi.gaussian_filter(gas, 14 / mm, truncate=3)
    strength = physics.susceptibility * physics.field_t / 1.5
    extra: Array = strength * (110 * near + 60 * far) * (1 - gas)
    ppm = physics.field_ppm * field.at(points, 90) * 0.6 + physics.susceptibility * (far - 0.3 * near)
    metal = labels == LABEL["implant"]
    if metal.any():
        away = ndi.distance_transform_edt(~metal, sampling=mm).astype(np.float32)
        r = np.sqrt(metal.sum() * mm**2 / np.pi)
        dipole = ((r + 2) / (r + 2 + away)) ** 3
        extra = extra + 2500 * physics.field_t / 1.5 * dipole
        ppm = ppm + 4 * dipole
    hertz = (MHZ_PER_T * physics.field_t * ppm).astype(np.float32)
    gy, gx = np.gradient(hertz)
    return extra + 0.35 * np.hypot(gx, gy) * (3.0 / mm), hertz


def _coil(shape: tuple[int, ...], physics: Physics) -> Array:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    seen = np.zeros(shape, np.float32)
    for cx, cy, wide in physics.coils:
        seen += wide * np.exp(-((x - 1.2 * cx) ** 2 + (y - 1.2 * cy) ** 2) / (2 * wide**2))
    coil: Array = (seen / seen.mean()) ** np.float32(physics.shading)
    return coil


def pooled(values: Array, over: int) -> Array:
    """Mean over blocks of ``over`` × ``over``."""
    if over == 1:
        return values
    rows, columns = values.shape[0] // over, values.shape[1] // over
    mean: Array = values[: rows * over, : columns * over].reshape(rows, over, columns, over).mean((1, 3))
    return mean


def _voted(labels: NDArray[np.uint8], over: int) -> NDArray[np.uint8]:
    """The commonest label of each block."""
    if over == 1:
        return labels
    present = np.unique(labels)
    votes = np.stack([pooled((labels == label).astype(np.float32), over) for label in present])
    winners: NDArray[np.uint8] = present[np.argmax(votes, 0)].astype(np.uint8)
    return winners


def noise_level(slices: list[Slice], physics: Physics) -> float:
    """Sigma before scaling: the liver's S0 over the wanted SNR, or the tissues' where there is none."""
    s0 = np.array(physics.s0)
    livers = [s.coil[s.parenchyma > 0.5] * s0[LABEL["liver"]] for s in slices]
    found = np.concatenate(livers)
    if found.size < 20:
        found = np.concatenate([(s.coil * s0[s.labels])[s.labels > 0] for s in slices])
    reference = float(np.mean(found)) if found.size else 1.0
    return max(reference, 0.05) / physics.snr


def received(piece: Slice, sigma: float, physics: Physics, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return magnitudes (K, L, M) before scaling and the relative noise map (K, L)."""
    signal = _ghosted(piece, physics, rng)
    keep = _kept_frequencies(signal.shape[:2], physics.acquired)
    if keep is not None:
        signal = fft.ifft2(fft.fft2(signal, axes=(0, 1)) * keep[..., None], axes=(0, 1)).astype(np.complex64)
    spread = _g_map(signal.shape[:2], physics.g_factor)
    power = np.zeros(signal.shape, np.float32)
    for coil in range(physics.n_coils):
        noisy = _noise(signal.shape, keep, rng) * (np.float32(sigma) * spread[..., None])
        if coil == 0:
            noisy = noisy + signal
        power += noisy.real**2 + noisy.imag**2
    magnitude = np.sqrt(power)
    air = piece.labels == LABEL["air"]
    if physics.air != "noise":
        magnitude[air] *= 0.0 if physics.air == "zero" else np.float32(0.4)
    return magnitude, spread


def _ghosted(piece: Slice, physics: Physics, rng: np.random.Generator) -> Array:
    signal = piece.signal
    shift = int(signal.shape[0] * rng.uniform(0.15, 0.4))
    phases = np.exp(2j * np.pi * rng.random(signal.shape[2])).astype(np.complex64)
    if physics.flow:
        moving = np.where((piece.labels == LABEL["blood"])[..., None], signal, 0)
        copies = np.roll(moving, shift // 2, 0) + np.roll(moving, -shift // 2, 0)
        signal = signal + np.float32(physics.flow) * copies * phases[::-1]
    if physics.ghost:
        copies = np.roll(piece.signal, shift, 0) + np.roll(piece.signal, -shift, 0)
        signal = signal + np.float32(physics.ghost) * copies * phases
    return signal


def _kept_frequencies(shape: tuple[int, ...], acquired: tuple[float, float]) -> Array | None:
    """Which frequencies were acquired, the rest being filled with zeros; None for all."""
    if min(acquired) >= 1:
        return None
    rows, columns = (np.abs(np.fft.fftfreq(n)) <= 0.5 * share for n, share in zip(shape, acquired, strict=True))
    kept: Array = (rows[:, None] & columns[None, :]).astype(np.float32)
    return kept


def _noise(shape: tuple[int, ...], keep: Array | None, rng: np.random.Generator) -> Array:
    """Complex noise with unit deviation of each part, over the frequencies acquired."""
    noise = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    if keep is None:
        return noise
    filtered: Array = fft.ifft2(fft.fft2(noise, axes=(0, 1)) * keep[..., None], axes=(0, 1)) / np.sqrt(keep.mean())
    return filtered.astype(np.complex64)


def _g_map(shape: tuple[int, ...], strength: float) -> Array:
    """How much parallel imaging multiplies the noise, most in the middle."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    spread: Array = 1 + np.float32(strength) * np.exp(-(x**2 + y**2) / 0.35)
    return spread
