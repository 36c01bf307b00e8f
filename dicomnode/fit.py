"""A stack's signal -> maps; the only importer of the solver."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import dicomnode
from dicomnode.model import DecayCurve, FitRecord, HiddenFat, Maps, RicherModel
from solver import fit_t2star
from solver.decay import Decay, Magnitudes, Model, fit_decay
from solver.model import tells_fat
from solver.noise import mean_of_noise, tabled_magnitude

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dicomnode.config import FitSettings


QUANTITIES = ("t2star_ms", "r2star_per_s", "s0", "r2star_sd_per_s")  # of the solver, each a map


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
        values={name: _map(getattr(result, name), valid) for name in QUANTITIES},
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
            regularised=result.regularised,
        ),
        beyond=np.asarray(result.beyond, bool),
        sigma_map=None if result.sigma_map is None else np.asarray(result.sigma_map, np.float32),
    )


SIGMA_DOUBT = 0.05  # of sigma, where the record of the maps does not say how well it is known
_FEWEST_ECHOES = 4  # of which leaving out one says how much the rate hangs on each
_FEWEST_FOR_RICHER, _MORE_FOR_EACH = 6, 2  # echoes; more of them for each parameter more
SOME_FAT, ALTERNATING = 0.05, 0.06  # that any liver may hold, signal fraction; between odd and even echoes, relative
HIDDEN_FAT = (0.03, 0.2)  # signal fractions: within what is normal for a liver, and steatosis
_WORTH_ASKING = 10.0  # ln of the odds
_NEAR = 0.02  # of the largest signal: root mean square of what a model may leave that is believed
_CLEAR = 2.0  # times the floor
_LITTLE = 1e-3  # of the first echo: data are never better known than that, whatever the number of voxels


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise that maps were fitted with."""

    sigma: float  # in the units of the signal
    n_coils: float
    source: str  # of N
    confidence: str = "fair"  # "given", "high", "fair", "low" or "unknown"
    sigma_doubt: float = SIGMA_DOUBT  # standard deviation of sigma over sigma
    n_coils_range: tuple[float, float] = (1.0, 1.0)  # that the data allow

    @classmethod
    def of(cls, maps: Maps) -> Noise:
        """Read it from the record of the maps."""
        said = maps.record.parameters
        sigma, n_coils = float(np.median(maps.sigma)), float(said.get("n_coils", 1.0))
        low, high = said.get("n_coils_range", (n_coils, n_coils))
        return cls(
            sigma,
            n_coils,
            str(said.get("n_coils_source", "assumed")),
            str(said.get("noise_confidence", "fair")),
            float(said.get("sigma_rel_sd", SIGMA_DOUBT)),
            (float(low), float(high)),
        )

    def within(self, maps: Maps, region: NDArray[np.bool_]) -> Noise:
        """The noise in a region, where it varies over the image."""
        return self if maps.sigma_map is None else replace(self, sigma=float(np.median(maps.sigma_map[region])))

    @property
    def floor(self) -> float:
        """Expected magnitude where nothing is left of the signal."""
        return mean_of_noise(self.n_coils) * self.sigma


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How far the rate of a decay moves by what is not known of it, each over the rate."""

    noise: float  # when sigma and N are as wrong as they may be
    echoes: float | None  # jackknife deviation over the echoes: what no noise explains; None of too few
    richer: tuple[RicherModel, ...]  # models that the echoes can tell, the simpler first
    hidden_fat: tuple[HiddenFat, ...]  # of each fraction that is asked for, a little first
    mostly_fat: float  # by how much fat with a little water is the likelier, ln of the ratio; 0 where that is not told


def decay(
    signal: NDArray[np.float32], echo_times_ms: tuple[float, ...], region: NDArray[np.bool_], noise: Noise
) -> tuple[DecayCurve, float | None]:
    """The median decay of a region and its plain least-squares R2* in 1/s, for judging the maps without regularisation.

    ``signal`` is (slices, K, L, M), ``region`` (slices, K, L) and not empty.
    """
    inside = signal[region]
    median = np.array([np.median(echo.astype(np.float64)) for echo in inside.T])
    # The median of many voxels carries their bias from the noise floor, not their spread.
    times = np.asarray(echo_times_ms)
    corrected = _fit(median, times, noise)
    plain = _fit(median, times, noise, noise="gaussian")
    curve = DecayCurve(
        echo_times_ms=echo_times_ms,
        signal=tuple(float(value) for value in median),
        noise_floor=noise.floor,
        s0=corrected.s0 if corrected else None,
        r2star_per_s=corrected.rate if corrected else None,
    )
    return curve, plain.rate if plain else None


def sensitivity(decay: DecayCurve, noise: Noise, field_strength_t: float | None, n_voxels: int) -> Sensitivity:
    """How far the rate of a measured decay hangs on the noise, on single echoes and on what else may bend it."""
    median, times = np.array(decay.signal), np.array(decay.echo_times_ms)
    plain = _fit(median, times, noise)
    if plain is None:
        return Sensitivity(0.0, None, (), (), 0.0)
    wrong = [replace(noise, sigma=noise.sigma * (1 + sign * noise.sigma_doubt)) for sign in (-1, 1)]
    fewer = [replace(noise, n_coils=n) for n in sorted(set(noise.n_coils_range) - {noise.n_coils})]
    by_sigma, by_coils = ([_fit(median, times, one) for one in others] for others in (wrong, fewer))
    moved = [max((_moved(one, plain) for one in others), default=0.0) for others in (by_sigma, by_coils)]
    one = Magnitudes(median, times, max(noise.sigma, _LITTLE * median[0]), noise.n_coils)
    weight = max(n_voxels / _SHARED, 1.0)
    models = _models(one.echo_times_ms, field_strength_t)
    echoes, richer = _richer(one, plain, models, weight)
    hidden = () if field_strength_t is None else tuple(_hidden(one, plain, field_strength_t, weight))
    return Sensitivity(math.hypot(*moved), echoes, richer, hidden, _mostly_fat(one, plain, models, weight))


def _mostly_fat(one: Magnitudes, plain: _Fit, models: tuple[Model, ...], weight: float) -> float:
    """Ln of the odds of fat with a little water against the best of water with a little fat."""
    ways = [model for model in models if model.fat_at_t is not None]
    costs = [
        [fit.cost for model in some if (fit := fit_decay(one, model, (plain.s0, plain.rate))) is not None]
        for some in ((Model(), *models), [replace(model, mostly_fat=True) for model in ways])
    ]
    if not all(costs):
        return 0.0
    # Between two models that are both far from the decay the odds say nothing.
    left = math.sqrt(2 * min(costs[1]) / len(one.signal)) * one.sigma
    return weight * (min(costs[0]) - min(costs[1])) if left < _NEAR * float(one.signal.max()) else 0.0


def _hidden(one: Magnitudes, plain: _Fit, field_t: float, weight: float) -> Iterator[HiddenFat]:
    """How far the rate moves if there is so much fat, and how likely that is; a little first."""
    start = (plain.s0, plain.rate)
    without = fit_decay(one, Model(), start)
    for fat in HIDDEN_FAT:
        found = fit_decay(one, Model(field_t, held_fat=fat), start)
        if without is None or found is None:
            yield HiddenFat(fat, 0.0)
            continue
        evidence = (without.cost - found.cost) * weight
        denied = evidence < -_WORTH_ASKING
        yield HiddenFat(fat, 0.0 if denied else found.rate_per_s / without.rate_per_s - 1, evidence)


def _moved(found: _Fit | None, plain: _Fit) -> float:
    return 1.0 if found is None else abs(found.rate / plain.rate - 1)  # no decay at all is any rate


def _jackknife(one: Magnitudes, model: Model, found: Decay) -> float | None:
    """Deviation of the rate over the echoes (Efron and Tibshirani 1993, ch. 11); None of too few.

    Without an echo that leaves fewer than two clear of the floor there is no decay to compare with: how far the rate
    hangs on those two is what noise does, and is told as that.
    """
    count, clear = len(one.signal), one.signal > _CLEAR * mean_of_noise(one.n_coils) * one.sigma
    if count < _FEWEST_ECHOES + _MORE_FOR_EACH * len(model.further):
        return None
    rates = []
    for left_out in range(count):
        kept = np.arange(count) != left_out
        if clear[kept].sum() < 2:
            continue
        some = model if model.signs is None else replace(model, signs=model.signs[kept])
        fewer = replace(one, signal=one.signal[kept], echo_times_ms=one.echo_times_ms[kept])
        fit = fit_decay(fewer, some, (found.s0, found.rate_per_s))
        rates += [] if fit is None else [fit.rate_per_s]
    moves = np.array(rates) / found.rate_per_s - 1
    return float(np.sqrt((len(moves) - 1) / len(moves) * np.sum(moves**2))) if len(moves) > 1 else None


def _richer(
    one: Magnitudes, start: _Fit, models: tuple[Model, ...], weight: float
) -> tuple[float | None, tuple[RicherModel, ...]]:
    """Jackknife deviation of one exponential; what richer models say, each of as many independent voxels as weigh."""
    plain = fit_decay(one, Model(), (start.s0, start.rate))
    if plain is None:
        return None, ()
    said = []
    for model in models:
        found = fit_decay(one, model, (plain.s0, plain.rate_per_s))
        if found is None:
            continue
        evidence = (plain.cost - found.cost) * weight
        # What is no likelier than one exponential is not asked how well it is told.
        echoes = _jackknife(one, model, found) if evidence > _WORTH_ASKING else None
        knows = (model.fat_at_t is not None, model.signs is not None)
        said.append(RicherModel(*knows, found.rate_per_s / plain.rate_per_s - 1, echoes, evidence))
    return _jackknife(one, Model(), plain), tuple(said)


def _models(times: NDArray[np.float64], field_t: float | None) -> tuple[Model, ...]:
    """The models that so many echoes, so spaced, can tell; the simpler first."""
    if len(times) < _FEWEST_FOR_RICHER:
        return ()
    signs = _signs(times)
    if field_t is None or not tells_fat(times, field_t):
        return (Model(None, signs),)
    return (Model(field_t), Model(None, signs), Model(field_t, signs))


def _signs(times: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.where(np.arange(len(times)) % 2, -1.0, 1.0)
    return found


@dataclass(frozen=True, slots=True)
class _Fit:
    """One decay, fitted for itself."""

    rate: float  # 1/s
    s0: float


def _fit(median: NDArray[np.float64], times: NDArray[np.float64], known: Noise, **how: Any) -> _Fit | None:
    """Fit one decay; None where it has no rate."""
    sigma = max(known.sigma, _LITTLE * median[0])
    usual = {"method": "nls", "noise": "rician", "sigma": sigma, "n_coils": known.n_coils}
    found = fit_t2star(median[None, None, :], times, **(usual | how))
    if not bool(np.all(found.valid)):
        return None
    return _Fit(float(np.ravel(found.r2star_per_s)[0]), float(np.ravel(found.s0)[0]))


def fall(
    signal: NDArray[np.float32],
    echo_times_ms: tuple[float, ...],
    region: NDArray[np.bool_],
    noise: Noise,
    *,
    s0: float,
    field_strength_t: float | None,
) -> float | None:
    """R2* in 1/s that half of a region has at the least, where it is too fast to be measured; None: nothing is sure.

    The median power of the first two echoes lies between A² + 2Nσ² (1 - 1/9N)³, what the median of chi-square adds
    where nothing is left, and A² + 2Nσ². What is left at the least of the first, with sigma and N as wrong as they may
    be, against what may be left at the most of the second, is the slowest decay they allow; so is the fall to the
    first from ``s0``, which must be a cautious lower bound of the amplitude at time 0. The faster of the two is given,
    less what read-outs that alternate and a little fat may make of two echoes.
    """
    square = np.square(signal[region][:, :2].astype(np.float64))
    middle, error = np.median(square, axis=0), square.std(axis=0) / np.sqrt(max(len(square) / _SHARED, 1))
    most_coils = max(noise.n_coils_range[1], noise.n_coils)
    floor = 2 * noise.n_coils * noise.sigma**2
    doubt = np.hypot(2 * 2 * noise.sigma_doubt * floor, 2 * error)
    low = middle - 2 * most_coils * noise.sigma**2 - doubt
    high = np.maximum(middle - floor * (1 - 1 / (9 * noise.n_coils)) ** 3, 0) + doubt
    t = np.asarray(echo_times_ms[:2]) / 1000
    top = np.sqrt(high[0])
    from_zero, between = _faked(echo_times_ms[:2], field_strength_t)
    bounds = [float((np.log(low[0] / high[1]) / 2 - between) / (t[1] - t[0]))] if low[0] > high[1] > 0 else []
    bounds += [float((np.log(s0 / top) - from_zero) / t[0])] if s0 > top > 0 else []
    found = max(bounds, default=None)
    return found if found is None or found > 0 else None


def _faked(echo_times_ms: tuple[float, ...], field_strength_t: float | None) -> tuple[float, float]:
    """What looks like decay and is none, ln: to the first echo, and from it to the second."""
    faked = np.array([ALTERNATING, 2 * ALTERNATING])
    if field_strength_t is not None:
        factor, _ = Model(field_strength_t).shape(np.asarray(echo_times_ms), np.array([SOME_FAT]))
        logs = np.log(np.abs(factor))
        faked = faked + np.maximum([-logs[0], logs[0] - logs[1]], 0.0)
    return float(faked[0]), float(faked[1])


_ENOUGH = 10_000  # voxels for a mean square; of more, every so-manieth is looked at
_SHARED = 9.0  # voxels that share their noise where images were interpolated


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
    places = np.flatnonzero(region)
    some = np.unravel_index(places[:: max(1, places.size // _ENOUGH)], region.shape)
    sigma = noise.sigma if maps.sigma_map is None else maps.sigma_map[some][:, None].astype(np.float64)
    t = np.asarray(echo_times_ms) / 1000
    s0, rate = (values[some][:, None].astype(np.float64) for values in (maps.s0, maps.r2star_per_s))
    clean = s0 * np.exp(-rate * t) / sigma
    expected, variance = tabled_magnitude(clean, n_coils)
    square = (signal[some] / sigma - expected) ** 2 / np.maximum(variance, 0.2)
    return float(np.mean(square) * len(t) / (len(t) - 1))


def _map(values: NDArray[np.floating], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Write 0 where nothing is valid, in place; ``valid`` tells what that is, 0 only keeps NaN out of the objects."""
    map_ = values.astype(np.float32, copy=False)
    map_[~valid] = 0.0
    return map_


def compile_kernels() -> None:
    """Run every kernel that a study needs once, so that the compiled code lies in the cache before the first one."""
    echo_times_ms = np.arange(1.0, 7.0)
    noise = np.random.default_rng(1).normal(0.0, 1.0, (1, 16, 16, 6))
    signal = 100.0 * np.exp(-echo_times_ms / 5.0) + noise
    fit_t2star(signal.astype(np.float32), echo_times_ms)
    for assumed in ("rician", "gaussian"):  # what decay() does with a region's median
        fit_t2star(signal[0, :1, :1], echo_times_ms, method="nls", noise=assumed, sigma=1.0)
