"""Says whether a region's number may be given, with what doubt, and what to do where it may not.

The limits come from the false-alarm study of ``python -m bench.liver``: docs/validation.md says how often each fires
where nothing is wrong, and what it keeps back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicomnode.model import HALF_95, Estimate, Flag, Grade

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dicomnode.model import DecayCurve, Dephasing, HiddenFat, RicherModel

MOST_INVALID, MUCH_INVALID = 0.5, 0.1  # of a region's voxels: no number, doubt
MOST_CLIPPED = 0.05  # of a region's voxels at full scale
MOST_MODEL, MUCH_MODEL = 0.15, 0.05  # of the rate: how far it moves when single echoes are left out
MOST_FAT = 0.10  # of the rate: how far it moves with fat allowed for, where fat is likely and not well told
LIKELY_FAT = 100.0  # ln of the ratio of likelihoods of a region, beyond which fat that is not well told is feared
SEEN = 20.0  # the same where a richer model explains what single echoes do, or is to be preferred to a simpler one
MOST_RICHER_ECHOES = 0.06  # of the rate: the jackknife deviation of a richer model, at most, where it is believed
BETTER = 0.5  # of that of one exponential, at most
MOST_NOISE, MUCH_NOISE = 0.15, 0.05  # of the rate: how far it moves with what is not known of the noise
MOST_UNEXPLAINED, LEAST_UNEXPLAINED = 2.0, 0.5  # reduced chi-square beyond which residuals are no noise
FAR_UNEXPLAINED = 10.0  # the same where nothing can tell what they are
TOLD = 0.01  # of the rate: a smaller correction is not worth a word
MOST_MIXED, MUCH_MIXED = 1.0, 0.40  # interquartile range over the median that noise does not explain
TWO_TISSUES = 0.8  # share of the variance of ln R2* that two classes explain: 0.64 of a normal, 0.75 of an even spread
MINORITY = 0.2  # share of the smaller class, at least: the median does not mind fewer
MOST_APART = 0.25  # of the rate: a slice that far from the region's median disagrees
MOST_DISAGREEING = 0.25  # of the region's voxels in slices that disagree
CLEAR_ECHOES = 3  # above twice the floor, for a rate without doubt
LEAST_FIRST = 5.0  # sigma of the first echo
UNSEEN = 0.01  # of the rate: what neither noise nor echoes show
FIELD_PER_S_PER_T = 0.3  # faster decay by what air and the shim leave of the field, far from air: a standard deviation
MUCH_HIDDEN, MOST_HIDDEN = 0.03, 0.15  # of the rate: how far fat that the echoes cannot tell may move it: a word, doubt
FORBIDDING = 0.20  # of the rate, likewise: no number, where it is left to the evidence whether there is fat
LEAST_FRACTION = 0.01  # deviation of a fraction of fat that no data takes away: its decay is not quite that of water
SPECTRUM = 0.03  # of the fraction: how far it moves with another spectrum of fat
TOO_HIGH = 0.10  # of the rate: by how much a field across the slice may raise it without a word
WIDEST_FRACTION = 0.05  # half of its 95 % interval: wider is not told
LIKELY_T = 1.5  # where the field is not told
WIDEST = 0.5  # half of the 95 % interval over the value: wider is no measurement
_MEDIAN = 1.2533  # standard error of a median over that of a mean, sqrt(pi / 2)
_IQR = 1.349  # of a normal distribution, in its standard deviations


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a region's decay; shares are fractions of its voxels, moves fractions of its rate."""

    decay: DecayCurve
    sigma: float
    plain_r2star_per_s: float | None  # least squares without noise correction
    invalid: float  # share without a valid fit
    beyond: float  # share that decays too fast to be measured
    clipped: float  # share at full scale
    unexplained: float | None  # reduced chi-square of the residuals
    moved_by_noise: float
    moved_by_echoes: float | None  # None of too few echoes to leave one out
    richer: tuple[RicherModel, ...]  # the simpler first
    hidden_fat: tuple[HiddenFat, ...]  # a little first
    mostly_fat: float  # ln of the odds that fat outweighs water
    fat_judged: bool  # whether there is fat was left to the evidence
    unsure_fat: float  # how far the rate moves with what is not known of that
    freed: float  # how far that has moved the rate of one exponential
    fat_fraction: float | None  # that the maps are freed of; None where it was not looked for
    fat_fraction_sd: float  # of noise
    fat_fraction_by_echoes: float  # deviation by single echoes
    dephasing: Dephasing | None  # by a field across the slice; None where that was not asked
    mixed: float  # interquartile range over the median, beyond noise
    classes: float  # share of the variance of ln R2* that two classes explain
    disagreeing: float  # share in slices far from the median
    coils_source: str
    noise_confidence: str
    converged: bool
    verdict: str

    @property
    def above(self) -> int:
        """Echoes that stand clear of the floor."""
        return sum(value > 2.0 * self.decay.noise_floor for value in self.decay.signal)

    @property
    def seen(self) -> RicherModel | None:
        """The richer model that explains what one exponential does not, so well that its rate is the better one.

        Every model is tried on every train that lacks one echo. Noise and ghosts move all of them; fat moves only those
        that do not know it, read-outs that alternate likewise. Of two the simpler is taken unless the other is far
        likelier.
        """
        if self.moved_by_echoes is None:
            return None
        most = min(MOST_RICHER_ECHOES, BETTER * self.moved_by_echoes)
        best = None
        for one in self.richer:
            if one.echoes is not None and one.echoes <= most and one.evidence > SEEN + (best.evidence if best else 0):
                best = one
        return best

    @property
    def correction(self) -> float:
        """Factor from the rate of the maps to the rate that is reported."""
        return 1.0 if self.seen is None else 1.0 + self.seen.shift

    @property
    def moved_by_model(self) -> float:
        """How far the rate that is reported moves with single echoes, and with the model where two do as well."""
        seen = self.seen
        if seen is None:
            return self.moved_by_echoes or 0.0
        rivals = [one.shift for one in self.richer if one is not seen and abs(one.evidence - seen.evidence) < SEEN]
        apart = max((abs(shift - seen.shift) for shift in rivals), default=0.0)
        return math.hypot(seen.echoes or 0.0, apart / (1 + seen.shift))

    @property
    def moved_by_fat(self) -> float:
        """How far the rate moves with what is not known of fat: as much as every liver may hold where nothing tells."""
        if self.fat_fraction is not None:
            return self.unsure_fat
        known = self.seen is not None and self.seen.fat
        return abs(self.hidden_fat[0].shift) if self.hidden_fat and not known else 0.0

    @property
    def feared_fat(self) -> float | None:
        """How far fat may move the rate that is reported, where it is likely and not told well."""
        seen = self.seen
        if seen is not None and seen.fat:
            return None
        known, shift = (0.0, 0.0) if seen is None else (seen.evidence, seen.shift)
        either: list[RicherModel | HiddenFat] = [*(one for one in self.richer if one.fat), *self.hidden_fat]
        feared = [one.shift - shift for one in either if one.evidence - known > LIKELY_FAT]
        return max(feared, key=abs, default=None)


