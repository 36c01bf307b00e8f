"""What a reader is told of a result, the same in report, pages and PDF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomnode.measure import iron
from dicomnode.measure.organ import Answered
from dicomnode.measure.organs import ORGANS, PHANTOM, of_result
from dicomnode.measure.quality import NO_RANGES, TOLD
from dicomnode.model import Grade

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dicomnode.measure.organ import Organ, Ranges
    from dicomnode.model import Drawn, Estimate, Flag, Limit, Result, Roi, RoiMeasurement, Stage, Statistics, Vial

LIC_UNIT = "mg/g dry weight"
GRADES = {  # the worst first: how each is marked, with a sign that needs no colour
    Grade.NOT_MEASURABLE: ("✖", "No number"),
    Grade.LOW_CONFIDENCE: ("▲", "Low confidence"),
    Grade.INFO: ("•", "Note"),
}
_WHERE = (
    "on the R2* map of these results (not on the echo images) with the region tool of your viewer and send it back to "
    "this node: it is measured and reported like this."
)
HOW_TO_DRAW_ANOTHER = f"To have another region measured, draw it {_WHERE}"
NO_IRON = "no iron is given of a phantom"
_FEW = 4  # letters of a flag's sentence are upper case where it begins with a quantity


@dataclass(frozen=True, slots=True)
class Answer:
    """The one answer of a report: what was found, in smaller type what it means, and whether it stands with doubt."""

    found: str
    meaning: str
    doubted: bool = False

    def __str__(self) -> str:
        """Return it as one sentence."""
        meaning = "; ".join(part for part in (self.meaning, str(Grade.LOW_CONFIDENCE) if self.doubted else "") if part)
        return f"{self.found}: {meaning}" if meaning else self.found


def lead(result: Result) -> tuple[Roi, RoiMeasurement] | None:
    """Return the region that the answer is about: the first one."""
    return (result.rois[0], result.measurements[0]) if result.rois else None


def headline(result: Result) -> Answer:
    """Return the answer for whoever reads no further."""
    first = lead(result)
    if of_result(result.settings) is PHANTOM:
        return _of_phantom(result)
    if first is None:
        return Answer(_no_value(of_result(result.settings).subject), "no region was found or drawn")
    roi, numbers = first
    subject, organ = _subject(result, roi), ORGANS.get(roi.finding)
    if not numbers.measurable or numbers.r2star_per_s is None:
        return _unmeasured(subject, roi, numbers)
    if organ is not None and organ.answers is Answered.T2STAR:
        return _time(subject, organ, roi, numbers)
    if numbers.lic is None and numbers.lic_mg_per_g is None and not is_under_range(numbers):
        value = f"R2* {rate(numbers.r2star_per_s.median)}"
        return Answer(
            f"{subject} not given", f"{_why_no_calibration(result, roi)}; median {value}", is_doubted(numbers)
        )
    return Answer(f"{subject} {lic(numbers)}", _meaning(roi, numbers), is_doubted(numbers))


def _of_phantom(result: Result) -> Answer:
    """How much of a phantom was measured, and from where to where."""
    rates = [one.r2star_per_s.median for one in result.measurements if one.r2star_per_s is not None]
    count = len(result.rois)
    what = PHANTOM.subject if count == 1 else f"{PHANTOM.subject} with {count} vials"
    if not rates:
        stops = (flag.sentence for one in result.measurements for flag in _forbidding(one))
        return Answer(f"{what}: nothing measured", next(stops, "it decays too fast"))
    spread = " to ".join(dict.fromkeys((number(min(rates)), number(max(rates)))))
    every = "" if len(rates) == count else f"{len(rates)} of them measured; "
    return Answer(what, f"{every}median R2* {spread} /s; {NO_IRON}")


def _forbidding(numbers: RoiMeasurement) -> list[Flag]:
    return [flag for flag in numbers.flags if flag.grade is Grade.NOT_MEASURABLE]


def _time(subject: str, organ: Organ, roi: Roi, numbers: RoiMeasurement) -> Answer:
    """The answer of an organ whose published limits are of T2*."""
    parts = [band(roi, numbers)]
    if numbers.calibration is not None:
        parts.append(f"{organ.symbol} {lic(numbers)}")
    if numbers.t2star_ms is None:
        return Answer(
            f"{subject} not given", "; ".join(["too long to tell", *filter(None, parts)]), is_doubted(numbers)
        )
    spread = time_interval(numbers)
    parts.insert(0, f"95 % interval {spread} ms" if spread else "")
    return Answer(
        f"{subject} {number(numbers.t2star_ms.median)} ms", "; ".join(filter(None, parts)), is_doubted(numbers)
    )


def _subject(result: Result, roi: Roi) -> str:
    organ = ORGANS.get(roi.finding)
    subject = _subject_of(of_result(result.settings), roi) if organ is None else organ.subject
    if result.drawn is None:
        return subject
    own = organ is not None and roi.name in {organ.name, organ.to_draw}
    return f"{subject} in the drawn region" + ("" if own else f" “{roi.name}”")


def _subject_of(organ: Organ, roi: Roi) -> str:
    """What a region of something else is measured for in a report of that organ."""
    return f"{organ.answers.capitalize()} in {roi.finding}"


def _no_value(subject: str) -> str:
    """Without a number; the name of an organ's quantity stays whole: "No liver iron value"."""
    known = any(subject == organ.subject for organ in ORGANS.values())
    return f"No {subject[0].lower()}{subject[1:]} value" if known else f"No value: {subject}"


