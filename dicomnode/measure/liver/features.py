"""What a slice looks like to the finder: noise-corrected amplitudes on a 4 mm grid in the patient's frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]

GRID_MM = 4.0
SHAPE = (96, 128)  # 384 × 512 mm: the widest adult with both arms
CHANNELS = (
    "snr", "first", "s0", "rate", "contrast", "told", "residual", "mean", "flat", "grain",
    "x", "y", "coronal", "sagittal", "body", "inside",
)  # fmt: skip
PIXELS = 10  # the channels before this one are measured, the others say where and what kind of image
BLUR_MM = 0.42 * GRID_MM  # each grid point sees its cell and little of its neighbours
FASTEST_PER_S = 3000.0
TYPICAL_PER_S = 25.0  # of tissue without iron; only the scale of a logarithm
ABOVE_FLOOR = 1.6  # times the deviation of averaged noise, from where on an echo counts
REFERENCE = 85  # percentile of the body's first echo that amplitudes are compared with
LOCAL_CELLS = 10.0  # reach of the average that shading is divided out with


@dataclass(frozen=True, slots=True)
class Noise:
    """``sigma`` of each coil's real and imaginary part in signal units, a number or (K, L), and the number of coils."""

    sigma: float | Array
    n_coils: float

    @property
    def typical(self) -> float:
        """One number for all of the image."""
        return float(np.median(self.sigma))


@dataclass(frozen=True, slots=True)
class Grid:
    """Where in a turned image (fractional rows and columns) the grid's points lie, and what image that is."""

    rows: Array
    columns: Array
    spacing_mm: tuple[float, float]
    kind: str  # axial, coronal, sagittal
    body: Mask  # (K, L)

    def shifted(self, down_mm: float, right_mm: float) -> Grid:
        """The same grid moved over the image."""
        row, column = self.spacing_mm
        return replace(self, rows=self.rows + down_mm / row, columns=self.columns + right_mm / column)


@dataclass(frozen=True, slots=True)
class Seen:
    """A slice on the grid: ``channels`` (16, 96, 128) float32, the body there, and the grid."""

    channels: NDArray[np.float32]
    body: Mask
    grid: Grid


def body_of(first: Array, sigma: float, spacing_mm: tuple[float, float]) -> Mask:
    """Return everything with signal at the first echo: its largest piece, filled."""
    smooth = ndi.gaussian_filter(first.astype(np.float32), [3.0 / d for d in spacing_mm], truncate=2.5)
    bright = smooth > max(2.2 * sigma, 0.07 * float(np.percentile(smooth, 99)))
    opened = ndi.binary_opening(bright, iterations=max(1, round(3 / spacing_mm[0])))
    pieces, count = ndi.label(opened)
    if not count:
        return np.zeros(first.shape, bool)
    largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    closed = ndi.binary_closing(np.pad(largest, 8), iterations=max(1, round(6 / spacing_mm[0])))[8:-8, 8:-8]
    body: Mask = ndi.binary_fill_holes(closed)
    return body


def grid_over(body: Mask, kind: str, spacing_mm: tuple[float, float]) -> Grid:
    """Centre the grid on the body; along the patient's length, of which an image shows a part, on the image."""
    centre = [(n - 1) / 2 for n in body.shape]
    if body.any():
        for axis, places in enumerate(np.nonzero(body)):
            if axis == 1 or kind == "axial":
                low, high = np.percentile(places, (1, 99))
                centre[axis] = float(low + high) / 2
    rows, columns = (
        (np.arange(n) - (n - 1) / 2) * GRID_MM / d + c for n, d, c in zip(SHAPE, spacing_mm, centre, strict=True)
    )
    return Grid(rows, columns, spacing_mm, kind, body)


def averaging(places: Array, size: int, spacing_mm: float) -> sparse.csr_array:
    """Weights (places, size) of a Gaussian average of pixels about each place; rows sum to 1, or to 0 outside."""
    away = (np.arange(size)[None, :] - places[:, None]) * spacing_mm
    # A pixel wider than the blur still reaches its nearest points.
    reach = max(BLUR_MM, 0.6 * spacing_mm)
    weights = np.exp(-0.5 * (away / reach) ** 2) * (np.abs(away) < 2.5 * reach)
    inside = (places > -0.5) & (places < size - 0.5)
    mean = np.where(inside[:, None], weights / np.maximum(weights.sum(1, keepdims=True), 1e-9), 0)
    return sparse.csr_array(mean.astype(np.float32))


def see(signal: Array, echo_times_ms: Array, noise: Noise, grids: Sequence[Grid]) -> list[Seen]:
    """Return the features of a turned slice ``signal`` (K, L, M) at the points of grids over it."""
    shape, first = signal.shape[:2], grids[0]
    echoes = np.ascontiguousarray(signal, np.float32)
    variance = np.broadcast_to(np.asarray(noise.sigma, np.float32) ** 2, shape)
    beside = np.stack([variance, np.ones(shape, np.float32), first.body.astype(np.float32), echoes[..., 0]], axis=-1)
    images = np.concatenate([echoes * echoes, beside], axis=-1)
    seconds = np.asarray(echo_times_ms, np.float32) / 1000
    return [_seen(mean, seconds, noise, grid) for mean, grid in zip(_averaged(images, grids), grids, strict=True)]


