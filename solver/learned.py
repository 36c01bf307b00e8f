"""The posterior of each voxel's rate by a network that was trained on simulated decays.

After Positano et al. 2023, whose network reads signals of one protocol. This one reads tokens that know neither scale
nor unit of time (solver.tokens) and answers in units of the Cramér-Rao deviation about a closed-form start, so that one
set of weights serves every scanner, and at high signal the answer is the start's by construction. What it was trained
on stands in ``TRAINED``; of anything else it says nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from solver import arguments, deep_set
from solver.arguments import Settings
from solver.labelled import Labels
from solver.mixture import Mixture
from solver.survey import sums_around
from solver.tokens import tokens
from solver.uncertainty import with_doubt

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from solver.fit import T2StarFit
    from solver.tokens import Tokens

BLOCK = 1024  # voxels whose numbers stay in the second-level cache


@dataclass(frozen=True, slots=True)
class Domain:
    """What decays were trained on: uniform in ln S0 and ln R2*, over trains and noise within these limits."""

    echoes: tuple[int, int] = (3, 16)
    first: tuple[float, float] = (0.2, 4.0)  # first echo time in mean spacings
    uneven: float = 4.0  # largest spacing over smallest
    coils: tuple[float, float] = (1.0, 16.0)
    snr: tuple[float, float] = (3.0, 4000.0)  # S0 / sigma
    least_last: float = 0.05  # R2* times the last echo time
    most_second: float = 8.0  # R2* times the second echo time

    def log_rates(self, t: NDArray[Any]) -> tuple[float, float]:
        """Bounds of ln R2*, per last echo time; ``t`` in units of that."""
        return float(np.log(self.least_last)), float(np.log(self.most_second / t[1]))


TRAINED = Domain()
# Of a voxel the start must lie further in, for what noise makes of the edges was not trained on, either.
SNR = (5.0, 2500.0)
INSIDE = 2.0  # deviations that ln R2* must be away from its bounds
MOST_SD = 0.5  # of ln R2*
MOST_MISFIT = 4.0  # that the root of the sum of squared residuals may exceed that of the number of echoes by
AMONG = 0.2  # of the voxels around that may have no answer


class Outside(IntEnum):
    """Why the network does not answer for a voxel."""

    NO = 0
    ECHOES = 1
    FIRST = 2
    UNEVEN = 3
    COILS = 4
    NOISE = 5
    WEAK = 6
    STRONG = 7
    SLOW = 8
    FAST = 9
    UNCERTAIN = 10
    MISFIT = 11
    AMONG = 12


WORDS = {
    Outside.ECHOES: "{echoes[0]} to {echoes[1]} echoes",
    Outside.FIRST: "a first echo at {first[0]:g} to {first[1]:g} spacings",
    Outside.UNEVEN: "spacings of echoes up to 1 : {uneven:g}",
    Outside.COILS: "{coils[0]:g} to {coils[1]:g} coils",
    Outside.NOISE: 'noise of magnitudes ("rician")',
    Outside.WEAK: f"S0/sigma from {SNR[0]:g}",
    Outside.STRONG: f"S0/sigma up to {SNR[1]:g}",
    Outside.SLOW: "R2* from {least_last:g} / last echo time",
    Outside.FAST: "R2* up to {most_second:g} / second echo time",
    Outside.UNCERTAIN: f"ln R2* known to {MOST_SD:g}",
    Outside.MISFIT: "one exponential",
    Outside.AMONG: f"a voxel among others of which no more than {AMONG:.0%} are outside",
}


def limits() -> dict[str, Any]:
    """What the sentences of ``WORDS`` tell."""
    return asdict(TRAINED)


def outside_train(settings: Settings) -> Outside:
    """Whether the echo train or the noise is none of those trained on, and by what."""
    t, n = settings.t_ms, settings.n_coils
    spacings = np.diff(t)
    checks = (
        (Outside.ECHOES, TRAINED.echoes[0] <= t.size <= TRAINED.echoes[1]),
        (Outside.FIRST, TRAINED.first[0] <= t[0] / spacings.mean() <= TRAINED.first[1]),
        (Outside.UNEVEN, spacings.max() <= TRAINED.uneven * spacings.min()),
        (Outside.COILS, TRAINED.coils[0] <= n <= TRAINED.coils[1]),
        (Outside.NOISE, settings.noise == "rician"),
    )
    return next((code for code, holds in checks if not holds), Outside.NO)


def outside_voxels(seen: Tokens, t: NDArray[Any]) -> NDArray[np.uint8]:
    """Code of ``Outside`` of each decay of a train that is trained on; ``t`` in units of the last echo time."""
    least, most = TRAINED.log_rates(t)
    margin = INSIDE * seen.sd
    checks = (
        (Outside.WEAK, seen.log_a < np.log(SNR[0])),
        (Outside.STRONG, seen.log_a > np.log(SNR[1])),
        (Outside.FAST, seen.log_r + margin > most),
        (Outside.SLOW, seen.log_r - margin < least),
        (Outside.UNCERTAIN, seen.sd > MOST_SD),
        (Outside.MISFIT, seen.misfit > _most_misfit(t.size)),
    )
    codes = np.zeros(seen.sd.shape, np.uint8)
    for code, fails in reversed(checks):
        codes[fails] = code
    return codes


def with_neighbours(outside: NDArray[np.uint8], free: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Codes of the voxels ``free`` (K, L), none without one where many around have one.

    Near the end of the range noise alone decides which voxels have an answer, and those have too low a rate.
    """
    without = np.zeros(free.shape, bool)
    without[free] = outside > 0
    many = sums_around(without, 5) > AMONG * sums_around(free, 5)
    return np.where((outside == Outside.NO) & many[free], Outside.AMONG, outside).astype(np.uint8)