def _unmeasured(subject: str, roi: Roi, numbers: RoiMeasurement) -> Answer:
    if numbers.at_least is not None:
        return _beyond(subject, roi, numbers, numbers.at_least)
    what = _no_value(subject)
    if not roi.mask.any():
        return Answer(what, f"no reliable {roi.name} region")
    stops = _forbidding(numbers)
    return Answer(
        what, f"withheld because {_inner(stops[0].sentence)}" if stops else "the region could not be measured"
    )


def _beyond(subject: str, roi: Roi, numbers: RoiMeasurement, bound: Limit) -> Answer:
    beyond = "beyond what this scan can measure"
    ranges, least = ranges_of(roi, numbers), bound_on_scale(roi, numbers)
    if least is None or ranges is None:
        return Answer(f"{subject} not given", f"R2* more than {rate(bound.r2star_per_s)}, {beyond}")
    if least < ranges.least:  # says nothing, and "normal or more" would be read as normal
        return Answer(f"{subject} not given", beyond)
    word = ranges.of(least)[2]
    more = word if word == ranges.limits[-1][2] else f"{word} or more"
    if ranges.of_rate:
        return Answer(f"{subject} less than {number(1000.0 / least)} ms", f"{beyond}; {more} ({ranges.scheme})")
    return Answer(f"{subject} more than {least:.1f} mg/g dry weight", f"{beyond}; {more} ({ranges.scheme})")


def _why_no_calibration(result: Result, roi: Roi) -> str:
    """Say why a measured rate has no concentration."""
    measure = result.settings.get("measure", {})
    if isinstance(measure, dict) and measure.get("calibration") == "none":
        return "no calibration is configured"
    if roi.finding not in ORGANS:
        return f"no calibration for {roi.finding}"
    field = result.stack.field_strength_t
    return "no calibration, the field is unknown" if field is None else f"no calibration at {field:.2f} T"


def _meaning(roi: Roi, numbers: RoiMeasurement) -> str:
    parts = (
        [f"95 % interval {interval(numbers.lic)}"] if numbers.lic is not None and not is_under_range(numbers) else []
    )
    parts += [words] if (words := band(roi, numbers)) else []
    return "; ".join(parts)


def is_doubted(numbers: RoiMeasurement) -> bool:
    """Whether a number stands with doubt."""
    return numbers.measurable and any(flag.grade is Grade.LOW_CONFIDENCE for flag in numbers.flags)


# ---- quantities


def is_under_range(numbers: RoiMeasurement) -> bool:
    """Say whether a calibration applied but cannot tell the concentration from nothing."""
    value, applied = numbers.lic_mg_per_g, numbers.calibration is not None
    return applied and numbers.r2star_per_s is not None and numbers.measurable and (value is None or value < 0)


def lic(numbers: RoiMeasurement) -> str:
    """Return the concentration to one decimal; under the calibration's reach it is "< 0.5", otherwise not given."""
    if is_under_range(numbers):
        return f"< {iron.SMALLEST_MG_PER_G:g} {LIC_UNIT}"
    value = numbers.lic_mg_per_g
    if value is None and numbers.at_least is not None and numbers.at_least.lic_mg_per_g is not None:
        return f"> {numbers.at_least.lic_mg_per_g:.1f} {LIC_UNIT}"
    return "not given" if value is None else f"{value:.1f} {LIC_UNIT}"


