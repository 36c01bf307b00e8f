"""A complex fit beside that of the magnitudes, and whether it may be believed.

Phase that is swapped, conjugated, scaled wrongly, of another series or of none fits something, and nothing in the fit
says so. So it has to pass gates, each of which measures one thing and has a name: ``GATES``. A stack that does not
pass all of them is one of magnitudes, whatever the maps of its complex fit look like.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from solver import field_map, readout
from solver.field_map import Fields
from solver.model import why_untold
from solver.water_fat import FAT, FIELD, RATE, WATER, fat_signal, fit_voxels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

SMALLEST = 1e-30  # noise that is told from none
STRIDE = 2  # voxels between those whose field is looked for
BODY = 0.1  # of the bright voxels: less is air
ABOVE = 5.0  # sigma, in some echo: less is noise
MAD = 0.6745  # median absolute deviation of a normal distribution, in standard deviations
MOSTLY_FAT = 0.5  # fraction
FEWEST_ADIPOSE = 50  # voxels of it, none at its rim
STRETCHES = (0.90, 0.94, 0.98, 1.02, 1.06, 1.10)  # of the frequencies of fat, that are tried
SLOWEST_PER_S, FASTEST_PER_S = 20.0, 1000.0  # rates that magnitudes know well
TILE, FEWEST_OF_TILE = 12, 30  # voxels a side, and known ones, for a median of its own
LEAST_CHANNEL = 0.5  # noise of the real and imaginary part over each other
LEAST_COHERENCE = 0.9
MOST_MISFIT = 3.0  # reduced chi-square
SURELY = 20.0  # ln of the odds for one way that fat turns
MOST_STRETCH = 0.03
LEAST_ADIPOSE = 0.85  # fraction of fat
MOST_APART, SHARE = 0.03, 80  # of the rate, against magnitudes; per cent of the body that is no further


@dataclass(frozen=True, slots=True)
class Companion:
    """What complex samples say; maps are (slices, K, L), NaN outside the body."""

    refused: str  # name of the first gate that was not passed, "" where all were
    measured: Mapping[str, float]  # what each gate measured, by its name
    r2star_per_s: NDArray[np.float32] | None = None
    fat_fraction: NDArray[np.float32] | None = None
    field_hz: NDArray[np.float32] | None = None

    def across_hz(self, echo_times_ms: ArrayLike) -> float | None:
        """How far the field changes from slice to slice where there is a body: the median; None where nothing says.

        It is known up to a turn between two echoes, and that of slices without a gap is what dephases them.
        """
        if self.field_hz is None or len(self.field_hz) < 2 or not GATES["incoherent"](self.measured["incoherent"]):
            return None
        turn = 1000.0 / float(np.mean(np.diff(np.asarray(echo_times_ms, np.float64))))
        steps = np.diff(self.field_hz, axis=0)
        known = np.abs(steps - turn * np.round(steps / turn))[np.isfinite(steps)]
        return float(np.median(known)) if known.size else None


GATES: Mapping[str, Callable[[float], bool]] = {
    "one-channel": lambda ratio: ratio >= LEAST_CHANNEL,
    "incoherent": lambda coherence: coherence > LEAST_COHERENCE,
    "sign-untold": lambda odds: odds > SURELY,
    "misfit": lambda chi_square: chi_square < MOST_MISFIT,
    "no-adipose": lambda voxels: voxels >= FEWEST_ADIPOSE,
    "fat-frequency": lambda stretch: abs(stretch - 1) <= MOST_STRETCH,
    "adipose": lambda fraction: fraction >= LEAST_ADIPOSE,
    "rates-differ": lambda apart: apart <= MOST_APART,
}


def fit_complex(
    slices: Iterable[NDArray[Any]],
    echo_times_ms: ArrayLike,
    field_strength_t: float | None,
    rates_per_s: NDArray[Any],
) -> Companion:
    """Fit water, fat, a common R2* and the field to complex slices (K, L, M), and say which gate refuses them.

    ``slices`` is an array (slices, K, L, M), or gives one slice after the other; ``rates_per_s`` (slices, K, L) is what
    magnitudes say, NaN where they say nothing. What the train cannot tell is refused before a slice is asked for.
    """
    t_ms = np.asarray(echo_times_ms, np.float64)
    untold = why_untold(t_ms, field_strength_t)
    if untold:
        return Companion(untold.replace(" ", "-"), {})
    train = _Train(t_ms, float(field_strength_t or 0.0))
    seen = [train.look(np.asarray(s), rate) for s, rate in zip(slices, rates_per_s, strict=True)]
    measured = _measured(seen)
    refused = next((name for name, passes in GATES.items() if not passes(measured[name])), "")
    maps = [np.stack([one.maps[k] for one in seen]) for k in range(3)]
    return Companion(refused, measured, *maps)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one slice tells."""

    maps: NDArray[np.float32]  # (3, K, L): rate, fraction of fat, field
    numbers: Mapping[str, float]  # by name
    sets: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def _measured(seen: Sequence[_Seen]) -> dict[str, float]:
    """What each gate judges, of all slices together."""
    joined: dict[str, list[Any]] = defaultdict(list)
    for one in seen:
        for name, value in (*one.numbers.items(), *one.sets.items()):
            joined[name].append(value)
    left = {name: np.concatenate(joined[name]) for name in ("misfit", "adipose", "rates")}
    stretched = np.sum(joined["stretched"], axis=0)
    return {
        "one-channel": float(np.min(joined["channels"])),
        "incoherent": float(np.median(joined["coherence"])),
        "sign-untold": abs(float(np.sum(joined["odds"]))),
        "misfit": _median(left["misfit"], np.inf),
        "no-adipose": float(left["adipose"].size),
        "fat-frequency": _lowest(np.array(STRETCHES), stretched),
        "adipose": _median(left["adipose"], 0.0),
        "rates-differ": float(np.percentile(left["rates"], SHARE)) if left["rates"].size else np.inf,
    }


