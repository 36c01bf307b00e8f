"""A stack's signal -> maps; the only importer of the solver."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import dicomnode
from dicomnode import plugins
from dicomnode.config import FIT_METHODS
from dicomnode.errors import StepError
from dicomnode.model import DecayCurve, Dephasing, FitRecord, HiddenFat, Maps, RicherModel
from solver import fit_t2star
from solver.companion import Companion, fit_complex
from solver.decay import Decay, Magnitudes, Model, fit_decay
from solver.fat import beat, factors
from solver.model import tells_fat
from solver.noise import mean_of_noise, tabled_magnitude

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dicomnode.config import FitSettings


QUANTITIES = ("t2star_ms", "r2star_per_s", "s0", "r2star_sd_per_s")  # of the solver, each a map
OF_FAT = ("fat_fraction", "fat_fraction_sd", "plain_r2star_per_s")  # more of them, where fat was looked for


def fit(
    signal: NDArray[np.float32],
    echo_times_ms: tuple[float, ...],
    pixel_spacing_mm: tuple[float, float],
    settings: FitSettings,
    field_strength_t: float | None = None,
    **hyperparameters: Any,
) -> Maps:
    """Fit a stack: ``signal`` is (slices, K, L, M), echo times ascend.

    The published methods and the learned one know one exponential, whatever the model of ``settings``.
    ``hyperparameters`` are those of the published, as ``solver.fit_t2star`` takes them.
    """
    if settings.method not in FIT_METHODS:
        return _by_package(signal, echo_times_ms, pixel_spacing_mm, settings, field_strength_t)
    started = time.perf_counter()
    alone = settings.method == "learned" or settings.method.endswith("-published")
    model = "mono-exponential" if alone else settings.model
    result = fit_t2star(
        signal,
        np.asarray(echo_times_ms),
        method=settings.method,
        model=model,
        noise=settings.noise,
        weights=settings.weights,
        spacing=pixel_spacing_mm,
        field_strength_t=field_strength_t,
        **hyperparameters,
    )
    valid = np.asarray(result.valid, bool)
    quantities = QUANTITIES if result.fat_fraction is None else (*QUANTITIES, *OF_FAT)
    sigma = np.broadcast_to(np.asarray(result.sigma, float).reshape(-1), (len(signal),))
    return Maps(
        values={name: _map(getattr(result, name), valid) for name in quantities},
        valid=valid,
        sigma=tuple(float(value) for value in sigma),
        record=FitRecord(
            method=settings.method,
            model=model,
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


@dataclass(frozen=True, slots=True)
class Rates:
    """What a method of another package makes of a stack, (slices, K, L) each.

    ``s0`` in signal units, ``r2star_per_s`` and its standard deviation in 1/s, and where all three are believed.
    """

    s0: NDArray[np.float32]
    r2star_per_s: NDArray[np.float32]
    r2star_sd_per_s: NDArray[np.float32]
    valid: NDArray[np.bool_]
    regularised: bool = False  # neighbours share their noise
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON values: what it was made with


# (signal (slices, K, L, M), echo times in ms, voxelwise maps with what is known of the noise) -> rates
Method = Callable[[NDArray[np.float32], tuple[float, ...], Maps], Rates]


@functools.cache
def methods() -> Mapping[str, Method]:
    """The methods of installed packages by name; raises ConfigError with the name of one that cannot be used."""
    found: dict[str, Method] = {}
    for plugin in plugins.offered(plugins.METHODS):
        method = plugin.load()
        if plugin.name in FIT_METHODS:
            raise plugins.broken(plugin, "this node has a method of that name")
        if not callable(method):
            raise plugins.broken(plugin, f"it is a {type(method).__name__}, no function")
        found[plugin.name] = method
    return found


def _by_package(
    signal: NDArray[np.float32],
    echo_times_ms: tuple[float, ...],
    pixel_spacing_mm: tuple[float, float],
    settings: FitSettings,
    field_strength_t: float | None,
) -> Maps:
    """Fit voxel by voxel for what is known of the noise, and let the method of another package make the rates."""
    started = time.perf_counter()
    plain = settings.model_copy(update={"method": "nls", "model": "mono-exponential", "weights": "auto"})
    start = fit(signal, echo_times_ms, pixel_spacing_mm, plain, field_strength_t)
    given = methods()[settings.method](signal, echo_times_ms, start)
    if not isinstance(given, Rates) or any(one.shape != start.valid.shape for one in _arrays(given)):
        raise StepError(
            f"method {settings.method!r} did not give rates of the shape of its images, {start.valid.shape}"
        )
    known = np.logical_and.reduce([np.isfinite(one) for one in _arrays(given)])
    valid = given.valid & known & (given.r2star_per_s > 0) & (given.s0 > 0)
    rate = np.where(valid, given.r2star_per_s, 1.0)
    quantities: tuple[NDArray[Any], ...] = (1000.0 / rate, rate, given.s0, given.r2star_sd_per_s)
    origin = plugins.origin(plugins.METHODS, settings.method)
    return replace(
        start,
        values={name: _map(one, valid) for name, one in zip(QUANTITIES, quantities, strict=True)},
        valid=valid,
        beyond=None if start.beyond is None else start.beyond & ~valid,
        record=replace(
            start.record,
            method=settings.method,
            seconds=time.perf_counter() - started,
            verdict=f"by {origin}",
            parameters={**start.record.parameters, **given.parameters, "package": origin},
            regularised=given.regularised,
        ),
    )


def _arrays(given: Rates) -> tuple[NDArray[Any], ...]:
    return given.s0, given.r2star_per_s, given.r2star_sd_per_s, given.valid


def companion(
    slices: Iterable[NDArray[Any]], echo_times_ms: tuple[float, ...], field_strength_t: float | None, maps: Maps
) -> Companion:
    """Fit complex slices (K, L, M) beside the maps of their magnitudes, and judge whether that may be believed."""
    rates = np.where(maps.valid, maps.r2star_per_s, np.nan)
    return fit_complex(slices, echo_times_ms, field_strength_t, rates)


SIGMA_DOUBT = 0.05  # of sigma, where the record of the maps does not say how well it is known
_FEWEST_ECHOES = 4  # of which leaving out one says how much the rate hangs on each
_FEWEST_FOR_RICHER, _MORE_FOR_EACH = 6, 2  # echoes; more of them for each parameter more
MOST_FAT = 0.3  # signal fraction that a liver may hold where nothing tells: severe steatosis begins below it
ALTERNATING = 0.06  # between odd and even echoes, relative
UNTOLD_FAT = 0.075  # deviation of the fraction before anything is measured: a quarter of livers hold some
HIDDEN_FAT = (0.03, 0.2)  # signal fractions: within what is normal for a liver, and steatosis
_DRAWN = 100  # points of a curve
_SURELY = 3.0  # standard deviations
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
class KnownFat:
    """The signal fraction of fat that maps were freed of in a region, with its standard deviation."""

    fraction: float
    sd: float

    @classmethod
    def within(cls, maps: Maps, region: NDArray[np.bool_]) -> KnownFat | None:
        """Read it from the maps; None where nothing could be asked."""
        if not maps.looked_for_fat or not region.any():
            return None
        deviations = maps.values["fat_fraction_sd"][region]
        known = deviations[np.isfinite(deviations)]
        sd = float(np.median(known)) if known.size > deviations.size / 2 else UNTOLD_FAT
        return cls(float(np.median(maps.values["fat_fraction"][region])), sd)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How far the rate of a decay moves by what is not known of it, each over the rate of the model of the maps."""

    noise: float  # when sigma and N are as wrong as they may be
    echoes: float | None  # jackknife deviation over the echoes: what no noise explains; None of too few
    richer: tuple[RicherModel, ...]  # models that the echoes can tell, the simpler first
    hidden_fat: tuple[HiddenFat, ...]  # of each fraction that is asked for, a little first
    mostly_fat: float  # by how much fat with a little water is the likelier, ln of the ratio; 0 where that is not told
    fat: float = 0.0  # by what is not known of the fraction that the maps are freed of
    freed: float = 0.0  # how far that fraction has moved the rate of one exponential
    fraction: float = 0.0  # jackknife deviation over the echoes of the fraction itself
    dephasing: Dephasing | None = None  # by a field across the slice; None of too few echoes


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