def micromoles(lic_mg_per_g: float) -> str:
    """Return a concentration in µmol/g, to two significant digits or whole numbers."""
    value = lic_mg_per_g * iron.UMOL_PER_MG
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def interval(estimate: Estimate) -> str:
    """Return the 95 % interval of a concentration."""
    return f"{max(estimate.ci95[0], 0.0):.1f} to {estimate.ci95[1]:.1f}"


def rate(r2star_per_s: float) -> str:
    """Return a rate with its unit."""
    return f"{number(r2star_per_s)} /s"


def number(value: float) -> str:
    """Return three digits of a rate or a time."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def rate_interval(numbers: RoiMeasurement) -> str:
    """Return the 95 % interval of the median R2*, or nothing."""
    if numbers.r2star is None:
        return ""
    return " to ".join(number(max(bound, 0.0)) for bound in numbers.r2star.ci95)


def time_interval(numbers: RoiMeasurement) -> str:
    """Return the 95 % interval of T2*, the reciprocal of that of R2*, or nothing where it has no upper end."""
    if numbers.r2star is None or min(numbers.r2star.ci95) <= 0:
        return ""
    low, high = sorted(1000.0 / bound for bound in numbers.r2star.ci95)
    return f"{number(low)} to {number(high)}"


def statistics(values: Statistics | None) -> str:
    """Return median, mean and standard deviation with their names, or that there is nothing to return."""
    if values is None:
        return "not measurable"
    return f"median {number(values.median)}, mean {number(values.mean)} ± {number(values.sd)}"


def values(numbers: RoiMeasurement) -> tuple[str, str, str]:
    """Return the medians of a region and its LIC for a table, of a vial its S0; a bound says that it is one."""
    bound = numbers.at_least
    rate = "–" if bound is None else f"> {number(bound.r2star_per_s)}"
    if numbers.r2star_per_s is not None:
        rate = number(numbers.r2star_per_s.median)
    time = "–" if numbers.t2star_ms is None else number(numbers.t2star_ms.median)
    third = lic(numbers).removesuffix(f" {LIC_UNIT}")
    if numbers.vial is not None:
        third = "not given" if numbers.vial.s0 is None else number(numbers.vial.s0)
    return rate, time, "–" if third == "not given" else third


def third(organ: Organ) -> str:
    """Return what the last of those values is, with its unit."""
    return f"{organ.symbol} mg/g" if organ.has_iron else "S0"


def fat(numbers: RoiMeasurement) -> str:
    """Return the signal fat fraction with its interval, or nothing where it is not told."""
    told = numbers.fat_fraction
    if told is None:
        return ""
    low, high = (f"{100 * bound:.0f}" for bound in told.ci95)
    return f"{100 * told.value:.0f} % (95 % interval {low} to {high} %)"


def plain(numbers: RoiMeasurement) -> str:
    """Return the median R2* of one exponential where fat moves it by a word's worth, or nothing."""
    value, given = numbers.plain_r2star_per_s, numbers.r2star
    if value is None or given is None or abs(given.value - value) <= TOLD * value:
        return ""
    return rate(value)


def reach(numbers: RoiMeasurement) -> str:
    """Return up to where this protocol could have measured, or nothing where it is not known."""
    if numbers.reach is None:
        return ""
    iron = "" if numbers.reach.lic_mg_per_g is None else f" ({numbers.reach.lic_mg_per_g:.1f} mg/g)"
    return f"R2* up to {rate(numbers.reach.r2star_per_s)}{iron}"


# ---- severity

LIKELY = 0.005  # probability from which on a range is named


def ranges_of(roi: Roi, numbers: RoiMeasurement) -> Ranges | None:
    """Return the published ranges of the organ that a region is of; None where it has none, or none at this field."""
    organ = ORGANS.get(roi.finding)
    if organ is None or any(flag.code == NO_RANGES for flag in numbers.flags):
        return None
    return organ.ranges


def on_scale(roi: Roi, numbers: RoiMeasurement) -> tuple[float, tuple[float, float]] | None:
    """Return the value of a region and its interval, in the unit of the organ's ranges; None where it has none."""
    ranges = ranges_of(roi, numbers)
    if ranges is None or not numbers.measurable:
        return None
    if ranges.of_rate:
        known = numbers.r2star
        return None if known is None else (known.value, known.ci95)
    value = 0.0 if is_under_range(numbers) else numbers.lic_mg_per_g
    if value is None:
        return None
    if numbers.lic is None or is_under_range(numbers):
        return value, (value, value)
    return numbers.lic.value, numbers.lic.ci95