def judge(evidence: Evidence) -> tuple[Flag, ...]:
    """Apply every rule; a grade of "not measurable" forbids the number."""
    return tuple(flag for rule in _RULES for flag in rule(evidence))


def _measurable(e: Evidence) -> Iterator[Flag]:
    if e.decay.r2star_per_s is None and e.above >= CLEAR_ECHOES:
        yield _no("no-decay", f"the signal does not decay, although {e.above} echoes stand above the noise")
    elif e.decay.r2star_per_s is None or e.above < 2 or e.beyond > MOST_INVALID:
        yield _no("beyond-range", f"{e.above} of {len(e.decay.signal)} echoes above the noise: the decay is too fast")
    elif e.invalid > MOST_INVALID:  # the few that seem valid are the ones that noise made look mild
        yield _no("invalid-voxels", f"{e.invalid:.0%} of the region has no valid fit")
    elif e.invalid > MUCH_INVALID:
        yield _low("invalid-voxels", f"{e.invalid:.0%} of the region has no valid fit")
    elif e.above < CLEAR_ECHOES:
        yield _low("few-echoes", f"{e.above} echoes above the noise")


def _first_echo(e: Evidence) -> Iterator[Flag]:
    if e.decay.signal[0] < LEAST_FIRST * e.sigma:
        yield _low("first-echo-weak", f"first echo {e.decay.signal[0] / e.sigma:.1f} times the noise")


def _clipped(e: Evidence) -> Iterator[Flag]:
    if e.clipped > MOST_CLIPPED:
        yield _no("clipped", f"{e.clipped:.0%} of the region is clipped at the largest value the images can hold")


