"""One region on the maps -> its numbers, or why it has none."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomnode import fit as fitting
from dicomnode.measure import iron, phantom, quality, staging
from dicomnode.measure.organs import LIVER, ORGANS, PHANTOM
from dicomnode.model import (
    HALF_95,
    DecayCurve,
    Dephasing,
    EchoStack,
    Estimate,
    Flag,
    Grade,
    Limit,
    Maps,
    Roi,
    RoiMeasurement,
    SliceValue,
    Stage,
    Statistics,
    Vial,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dicomnode.config import MeasureSettings
    from dicomnode.fit import Noise
    from dicomnode.measure.organ import Organ

    Mask = NDArray[np.bool_]

FULL_SCALE_SHARED = 8  # samples that hold the largest value of a stack; more of them are clipped
FEWEST_VOXELS = 30  # of a slice or a block, for a median of its own
BLOCK_MM = 25.0  # a texture's length: medians of such blocks differ as samples of the organ do
JOINED_VOXELS = 50.0  # that a regularised fit lets share their noise
NEARBY_MM = 40.0  # around a region: tissue whose amplitude bounds that of the region
DARKER = 25.0  # per cent of that tissue that are darker than what the region is taken to be
CAUTIOUS = 0.7  # of that amplitude: livers are as bright as the tissue around, coils are not even
BODY = 0.2  # of the largest value of the first echo
MUCH_CLIPPED = 0.2  # of the body, where no organ was found in it: fat near a coil is less; of a phantom's vials
LEAST_KEPT = 0.5  # of a region's voxels: where more lies in a field that bends its decay, nothing is left out
# What may stand beside "beyond the range" without taking the bound away: what is left is judged by its power alone.
HARMLESS = frozenset(
    {
        "beyond-range",
        "invalid-voxels",
        "interval",
        "noise",
        "mixed",
        "residuals",
        "fat",
        "fat-not-excluded",
        "slices-disagree",
    }
)


@dataclass(frozen=True, slots=True)
class Images:
    """What regions are measured on: signals (slices, K, L, M), maps and the voxels at full scale."""

    stack: EchoStack
    signal: NDArray[np.float32]
    maps: Maps
    clipped: Mask
    organ: Organ = LIVER  # that the series is of

    @classmethod
    def of(cls, stack: EchoStack, signal: NDArray[np.float32], maps: Maps, organ: Organ = LIVER) -> Images:
        """Find the voxels that reach the largest value of the stack, where so many do that it is full scale."""
        top = signal.max(initial=0.0)
        clipped = np.zeros(signal.shape[:-1], bool)
        if top > 0 and sum(int(np.count_nonzero(slice_ == top)) for slice_ in signal) > FULL_SCALE_SHARED:
            for slice_, at_top in zip(signal, clipped, strict=True):
                np.any(slice_ == top, axis=-1, out=at_top)
        return cls(stack, signal, maps, clipped, organ)

    def are_clipped_in(self, mask: Mask) -> bool:
        """Whether so much of what lies there is at full scale that it shows nothing."""
        return bool(mask.any() and self.clipped[mask].mean() > MUCH_CLIPPED)

    @property
    def step_mm(self) -> tuple[float, float]:
        """Between rows, between columns."""
        return self.stack.planes[0].pixel_spacing_mm

    @property
    def voxel_mm2(self) -> float:
        """Area of a voxel in its slice."""
        return self.step_mm[0] * self.step_mm[1]


@dataclass(frozen=True, slots=True)
class _Region:
    """A region, the voxels of it that are measured, and the noise there."""

    roi: Roi
    images: Images
    voxels: Mask
    noise: Noise

    @classmethod
    def of(cls, roi: Roi, images: Images) -> _Region:
        voxels = roi.mask & images.maps.valid & ~images.clipped
        return cls(roi, images, voxels, fitting.Noise.of(images.maps).within(images.maps, roi.mask))

    @property
    def shown(self) -> Mask:
        """The voxels whose decay is shown: all where hardly any is valid, for those are what noise made look mild."""
        mostly = self.voxels.sum() >= quality.MOST_INVALID * self.roi.mask.sum()
        return self.voxels if mostly and self.voxels.any() else self.roi.mask

    @property
    def rates(self) -> NDArray[np.float64]:
        return self.images.maps.r2star_per_s[self.voxels].astype(np.float64)

    @property
    def fat(self) -> fitting.KnownFat | None:
        """What its maps know of fat."""
        return fitting.KnownFat.within(self.images.maps, self.voxels)

    def share(self, chosen: Mask | None) -> float:
        return 0.0 if chosen is None else float((chosen & self.roi.mask).sum() / self.roi.mask.sum())

    def slices(self) -> list[tuple[int, float | None, int]]:
        """Index, median rate and number of voxels of each slice."""
        counts = self.voxels.sum(axis=(1, 2))
        rates = self.images.maps.r2star_per_s
        return [
            (int(k), float(np.median(rates[k][self.voxels[k]])) if counts[k] >= FEWEST_VOXELS else None, int(counts[k]))
            for k in np.flatnonzero(counts)
        ]

    def blocks(self) -> Iterator[float]:
        """Median rates of square blocks of each slice."""
        height, width = (max(1, round(BLOCK_MM / step)) for step in self.images.step_mm)
        for k in np.flatnonzero(self.voxels.any(axis=(1, 2))):
            rows, columns = np.nonzero(self.voxels[k])
            number = rows // height * (self.voxels.shape[2] // width + 1) + columns // width
            values = self.images.maps.r2star_per_s[k][rows, columns]
            for block in np.unique(number):
                inside = values[number == block]
                if inside.size >= FEWEST_VOXELS:
                    yield float(np.median(inside))


def measure(roi: Roi, images: Images, settings: MeasureSettings) -> tuple[RoiMeasurement, DecayCurve | None]:
    """Measure a region, and give the decay that its report shows; None where it has no voxel."""
    measured, decay = _measure(roi, images, settings)
    return replace(measured, stages=_stages(roi, measured)), decay


def _stages(roi: Roi, measured: RoiMeasurement) -> tuple[Stage, ...]:
    """The published ranges of a concentration that is given; those of R2* are named without a probability."""
    organ = ORGANS.get(roi.finding)
    ranges = None if organ is None else organ.ranges
    if ranges is None or ranges.of_rate or any(flag.code == quality.NO_RANGES for flag in measured.flags):
        return ()
    if measured.at_least is not None:
        return staging.from_bound(ranges, measured.at_least)
    return () if measured.lic is None else staging.stages(ranges, measured.lic)


def _measure(roi: Roi, images: Images, settings: MeasureSettings) -> tuple[RoiMeasurement, DecayCurve | None]:
    if not roi.mask.any():
        return _empty(roi, images), None
    if images.organ is PHANTOM:
        return _vial(_Region.of(roi, replace(images, maps=images.maps.one_exponential)))
    region = _Region.of(roi, images)
    field_t = images.stack.field_strength_t
    line, no_line = _calibration(roi, images, settings)
    evidence = _evidence(region)
    rate = _rate(region, evidence)
    flags = roi.doubts + _incomplete(images.stack) + quality.judge(evidence) + (quality.too_wide(rate) if rate else ())
    withheld = _withheld(region, flags, evidence.decay, line)
    if rate is None or not withheld.measurable:
        bound = _bound(region, flags)
        at_least = None if bound is None else iron.limit(bound, line)
        return replace(withheld, at_least=at_least, advice=_advice(region, withheld)), _without_curve(evidence.decay)
    withheld = replace(withheld, flags=withheld.flags + no_line + _no_ranges(roi, field_t))
    measured = _measured(region, withheld, rate, evidence.correction, line)
    decay = fitting.freed(evidence.decay, region.noise, field_t, region.fat)
    measured = replace(
        measured,
        unregularised_r2star_per_s=decay.r2star_per_s,
        plain_r2star_per_s=_plain(region),
        fat_fraction=quality.fat_fraction(evidence),
    )
    return measured, decay


def _vial(region: _Region) -> tuple[RoiMeasurement, DecayCurve | None]:
    """Measure what lies in a phantom by one exponential; it has no iron, whatever it was made with."""
    evidence = replace(_evidence(region), richer=(), hidden_fat=())
    rate = _rate(region, evidence)
    flags = region.roi.doubts + _incomplete(region.images.stack) + quality.judge_vial(evidence)
    centre, radius = phantom.place_of(region.roi, region.images.stack.planes)
    withheld = replace(
        _withheld(region, flags, evidence.decay, None), reach=None, vial=Vial(centre, radius, evidence.decay.s0)
    )
    if rate is None or not withheld.measurable:
        return withheld, _without_curve(evidence.decay)
    return _measured(region, withheld, rate, 1.0, None), evidence.decay


def without_field(roi: Roi, images: Images) -> Roi:
    """A region without the slices whose own decay bends as a field across them makes it, near lung for instance.

    It says so by a flag. What a person drew stays whole, and so does what would lose more than half: then the decay of
    all of it is judged.
    """
    if not roi.automatic or not roi.mask.any():
        return roi
    region = _Region.of(roi, images)
    slices = [k for k, value, _ in region.slices() if value is not None]
    found = {k: bent for k in slices if (bent := _bent(region, k)) is not None}
    kept = roi.mask.copy()
    kept[list(found)] = False
    if not found or (region.voxels & kept).sum() < LEAST_KEPT * region.voxels.sum():
        return roi
    worst = max(found.values(), key=lambda one: one.shift)
    said = (
        f"left out: {len(found)} of {len(slices)} slices, whose decay bends as a field that changes by up to "
        f"{max(one.hz for one in found.values()):.0f} Hz across them makes it, as near air; R2* there is up to "
        f"{worst.shift:.0%} too high"
    )
    return replace(roi, mask=kept, doubts=(*roi.doubts, Flag("field-left-out", Grade.INFO, said)))


def _bent(region: _Region, k: int) -> Dephasing | None:
    """What a field does to the decay of one slice of a region, where it may be believed."""
    images, own = region.images, np.zeros_like(region.voxels)
    own[k] = region.voxels[k]
    times, field_t = images.stack.echo_times_ms, images.stack.field_strength_t
    decay, _ = fitting.decay(images.signal, times, own, region.noise)
    fat = fitting.KnownFat.within(images.maps, own)
    return quality.bent(*fitting.dephasing(decay, region.noise, field_t, int(own.sum()), fat))


def _plain(region: _Region) -> float | None:
    """What one exponential says, where the maps may say something else."""
    maps = region.images.maps
    return float(np.median(maps.plain.r2star_per_s[region.voxels])) if maps.looked_for_fat else None


def _incomplete(stack: EchoStack) -> tuple[Flag, ...]:
    """What is missing of the scan that the number is from."""
    if not stack.incomplete:
        return ()
    return (Flag("incomplete", Grade.LOW_CONFIDENCE, f"of an incomplete scan: {stack.incomplete}"),)


def _empty(roi: Roi, images: Images) -> RoiMeasurement:
    flags = _clipped_body(images) + roi.doubts + _incomplete(images.stack)
    if not any(flag.grade is Grade.NOT_MEASURABLE for flag in flags):
        flags += (Flag("empty-region", Grade.NOT_MEASURABLE, "the region holds no voxel"),)
    return RoiMeasurement(roi.name, 0, 0.0, None, None, None, None, flags, confidence=roi.confidence)


def _clipped_body(images: Images) -> tuple[Flag, ...]:
    """What hides an organ before any doubt about it: a body at full scale shows nothing."""
    first = images.signal[..., 0]
    body = first > BODY * float(first.max(initial=0.0))
    if not images.are_clipped_in(body):
        return ()
    share = float(images.clipped[body].mean())
    return (Flag("clipped", Grade.NOT_MEASURABLE, f"{share:.0%} of the body is clipped at full scale: too much gain"),)


def _evidence(region: _Region) -> quality.Evidence:
    images, noise = region.images, region.noise
    maps, stack = images.maps, images.stack
    decay, plain = fitting.decay(images.signal, stack.echo_times_ms, region.shown, noise)
    fat = region.fat
    moved = fitting.sensitivity(decay, noise, stack.field_strength_t, int(region.shown.sum()), fat)
    rates, slices = region.rates, region.slices()
    any_valid = rates.size > 0
    deviations = maps.r2star_sd_per_s[region.voxels].astype(np.float64)
    left = fitting.unexplained(images.signal, stack.echo_times_ms, region.voxels, maps) if any_valid else None
    medians = [(value, count) for _, value, count in slices if value is not None]
    return quality.Evidence(
        decay=decay,
        sigma=noise.sigma,
        plain_r2star_per_s=plain,
        invalid=1.0 - float(region.voxels.sum() / region.roi.mask.sum()),
        beyond=region.share(maps.beyond),
        clipped=region.share(images.clipped),
        unexplained=left,
        moved_by_noise=moved.noise,
        moved_by_echoes=moved.echoes,
        richer=moved.richer,
        hidden_fat=moved.hidden_fat,
        mostly_fat=moved.mostly_fat,
        fat_judged=maps.record.model == "automatic",
        unsure_fat=moved.fat,
        freed=moved.freed,
        fat_fraction=None if fat is None else fat.fraction,
        fat_fraction_sd=0.0 if fat is None else fat.sd,
        fat_fraction_by_echoes=moved.fraction,
        dephasing=moved.dephasing,
        mixed=quality.spread(rates, deviations) if any_valid else 0.0,
        classes=quality.two_classes(rates),
        disagreeing=quality.disagreeing(medians, float(np.median(rates))) if any_valid else 0.0,
        coils_source=noise.source,
        noise_confidence=noise.confidence,
        converged=maps.record.converged,
        verdict=maps.record.verdict,
    )


def _rate(region: _Region, evidence: quality.Evidence) -> Estimate | None:
    """The median rate with its interval."""
    rates, maps = region.rates, region.images.maps
    if not rates.size:
        return None
    return quality.estimate(
        float(np.median(rates)),
        correction=evidence.correction,
        n_voxels=rates.size,
        voxel_sd=float(np.sqrt(np.mean(np.square(maps.r2star_sd_per_s[region.voxels], dtype=np.float64)))),
        joined=JOINED_VOXELS if maps.record.regularised else 1.0,
        moved_by_noise=evidence.moved_by_noise,
        moved_by_model=math.hypot(evidence.moved_by_model, region.roi.moved / HALF_95),
        moved_by_fat=evidence.moved_by_fat,
        field_t=region.images.stack.field_strength_t,
        covers=region.roi.covers,
        blocks=list(region.blocks()),
        slices=[value for _, value, _ in region.slices() if value is not None],
    )


def _withheld(
    region: _Region, flags: tuple[Flag, ...], decay: DecayCurve, line: iron.Calibration | None
) -> RoiMeasurement:
    """All that is said of a region without its number."""
    count = int(region.voxels.sum())
    return RoiMeasurement(
        name=region.roi.name,
        n_voxels=count,
        area_mm2=count * region.images.voxel_mm2,
        t2star_ms=None,
        r2star_per_s=None,
        lic_mg_per_g=None,
        calibration=None,
        flags=flags,
        reach=_reach(region, decay, line),
        slices=tuple(_slice(region.roi, k, n, None, None) for k, _, n in region.slices()),
        confidence=region.roi.confidence,
    )


def _measured(
    region: _Region,
    withheld: RoiMeasurement,
    rate: Estimate,
    correction: float,
    line: iron.Calibration | None,
) -> RoiMeasurement:
    """The same with its number; every rate of the map is multiplied by ``correction``."""
    maps, field_t = region.images.maps, region.images.stack.field_strength_t
    told = region.voxels & ~(maps.r2star_per_s <= maps.r2star_sd_per_s)
    lic = None if line is None else iron.estimate(rate, line)
    more, printed = ((), None) if line is None or lic is None else _printed(line, lic)
    given = line if printed is not None else None
    return replace(
        withheld,
        t2star_ms=statistics(maps.t2star_ms[told] / correction) if told.any() else None,
        r2star_per_s=statistics(maps.r2star_per_s[region.voxels] * correction),
        lic_mg_per_g=printed,
        calibration=None if line is None else f"{line.name}: {line.formula} at {field_t:.2f} T ({line.source})",
        calibration_name=None if line is None else line.name,
        calibration_formula=None if line is None else f"{line.formula} at {field_t:.2f} T",
        flags=withheld.flags + more + _too_long_to_tell(region.voxels, told),
        r2star=rate,
        lic=lic if printed is not None else None,
        at_least=_beyond_line(rate, line),
        slices=tuple(
            _slice(region.roi, k, n, None if value is None else value * correction, given)
            for k, value, n in region.slices()
        ),
    )


def _without_curve(decay: DecayCurve) -> DecayCurve:
    """A decay without the curve that would look like a measurement."""
    return replace(decay, s0=None, r2star_per_s=None)


def _slice(roi: Roi, k: int, n_voxels: int, value: float | None, line: iron.Calibration | None) -> SliceValue:
    lic = None if value is None or line is None else iron.printed(line.lic_mg_per_g(value))
    confidence = roi.slice_confidence[k] if roi.slice_confidence else None
    return SliceValue(k, n_voxels, value, lic, confidence, "" if value is not None else "not measured by itself")


# ---- what a protocol can measure


def _reach(region: _Region, decay: DecayCurve, line: iron.Calibration | None) -> Limit | None:
    """Up to where this protocol measures a region as bright as this one."""
    s0 = decay.s0 or max(decay.signal[0], _brightness(region))
    second = region.images.stack.echo_times_ms[1]
    found = quality.reach_per_s(s0, region.noise.sigma, region.noise.n_coils, second)
    return None if found is None else iron.limit(found, line)


def _bound(region: _Region, flags: tuple[Flag, ...]) -> float | None:
    """The slowest decay that a region beyond the range can have; None where something else forbids a number."""
    forbidding = {flag.code for flag in flags if flag.grade is Grade.NOT_MEASURABLE}
    if "beyond-range" not in forbidding or not forbidding <= HARMLESS:
        return None
    if region.noise.source in {"unclear", "unknown"}:
        return None  # a floor of many coils looks like a decay that levels off
    images = region.images
    s0 = CAUTIOUS * _brightness(region)
    times, field_t = images.stack.echo_times_ms, images.stack.field_strength_t
    found = fitting.fall(images.signal, times, region.roi.mask, region.noise, s0=s0, field_strength_t=field_t)
    reach = quality.reach_per_s(_brightness(region), region.noise.sigma, 1.0, images.stack.echo_times_ms[1])
    return found if found is not None and found > quality.TELLING * (reach or 0.0) else None


def _brightness(region: _Region) -> float:
    """Amplitude at time 0 of the darker tissue around a region, 0 where there is none: its own may be lost."""
    images, mask = region.images, region.roi.mask
    near = ndimage.distance_transform_edt(~mask, sampling=(1e9, *images.step_mm)) <= NEARBY_MM
    around = images.maps.s0[near & ~mask & images.maps.valid]
    return float(np.percentile(around, DARKER)) if around.size >= FEWEST_VOXELS else 0.0


def _advice(region: _Region, withheld: RoiMeasurement) -> str:
    if all(flag.code != "beyond-range" for flag in withheld.flags):
        return ""
    stack, reach = region.images.stack, withheld.reach
    return quality.advice(stack.echo_times_ms, stack.field_strength_t, reach.r2star_per_s if reach else None)


# ---- iron


def _calibration(
    roi: Roi, images: Images, settings: MeasureSettings
) -> tuple[iron.Calibration | None, tuple[Flag, ...]]:
    """The line of a region, or why it has none."""
    organ, field_t = ORGANS.get(roi.finding), images.stack.field_strength_t
    if settings.calibration == "none" or (organ is not None and not organ.has_iron):
        return None, ()
    if organ is not None and roi.name in organ.without_iron:
        return None, (_not_given(organ, "the region holds more than that tissue"),)
    line = None if organ is None else organ.calibration(settings.calibration, field_t, _own_lines(settings))
    return (line, ()) if line is not None else (None, (_no_calibration(roi, images, settings.calibration),))


def _no_ranges(roi: Roi, field_t: float | None) -> tuple[Flag, ...]:
    """That the published ranges of an organ were made for another field."""
    organ = ORGANS.get(roi.finding)
    if organ is None or organ.ranges is None or organ.ranges.hold_at(field_t):
        return ()
    low, high = organ.ranges.fields_t
    at = "an unknown field" if field_t is None else f"{field_t:.2f} T"
    sentence = f"no range is named: {organ.ranges.scheme} has them from {low:g} to {high:g} T, and none at {at}"
    return (Flag(quality.NO_RANGES, Grade.INFO, sentence),)


def _own_lines(settings: MeasureSettings) -> Iterator[iron.Calibration]:
    """The site's calibrations."""
    for own in settings.calibrations:
        symbol = ORGANS[own.organ].symbol
        line = own.model_dump() | {"organs": (own.organ,), "source": f"this site's own: {own.source}", "symbol": symbol}
        yield iron.Calibration(**{name: value for name, value in line.items() if name != "organ"})