def bound_on_scale(roi: Roi, numbers: RoiMeasurement) -> float | None:
    """Return what is there at the least in a region beyond the range, in the unit of the organ's ranges."""
    ranges, bound = ranges_of(roi, numbers), numbers.at_least
    if ranges is None or bound is None:
        return None
    return bound.r2star_per_s if ranges.of_rate else bound.lic_mg_per_g


def band(roi: Roi, numbers: RoiMeasurement) -> str:
    """Return the published range with its limits, or nothing. It is no diagnosis.

    Where the interval reaches into another range, both are named. The ranges are an organ's: no other region has one.
    """
    ranges, placed = ranges_of(roi, numbers), on_scale(roi, numbers)
    if placed is None or ranges is None:
        return ""
    value, (low, high) = placed
    first, last = ranges.of(min(low, value)), ranges.of(max(high, value))
    if first == last:
        return f"{first[2]} ({ranges.within(first)}, {ranges.scheme})"
    return f"between {first[2]} and {last[2]} ({ranges.scheme})"


def chance(stage: Stage) -> str:
    """Return the probability of a range to a per cent, or nothing where it is not known or rounds to none."""
    share = stage.probability
    if share is None or share < LIKELY:
        return ""
    return "> 99 %" if share > 1 - LIKELY else f"{100 * share:.0f} %"


def chances(numbers: RoiMeasurement) -> str:
    """Return the ranges with their probabilities, the likeliest first; nothing where they are not known."""
    told = sorted(numbers.stages, key=lambda stage: -(stage.probability or 0.0))
    return ", ".join(f"{stage.name} {chance(stage)}" for stage in told if chance(stage))


def has_scale(roi: Roi, numbers: RoiMeasurement) -> bool:
    """Whether there is a value, or a bound of one, to be shown among the published ranges."""
    ranges = ranges_of(roi, numbers)
    if ranges is None:
        return False
    return on_scale(roi, numbers) is not None or (bound_on_scale(roi, numbers) or 0.0) >= ranges.least


# ---- what has to be read with the numbers


def flags_by_grade(flags: Iterable[Flag]) -> list[Flag]:
    """Return flags, the worst first, each sentence once."""
    order = list(GRADES)
    return sorted(dict.fromkeys(flags), key=lambda flag: order.index(flag.grade))


def capital(sentence: str) -> str:
    """Return a sentence that begins with a capital; names of quantities and codes stay as they are."""
    first = sentence.split(" ", 1)[0]
    return sentence if any(c.isdigit() or c in "*σ" for c in first[:_FEW]) else sentence[:1].upper() + sentence[1:]


def _inner(sentence: str) -> str:
    """Return a sentence as part of another: its first letter small, unless it names a quantity."""
    return sentence if sentence[1:2].isupper() or sentence[1:2].isdigit() else sentence[:1].lower() + sentence[1:]


def confidence(value: float | None) -> str:
    """Return a chance in per cent, never more certain than it can be."""
    return "" if value is None else "over 99 %" if value > 0.99 else f"{100 * value:.0f} %"


def doubt_of(numbers: RoiMeasurement) -> str:
    """Return what the flags make of a number in two words, or nothing."""
    if not numbers.measurable:
        return Grade.NOT_MEASURABLE.value
    return Grade.LOW_CONFIDENCE.value if is_doubted(numbers) else ""


def tracked(roi: Roi, numbers: RoiMeasurement) -> str:
    """Return the name of a region with the doubt beside it, as overlays show it."""
    doubt = doubt_of(numbers)
    return f"{roi.name} ({doubt})" if doubt else roi.name


def quality(result: Result) -> list[str]:
    """Say in words how far the answer can be trusted: verdict, region, decay, noise."""
    first = lead(result)
    if first is None:
        return ["No region: only maps were made."]
    roi, numbers = first
    said = [_verdict(numbers), _where_from(result, roi, numbers), _decay(result), _noise(result), _fat(numbers)]
    said += [_ranges(roi, numbers)]
    if not result.maps.record.converged:
        said.append(f"The fit did not converge: {result.maps.record.verdict}.")
    return [sentence for sentence in said if sentence]