def _median(values: NDArray[Any], of_none: float) -> float:
    return float(np.median(values)) if values.size else of_none


def _lowest(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Where the parabola through the least value and its neighbours is least."""
    k = int(np.clip(np.argmin(y), 1, len(x) - 2))
    curve, slope, _ = np.polyfit(x[k - 1 : k + 2] - x[k], y[k - 1 : k + 2], 2)
    return float(x[k] - slope / (2 * curve)) if curve > 0 else float(x[np.argmin(y)])


@dataclass(frozen=True, slots=True)
class _Train:
    """The echoes of a stack and the field it lies in."""

    t_ms: NDArray[np.float64]
    field_t: float

    @property
    def t_s(self) -> NDArray[np.float64]:
        return self.t_ms / 1000

    def fat(self, stretched: float = 1.0) -> NDArray[np.complex128]:
        return fat_signal(self.t_s, self.field_t, stretched)

    def look(self, s: NDArray[Any], rate: NDArray[Any]) -> _Seen:
        """Fit a slice (K, L, M), whose magnitudes have these rates (K, L), and measure what the gates judge."""
        sigma = _channel_sigma(s)
        found = readout.alternation(s, self.t_ms)
        if found is not None:
            s = readout.take_out(s, found.theta_rad)
        noise = max(float(np.mean(sigma)), SMALLEST)
        body = _body(s, noise)
        numbers = {"channels": _ratio(sigma), "coherence": 0.0 if found is None else found.coherence}
        nodes = np.ascontiguousarray(s[::STRIDE, ::STRIDE]), body[::STRIDE, ::STRIDE]
        if not nodes[1].any():
            return _nothing(body.shape, numbers)
        odds, turned, left = self._sign(*nodes, noise)
        s = turned(s)
        power = (np.abs(nodes[0][nodes[1]]) ** 2).mean(1)
        coarse = field_map.smooth_field(left, power, nodes[1], noise, Fields.of(self.t_s))
        start = coarse.repeat(STRIDE, 0).repeat(STRIDE, 1)[: body.shape[0], : body.shape[1]]
        x, misfit = fit_voxels(s[body], self.t_s, self.fat(), start[body], noise)
        fraction = _map(body, x[:, FAT] / (x[:, WATER] + x[:, FAT]))
        adipose = _adipose(fraction)
        own = _map(body, x[:, RATE])
        sets = {"misfit": misfit, "adipose": fraction[adipose], "rates": _apart(own, rate)}
        maps = np.stack([own, fraction, _map(body, x[:, FIELD])]).astype(np.float32)
        numbers |= {"odds": odds}
        return _Seen(maps, numbers, sets | {"stretched": self._stretched(s[adipose], noise)})

    def _sign(
        self, s: NDArray[Any], body: NDArray[np.bool_], sigma: float
    ) -> tuple[float, Callable[[NDArray[Any]], NDArray[Any]], NDArray[np.float32]]:
        """Ln of the odds that fat turns as the standard says, what makes it so, and what each field then leaves.

        Vendors disagree about the sign of phase; six peaks of fat know it.
        """
        fields = Fields.of(self.t_s)
        v = sigma**2 + field_map.MODEL**2 * (np.abs(s[body]) ** 2).mean(1)
        one, other = (field_map.costs(some[body], self.t_s, self.fat(), fields) for some in (s, np.conj(s)))
        odds = float(((other.min(1) - one.min(1)) / v).sum())
        return (odds, np.asarray, one) if odds >= 0 else (odds, np.conj, other)

    def _stretched(self, s: NDArray[Any], sigma: float) -> NDArray[np.float64]:
        """What adipose voxels (n, M) leave in all, for frequencies of fat that are stretched by ``STRETCHES``.

        Voxels that also hold water of elsewhere have no say: the susceptibility of fat shifts a layer of it as a whole
        (Karampinos et al., ISMRM 2010), by 0.2 ppm in a real series, which is no other frequency of its peaks.
        """
        fields = Fields.of(self.t_s)
        v = sigma**2 + field_map.MODEL**2 * (np.abs(s) ** 2).mean(1)
        left = [field_map.costs(s, self.t_s, self.fat(stretch), fields).min(1) for stretch in STRETCHES]
        return np.array([float((one / v).sum()) for one in left])


def _channel_sigma(s: NDArray[Any]) -> NDArray[np.float64]:
    """Noise of the real and of the imaginary part, from how the corners of squares differ in the last echo."""
    last = s[..., -1]
    corners = (last[1:, 1:] - last[:-1, 1:] - last[1:, :-1] + last[:-1, :-1]) / 2
    measured = [part[corners != 0] for part in (corners.real, corners.imag)]
    return np.array([_median(np.abs(part), 0.0) / MAD for part in measured])


def _ratio(sigma: NDArray[np.float64]) -> float:
    return float(sigma.min() / sigma.max()) if sigma.max() > 0 else 0.0


def _body(s: NDArray[Any], sigma: float) -> NDArray[np.bool_]:
    brightest = np.abs(s).max(-1)
    body: NDArray[np.bool_] = brightest > max(ABOVE * sigma, BODY * float(np.percentile(brightest, 98)))
    return body


def _map(body: NDArray[np.bool_], values: NDArray[Any]) -> NDArray[np.float64]:
    out = np.full(body.shape, np.nan)
    out[body] = values
    return out


def _adipose(fraction: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tissue that is mostly fat, without its rim, where voxels hold both."""
    return np.asarray(ndimage.binary_erosion(fraction > MOSTLY_FAT))


def _apart(own: NDArray[np.float64], rate: NDArray[Any]) -> NDArray[np.float64]:
    """How far rates lie from those of magnitudes, relative, in squares: an organ that differs is a part of the body."""
    known = np.isfinite(own) & np.isfinite(rate) & (rate > SLOWEST_PER_S) & (rate < FASTEST_PER_S)
    ratio = np.where(known, own / np.where(known, rate, 1.0) - 1, np.nan)
    corners = np.ndindex(*(-(-n // TILE) for n in known.shape))
    tiles = (ratio[TILE * i : TILE * (i + 1), TILE * j : TILE * (j + 1)] for i, j in corners)
    inside = (tile[np.isfinite(tile)] for tile in tiles)
    return np.array([abs(float(np.median(tile))) for tile in inside if tile.size >= FEWEST_OF_TILE])


def _nothing(shape: tuple[int, ...], numbers: Mapping[str, float]) -> _Seen:
    """A slice that shows no body."""
    none = np.empty(0)
    return _Seen(
        np.full((3, *shape), np.nan, np.float32),
        {**numbers, "odds": 0.0},
        {"misfit": none, "adipose": none, "rates": none, "stretched": np.zeros(len(STRETCHES))},
    )