def _residuals(e: Evidence) -> Iterator[Flag]:
    left = "" if e.unexplained is None else f"what the decays leave is {e.unexplained:.1f} times what noise explains"
    if e.moved_by_model > MOST_MODEL:
        yield _no("residuals", f"not one exponential: R2* hangs on single echoes by {e.moved_by_model:.0%}")
    elif e.moved_by_echoes is None and e.unexplained is not None and e.unexplained > FAR_UNEXPLAINED:
        yield _no("residuals", f"{left}, and so few echoes cannot tell what that does to R2*")
    elif e.moved_by_model > MUCH_MODEL:
        yield _low("residuals", f"not quite one exponential: R2* hangs on single echoes by {e.moved_by_model:.0%}")
    elif e.unexplained is not None and e.unexplained > MOST_UNEXPLAINED and e.seen is None:
        yield _info("residuals", left)
    elif e.unexplained is not None and e.unexplained < LEAST_UNEXPLAINED:
        yield _info("residuals", f"{left}: the noise is overestimated")


_ALLOWED_FOR = {
    (True, False): ("fat-corrected", "fat is seen"),
    (False, True): (
        "alternation-corrected",
        "odd and even echoes differ by a factor, as a read-out to and fro does it",
    ),
    (True, True): ("fat-corrected", "fat is seen, and a factor between odd and even echoes"),
}


def _richer(e: Evidence) -> Iterator[Flag]:
    if e.mostly_fat > LIKELY_FAT:
        yield _no(
            "fat-tissue", "the region decays as fat tissue does, in which fat outweighs water: it is no parenchyma"
        )
        return
    seen, feared = e.seen, e.feared_fat
    plain = "" if e.decay.r2star_per_s is None else f"; one exponential gives {e.decay.r2star_per_s:.0f}/s"
    if abs(e.freed) > TOLD:
        yield _info("fat-corrected", f"fat is seen and allowed for: it moves R2* by {e.freed:+.0%}{plain}")
    if seen is not None and abs(seen.shift) > TOLD:
        code, what = _ALLOWED_FOR[seen.fat, seen.alternation]
        yield _info(code, f"{what} and allowed for: it moves R2* by {seen.shift:+.0%}{plain}")
    if feared is not None and abs(feared) > MOST_FAT:
        yield _no("fat", f"fat is likely and cannot be told well: it may move R2* by {feared:+.0%}")
        return
    yield from _hidden_fat(e)


def _hidden_fat(e: Evidence) -> Iterator[Flag]:
    """What fat would do that the echoes cannot tell."""
    seen = e.seen
    worst = None if seen is not None and seen.fat else max(e.hidden_fat, key=lambda one: abs(one.shift), default=None)
    if worst is None:
        return
    moves = f"{worst.fraction:.0%} of it would move R2* by {worst.shift:+.0%}"
    if abs(worst.shift) <= MUCH_HIDDEN:
        if e.fat_judged and e.fat_fraction is None:
            yield _info("fat-harmless", f"these echoes cannot tell fat and hardly mind it: {moves}")
        return
    if e.fat_judged and abs(worst.shift) > FORBIDDING:
        yield _no("fat-not-excluded", f"fat cannot be excluded: these echoes cannot tell it, and {moves}")
        return
    grade = _low if abs(worst.shift) > MOST_HIDDEN else _info
    yield grade("fat-untold", f"these echoes cannot tell fat: {moves}")


def bent(found: Dephasing | None, moved_by_noise: float) -> Dephasing | None:
    """What bends a decay down as nothing of tissue does; what is not known of the floor may bend it as well."""
    if found is None or found.evidence < SEEN or found.shift < TOO_HIGH or moved_by_noise > MUCH_NOISE:
        return None
    return found


def _field(e: Evidence) -> Iterator[Flag]:
    by_field = bent(e.dephasing, e.moved_by_noise)
    if by_field is None:
        return
    yield _low(
        "field",
        f"the decay bends as a field that changes by {by_field.hz:.0f} Hz across the slice makes it, as near air: "
        f"R2* may be {by_field.shift:.0%} too high",
    )


def _mixture(e: Evidence) -> Iterator[Flag]:
    spread = f"R2* in the region spreads over {e.mixed:.0%} of its median"
    if e.mixed > MUCH_MIXED and e.classes > TWO_TISSUES:
        yield _no("mixed", f"{spread} and falls into two classes, as two tissues do")
    elif e.mixed > MOST_MIXED:
        yield _no("mixed", f"{spread}, more than one tissue does")
    elif e.mixed > MUCH_MIXED:
        yield _low("mixed", f"{spread}: uneven iron, or a field that air and metal bend")
    if e.disagreeing > MOST_DISAGREEING:
        share = f"{e.disagreeing:.0%} of the region lies in slices"
        yield _no("slices-disagree", f"{share} whose median is more than {MOST_APART:.0%} from that of all")