def history(result: Result) -> str:
    """Say in a few words which result this one replaces and that not all images of the scan are in it."""
    said = [f"replaces {result.identity.supersedes[:12]}"] if result.identity.supersedes else []
    said += ["images left out: see report"] if result.stack.left_out else []
    return "; ".join(said)


def _verdict(numbers: RoiMeasurement) -> str:
    grades = [flag.grade for flag in numbers.flags]
    stops, doubts = grades.count(Grade.NOT_MEASURABLE), grades.count(Grade.LOW_CONFIDENCE)
    if stops:
        return f"No number is given: {_count(stops, 'reason')} against it."
    if doubts:
        return f"The number stands with doubt: {_count(doubts, 'reason')} for low confidence."
    return "Nothing speaks against the number" + (f"; {_count(len(grades), 'note')}." if grades else ".")


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("s" if n > 1 else "")


def _where_from(result: Result, roi: Roi, numbers: RoiMeasurement) -> str:
    if result.drawn is not None:
        return f"Region drawn by {author(result.drawn)}."
    if not roi.mask.any():
        return f"No region of the images was recognised as {roi.finding} with confidence."
    if numbers.vial is not None:
        return "Vials found automatically." if len(result.rois) > 1 else "Even body found automatically."
    chance = confidence(numbers.confidence if numbers.confidence is not None else roi.confidence)
    return "Region found automatically" + (f", {chance} confidence that it is {roi.name}." if chance else ".")


def _decay(result: Result) -> str:
    curve = result.decays[0] if result.decays else None
    if curve is None:
        return ""
    above = sum(value > 2.0 * curve.noise_floor for value in curve.signal)
    return f"{above} of {len(curve.signal)} echoes stand above twice the noise floor."


