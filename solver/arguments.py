"""What may be asked of the solver: arguments, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver import model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

METHODS = ("admm", "nls", "admm-published", "lm-published")
REGULARISED = frozenset({"admm", "admm-published"})
NOISES = ("rician", "gaussian", "first-moment")
REGULARISERS = ("tv", "laplacian")
MOST_ECHOES = 1024
MOST_COILS = 128


@dataclass(frozen=True, slots=True)
class Settings:
    """How to fit; sigma in the units of the input."""

    method: str
    noise: str
    model: str
    regulariser: str
    sigma: float
    n_coils: float
    noise_source: str
    n_coils_source: str
    noise_confidence: str
    n_coils_range: tuple[float, float]
    sigma_rel_sd: float
    weights: tuple[float, float] | None  # None: automatic
    spacing: tuple[float, float]  # between rows and columns, geometric mean 1
    field_strength_t: float | None
    t_ms: NDArray[np.float64]
    dtype: Any
    hyperparameters: Mapping[str, Any]

    @property
    def unseen_coils(self) -> bool:
        """Whether there may be a floor of more coils than the data could show."""
        return self.noise != "gaussian" and self.n_coils_source in {"unknown", "unclear"}

    @property
    def each_its_own(self) -> bool:
        """Whether a voxel is fitted in units of its own sigma; eq. 2 with given weights knows only one."""
        return not self.method.endswith("-published") and (self.method == "nls" or self.weights is None)

    @property
    def regularised(self) -> bool:
        """Whether neighbours are made alike."""
        return self.method in REGULARISED

    @property
    def doubtful(self) -> bool:
        """Whether so little is known of the floor that nothing can be said of what lies near it."""
        return self.unseen_coils or (self.floor_coils > 0 and self.noise_confidence in {"low", "unknown"})

    @property
    def floor_coils(self) -> float:
        """N of the noise floor, 0 where noise is taken as Gaussian."""
        return 0.0 if self.noise == "gaussian" else self.n_coils

    @property
    def t(self) -> NDArray[Any]:
        """Echo times in units of the last."""
        t: NDArray[Any] = (self.t_ms / self.t_ms[-1]).astype(self.dtype)
        return t

    @property
    def bounds(self) -> tuple[float, float]:
        """Rates per last echo time, from no decay to nothing left at the second echo."""
        return rate_bounds(self.t_ms)

    def as_parameters(self) -> dict[str, Any]:
        """Everything that made the numbers, as JSON values."""
        return {
            "method": self.method,
            "model": self.model,
            "noise": self.noise,
            "regulariser": self.regulariser,
            "sigma": self.sigma,
            "n_coils": self.n_coils,
            "noise_source": self.noise_source,
            "n_coils_source": self.n_coils_source,
            "noise_confidence": self.noise_confidence,
            "n_coils_range": list(self.n_coils_range),
            "sigma_rel_sd": self.sigma_rel_sd,
            "weights": "auto" if self.weights is None else list(self.weights),
            "spacing": list(self.spacing),
            "field_strength_t": self.field_strength_t,
            "echo_times_ms": [float(v) for v in self.t_ms],
            **{
                name: value if isinstance(value, int | float | str) else str(value)
                for name, value in self.hyperparameters.items()
            },
        }


def rate_bounds(t_ms: NDArray[np.float64]) -> tuple[float, float]:
    """Rates per last echo time, from no decay to nothing left at the second echo."""
    return 1e-4, float(min(15.0 / (t_ms[1] - t_ms[0]), 10.0 / t_ms[0]) * t_ms[-1])


def _array(name: str, values: Any, dtype: Any = None) -> NDArray[Any]:
    """Return real numbers as an array; what cannot be one is named."""
    try:
        found = np.asarray(values)
    except (TypeError, ValueError) as fault:
        raise ValueError(f"{name} must hold real numbers: {fault}") from fault
    if found.dtype.kind not in "iufb":
        raise ValueError(f"{name} must hold real numbers, it holds {found.dtype}")
    return found if dtype is None else found.astype(dtype)


def echo_times(echo_times_ms: ArrayLike, n: int) -> NDArray[np.float64]:
    """Echo times in ms: one for each echo, positive, ascending."""
    t = _array("echo_times_ms", echo_times_ms, np.float64)
    if t.ndim != 1 or t.size != n:
        raise ValueError(
            f"echo_times_ms must hold one time for each of the {n} echoes of signal, it has shape {t.shape}"
        )
    if not 2 <= n <= MOST_ECHOES:
        raise ValueError(f"echo_times_ms must hold at least 2 times, it holds {n}")
    if not np.all(np.isfinite(t)) or np.any(t <= 0):
        raise ValueError("echo_times_ms must be positive and finite")
    if np.any(np.diff(t) <= 0):
        raise ValueError("echo_times_ms must ascend, without duplicates")
    return t


def signal(signal: ArrayLike) -> NDArray[Any]:
    """Real numbers of the shape (..., K, L, M); what a masked array hides is not a number."""
    if isinstance(signal, np.ma.MaskedArray):
        real = np.float64 if signal.dtype == np.float64 else np.float32
        signal = np.ma.filled(signal.astype(real), np.nan)
    s = _array("signal", signal)
    if s.ndim < 3 or 0 in s.shape:
        raise ValueError(f"signal must have the shape (..., K, L, M), it has {s.shape}")
    return s


def precision(s: NDArray[Any]) -> Any:
    """Double precision keeps its digits; everything else has no more than single precision to keep."""
    return np.float64 if s.dtype.kind == "f" and s.dtype.itemsize >= 8 else np.float32


def mask(mask: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Voxels that may be fitted, bool of the given shape."""
    if mask is None:
        return np.ones(shape, bool)
    chosen = _array("mask", mask)
    if np.any(np.isnan(chosen)):
        raise ValueError("mask must be true or false everywhere, it holds NaN")
    try:
        return np.broadcast_to(chosen.astype(bool), shape)
    except ValueError as fault:
        raise ValueError(f"mask must have the shape {shape}, it has {chosen.shape}") from fault


def choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return the value if it is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def positive(name: str, value: Any) -> float | None:
    """Return the value if it is positive, finite or None."""
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as fault:
        raise ValueError(f"{name} must be a positive number, not {value!r}") from fault
    if isinstance(value, str) or not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be a positive number, not {value!r}")
    return number


def sigma(value: Any, shape: tuple[int, ...]) -> float | NDArray[np.float64] | None:
    """Return one positive number, or one for each voxel (..., K, L), or None where sigma is looked for."""
    if value is None or isinstance(value, str) or np.ndim(value) == 0:
        return positive("sigma", value)
    found = _array("sigma", value, np.float64)
    if not (np.all(np.isfinite(found)) and np.all(found > 0)):
        raise ValueError("sigma must be positive and finite everywhere")
    try:
        return np.ascontiguousarray(np.broadcast_to(found, shape))
    except ValueError as fault:
        raise ValueError(f"sigma must be a number or have the shape {shape}, it has {found.shape}") from fault


def coils(value: Any) -> float | None:
    """N of the noise, or None where it is looked for."""
    n = positive("n_coils", value)
    if n is not None and not 1 <= n <= MOST_COILS:
        raise ValueError(f"n_coils must lie between 1 and {MOST_COILS}, not {value}")
    return n


def threads(value: Any) -> int:
    """How many slices at once; None: as many as there are processors."""
    if value is None:
        return os.cpu_count() or 1
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"threads must be a positive whole number, not {value!r}")
    return int(value)


def weights(weights: Any) -> tuple[float, float] | None:
    """The two weights of eq. 2, None where they are automatic."""
    if isinstance(weights, str) and weights == "auto":
        return None
    pair = np.empty(0) if isinstance(weights, str) else _array("weights", weights, np.float64)
    if pair.shape != (2,) or not np.all(np.isfinite(pair)) or np.any(pair < 0):
        raise ValueError('weights must be "auto" or two numbers (lambda_s0, lambda_r2star) that are not negative')
    return float(pair[0]), float(pair[1])


def pixel_spacing(spacing: Any) -> tuple[float, float]:
    """Distances between rows and between columns, scaled to a geometric mean of 1."""
    pair = _array("spacing", (1.0, 1.0) if spacing is None else spacing, np.float64)
    if pair.shape != (2,) or not np.all(np.isfinite(pair)) or np.any(pair <= 0):
        raise ValueError(f"spacing must hold two positive distances, between rows and between columns, not {spacing}")
    rows, columns = pair / np.sqrt(pair[0] * pair[1])
    return float(rows), float(columns)


def check_model(name: str, t_ms: NDArray[np.float64], field_strength_t: float | None, method: str) -> str:
    """Return the model where the echo times can tell its parameters apart."""
    choice("model", name, model.MODELS)
    if name != "mono-exponential" and method.endswith("-published"):
        raise ValueError(f"model must be mono-exponential for method={method!r}")
    if name == "fat-water":
        model.check_fat_water(t_ms, field_strength_t)
    fewest = model.signal_model(name, field_strength_t, 1.0).fewest_echoes
    if t_ms.size < fewest:
        raise ValueError(f"echo_times_ms must hold at least {fewest} times for model={name!r}, it holds {t_ms.size}")
    return name