def _noise(e: Evidence) -> Iterator[Flag]:
    said = {
        "decays": "how many coils made the noise is supposed, because the decays level off",
        "unclear": "the decays level off as no noise does; noise of one coil is supposed",
        "unknown": "too little data to tell how many coils made the noise; one is supposed",
    }
    if e.moved_by_noise > MOST_NOISE:
        yield _no("noise", f"the noise is not known well enough: R2* may move by {e.moved_by_noise:.0%}")
    elif e.moved_by_noise > MUCH_NOISE:
        yield _low("noise", f"R2* may move by {e.moved_by_noise:.0%} with what is not known of the noise")
    if e.coils_source in said:
        yield _low("coils", said[e.coils_source])
    if e.noise_confidence in {"low", "unknown"}:
        grade = _low if e.moved_by_noise > MUCH_NOISE / 2 else _info
        yield grade("noise-uncertain", "the ways to measure the noise do not agree, or too little shows it")
    plain, own = e.plain_r2star_per_s, e.decay.r2star_per_s
    if plain is not None and own is not None and abs(plain - own) > 0.1 * own:
        yield _info("noise-correction", f"noise correction moves R2* by more than 10 % (plain fit {plain:.0f}/s)")


def _convergence(e: Evidence) -> Iterator[Flag]:
    if not e.converged:
        yield _low("not-converged", f"the fit did not converge ({e.verdict})")


def judge_vial(evidence: Evidence) -> tuple[Flag, ...]:
    """Apply the rules that are not about tissue: a vial holds what it holds, without fat and of one kind."""
    return tuple(flag for rule in _RULES_OF_VIALS for flag in rule(evidence))


_RULES_OF_VIALS = (_measurable, _first_echo, _clipped, _convergence)
_RULES = (_measurable, _first_echo, _clipped, _residuals, _richer, _field, _mixture, _noise, _convergence)


def _no(code: str, sentence: str) -> Flag:
    return Flag(code, Grade.NOT_MEASURABLE, sentence)


def _low(code: str, sentence: str) -> Flag:
    return Flag(code, Grade.LOW_CONFIDENCE, sentence)


def _info(code: str, sentence: str) -> Flag:
    return Flag(code, Grade.INFO, sentence)


def too_wide(estimate: Estimate) -> tuple[Flag, ...]:
    """Forbid a number whose interval says nothing."""
    half = (estimate.ci95[1] - estimate.ci95[0]) / 2
    if half <= WIDEST * estimate.value:
        return ()
    return (
        _no("interval", f"the 95 % interval of R2*, {estimate.ci95[0]:.0f} to {estimate.ci95[1]:.0f}/s, is too wide"),
    )


def spread(values: NDArray[np.float64], deviations: NDArray[np.float64]) -> float:
    """Interquartile range over the median, less what the deviations of the single values explain."""
    low, median, high = np.percentile(values, [25, 50, 75])
    noise = _IQR * float(np.median(deviations))
    return math.sqrt(max((high - low) ** 2 - noise**2, 0.0)) / max(float(median), 1e-9)


def two_classes(values: NDArray[np.float64]) -> float:
    """Share of the variance of ln R2* that the best split into two classes explains (Otsu 1979).

    0 where the smaller class holds less than ``MINORITY``: the median does not mind it.
    """
    x = np.sort(np.log(np.maximum(values, 1.0)))
    if x.size < 2 or np.ptp(x) == 0:
        return 0.0
    below = np.arange(1, x.size)
    sums = np.cumsum(x)
    apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / (x.size - below)
    share = below / x.size
    between = share * (1 - share) * apart**2
    best = int(np.argmax(between))
    return float(between[best] / x.var()) if MINORITY <= share[best] <= 1 - MINORITY else 0.0


def disagreeing(medians: Sequence[tuple[float, int]], median: float) -> float:
    """Share of the voxels in slices, (median, voxels) each, that lie far from the median of all."""
    total = sum(count for _, count in medians)
    far = sum(count for value, count in medians if abs(value - median) > MOST_APART * median)
    return far / total if total else 0.0