def freed(decay: DecayCurve, noise: Noise, field_strength_t: float | None, fat: KnownFat | None) -> DecayCurve:
    """The same decay with its fat allowed for: amplitude and rate of the model of the maps, and how fat beats in it."""
    if fat is None or not fat.fraction or decay.s0 is None or decay.r2star_per_s is None:
        return decay
    signal, times = np.array(decay.signal), np.array(decay.echo_times_ms)
    one = Magnitudes(signal, times, max(noise.sigma, _LITTLE * signal[0]), noise.n_coils)
    model = Model(field_strength_t, held_fat=fat.fraction)
    found = fit_decay(one, model, (decay.s0, decay.r2star_per_s))
    if found is None:
        return decay
    shown = np.linspace(0.0, 1.05 * times[-1], _DRAWN)
    factor, _ = model.shape(shown, np.array([fat.fraction]))
    beat = tuple(zip(map(float, shown), map(float, factor), strict=True))
    return replace(decay, s0=found.s0, r2star_per_s=found.rate_per_s, beat=beat)


def sensitivity(
    decay: DecayCurve, noise: Noise, field_strength_t: float | None, n_voxels: int, fat: KnownFat | None = None
) -> Sensitivity:
    """How far the rate of a measured decay hangs on the noise, on single echoes and on what else may bend it.

    ``fat`` is what the maps know of it, whose rate all of this is about.
    """
    asked = _Asked.of(decay, noise, field_strength_t, n_voxels, fat)
    if asked is None:
        return Sensitivity(0.0, None, (), (), 0.0)
    echoes, richer = asked.richer()
    by_fat, freed = asked.by_fat()
    return Sensitivity(
        noise=_by_noise(decay, noise),
        echoes=echoes,
        richer=richer,
        hidden_fat=tuple(asked.hidden()),
        mostly_fat=asked.mostly_fat(),
        fat=by_fat,
        freed=freed,
        fraction=asked.fraction_by_echoes(),
        dephasing=asked.dephasing(),
    )