def _no_calibration(roi: Roi, images: Images, name: str) -> Flag:
    expected, field_t = images.organ, images.stack.field_strength_t
    if roi.finding == "tissue":
        why = f"the region is not said to be {expected.to_draw}; name it '{expected.to_draw}' where it is drawn"
    elif roi.finding != expected.name:
        why = f"{name} is not for the {roi.finding}"
    else:
        why = f"{name} has no calibration at {'an unknown field' if field_t is None else f'{field_t:.2f} T'}"
    return _not_given(expected, why)


def _not_given(organ: Organ, why: str) -> Flag:
    return Flag("no-calibration", Grade.INFO, f"{organ.symbol} not given: {why}")


def _printed(line: iron.Calibration, lic: Estimate) -> tuple[tuple[Flag, ...], float | None]:
    """The concentration that is printed, or what is said in its place."""
    if lic.value > line.most_mg_per_g:
        sentence = f"{line.symbol} > {line.most_mg_per_g:g} mg/g: {line.name} was made for no more"
        return (Flag("over-range", Grade.INFO, sentence),), None
    printed = iron.printed(lic.value)
    if printed is None:
        return (Flag("under-range", Grade.INFO, f"{line.symbol} < {iron.SMALLEST_MG_PER_G} mg/g"),), None
    return (), printed


def _beyond_line(rate: Estimate, line: iron.Calibration | None) -> Limit | None:
    """What is said where the rate is measured and the calibration ends before it."""
    if line is None or line.lic_mg_per_g(rate.value) <= line.most_mg_per_g:
        return None
    return iron.limit(rate.value, line)


def _too_long_to_tell(region: Mask, told: Mask) -> tuple[Flag, ...]:
    """A decay that cannot be told from none has no T2*: its reciprocal would be any large number."""
    share = 1.0 - told.sum() / region.sum()
    if share <= 0:
        return ()
    part = f"{share:.0%}" if share >= 0.01 else "under 1%"
    sentence = f"T2* of {part} of the voxels is too long to tell and left out of its figures"
    return (Flag("t2star-long", Grade.INFO, sentence),)


def statistics(values: NDArray[np.float32]) -> Statistics:
    """Mean, sample standard deviation, median and interquartile range."""
    data = values.astype(np.float64)
    low, median, high = np.percentile(data, [25.0, 50.0, 75.0])
    sd = float(np.std(data, ddof=1)) if data.size > 1 else 0.0
    return Statistics(float(data.mean()), sd, float(median), float(high - low))
