"""A stack's signal -> maps; the only importer of the solver."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import dicomnode
from dicomnode.model import DecayCurve, FitRecord, Maps
from solver import fit_t2star
from solver.noise import expected_magnitude, mean_of_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.config import FitSettings


def fit(
    signal: NDArray[np.float32],
    echo_times_ms: tuple[float, ...],
    pixel_spacing_mm: tuple[float, float],
    settings: FitSettings,
    **hyperparameters: Any,
) -> Maps:
    """Fit a stack: ``signal`` is (slices, K, L, M), echo times ascend.

    ``hyperparameters`` are those of the published methods, as ``solver.fit_t2star`` takes them.
    """
    started = time.perf_counter()
    result = fit_t2star(
        signal,
        np.asarray(echo_times_ms),
        method=settings.method,
        noise=settings.noise,
        weights=settings.weights,
        spacing=pixel_spacing_mm,
        **hyperparameters,
    )
    valid = np.asarray(result.valid, bool)
    sigma = np.broadcast_to(np.asarray(result.sigma, float).reshape(-1), (len(signal),))
    return Maps(
        t2star_ms=_map(result.t2star_ms, valid),
        r2star_per_s=_map(result.r2star_per_s, valid),
        s0=_map(result.s0, valid),
        r2star_sd_per_s=_map(result.r2star_sd_per_s, valid),
        valid=valid,
        sigma=tuple(float(value) for value in sigma),
        record=FitRecord(
            method=settings.method,
            model="mono-exponential",
            noise=settings.noise,
            converged=bool(result.converged),
            iterations=int(result.iterations),
            seconds=time.perf_counter() - started,
            verdict=str(result.verdict),
            parameters=dict(result.parameters),
            software_version=dicomnode.__version__,
        ),
    )


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise that maps were fitted with."""

    sigma: float  # in the units of the signal
    n_coils: float
    source: str  # of N

    @classmethod
    def of(cls, maps: Maps) -> Noise:
        """Read it from the record of the maps."""
        said = maps.record.parameters
        sigma = float(np.median(maps.sigma))
        return cls(sigma, float(said.get("n_coils", 1.0)), str(said.get("n_coils_source", "assumed")))

    @property
    def floor(self) -> float:
        """Expected magnitude where nothing is left of the signal."""
        return mean_of_noise(self.n_coils) * self.sigma


def decay(
    signal: NDArray[np.float32], echo_times_ms: tuple[float, ...], region: NDArray[np.bool_], noise: Noise
) -> tuple[DecayCurve, float | None]:
    """The median decay of a region and its plain least-squares R2* in 1/s, for judging the maps without regularisation.

    ``signal`` is (slices, K, L, M), ``region`` (slices, K, L) and not empty.
    """
    sigma, n_coils = noise.sigma, noise.n_coils
    median = np.median(signal[region].astype(np.float64), axis=0)
    # The median of many voxels carries their bias from the noise floor, not their spread.
    one, times = median[None, None, :], np.asarray(echo_times_ms)
    corrected = fit_t2star(one, times, method="nls", noise="rician", sigma=sigma, n_coils=n_coils)
    plain = fit_t2star(one, times, method="nls", noise="gaussian", sigma=sigma)
    valid = bool(np.all(corrected.valid))
    curve = DecayCurve(
        echo_times_ms=echo_times_ms,
        signal=tuple(float(value) for value in median),
        noise_floor=noise.floor,
        s0=float(np.ravel(corrected.s0)[0]) if valid else None,
        r2star_per_s=float(np.ravel(corrected.r2star_per_s)[0]) if valid else None,
    )
    return curve, float(np.ravel(plain.r2star_per_s)[0]) if bool(np.all(plain.valid)) else None


def unexplained(
    signal: NDArray[np.float32], echo_times_ms: tuple[float, ...], region: NDArray[np.bool_], maps: Maps
) -> float | None:
    """Mean squared residual of the region's voxels over what noise explains: reduced chi-square, 1 if all is well.

    The regularised maps take about one degree of freedom of each voxel. None for fewer than three echoes.
    """
    if len(echo_times_ms) < 3:
        return None
    noise = Noise.of(maps)
    n_coils = 0.0 if maps.record.parameters.get("noise", maps.record.noise) == "gaussian" else noise.n_coils
    t = np.asarray(echo_times_ms) / 1000
    s0, rate = (values[region][:, None].astype(np.float64) for values in (maps.s0, maps.r2star_per_s))
    clean = s0 * np.exp(-rate * t) / noise.sigma
    expected, _ = expected_magnitude(clean, n_coils)
    variance = clean**2 + 2 * n_coils - expected**2 if n_coils else np.ones_like(clean)
    square = (signal[region] / noise.sigma - expected) ** 2 / np.maximum(variance, 0.2)
    return float(np.mean(square) * len(t) / (len(t) - 1))


def _map(values: NDArray[np.floating], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Write 0 where nothing is valid; what is invalid is told by ``valid``, 0 only keeps NaN out of the objects."""
    return np.where(valid, values, 0.0).astype(np.float32)


def compile_kernels() -> None:
    """Run every kernel that a study needs once, so that the compiled code lies in the cache before the first one."""
    echo_times_ms = np.arange(1.0, 7.0)
    noise = np.random.default_rng(1).normal(0.0, 1.0, (1, 16, 16, 6))
    signal = 100.0 * np.exp(-echo_times_ms / 5.0) + noise
    fit_t2star(signal.astype(np.float32), echo_times_ms)
    for assumed in ("rician", "gaussian"):  # what decay() does with a region's median
        fit_t2star(signal[0, :1, :1], echo_times_ms, method="nls", noise=assumed, sigma=1.0)
