"""Says how far a region's decay can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicomnode.model import DecayCurve

NOT_MEASURABLE = "not measurable"
LOW_CONFIDENCE = "low confidence"
_MOST_INVALID = 0.5
_LEAST_UNEXPLAINED, _MOST_UNEXPLAINED = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class Trust:
    """A verdict on a decay: the flags a report prints, and whether a number may be given at all."""

    flags: tuple[str, ...]
    measurable: bool


def judge(
    decay: DecayCurve,
    *,
    sigma: float,
    plain_r2star_per_s: float | None,
    invalid_fraction: float,
    floor_is_known: bool = True,
) -> Trust:
    """Apply the rules for a region's median decay.

    ``sigma`` is the noise standard deviation in signal units, ``plain_r2star_per_s`` the least-squares rate without
    noise correction, ``invalid_fraction`` the share of the region's voxels without a valid fit. Where it is not known
    whether the floor is that of one coil or of many, no limit is claimed.
    """
    above = sum(value > 2.0 * decay.noise_floor for value in decay.signal)
    limit = measurable_limit_per_s(decay, sigma) if floor_is_known else None
    at_least = f": R2* > {limit:.0f}/s" if limit else ""
    if decay.r2star_per_s is None or above < 2:
        return Trust((f"{NOT_MEASURABLE}: {above} of {len(decay.signal)} echoes above the noise{at_least}",), False)
    if invalid_fraction > _MOST_INVALID:
        # The few that seem valid are the ones that noise made look mild.
        share = f"{invalid_fraction:.0%} of the region has no valid fit"
        return Trust((f"{NOT_MEASURABLE}: {share}{at_least}",), False)
    flags = []
    if above < 3:
        flags.append(f"{LOW_CONFIDENCE}: {above} echoes above the noise")
    if decay.signal[0] < 5.0 * sigma:
        flags.append(f"{LOW_CONFIDENCE}: first echo {decay.signal[0] / sigma:.1f} times the noise")
    if plain_r2star_per_s is not None and _differ(plain_r2star_per_s, decay.r2star_per_s, 0.10):
        flags.append(f"noise correction moves R2* by more than 10 % (plain fit {plain_r2star_per_s:.0f}/s)")
    if invalid_fraction > 0.10:
        flags.append(f"{LOW_CONFIDENCE}: {invalid_fraction:.0%} of the region has no valid fit")
    return Trust(tuple(flags), True)


def of_residuals(unexplained: float | None) -> tuple[str, ...]:
    """What is said of decays that leave more or less than the noise explains; ``unexplained`` is 1 if all is well."""
    if unexplained is None or _LEAST_UNEXPLAINED <= unexplained <= _MOST_UNEXPLAINED:
        return ()
    if unexplained < 1:
        return (
            f"what the decays leave is {unexplained:.1f} times what the noise explains: the noise is overestimated",
        )
    return (f"what the decays leave is {unexplained:.1f} times what the noise explains: they are not one exponential",)


def measurable_limit_per_s(decay: DecayCurve, sigma: float) -> float | None:
    """The R2* beyond which two echoes no longer rise from the noise: ln(S0 / 3σ) / TE2, with several coils later."""
    if len(decay.echo_times_ms) < 2 or sigma <= 0.0:
        return None
    s0 = max(decay.s0 or 0.0, decay.signal[0])
    least = max(3.0 * sigma, 1.5 * decay.noise_floor)
    return math.log(s0 / least) / (decay.echo_times_ms[1] * 1e-3) if s0 > least else None


def _differ(one: float, other: float, fraction: float) -> bool:
    return abs(one - other) > fraction * max(abs(other), 1e-9)