def dephasing(
    decay: DecayCurve, noise: Noise, field_strength_t: float | None, n_voxels: int, fat: KnownFat | None = None
) -> tuple[Dephasing | None, float]:
    """Of ``sensitivity`` what a field across the slice does, and how far the noise moves the rate."""
    asked = _Asked.of(decay, noise, field_strength_t, n_voxels, fat)
    return (None, 0.0) if asked is None else (asked.dephasing(), _by_noise(decay, noise))


def _by_noise(decay: DecayCurve, noise: Noise) -> float:
    """How far the rate moves when sigma and N are as wrong as they may be."""
    median, times = np.array(decay.signal), np.array(decay.echo_times_ms)
    plain = _fit(median, times, noise)
    if plain is None:
        return 0.0
    wrong = [replace(noise, sigma=noise.sigma * (1 + sign * noise.sigma_doubt)) for sign in (-1, 1)]
    fewer = [replace(noise, n_coils=n) for n in sorted(set(noise.n_coils_range) - {noise.n_coils})]
    by_sigma, by_coils = ([_fit(median, times, one) for one in others] for others in (wrong, fewer))
    return math.hypot(*(max((_moved(one, plain) for one in others), default=0.0) for others in (by_sigma, by_coils)))


@dataclass(frozen=True, slots=True)
class _Asked:
    """The decay of a region that models are asked about, beside the model that its maps were fitted with."""

    one: Magnitudes
    start: tuple[float, float]  # S0, R2* in 1/s
    weight: float  # independent voxels that it stands for
    field_t: float | None
    fat: KnownFat | None

    @classmethod
    def of(
        cls, decay: DecayCurve, noise: Noise, field_t: float | None, n_voxels: int, fat: KnownFat | None
    ) -> _Asked | None:
        """None of a decay that cannot be fitted."""
        median, times = np.array(decay.signal), np.array(decay.echo_times_ms)
        plain = _fit(median, times, noise)
        if plain is None:
            return None
        one = Magnitudes(median, times, max(noise.sigma, _LITTLE * median[0]), noise.n_coils)
        return cls(one, (plain.s0, plain.rate), max(n_voxels / _SHARED, 1.0), field_t, fat)

    def fit(self, model: Model) -> Decay | None:
        return fit_decay(self.one, model, self.start)

    @property
    def base(self) -> Model:
        """What the maps know."""
        return Model() if self.fat is None or not self.fat.fraction else self.with_fat(self.fat.fraction)

    def with_fat(self, fraction: float) -> Model:
        return Model(self.field_t, held_fat=fraction)

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that so many echoes, so spaced, can tell; the simpler first."""
        times = self.one.echo_times_ms
        if len(times) < _FEWEST_FOR_RICHER:
            return ()
        signs = np.where(np.arange(len(times)) % 2, -1.0, 1.0)
        if self.field_t is None or not tells_fat(times, self.field_t):
            return (Model(None, signs),)
        return (Model(self.field_t), replace(self.base, signs=signs), Model(self.field_t, signs))

    def richer(self) -> tuple[float | None, tuple[RicherModel, ...]]:
        """Jackknife deviation of the maps' model; what richer ones say, each of as many voxels as weigh."""
        base = self.fit(self.base)
        if base is None:
            return None, ()
        start, said = (base.s0, base.rate_per_s), []
        for model in self.models:
            found = fit_decay(self.one, model, start)
            if found is None:
                continue
            evidence = (base.cost - found.cost) * self.weight
            # What is no likelier than the maps' model is not asked how well it is told.
            echoes = _jackknife(self.one, model, found) if evidence > _WORTH_ASKING else None
            knows = (model.looks_for_fat, model.signs is not None)
            said.append(RicherModel(*knows, found.rate_per_s / base.rate_per_s - 1, echoes, evidence))
        return _jackknife(self.one, self.base, base), tuple(said)

    def dephasing(self) -> Dephasing | None:
        """How far a field across the slice has raised the rate, and how likely that is beside every other model."""
        times = self.one.echo_times_ms
        base = self.fit(self.base)
        if len(times) < _FEWEST_FOR_RICHER or base is None:
            return None
        last, plain = float(times[-1]), (self.base, *self.models)
        turning = [replace(model, turning_within_ms=last) for model in plain]
        bent, rest = ([self.fit(model) for model in some] for some in (turning, plain))
        found = min((one for one in bent if one is not None), key=lambda one: one.cost, default=None)
        if found is None:
            return None
        evidence = (min(one.cost for one in rest if one is not None) - found.cost) * self.weight
        return Dephasing(1000 * found.further[-1] / last, base.rate_per_s / found.rate_per_s - 1, evidence)

    def hidden(self) -> Iterator[HiddenFat]:
        """How far the rate moves if there is so much fat more, and how likely that is; a little first.

        Where fat was looked for there is hardly more than three of its deviations.
        """
        if self.field_t is None:
            return
        known, sd = (0.0, 1.0) if self.fat is None else (self.fat.fraction, self.fat.sd)
        without = self.fit(self.base)
        for most in HIDDEN_FAT:
            more = min(most, _SURELY * sd)
            found = self.fit(self.with_fat(known + more))
            if without is None or found is None:
                yield HiddenFat(more, 0.0)
                continue
            evidence = (without.cost - found.cost) * self.weight
            denied = evidence < -_WORTH_ASKING
            yield HiddenFat(more, 0.0 if denied else found.rate_per_s / without.rate_per_s - 1, evidence)

    def mostly_fat(self) -> float:
        """Ln of the odds of fat with a little water against the best of water with a little fat."""
        ways = [model for model in self.models if model.looks_for_fat]
        costs = [
            [found.cost for model in some if (found := self.fit(model)) is not None]
            for some in ((Model(), *self.models), [replace(model, mostly_fat=True) for model in ways])
        ]
        if not all(costs):
            return 0.0
        # Between two models that are both far from the decay the odds say nothing.
        left = math.sqrt(2 * min(costs[1]) / len(self.one.signal)) * self.one.sigma
        near = left < _NEAR * float(self.one.signal.max())
        return self.weight * (min(costs[0]) - min(costs[1])) if near else 0.0

    def by_fat(self) -> tuple[float, float]:
        """How far the rate moves with a deviation of the fraction of fat, and has moved from one exponential."""
        if self.fat is None:
            return 0.0, 0.0
        sides = [self.with_fat(self.fat.fraction + step) for step in (-self.fat.sd, self.fat.sd)]
        found = [self.fit(model) for model in (Model(), self.base, *sides)]
        rates = [one.rate_per_s for one in found if one is not None]
        if len(rates) < len(found):
            return 1.0, 0.0
        none, base, low, high = rates
        return abs(high - low) / 2 / base, base / none - 1

    def fraction_by_echoes(self) -> float:
        """Jackknife deviation of the fraction of fat over the echoes: what no noise explains."""
        if self.fat is None:
            return 0.0
        count, model = len(self.one.signal), Model(self.field_t)
        found = [fit_decay(self.one.without(k), model, self.start) for k in range(count)]
        fractions = [one.further[0] for one in found if one is not None]
        return math.sqrt((count - 1) * float(np.var(fractions))) if len(fractions) == count else 1.0


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
        fit = fit_decay(one.without(left_out), some, (found.s0, found.rate_per_s))
        rates += [] if fit is None else [fit.rate_per_s]
    moves = np.array(rates) / found.rate_per_s - 1
    return float(np.sqrt((len(moves) - 1) / len(moves) * np.sum(moves**2))) if len(moves) > 1 else None


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
    less what read-outs that alternate and fat may make of two echoes.
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
        factor, _ = Model(field_strength_t).shape(np.asarray(echo_times_ms), np.array([MOST_FAT]))
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
    clean = s0 * np.exp(-rate * t) / sigma * _fat_factors(maps, some, echo_times_ms)
    expected, variance = tabled_magnitude(clean, n_coils)
    square = (signal[some] / sigma - expected) ** 2 / np.maximum(variance, 0.2)
    return float(np.mean(square) * len(t) / (len(t) - 1))


def _fat_factors(maps: Maps, some: tuple[NDArray[np.intp], ...], echo_times_ms: tuple[float, ...]) -> Any:
    """What fat makes of each echo (n, M) of some voxels."""
    if not maps.looked_for_fat:
        return 1.0
    beating = beat(np.asarray(echo_times_ms), float(maps.record.parameters["field_strength_t"]))
    return factors(maps.values["fat_fraction"][some].astype(np.float64), beating).T


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
    fit_t2star(signal.astype(np.float32), echo_times_ms, model="automatic", field_strength_t=1.5)
    for assumed in ("rician", "gaussian"):  # what decay() does with a region's median
        fit_t2star(signal[0, :1, :1], echo_times_ms, method="nls", noise=assumed, sigma=1.0)
    fit_complex(signal + 1j * noise, echo_times_ms, 1.5, np.full(signal.shape[:-1], np.nan))
