"""What may be asked of the solver: arguments, checked."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from solver import bayesian, model, published
from solver.noise import NoiseEstimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import ArrayLike, NDArray

METHODS = ("admm", "nls", "bayesian", "learned", "admm-published", "lm-published")
REGULARISED = frozenset({"admm", "bayesian", "admm-published"})
LIKELIHOODS = frozenset({"admm", "bayesian", "learned"})  # methods that take noise as of magnitudes
MOMENTS = {"first-moment": 1, "second-moment": 2}  # of the noise, that least squares are made on
NOISES = ("rician", "gaussian", *MOMENTS)
REGULARISERS = ("tv", "laplacian")
MOST_ECHOES = 1024
MOST_COILS = 128
SHORTEST_MS, LONGEST_MS = 0.5, 1000.0  # that the last echo may have
HYPERPARAMETERS = {
    "bayesian": ("seed",),
    "admm-published": tuple(published.fit_admm.__kwdefaults__ or ()),
    "lm-published": tuple(published.fit_levenberg_marquardt.__kwdefaults__ or ()),
}
# Keys of a result's parameters that are no arguments: what was found out about the noise.
FINDINGS = (
    *("noise_source", "n_coils_source", "noise_confidence", "n_coils_range", "sigma_rel_sd", "sigma_varies"),
    *("fat_untold", "network"),
)
# What others call an argument, where its spelling does not tell.
ALSO_CALLED = {
    **dict.fromkeys(("te", "tes", "t", "times", "echo_times_s", "echo_times_us"), "echo_times_ms"),
    **dict.fromkeys(("lambda", "lambdas", "lam", "alpha", "lambda1", "lambda2"), "weights"),
    **dict.fromkeys(("b0", "b0_t", "field", "tesla"), "field_strength_t"),
    **dict.fromkeys(("voxel_size", "pixel_size", "voxel_spacing", "resolution"), "spacing"),
    **dict.fromkeys(("channels", "n_channels", "n"), "n_coils"),
    **dict.fromkeys(("sd", "std", "noise_sd", "noise_std", "sigma_map"), "sigma"),
    **dict.fromkeys(("algorithm", "solver", "fit_type"), "method"),
    **dict.fromkeys(("workers", "n_jobs", "processes"), "threads"),
    **dict.fromkeys(("roi", "region"), "mask"),
}


LIKELY_COILS = (8.0, 16.0)  # that might be there where N is not known, by what late echoes allow
DOUBT = 1.2  # factor that N may be wrong by where the decays told it


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

    @classmethod
    def again(cls, parameters: Mapping[str, Any]) -> Settings:
        """The settings that a result's parameters tell of, without what is only the published methods'."""
        told = {one.name: parameters[one.name] for one in fields(cls) if one.name in parameters}
        return cls(
            **told
            | {
                "weights": weights(parameters["weights"]),
                "n_coils_range": tuple(parameters["n_coils_range"]),
                "t_ms": np.array(parameters["echo_times_ms"]),
                "dtype": np.float32,
                "hyperparameters": {},
            }
        )

    @property
    def unseen_coils(self) -> bool:
        """Whether there may be a floor of more coils than the data could show."""
        return self.noise != "gaussian" and self.n_coils_source in {"unknown", "unclear"}

    @property
    def each_its_own(self) -> bool:
        """Whether a voxel is fitted in units of its own sigma; eq. 2 with given weights knows only one."""
        return not self.method.endswith("-published") and (self.method != "admm" or self.weights is None)

    @property
    def regularised(self) -> bool:
        """Whether neighbours are made alike."""
        return self.method in REGULARISED

    @property
    def doubtful(self) -> bool:
        """Whether so little is known of the floor that nothing can be said of what lies near it."""
        return self.unseen_coils or (self.floor_coils > 0 and self.noise_confidence in {"low", "unknown"})

    @property
    def one_exponential(self) -> bool:
        """Whether a decay has amplitude and rate alone, but for factors that are known."""
        return self.model in {"mono-exponential", "automatic"}

    @property
    def moment(self) -> int:
        """Of the noise, that least squares are made on; 0 where its likelihood is used."""
        return MOMENTS.get(self.noise, 0)

    @property
    def fat_untold(self) -> str:
        """Why fat is not looked for, as ``model.why_untold``; "not asked" where the model was chosen by hand."""
        if self.model != "automatic":
            return "not asked"
        return model.why_untold(self.t_ms, self.field_strength_t)

    @property
    def floor_coils(self) -> float:
        """N of the noise floor, 0 where noise is taken as Gaussian."""
        return 0.0 if self.noise == "gaussian" else self.n_coils

    @property
    def other_coils(self) -> float:
        """Another N that the floor may have, as far as is known; ``floor_coils`` where that is sure."""
        n = self.floor_coils
        if n and self.unseen_coils:
            return float(np.clip(self.n_coils_range[1], *LIKELY_COILS))
        if n and self.n_coils_source == "decays":
            return self.n_coils_range[0] if self.doubtful else DOUBT * n
        return n

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
            "fat_untold": self.fat_untold,
            "echo_times_ms": [float(v) for v in self.t_ms],
            **{name: np.asarray(value).tolist() for name, value in self.hyperparameters.items()},
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
    unit = "s" if t[-1] < SHORTEST_MS else "µs" if t[-1] > LONGEST_MS else None
    if unit is not None:
        how = "multiply by 1000" if unit == "s" else "divide by 1000"
        raise ValueError(f"echo_times_ms must be in ms; up to {t[-1]:g} they look like {unit}: {how}")
    return t


def signal(signal: ArrayLike) -> NDArray[Any]:
    """Real numbers, echoes along the last axis; what a masked array hides is not a number."""
    if isinstance(signal, np.ma.MaskedArray):
        real = np.float64 if signal.dtype == np.float64 else np.float32
        signal = np.ma.filled(signal.astype(real), np.nan)
    s = _array("signal", signal)
    if s.ndim < 1 or 0 in s.shape:
        raise ValueError(
            f"signal must have the shape (M,), (decays, M) or (..., K, L, M) for M echoes, it has {s.shape}"
        )
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
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}{_meant(str(value), allowed)}")
    return value


def _meant(word: Any, known: Iterable[str]) -> str:
    """A question for what was probably meant, empty where nothing is near."""
    known, word = tuple(known), word.lower()
    meant = ALSO_CALLED.get(word) or next(iter(difflib.get_close_matches(word, known, 1)), "")
    return f"; did you mean {meant!r}?" if meant in known else ""


def further(given: Mapping[str, Any], method: str, arguments: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split what is no argument of its own into the method's hyper-parameters and the findings of an earlier fit."""
    known = HYPERPARAMETERS.get(method, ())
    for name in given:
        if name in known or name in FINDINGS:
            continue
        owners = [f'"{one}"' for one, names in HYPERPARAMETERS.items() if name in names]
        if owners:
            hint = _meant(name, arguments)
            raise ValueError(f"{name}: only method={' and '.join(owners)} has it, not {method!r}{hint}")
        raise ValueError(f"{name}: fit_t2star has no such argument{_meant(name, (*arguments, *known))}")
    findings = {name: value for name, value in given.items() if name in FINDINGS}
    own = {name: value for name, value in given.items() if name not in findings}
    if method == "bayesian":
        own = {"seed": seed(own.get("seed", bayesian.SEED))}
    return own, findings


