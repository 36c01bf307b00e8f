"""The public door: from multi-echo magnitudes to T2* maps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from solver import arguments, learned
from solver.arguments import Settings, rate_bounds
from solver.estimate import estimate_noise
from solver.labelled import Labels
from solver.layout import Layout
from solver.model import signal_model
from solver.noise import NoiseEstimate
from solver.slicewise import SliceFit, echo_major, fit_slice
from solver.survey import sums_around, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

BEYOND = 2.0  # sigma that must be left at the second echo, for one coil
UNSEEN_COILS = 32  # whose floor might be there where the data could not show N
ALMOST_NOTHING = 0.25  # of that, for a voxel fitted for itself
SLICES_FOR_NOISE = 6
HALF = 0.5  # a coil: one real channel
NEGATIVE = 1e-3  # share of negative samples beyond which they are no magnitudes, and how many at least
NEGATIVES = 8
FEWEST_OF_A_DECAY = 3  # echoes that tell the noise of a decay without neighbours
UNITS = {  # of the maps of a result
    **dict.fromkeys(("s0", "beyond", "valid", "sigma_map", "fat_fraction", "fat_fraction_sd"), ""),
    **dict.fromkeys(("r2star_per_s", "r2star_sd_per_s", "at_least_r2star_per_s", "plain_r2star_per_s"), "1/s"),
    "t2star_ms": "ms",
}


@dataclass(frozen=True, slots=True)
class T2StarFit:
    """Maps of the signal's shape without the echoes, NaN where ``valid`` is False, and what judges and repeats them.

    Of a signal with named dimensions (xarray) each map has them, too.
    """

    s0: NDArray[Any]  # signal at echo time 0, in the units of the input
    t2star_ms: NDArray[Any]
    r2star_per_s: NDArray[Any]
    r2star_sd_per_s: NDArray[Any]  # standard deviation of r2star_per_s
    at_least_r2star_per_s: NDArray[Any]  # finite where R2* is beyond the measurable range: "more than this"
    beyond: NDArray[np.bool_]  # decays too fast to be measured, whether or not a bound is known
    valid: NDArray[np.bool_]
    sigma: float  # noise deviation of real and imaginary channels, in the units of the input, typical of tissue
    sigma_map: NDArray[Any] | None  # a map where it varies over the image, as given or found
    n_coils: float  # N of the non-central chi distribution, 1 is Rician
    objective: tuple[float, ...]  # after each accepted iteration, all slices together
    iterations: int
    converged: bool
    verdict: str
    regularised: bool  # whether neighbours were made alike
    fat_fraction: NDArray[Any] | None  # signal fraction that r2star_per_s is freed of; None where it was not looked for
    fat_fraction_sd: NDArray[Any] | None
    plain_r2star_per_s: NDArray[Any] | None  # of one exponential, where fat was looked for
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON values: what made the numbers


@dataclass(frozen=True, slots=True)
class _Noise:
    """Noise of a stack in the units of the input."""

    estimate: NoiseEstimate
    maps: NDArray[Any] | None  # (slices, K, L) of sigma where it varies

    def of_slice(self, k: int) -> float | NDArray[Any]:
        """Sigma of a slice, one or (K, L)."""
        return self.estimate.sigma if self.maps is None else self.maps[k]


def _given(sigma: float | NDArray[Any], n_coils: float, source: str, mask: NDArray[np.bool_]) -> _Noise:
    """Noise as given."""
    maps = sigma if isinstance(sigma, np.ndarray) else None
    typical = float(np.median(sigma if maps is None or not mask.any() else maps[mask]))
    return _Noise(NoiseEstimate(typical, n_coils, "given", source, coils_range=(n_coils, n_coils)), maps)


@dataclass(frozen=True, slots=True)
class _Given:
    """What a caller says of the noise, or the parameters of an earlier fit."""

    sigma: float | NDArray[Any] | None  # one or (slices, K, L)
    n_coils: float | None
    findings: Mapping[str, Any]

    def noise(self, mask: NDArray[np.bool_], *, floor: bool) -> _Noise | None:
        """The noise where nothing has to be looked for: without a ``floor`` N has no say."""
        told = arguments.told_noise(self.findings, self.sigma, self.n_coils)
        if self.sigma is None or (self.findings and told is None) or (self.n_coils is None and floor):
            return None
        known = _given(self.sigma, self.n_coils or 1.0, "given" if self.n_coils else "assumed", mask)
        return known if told is None else replace(known, estimate=replace(told, sigma=known.estimate.sigma))

    @property
    def to_keep(self) -> tuple[float | NDArray[Any] | None, float | None]:
        """Sigma and N that are not to be looked for."""
        if not self.findings:
            return self.sigma, self.n_coils
        return None, self.n_coils if self.findings.get("n_coils_source") == "given" else None

    def check(self, found: _Noise) -> None:
        """Raise ValueError where what an earlier fit found is not what is found again: the signal is another one."""
        sigma = found.estimate.sigma
        if self.findings and not np.isclose(np.median(np.asarray(self.sigma, float)), sigma, rtol=1e-9):
            raise ValueError(
                f"sigma varied over the image of these parameters and is {sigma:g} here, not {self.sigma}: give the "
                "sigma_map of that fit, or leave sigma and what was found of the noise out"
            )


def _found(
    s: NDArray[Any],
    t_ms: NDArray[np.float64],
    dtype: Any,
    given: tuple[float | NDArray[Any] | None, float | None],
    mask: NDArray[np.bool_],
    *,
    signed: bool,
    seek_coils: bool,
) -> _Noise:
    """Noise of a stack from a few of its slices, never zero; of a sigma that is given only N is looked for."""
    sigma, n_coils = given
    some = np.unique(np.linspace(0, len(s) - 1, SLICES_FOR_NOISE).round().astype(int))
    looked = [survey(s[k]) for k in some]
    scale = max(one.peak for one in looked) or 1.0
    units = [scale if sigma is None or np.ndim(sigma) == 0 else np.asarray(sigma)[k] for k in some]
    everywhere = np.ones(s.shape[1:3], bool)
    pairs = [echo_major(s[k], everywhere, unit, dtype) for k, unit in zip(some, units, strict=True)]
    stacks, usable = [stack for stack, _ in pairs], [u for _, u in pairs]
    rounding = 1 / 12 if all(one.whole for one in looked) else 0.0
    found = estimate_noise(
        stacks,
        usable,
        (t_ms / t_ms[-1]).astype(dtype),
        rate_bounds(t_ms),
        rounding=rounding / scale**2,
        n_coils=HALF if signed else n_coils,  # samples of one channel are magnitudes of half a coil
        seek_coils=seek_coils,
    )
    if signed:
        found = replace(found, n_coils=1.0, coils_source="assumed", coils_range=(1.0, 1.0))
    if sigma is not None:
        return _given(sigma, found.n_coils, found.coils_source, mask)
    # Whole numbers are rounded, and no data is known better than its last digit.
    least = max(rounding**0.5, (2e-6 if dtype == np.float32 else 1e-9) * scale)
    maps = None
    if found.surface is not None:
        places = np.interp(np.arange(len(s)), some, np.arange(some.size))
        maps = np.stack([np.maximum(found.surface.map(k, s.shape[1:3]) * scale, least) for k in places]).astype(dtype)
    return _Noise(replace(found, sigma=max(found.sigma * scale, least)), maps)


def fit_t2star(
    signal: ArrayLike,
    echo_times_ms: ArrayLike,
    *,
    method: str = "admm",
    noise: str | None = None,
    sigma: float | ArrayLike | None = None,
    weights: Literal["auto"] | tuple[float, float] = "auto",
    mask: ArrayLike | None = None,
    spacing: tuple[float, float] | None = None,
    model: str = "mono-exponential",
    regulariser: str = "tv",
    n_coils: float | None = None,
    field_strength_t: float | None = None,
    threads: int | None = None,
    **further: Any,
) -> T2StarFit:
    """Fit S0 exp(-TE / T2*) to magnitudes.

    ``signal`` (..., K, L, M): any real type, echo axis last, leading axes are slices; float64 keeps its precision,
    all else is fitted in float32. (M,) is one decay, (n, M) are decays that are no neighbours, fitted each for
    itself. An xarray.DataArray has its echoes along the dimension called so ("echo", "te", ...), else along the
    last; its maps keep the others. ``echo_times_ms`` (M,) ascends. ``method``: "admm" regularises in the K-L plane,
    "nls" fits every voxel for itself, "bayesian" gives the posterior mean and deviation under a prior of edges and
    smooth trends whose scales it finds itself (``seed`` of its draws: 0), "learned" gives the median of each voxel's
    posterior, where the voxel is like what a network was trained on (``solver.learned.posterior`` has the rest of it),
    "admm-published" and "lm-published" are the paper's, their hyper-parameters as keywords. ``noise``: "rician"
    (default of "admm", "bayesian" and "learned"; non-central chi with ``n_coils``), "gaussian" (default of the
    others), least squares, or "first-moment" and "second-moment", least squares on what noise makes of m and of m^2.
    ``sigma``, one or broadcastable to (..., K, L), and ``n_coils`` are estimated where not given. ``weights``:
    "auto", or those of eq. 2 of the paper (lambda_s0, lambda_r2star) with r in 1/ms. ``mask`` (..., K, L): what may
    be fitted. ``spacing``: between rows, between columns. ``model``: one of ``solver.model.MODELS``; "fat-water"
    needs ``field_strength_t``, "automatic" looks for fat where it is given and the echoes can tell, and frees each
    voxel of as much as is likely. ``regulariser``: "tv" or "laplacian". The result does not depend on ``threads``.
    ``further``: hyper-parameters of the published methods, or the parameters of an earlier result,
    ``fit_t2star(signal, **fit.parameters)``: with the same signal and mask it comes out the same to the last bit (a
    sigma that was given for each voxel is to be given again).

    The result's parameters tell where the noise came from: "noise_source" is "given", "air", "late echoes", "tissue",
    "residuals" or "differences"; "n_coils_source" is "given", "air", "late echoes", "moments", "decays", "assumed",
    "unclear" or "unknown"; "noise_confidence" is "given", "high", "fair", "low" or "unknown"; "n_coils_range" holds the
    least and the largest N that the data allow, "sigma_rel_sd" the relative standard deviation of sigma.

    Voxels without an answer are NaN with ``valid`` False: masked, not finite, negative, without signal, or beyond the
    measurable range. Raises ValueError naming the argument at fault.
    """
    labels = Labels.of(signal)
    if labels is not None:
        signal, mask, sigma = labels.echoes_last(signal), labels.like(mask), labels.like(sigma)
    s = arguments.signal(signal)
    t_ms = arguments.echo_times(echo_times_ms, s.shape[-1])
    arguments.choice("method", method, arguments.METHODS)
    noise = arguments.choice(
        "noise", noise or ("rician" if method in arguments.LIKELIHOODS else "gaussian"), arguments.NOISES
    )
    hyperparameters, findings = arguments.further(
        further, method, (*(fit_t2star.__kwdefaults__ or ()), "echo_times_ms")
    )
    if "network" in findings:
        learned.check_weights(str(findings["network"]))
    layout = Layout(s.shape[:-1])
    if _method(method, layout) != method:
        method, hyperparameters = _method(method, layout), {}
    slices = layout.slices(s)
    chosen = layout.slices(arguments.mask(mask, layout.shape))
    dtype = arguments.precision(s)
    signed = _is_signed(s[None] if layout.alone else slices)
    noise = "gaussian" if signed else noise
    known = arguments.sigma(sigma, layout.shape)
    known = layout.slices(known, 1) if isinstance(known, np.ndarray) else known
    field_strength_t = arguments.positive("field_strength_t", field_strength_t)
    arguments.check_model(model, t_ms, field_strength_t, method, noise)
    given = _Given(known, arguments.coils(n_coils), findings)
    seek_coils = noise != "gaussian" and not signal_model(model, field_strength_t, 1.0).parameters
    found = given.noise(chosen, floor=noise != "gaussian")
    if found is None:
        if layout.alone and t_ms.size < FEWEST_OF_A_DECAY and known is None:
            raise ValueError("sigma must be given for decays of two echoes, which do not tell it")
        found = _found(slices, t_ms, dtype, given.to_keep, chosen, signed=signed, seek_coils=seek_coils)
        given.check(found)
    estimate = found.estimate
    settings = Settings(
        method=method,
        noise=noise,
        model=model,
        regulariser=arguments.choice("regulariser", regulariser, arguments.REGULARISERS),
        sigma=estimate.sigma,
        n_coils=estimate.n_coils,
        noise_source=estimate.source,
        n_coils_source=estimate.coils_source,
        noise_confidence=estimate.confidence,
        n_coils_range=estimate.coils_range,
        sigma_rel_sd=estimate.relative_sd,
        weights=arguments.weights(weights),
        spacing=arguments.pixel_spacing(spacing),
        field_strength_t=field_strength_t,
        t_ms=t_ms,
        dtype=dtype,
        hyperparameters=hyperparameters,
    )
    units = [found.of_slice(k) if settings.each_its_own else settings.sigma for k in range(len(slices))]
    maps = _Maps.empty(chosen.shape, dtype, fat=not settings.fat_untold)

    def fit(k: int) -> _Course:
        one = fit_slice(slices[k], chosen[k], units[k], settings)
        maps.put(k, one, units[k], settings)
        return _Course(one.objective, one.iterations, one.converged, one.verdict)

    courses = _each(fit, len(slices), arguments.threads(threads))
    result = _assemble(maps, courses, settings, layout, found.maps)
    return result if labels is None else labels.onto(result, UNITS)


def _method(method: str, layout: Layout) -> str:
    """The method, for decays without neighbours one that asks for none."""
    if not layout.alone:
        return method
    if method == "admm-published":
        raise ValueError("method='admm-published' makes neighbours alike, signal must have the shape (..., K, L, M)")
    return "nls" if method in arguments.LIKELIHOODS & arguments.REGULARISED else method


def _each(fit: Callable[[int], _Course], count: int, threads: int) -> list[_Course]:
    """Fit every slice, as many at once as there are threads."""
    if threads == 1 or count == 1:
        return list(map(fit, range(count)))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(fit, range(count)))


def _is_signed(s: NDArray[Any]) -> bool:
    """Whether the data cannot be magnitudes, such as phantoms with Gaussian noise added: they have no floor."""
    if s.dtype.kind in "ub":
        return False
    return sum(int(np.count_nonzero(one < 0)) for one in s) > max(NEGATIVES, NEGATIVE * s.size)


def _least_second(settings: Settings) -> float:
    """What must be left at the second echo, in sigma."""
    n_coils = settings.n_coils
    if settings.unseen_coils:
        n_coils = UNSEEN_COILS
    elif settings.doubtful and settings.floor_coils:
        n_coils = max(n_coils, settings.n_coils_range[1])
    return float(BEYOND * (1 + settings.sigma_rel_sd) * np.sqrt((1 + n_coils) / 2))


def _beyond(second: NDArray[Any], free: NDArray[np.bool_], settings: Settings) -> NDArray[np.bool_]:
    """Voxels of which too little is left at the second echo: of the voxel itself, or of most of its neighbours.

    Where every voxel was fitted for itself the neighbours decide by their mean, and the voxel only when it has almost
    nothing: a choice by its own noisy value would keep those with too low a rate.
    """
    least = _least_second(settings)
    beyond = free & (second < (least if settings.regularised else ALMOST_NOTHING * least))
    neighbours = beyond if settings.regularised else np.where(free, least - second, 0)
    limit = 0.5 if settings.regularised else 0.0
    out: NDArray[np.bool_] = beyond | (free & (sums_around(neighbours, 5) > limit * sums_around(free, 5)))
    return out


def _at_least(a: NDArray[Any], rate: NDArray[Any], settings: Settings) -> NDArray[Any]:
    """R2* in 1/s that what is beyond the range has at least: so little is left of the first echo at the second."""
    first = a * np.exp(-rate * settings.t[0])
    left = max(3.0, _least_second(settings) + 1)  # at most, at the second echo
    step = float(settings.t_ms[1] - settings.t_ms[0])
    bound: NDArray[Any] = 1000 * np.log(np.maximum(first - 2, left) / left) / step
    return bound


@dataclass(frozen=True, slots=True)
class _Course:
    """How the fit of a slice went."""

    objective: tuple[float, ...]
    iterations: int
    converged: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class _Maps:
    """What a result is made of, (slices, K, L), in the units of the input; each slice is written when it is fitted."""

    s0: NDArray[Any]
    t2star_ms: NDArray[Any]
    r2star_per_s: NDArray[Any]
    r2star_sd_per_s: NDArray[Any]
    at_least_r2star_per_s: NDArray[Any]
    beyond: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    fat: tuple[
        NDArray[Any], ...
    ] = ()  # fraction, its deviation, rate of one exponential; empty where it is not looked for

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: Any, *, fat: bool) -> _Maps:
        """Room for every slice, without an answer anywhere."""

        def room() -> NDArray[Any]:
            return np.full(shape, np.nan, dtype)

        beyond, valid = np.zeros(shape, bool), np.zeros(shape, bool)
        of_fat = tuple(room() for _ in range(3 if fat else 0))
        return cls(room(), room(), room(), room(), room(), beyond, valid, of_fat)

    def put(self, k: int, one: SliceFit, unit: float | NDArray[Any], settings: Settings) -> None:
        """Write a slice."""
        t_last = float(settings.t_ms[-1])  # a number of Python's keeps the maps' precision
        a, rate = one.x
        low, high = settings.bounds
        beyond = _beyond(a * np.exp(-rate * settings.t[1]), one.free, settings)
        valid = one.free & ~beyond & (rate > low * 1.01) & (rate < high * 0.99) & (a > 0) & np.isfinite(one.sd)
        self.beyond[k], self.valid[k] = beyond, valid
        if beyond.any() and not settings.doubtful:
            np.copyto(self.at_least_r2star_per_s[k], _at_least(a, rate, settings), "same_kind", where=beyond)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            np.copyto(self.s0[k], a * unit, "same_kind", where=valid)
            np.copyto(self.t2star_ms[k], t_last / rate, "same_kind", where=valid)
            np.copyto(self.r2star_per_s[k], rate * (1000 / t_last), "same_kind", where=valid)
            np.copyto(self.r2star_sd_per_s[k], one.sd * (1000 / t_last), "same_kind", where=valid)
        if one.fat is not None:
            found = (one.fat.fraction, one.fat.sd, one.fat.plain_rate * (1000 / t_last))
            for map_, values in zip(self.fat, found, strict=True):
                np.copyto(map_[k], values, "same_kind", where=valid)


def _assemble(
    maps: _Maps,
    courses: list[_Course],
    settings: Settings,
    layout: Layout,
    sigma_map: NDArray[Any] | None,
) -> T2StarFit:
    """Say what became of all slices together."""
    longest = max(len(one.objective) for one in courses)
    history = [sum(one.objective[min(k, len(one.objective) - 1)] for one in courses) for k in range(longest)]
    fraction, fraction_sd, plain = (layout.back(map_) for map_ in maps.fat) if maps.fat else (None, None, None)
    made: dict[str, Any] = {"sigma_varies": sigma_map is not None}
    made |= {"network": learned.weights()} if settings.method == "learned" else {}
    worst = min(courses, key=lambda one: (one.converged, one.verdict == "converged")).verdict
    return T2StarFit(
        s0=layout.back(maps.s0),
        t2star_ms=layout.back(maps.t2star_ms),
        r2star_per_s=layout.back(maps.r2star_per_s),
        r2star_sd_per_s=layout.back(maps.r2star_sd_per_s),
        at_least_r2star_per_s=layout.back(maps.at_least_r2star_per_s),
        beyond=layout.back(maps.beyond),
        valid=layout.back(maps.valid),
        sigma=settings.sigma,
        sigma_map=None if sigma_map is None else layout.back(sigma_map),
        n_coils=settings.n_coils,
        objective=tuple(float(v) for v in history),
        iterations=max(one.iterations for one in courses),
        converged=all(one.converged for one in courses),
        verdict=worst,
        regularised=settings.regularised,
        fat_fraction=fraction,
        fat_fraction_sd=fraction_sd,
        plain_r2star_per_s=plain,
        parameters=settings.as_parameters() | made,
    )