def _averaged(images: Array, grids: Sequence[Grid]) -> Iterator[NDArray[np.float32]]:
    """Averages (images, 96, 128) of images (K, L, n) about the points of each grid; grids share rows and columns."""
    rows, columns, count = images.shape
    down: dict[bytes, Array] = {}
    for grid in grids:
        name = grid.rows.tobytes()
        if name not in down:
            means = averaging(grid.rows, rows, grid.spacing_mm[0]) @ images.reshape(rows, columns * count)
            down[name] = np.ascontiguousarray(means.reshape(-1, columns, count).transpose(1, 2, 0)).reshape(columns, -1)
        across = averaging(grid.columns, columns, grid.spacing_mm[1])
        yield (across @ down[name]).reshape(SHAPE[1], count, SHAPE[0]).transpose(1, 2, 0)


def _seen(means: Array, seconds: Array, noise: Noise, grid: Grid) -> Seen:
    """Features from the averages of the power of every echo, the variance, ones, the body and the first echo."""
    power = np.ascontiguousarray(means[:-4])
    variance, ones, body, first = np.ascontiguousarray(means[-4:])
    inside = (ones > 0.5).astype(np.float32)
    amplitude = np.sqrt(np.maximum(power - 2 * noise.n_coils * variance, 0))
    on_body = body > 0.5
    averaged_voxels = max(1.0, 4 * np.pi * BLUR_MM**2 / (grid.spacing_mm[0] * grid.spacing_mm[1]))
    faint = np.sqrt(variance) * np.sqrt(2 * np.sqrt(max(noise.n_coils, 1.0)) / np.sqrt(averaged_voxels))
    decay = _decay(amplitude, seconds, faint)
    grain = _grain(first, power[0], variance)
    measured = _measured(amplitude, decay, noise.typical, on_body)
    channels = np.stack([*measured, grain, *_place(grid.kind), on_body, inside]).astype(np.float32)
    channels[:PIXELS] *= inside
    return Seen(channels, on_body, grid)


@dataclass(frozen=True, slots=True)
class _Decay:
    rate: Array
    told: Array  # 1 where two echoes or more stand above the noise, 0.5 where one does
    residual: Array
    s0: Array


def _decay(amplitude: Array, seconds: Array, faint: Array) -> _Decay:
    """Log-linear fit weighted by power over the echoes above the noise; with one, the drop bounds the rate."""
    t = seconds[:, None, None]
    used = np.cumprod(amplitude > ABOVE_FLOOR * faint, axis=0).astype(bool)
    count = used.sum(0)
    logs = np.log(np.maximum(amplitude, 1e-6 * (amplitude.max() + 1e-9)))
    weights = np.where(used, amplitude**2, 0)
    total = weights.sum(0) + 1e-12
    mean_t, mean_log = (weights * t).sum(0) / total, (weights * logs).sum(0) / total
    dt = t - mean_t
    slope = -(weights * dt * (logs - mean_log)).sum(0) / np.maximum((weights * dt**2).sum(0), 1e-12)
    lowest = np.maximum(faint, 1e-12)
    bound = np.log(np.maximum(amplitude[0], lowest) / lowest) / max(float(seconds[1] - seconds[0]), 1e-4)
    rate = np.clip(np.where(count >= 2, slope, np.where(count == 1, bound, 0)), 0, FASTEST_PER_S)
    residual = np.sqrt((weights * (logs - mean_log + rate * dt) ** 2).sum(0) / total)
    s0 = np.where(count >= 1, np.exp(np.minimum(mean_log + rate * mean_t, 30)), 0)
    return _Decay(rate, np.where(count >= 2, 1.0, np.where(count == 1, 0.5, 0.0)), residual, s0)


def _measured(amplitude: Array, decay: _Decay, sigma: float, body: Mask) -> list[Array]:
    first = amplitude[0]
    reference = float(np.percentile(first[body], REFERENCE)) if body.sum() > 20 else float(first.max())
    reference = max(reference, 1e-6)
    bright = first / reference
    weight = ndi.gaussian_filter(body.astype(np.float32), LOCAL_CELLS, truncate=2)
    local = ndi.gaussian_filter(np.minimum(bright, 1.5) * body, LOCAL_CELLS, truncate=2) / np.maximum(weight, 0.05)
    logs = np.log1p(decay.rate / TYPICAL_PER_S)
    known = body & (decay.told == 1)
    usual = float(np.median(logs[known])) if known.sum() > 20 else 1.0
    return [
        np.log1p(first / max(sigma, 1e-9)) / 5,
        np.clip(bright, 0, 2.5),
        np.clip(np.log1p(decay.s0 / reference), 0, 2.5),
        np.where(decay.told > 0, logs / 4, 0),
        np.where(decay.told > 0, np.clip(logs - usual, -1.5, 1.5), 0),
        decay.told * 0.5,
        np.clip(decay.residual, 0, 0.6) * 2,
        np.clip(amplitude.mean(0) / reference, 0, 2),
        np.where(body, np.clip(bright / np.maximum(local, 0.05), 0, 2.5), 0),
    ]


def _grain(mean: Array, power: Array, variance: Array) -> Array:
    """Variation within a cell beyond the noise, relative: thin fat, vessels and edges finer than the grid."""
    excess = np.maximum(power - mean**2 - variance, 0)
    grain: Array = np.clip(np.sqrt(excess) / np.maximum(mean, 2 * np.sqrt(variance) + 1e-9), 0, 1)
    return grain


def _place(kind: str) -> list[Array]:
    y, x = ((np.arange(n) - (n - 1) / 2) * GRID_MM for n in SHAPE)
    ones = np.ones(SHAPE, np.float32)
    return [x[None, :] / 200 * ones, y[:, None] / 150 * ones, ones * (kind == "coronal"), ones * (kind == "sagittal")]