def _noise(result: Result) -> str:
    known = result.maps.record.parameters.get("noise_confidence")
    curve = result.decays[0] if result.decays else None
    sigma = sorted(result.maps.sigma)[len(result.maps.sigma) // 2] if result.maps.sigma else 0.0
    ratio = f"first echo {curve.signal[0] / sigma:.0f} times the noise" if curve is not None and sigma > 0 else ""
    trust = f"noise known with {known} confidence" if isinstance(known, str) and known != "given" else ""
    words = "; ".join(part for part in (ratio, trust) if part)
    return capital(words) + "." if words else ""


def _fat(numbers: RoiMeasurement) -> str:
    return f"Signal fat fraction, not PDFF: {fat(numbers)}." if fat(numbers) else ""


def _ranges(roi: Roi, numbers: RoiMeasurement) -> str:
    """Return how likely each range is, and by what; the ranges are an organ's own."""
    ranges, words = ranges_of(roi, numbers), chances(numbers)
    if ranges is None or not words:
        return ""
    return f"Range by all that the interval holds, the calibration's own error with it: {words} ({ranges.scheme})."


def author(drawn: Drawn) -> str:
    """Return who drew, as people write names."""
    return person(drawn.author or "") or "a person the object does not name"


def person(name: str) -> str:
    """Return a person name (PS3.5 6.2) as "Family, Given"; the first of its scripts that has letters."""
    groups = [group for group in name.split("=") if group.strip("^ ")]
    parts = [part.strip() for part in (groups[0] if groups else "").split("^")]
    given = " ".join(part for part in parts[1:3] if part)
    return ", ".join(part for part in (parts[0], given) if part)


def advice(result: Result) -> list[str]:
    """Say what to do next: how to scan again, how to draw a region where there is no number."""
    first, organ = lead(result), of_result(result.settings)
    if organ is PHANTOM:
        return []
    if first is None:
        return [how_to_draw(organ)]
    numbers = first[1]
    said = [numbers.advice] if numbers.advice else []
    if numbers.measurable or numbers.at_least is not None:  # beyond the range another region would not help
        return said
    return [*said, HOW_TO_DRAW_ANOTHER if first[0].mask.any() else how_to_draw(organ)]


def how_to_draw(organ: Organ) -> str:
    """Say how a person gives the region that was not found."""
    return f"To get a number, draw the {organ.to_draw} {_WHERE}"


def remarks(result: Result) -> list[str]:
    """Return everything that has to be read with the numbers, the answer first, then region by region."""
    found = [str(headline(result)), *quality(result), *advice(result)]
    found += [] if result.drawn is None else _drawing(result.drawn)
    for roi, numbers in zip(result.rois, result.measurements, strict=True):
        found += [f"{roi.name}: {flag}" for flag in flags_by_grade(numbers.flags)]
    if result.identity.supersedes:
        found.append(f"Replaces result {result.identity.supersedes}")
    return list(dict.fromkeys(found))


def _drawing(drawn: Drawn) -> list[str]:
    """Say who drew what was measured, with what, and which of it could not be."""
    name = drawn.author or "a person the object does not name"
    origin = f"Regions drawn by {name} with {drawn.made_with or 'unnamed software'}, object {drawn.sop_instance_uid}"
    return [origin, *(f"Not measured: {reason}" for reason in drawn.refused)]


def numbers_in_words(result: Result) -> list[str]:
    """Return the numbers of every region as sentences, for those who see no table."""
    pairs = zip(result.rois, result.measurements, strict=True)
    organ = of_result(result.settings)
    return [f"{roi.name}: {words}" for roi, numbers in pairs for words in _numbers_of(organ, roi, numbers)]


def _numbers_of(organ: Organ, roi: Roi, numbers: RoiMeasurement) -> list[str]:
    found = []
    if organ.answers is Answered.T2STAR and numbers.t2star_ms is not None:
        spread = time_interval(numbers)
        words = [f"median T2* {number(numbers.t2star_ms.median)} ms", f"95 % interval {spread} ms" if spread else ""]
        found.append("; ".join(filter(None, [*words, band(roi, numbers)])))
    if numbers.r2star_per_s is not None:
        spread = rate_interval(numbers)
        found.append(
            f"median R2* {rate(numbers.r2star_per_s.median)}" + (f", 95 % interval {spread} /s" if spread else "")
        )
    if numbers.vial is not None:
        found.append(_vial(numbers, numbers.vial))
    if plain(numbers):
        found.append(f"median R2* by one exponential, fat not allowed for: {plain(numbers)}")
    if fat(numbers):
        found.append(f"signal fat fraction {fat(numbers)}: of the signal, not PDFF")
    if numbers.calibration is not None and numbers.r2star_per_s is not None:
        iron = numbers.lic_mg_per_g
        words = [lic(numbers)]
        if numbers.lic is not None and not is_under_range(numbers):
            words.append(f"95 % interval {interval(numbers.lic)} mg/g")
        words += [f"{micromoles(iron)} µmol/g"] if iron is not None and not is_under_range(numbers) else []
        words += ["" if organ.answers is Answered.T2STAR else band(roi, numbers)]
        words.append(f"from the median R2* by {numbers.calibration}")
        found.append(f"{organ.concentration} " + "; ".join(word for word in words if word))
    if numbers.at_least is not None:
        bound = numbers.at_least
        iron_bound = "" if bound.lic_mg_per_g is None else f", {organ.symbol} more than {bound.lic_mg_per_g:.1f} mg/g"
        found.append(f"R2* more than {rate(bound.r2star_per_s)}{iron_bound}: a bound, not a measurement")
    if reach(numbers):
        found.append(f"measurable with this protocol: {reach(numbers)}")
    return found


def _vial(numbers: RoiMeasurement, vial: Vial) -> str:
    s0 = "" if vial.s0 is None else f"S0 {number(vial.s0)}; "
    sd = "" if numbers.r2star_per_s is None else f"standard deviation of R2* {number(numbers.r2star_per_s.sd)} /s; "
    middle = ", ".join(f"{one:.1f}" for one in vial.centre_mm)
    return f"{s0}{sd}middle at {middle} mm, radius {vial.radius_mm:.1f} mm"


def slice_lines(result: Result) -> list[str]:
    """Return the values of each slice of the first region."""
    first = lead(result)
    if first is None:
        return []
    found, symbol = [], of_result(result.settings).symbol
    for one in first[1].slices:
        values = "no value" if one.r2star_per_s is None else f"median R2* {rate(one.r2star_per_s)}"
        iron = "" if one.lic_mg_per_g is None else f", {symbol} {one.lic_mg_per_g:.1f} mg/g"
        sure = "" if one.confidence is None else f", confidence {confidence(one.confidence)}"
        note = f" ({one.note})" if one.note else ""
        found.append(f"{first[0].name}, slice {one.index + 1}: {values}{iron}, {one.n_voxels} voxels{sure}{note}")
    return found