def told_noise(findings: Mapping[str, Any], sigma: Any, n_coils: float | None) -> NoiseEstimate | None:
    """What an earlier fit of the same signal found out about its noise; None where that has to be found again.

    The sigma of the estimate is that of the parameters, or 0 where one for each voxel is given.
    """
    if not findings:
        return None
    if "noise_source" not in findings or sigma is None or n_coils is None:
        raise ValueError(
            f"{next(iter(findings))}: what an earlier fit found of its noise belongs together with its noise_source, "
            "sigma and n_coils"
        )
    alike = np.ndim(sigma) == 0
    if alike and findings.get("sigma_varies"):
        if findings["noise_source"] == "given":
            raise ValueError("sigma was given for each voxel, which the parameters do not hold: give it again")
        return None
    least, most = findings.get("n_coils_range", (n_coils, n_coils))
    return NoiseEstimate(
        float(sigma) if alike else 0.0,
        n_coils,
        str(findings["noise_source"]),
        str(findings.get("n_coils_source", "given")),
        str(findings.get("noise_confidence", "given")),
        (float(least), float(most)),
        float(findings.get("sigma_rel_sd", 0.0)),
    )


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


def seed(value: Any) -> int:
    """What random numbers begin with."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"seed must be a whole number, 0 or more, not {value!r}")
    return int(value)


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
    mean = float(np.sqrt(pair[0] * pair[1]))
    scaled_already = abs(mean - 1) < 1e-12  # those of an earlier fit's parameters stay what they are to the last digit
    rows, columns = pair if scaled_already else pair / mean
    return float(rows), float(columns)


def check_model(name: str, t_ms: NDArray[np.float64], field_strength_t: float | None, method: str, noise: str) -> str:
    """Return the model where the echo times can tell its parameters apart."""
    choice("model", name, model.MODELS)
    if name != "mono-exponential" and (method == "learned" or method.endswith("-published")):
        raise ValueError(f"model must be mono-exponential for method={method!r}")
    if name == "automatic" and noise in MOMENTS:
        raise ValueError(f"model='automatic' needs a likelihood: noise must not be {noise!r}")
    if name == "fat-water":
        model.check_fat_water(t_ms, field_strength_t)
    fewest = model.signal_model(name, field_strength_t, 1.0).fewest_echoes
    if t_ms.size < fewest:
        raise ValueError(f"echo_times_ms must hold at least {fewest} times for model={name!r}, it holds {t_ms.size}")
    return name