def estimate(
    median: float,
    *,
    correction: float,
    n_voxels: int,
    voxel_sd: float,
    joined: float,
    moved_by_noise: float,
    moved_by_model: float,
    moved_by_fat: float,
    field_t: float | None,
    covers: float,
    blocks: Sequence[float],
    slices: Sequence[float],
) -> Estimate:
    """The median of a region times ``correction``, with its interval.

    ``voxel_sd`` is the deviation of one voxel's rate, ``joined`` how many voxels share it, ``blocks`` the medians of
    patches of the region a texture's length apart, ``slices`` those of its slices. A region that ``covers`` all it
    stands for is no sample of it (Cochran 1977, ch. 2).
    """
    value = median * correction
    parts = {
        "fit": correction * _MEDIAN * voxel_sd * math.sqrt(min(joined / max(n_voxels, 1), 1.0)),
        "noise": moved_by_noise * value,
        "model": math.hypot(UNSEEN, moved_by_model, moved_by_fat) * value,
        "field": FIELD_PER_S_PER_T * (field_t or LIKELY_T),
        "region": correction * math.sqrt(1.0 - min(covers, 1.0)) * _of_mean(blocks),
        "slices": correction * _of_mean(slices),
    }
    sd = math.sqrt(sum(part**2 for part in parts.values()))
    return Estimate(value, (max(value - HALF_95 * sd, 0.0), value + HALF_95 * sd), parts)


def fat_fraction(e: Evidence) -> Estimate | None:
    """Signal fraction of fat with its interval; None where that is too wide to be told, or nothing was asked.

    It is no proton density fat fraction: what T1, the flip angle and other spectra of fat do to it is not known.
    """
    if e.fat_fraction is None:
        return None
    parts = {
        "fit": e.fat_fraction_sd,
        "model": math.hypot(e.fat_fraction_by_echoes, LEAST_FRACTION, SPECTRUM * e.fat_fraction),
    }
    half = HALF_95 * math.hypot(*parts.values())
    low, high = max(e.fat_fraction - half, 0.0), min(e.fat_fraction + half, 1.0)
    return Estimate(max(e.fat_fraction, 0.0), (low, high), parts) if half <= WIDEST_FRACTION else None


def _of_mean(values: Sequence[float]) -> float:
    """Standard error of what is common to several values, from how they differ."""
    if len(values) < 2:
        return 0.0
    return float(_MEDIAN * 1.4826 * np.median(np.abs(np.array(values) - np.median(values))) / math.sqrt(len(values)))


NO_RANGES = "no-ranges"  # the flag of a number whose field no published range is for
TELLING = 0.3  # of what the protocol could measure: a lower bound beyond the range is not worth a word
LEAST_CLEAR = 3.0  # sigma that must be left at the second echo


def reach_per_s(s0: float, sigma: float, n_coils: float, second_echo_ms: float) -> float | None:
    """The largest R2* of which two echoes rise from the noise: ln(S0 / 3σ) / TE2, with several coils later."""
    least = sigma * max(LEAST_CLEAR, 1.5 * math.sqrt(2 * n_coils))
    return math.log(s0 / least) / (second_echo_ms * 1e-3) if s0 > least > 0 else None


SHORT_FIRST_MS, SHORT_SPACING_MS = 0.9, 0.8  # what a scanner of today reaches on one breath-hold


def shorter(echo_times_ms: Sequence[float], field_t: float | None, reach: float | None = None) -> list[str]:
    """What measures faster decays than a train of echoes; nothing where it is as short as a scanner can."""
    first, spacing = echo_times_ms[0], echo_times_ms[1] - echo_times_ms[0]
    steps = []
    if first > 1.2 * SHORT_FIRST_MS or spacing > 1.2 * SHORT_SPACING_MS:
        short = SHORT_FIRST_MS + SHORT_SPACING_MS
        then = f" (then up to about {reach * echo_times_ms[1] / short:.0f}/s)" if reach else ""
        steps.append(
            f"a first echo near {SHORT_FIRST_MS} ms and a spacing near {SHORT_SPACING_MS} ms in place of "
            f"{first:g} and {spacing:.2g} ms{then}"
        )
    if field_t is not None and field_t > 2:
        steps.append("a scanner of 1.5 T, where R2* is about half")
    return steps


def advice(echo_times_ms: Sequence[float], field_t: float | None, reach: float | None) -> str:
    """How to scan again where the decay was too fast for this protocol."""
    steps = shorter(echo_times_ms, field_t, reach)
    return f"Scan again with {', or on '.join(steps)}." if steps else ""