def _most_misfit(echoes: int) -> float:
    """Mean square of the residuals, in expected deviations, that noise does not reach."""
    return float((MOST_MISFIT + echoes**0.5) ** 2 / echoes)


@dataclass(frozen=True, slots=True)
class Read:
    """What the network makes of n decays, in units of sigma and of the last echo time."""

    x: NDArray[Any]  # (2, n): amplitude, and median of the rate
    sd: NDArray[Any]  # (n,): root mean square distance of the rate from its median
    mixture: Mixture  # of ln r
    outside: NDArray[np.uint8]  # (n,): codes of Outside; where it is not 0 the rest means nothing


def read_decays(y: NDArray[Any], settings: Settings) -> Read:
    """Read decays (M, n) in units of sigma."""
    t = (settings.t_ms / settings.t_ms[-1]).astype(np.float32)
    starts = range(0, max(y.shape[1], 1), BLOCK)
    parts = [_read(np.ascontiguousarray(y[:, k : k + BLOCK], np.float32), t, settings) for k in starts]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _joined(parts: list[Read]) -> Read:
    def whole(of: Callable[[Read], NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([of(part) for part in parts], axis=-1)

    mixture = Mixture(
        whole(lambda part: part.mixture.weight),
        whole(lambda part: part.mixture.mean),
        whole(lambda part: part.mixture.sd),
    )
    return Read(whole(lambda part: part.x), whole(lambda part: part.sd), mixture, whole(lambda part: part.outside))


def _read(y: NDArray[Any], t: NDArray[Any], settings: Settings) -> Read:
    seen = tokens(y, t, settings.n_coils, TRAINED.log_rates(t))
    mixture = deep_set.posterior(deep_set.shipped(), seen)
    start = np.exp(np.stack([seen.log_a, seen.log_r]))
    doubt = with_doubt(np.zeros_like(seen.sd), start, settings)
    if doubt.any():
        mixture = mixture.widened(doubt / start[1])
    median = mixture.quantile(0.5)
    # The amplitude goes with the rate along the ridge of the likelihood.
    a = np.exp(seen.log_a + seen.middle * (median - seen.log_r))
    code = outside_train(settings)
    outside = np.full(median.shape, code, np.uint8) if code else outside_voxels(seen, t)
    return Read(np.stack([a, np.exp(median)]), mixture.rms_about(median), mixture, outside)


def weights() -> str:
    """Name and digest of the weights that answer."""
    network = deep_set.shipped()
    return f"{network.name} {network.sha256[:12]}"


def check_weights(told: str) -> None:
    """Raise ValueError where a result to be repeated was made by other weights than those that would answer."""
    if told != weights():
        raise ValueError(f"network: these parameters are of {told}, installed is {weights()}: leave network out")


def verdict(outside: NDArray[np.uint8]) -> str:
    """Name what of the voxels was not trained on; "converged" where nothing is."""
    counts, known = np.bincount(outside, minlength=len(Outside)), limits()
    found = [
        f"{words.format(**known)} ({counts[code]} voxels are not)" for code, words in WORDS.items() if counts[code]
    ]
    return "converged" if not found else "outside what the network was trained on, which is " + ", ".join(found)


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is known of R2* of every voxel: Gaussians in ln R2*, along the first axis; NaN where not valid."""

    weight: NDArray[Any]  # (3, ...)
    mean: NDArray[Any]  # (3, ...) of ln R2*, R2* in 1/s
    sd: NDArray[Any]  # (3, ...) of ln R2*
    outside: NDArray[np.uint8]  # (...): codes of Outside, why a voxel that the fit holds valid has no answer
    valid: NDArray[np.bool_]  # (...)

    def quantile(self, q: float) -> NDArray[np.float64]:
        """Return the R2* in 1/s (...) that lies above the true one with probability ``q``, NaN where not valid."""
        if not 0 < q < 1:
            raise ValueError(f"q must lie between 0 and 1, not {q}")
        parts = Mixture(self.weight[:, self.valid], self.mean[:, self.valid], self.sd[:, self.valid])
        out = np.full(self.valid.shape, np.nan)
        out[self.valid] = np.exp(parts.quantile(q))
        return out


def posterior(signal: ArrayLike, fit: T2StarFit) -> Posterior:
    """The posterior of R2* of every voxel of ``signal`` (..., M), with the echo times, sigma and N of its ``fit``.

    A fit by any method will do; where that is not valid there is no posterior. The prior is uniform in ln S0 and
    ln R2*. Its median and the root mean square distance from it are what ``method="learned"`` calls r2star_per_s and
    r2star_sd_per_s; where sigma or N are in doubt it is as much wider. Raises ValueError where shapes do not agree.
    """
    labels = Labels.of(signal)
    s = arguments.signal(signal if labels is None else labels.echoes_last(signal))
    fitted = np.asarray(fit.valid, bool)
    if s.shape[:-1] != fitted.shape:
        raise ValueError(f"signal must be what was fitted, (..., M) with {fitted.shape} before M: it has {s.shape}")
    settings = Settings.again(fit.parameters)
    arguments.echo_times(settings.t_ms, s.shape[-1])
    sigma = settings.sigma if fit.sigma_map is None else np.asarray(fit.sigma_map)[fitted]
    found = read_decays(np.moveaxis(s[fitted], -1, 0) / sigma, settings)
    outside = np.zeros(fitted.shape, np.uint8)
    outside[fitted] = found.outside
    valid = fitted & (outside == Outside.NO)
    per_s = np.log(1000 / settings.t_ms[-1])
    kept = (found.mixture.weight, found.mixture.mean + per_s, found.mixture.sd)
    maps = np.full((len(kept), deep_set.COMPONENTS, *fitted.shape), np.nan)
    for map_, values in zip(maps, kept, strict=True):
        map_[:, valid] = values[:, found.outside == Outside.NO]
    weight, mean, sd = maps
    return Posterior(weight, mean, sd, outside, valid)
