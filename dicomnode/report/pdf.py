"""The whole result on paper, as an Encapsulated PDF."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from dicomnode.model import Grade
from dicomnode.report import change, codes, figures, pdf_file, pictures, timeline, wording
from dicomnode.report.instance import NOT_FOR_DIAGNOSIS, stamp
from dicomnode.report.provenance import in_words, parameters
from dicomnode.report.references import image_item, merged
from dicomnode.report.regions import beyond
from dicomnode.report.sheet import PAPER, Box, Sheet, leading, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dicomnode.measure.organ import Organ
    from dicomnode.model import Result, RoiMeasurement
    from dicomnode.report.instance import Draft
    from dicomnode.report.references import Reference
    from dicomnode.trend.rules import Trend

KIND = "pdf"
WIDTH, HEIGHT = 595.0, 842.0  # A4 in points
LEFT, RIGHT, TOP, BOTTOM = 42.0, 553.0, 50.0, 790.0
FINE, SMALL, PLAIN, LARGE, HUGE = 7.5, 9.0, 10.0, 12.5, 22.0
FINER = 2.5  # pixels of an image a point
IMAGE_WIDTH, IMAGE_HEIGHT, SECOND, BAR = 210.0, 190.0, 264.0, 510.0
DECAY_WIDTH, DECAY_HEIGHT, WORDS = 190.0, 130.0, 290.0
TREND_HEIGHT = 190.0


def build(draft: Draft, _written: Mapping[str, tuple[Reference, ...]]) -> tuple[Dataset, ...]:
    """Return the report as one Encapsulated PDF."""
    return (_encapsulated(draft, document(draft)),)


def document(draft: Draft) -> bytes:
    """Return the PDF; the same draft gives the same bytes."""
    created = f"D:{draft.created:%Y%m%d%H%M%S}{_offset(draft)}"
    facts = {
        "Title": f"{draft.organ.subject} report",
        "Creator": draft.device,
        "Producer": draft.device,
        "CreationDate": created,
    }
    return pdf_file.document(sheets(draft), facts)


def _offset(draft: Draft) -> str:
    zone = f"{draft.created:%z}"
    return f"{zone[:3]}'{zone[3:5]}'"


def sheets(draft: Draft) -> list[Sheet]:
    """Return the pages: the answer with what supports it, then every value and every parameter."""
    pages = [_answer(draft), *_earlier(draft), *_details(draft)]
    for number, page in enumerate(pages, 1):
        _foot(page, draft, f"Page {number} of {len(pages)}")
    return pages


def _foot(page: Sheet, draft: Draft, number: str) -> None:
    page.line(((LEFT, 802), (RIGHT, 802)), 0.6, page.palette.rule)
    page.write(RIGHT, 813, number, FINE, page.palette.faint, align="right")
    named = (
        f"{draft.device} {draft.software_version}, result {draft.key[:12]}, written {draft.local_time:%Y-%m-%d %H:%M}"
    )
    page.write(LEFT, 813, named, FINE, page.palette.faint)
    page.paragraph((LEFT, 823), 0.75 * (RIGHT - LEFT), NOT_FOR_DIAGNOSIS, FINE, page.palette.faint)


# ---- first page


def _answer(draft: Draft) -> Sheet:
    page = Sheet(WIDTH, HEIGHT, PAPER)
    y = _identity(page, draft)
    y = _headline(page, draft.result, y + 26)
    y = _scale(page, draft.result, y + 6)
    y = _numbers(page, draft, y + 16)
    y = _images(page, draft, y + 8)
    _support(page, draft, y + 16)
    return page


def _identity(page: Sheet, draft: Draft) -> float:
    """Write whose report this is and return where the page goes on."""
    drawn = draft.result.drawn
    title = f"{draft.organ.subject} report" + ("" if drawn is None else f": region drawn by {wording.author(drawn)}")
    page.paragraph((LEFT, TOP), RIGHT - LEFT, title, 14, bold=True)
    y = TOP + 18
    if pictures.shows_identity(draft):
        known = draft.source.identity
        facts = (
            ("Patient", wording.person(str(known.get("PatientName") or ""))),
            ("Study date", pictures.date(known.get("StudyDate"))),
            ("Patient ID", str(known.get("PatientID") or "")),
            ("Accession number", str(known.get("AccessionNumber") or "")),
            (
                "Born, sex",
                ", ".join(
                    w for w in (pictures.date(known.get("PatientBirthDate")), str(known.get("PatientSex") or "")) if w
                ),
            ),
            ("Study", str(known.get("StudyDescription") or "")),
        )
        for number, (label, value) in enumerate(facts):
            x = LEFT if number % 2 == 0 else 300.0
            page.write(x, y, label, SMALL, page.palette.faint)
            room = 170.0 if number % 2 == 0 else RIGHT - x - 90
            page.write(x + (62 if number % 2 == 0 else 90), y, (wrapped(value, room, PLAIN) or ["–"])[0], PLAIN)
            y += leading(PLAIN) if number % 2 else 0
    page.line(((LEFT, y - 5), (RIGHT, y - 5)), 0.6, page.palette.rule)
    return y - 5


def _headline(page: Sheet, result: Result, y: float) -> float:
    answer = wording.headline(result)
    width = RIGHT - LEFT
    size = next((s for s in (HUGE, 18.0, 15.5) if len(wrapped(answer.found, width, s, bold=True)) == 1), 14.0)
    y = page.paragraph((LEFT, y), width, answer.found, size, bold=True)
    y -= 0.5 * (size - LARGE)
    y = page.paragraph((LEFT, y), width, wording.capital(answer.meaning), LARGE)
    if answer.doubted:
        mark, word = wording.GRADES[Grade.LOW_CONFIDENCE]
        y = page.paragraph((LEFT, y), width, f"{mark} {word}: read the reasons below", LARGE, page.palette.doubt)
    return y


def _scale(page: Sheet, result: Result, y: float) -> float:
    first = wording.lead(result)
    if first is None or not wording.has_scale(*first):
        return y
    return figures.iron_scale(page, Box(LEFT, y, RIGHT - LEFT, 17), *first, SMALL)


def _numbers(page: Sheet, draft: Draft, y: float) -> float:
    """Write the values of the first region side by side, each with its name and its interval."""
    first = wording.lead(draft.result)
    if first is None or (first[1].r2star_per_s is None and first[1].at_least is None):
        return y
    tiles = _tiles(draft.organ, first[1]) if draft.organ.has_iron else _tiles_of_vial(first[1])
    step = (RIGHT - LEFT) / len(tiles)
    for place, (name, value, more) in enumerate(tiles):
        x = LEFT + place * step
        page.write(x, y, name, SMALL, page.palette.faint)
        page.write(x, y + 16, value, 13, bold=True)
        for number, line in enumerate(more):
            page.write(x, y + 28 + number * leading(SMALL), line, SMALL, page.palette.faint)
    return y + 32 + leading(SMALL)


def _tiles(organ: Organ, numbers: RoiMeasurement) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return name, value and what qualifies it, of each."""
    rate, time, iron = wording.values(numbers)
    lic, reach = numbers.lic_mg_per_g, numbers.reach
    known = lic is not None and numbers.measurable and not wording.is_under_range(numbers)
    spread, times = wording.rate_interval(numbers), wording.time_interval(numbers)
    between = f"95 % {wording.interval(numbers.lic)}" if known and numbers.lic is not None else ""
    amount = f"{wording.micromoles(lic)} µmol/g" if known and lic is not None else ""
    limit = "" if numbers.at_least is None else "at the least"
    most = "" if reach is None or reach.lic_mg_per_g is None else f"{organ.symbol} {reach.lic_mg_per_g:.1f} mg/g"
    plain = f"one exponential {wording.plain(numbers)}" if wording.plain(numbers) else ""
    return (
        (f"{organ.symbol}, by median R2*", iron if iron == "–" else f"{iron} mg/g", (between or limit, amount)),
        ("Median R2*", rate if rate == "–" else f"{rate} /s", (f"95 % {spread}" if spread else limit, plain)),
        ("Median T2*", time if time == "–" else f"{time} ms", (f"95 % {times}" if times else "",)),
        ("Measurable up to R2*", "–" if reach is None else wording.rate(reach.r2star_per_s), (most,)),
        *_fat_tile(numbers),
    )


def _tiles_of_vial(numbers: RoiMeasurement) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    rate, time, s0 = wording.values(numbers)
    spread, times = wording.rate_interval(numbers), wording.time_interval(numbers)
    return (
        ("S0", s0, ()),
        ("Median R2*", rate if rate == "–" else f"{rate} /s", (f"95 % {spread}" if spread else "",)),
        ("Median T2*", time if time == "–" else f"{time} ms", (f"95 % {times}" if times else "",)),
    )


def _fat_tile(numbers: RoiMeasurement) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    told = numbers.fat_fraction
    if told is None:
        return ()
    low, high = (f"{100 * bound:.0f}" for bound in told.ci95)
    return (("Signal fat fraction", f"{100 * told.value:.0f} %", (f"95 % {low} to {high}", "not PDFF")),)


def _images(page: Sheet, draft: Draft, y: float) -> float:
    """Show the slice that holds most of the first region; the colour pages show them all."""
    result = draft.result
    k = most_telling(result)
    plane = draft.source.slices[k].plane
    view = figures.View.of(result)
    image, white, name = figures.brightness(result)
    lines = figures.traced(result, k)
    y += PLAIN
    page.write(LEFT, y, f"{name}, slice {k + 1} of {len(draft.source.slices)}", PLAIN)
    page.write(SECOND, y, f"R2* map, at {plane.location_mm:.1f} mm", PLAIN)
    y += 5
    bottom = y
    for x in (LEFT, SECOND):
        panel = figures.Panel.within(Box(x, y, IMAGE_WIDTH, IMAGE_HEIGHT), view, plane, FINER)
        bottom = panel.box.bottom
        if x == LEFT:
            figures.magnitude(page, panel, image[k], white)
        else:
            figures.rate_map(page, panel, result.maps, beyond(result), k)
        figures.sides(page, panel, SMALL)
        figures.regions(page, panel, lines, 0.9, SMALL)
    bottom = max(bottom, y + 130)
    figures.colour_bar(page, Box(BAR, y + 8, 10, bottom - y - 12), SMALL)
    figures.legend(page, SECOND, bottom + 12, SMALL)
    names = "   ".join(f"{number} {roi.name}" for number, roi, _ in pictures.rows(result) if roi.mask[k].any())
    shown = wrapped(names, SECOND - LEFT - 12, SMALL)
    for number, text in enumerate(shown[:2]):
        page.write(LEFT, bottom + 12 + number * leading(SMALL), text, SMALL, page.palette.faint)
    return bottom + 14 + leading(SMALL)


def most_telling(result: Result) -> int:
    """Return the slice with most of the first region, the middle one where it lies on none."""
    if result.rois and result.rois[0].mask.any():
        return int(np.argmax(result.rois[0].mask.sum(axis=(1, 2))))
    return result.stack.shape[0] // 2


def _support(page: Sheet, draft: Draft, y: float) -> None:
    """Draw the decay and the values of the slices beside what is to be said of the number."""
    result = draft.result
    first = wording.lead(result)
    curve = result.decays[0] if result.decays else None
    below = y
    if first is not None and curve is not None:
        title = f"Signal decay of {first[0].name}"
        fits = len(wrapped(title, WORDS - LEFT - 12, PLAIN, bold=True)) == 1
        page.write(LEFT, y, title if fits else "Signal decay", PLAIN, bold=True)
        figures.decay(page, Box(LEFT + 32, y + 12, DECAY_WIDTH, DECAY_HEIGHT), curve, first[1], SMALL)
        below = y + DECAY_HEIGHT + 12 + 4 * leading(SMALL)
    lines = list(_slice_rows(result))
    shown = len(lines) > 0 and below + len(lines) * leading(SMALL) < BOTTOM
    if shown:
        _slices(page, below, _slice_heads(draft.organ), lines)
    words = WORDS if curve is not None or shown else LEFT
    page.write(words, y, "Can it be trusted?", PLAIN, bold=True)
    _trust(page, draft, words, y + leading(PLAIN))


def _slices(page: Sheet, y: float, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Write the values of each slice; their notes stand on the next page."""
    for number, cells in enumerate((heads, *lines)):
        placed = [(x, align, text) for (x, align), text in zip(_SLICE_COLUMNS, cells, strict=True)]
        figures.row(page, y, placed[:-1], SMALL, page.palette.faint if number == 0 else None)
        y += leading(SMALL)


def _trust(page: Sheet, draft: Draft, x: float, y: float) -> None:
    """Write quality, flags and advice; what finds no room is counted and stands on the next page."""
    result, width = draft.result, RIGHT - x
    first = wording.lead(result)
    y = page.paragraph((x, y), width, " ".join(wording.quality(result)), SMALL) + 2
    for line in change.remarks(draft.trend):
        y = page.paragraph((x, y), width, line, SMALL) + 2
    tips = [(line, tip) for tip in wording.advice(result) for line in wrapped(tip, width, SMALL)]
    room = BOTTOM - len(tips) * leading(SMALL)
    flags = wording.flags_by_grade(first[1].flags) if first is not None else []
    for done, one in enumerate(flags):
        height = len(figures.flag_lines(one, width, SMALL)) * leading(SMALL)
        if y + height > room:
            page.write(x, y, f"{len(flags) - done} more on the next page", SMALL, page.palette.faint)
            y += leading(SMALL)
            break
        y = figures.flag(page, (x, y), width, one, SMALL) + 1
    for line, _ in tips:
        page.write(x, y + 2, line, SMALL)
        y += leading(SMALL)


# ---- what was measured earlier


def _earlier(draft: Draft) -> list[Sheet]:
    """Show today's value among those before it: over time, then each with the verdict on it."""
    trend = draft.trend
    if not trend.entries:
        return []
    flow = _Flow(f"{draft.organ.subject} report: earlier results", " · ".join(pictures.identity(draft)))
    for line in change.remarks(trend):
        flow.words(line, PLAIN)
    if timeline.can_be_drawn(trend):
        page = flow.room(TREND_HEIGHT + 8 * leading(SMALL))
        box = Box(LEFT + 24, flow.y + 2 * leading(SMALL), RIGHT - LEFT - 24, TREND_HEIGHT)
        flow.y = timeline.draw(page, box, trend, SMALL)
    flow.heading("Every result that is known, the newest first")
    flow.table(_EARLIER_COLUMNS, change.heads(trend), _earlier_rows(trend))
    flow.words(change.repeatability(draft.organ))
    return flow.pages


_EARLIER_COLUMNS = (
    *((LEFT, "left"), (138.0, "right"), (186.0, "right"), (218.0, "right"), (250.0, "right")),
    *((260.0, "left"), (344.0, "left"), (396.0, "left")),
)
_EARLIER_ROOM = (80.0, 48.0, RIGHT - 396.0)  # for the words of the last columns


def _earlier_rows(trend: Trend) -> Iterable[tuple[str, ...]]:
    """Return the lines of the table: the words of a result may take several."""
    for row in change.rows(trend):
        numbers, words = row[:-3], row[-3:]
        lines = zip_longest(
            *(wrapped(text, room, SMALL) for text, room in zip(words, _EARLIER_ROOM, strict=True)), fillvalue=""
        )
        for number, line in enumerate(lines):
            yield *(numbers if number == 0 else ("",) * len(numbers)), *line


# ---- every value, every parameter


@dataclass(slots=True)
class _Flow:
    """Words on as many pages as they need."""

    title: str
    whose: str  # sheets of paper part
    pages: list[Sheet] = field(default_factory=list)
    y: float = BOTTOM

    def room(self, height: float) -> Sheet:
        """Return the page on which so much still has room."""
        if not self.pages or self.y + height > BOTTOM:
            page = Sheet(WIDTH, HEIGHT, PAPER)
            page.write(LEFT, TOP, self.title, 14, bold=True)
            page.paragraph((LEFT, TOP + 16), RIGHT - LEFT, self.whose, SMALL, page.palette.faint)
            self.pages.append(page)
            self.y = TOP + 38
        return self.pages[-1]

    def heading(self, text: str) -> None:
        page = self.room(50)
        self.y += 6
        page.write(LEFT, self.y, text, PLAIN + 1, bold=True)
        self.y += leading(PLAIN) + 2

    def words(self, text: str, size: float = SMALL) -> None:
        for line in wrapped(text, RIGHT - LEFT, size):
            self.room(leading(size)).write(LEFT, self.y, line, size)
            self.y += leading(size)

    def table(self, columns: Sequence[tuple[float, str]], heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        for number, cells in enumerate((heads, *rows)):
            page = self.room(leading(SMALL))
            colour = page.palette.faint if number == 0 else None
            placed = ((x, align, text) for (x, align), text in zip(columns, cells, strict=True))
            figures.row(page, self.y, placed, SMALL, colour)
            self.y += leading(SMALL)
        self.y += 3


def _details(draft: Draft) -> list[Sheet]:
    result, organ = draft.result, draft.organ
    flow = _Flow(f"{draft.organ.subject} report: values and provenance", " · ".join(pictures.identity(draft)))
    if result.rois:
        iron = f"; {organ.symbol} is made from the median R2*" if organ.has_iron else ""
        flow.heading(f"Regions: medians{iron}")
        flow.table(_REGION_COLUMNS, _region_heads(organ), _region_rows(result))
    if result.rois and result.measurements[0].slices:
        flow.heading(f"Slices of {result.rois[0].name}: medians")
        flow.table(_SLICE_COLUMNS, _slice_heads(organ), _slice_rows(result))
    flow.heading("Remarks")
    for remark in wording.remarks(result):
        flow.words(remark)
    flow.heading("How it was made")
    for fact in in_words(draft):
        flow.words(fact)
    flow.heading("Parameters: the same values and the same images give the same numbers")
    for parameter in parameters(draft):
        flow.words(parameter, FINE)
    return flow.pages


_REGION_COLUMNS = (
    *((LEFT, "left"), (218.0, "right"), (296.0, "right"), (346.0, "right")),
    *((396.0, "right"), (460.0, "right"), (506.0, "right"), (RIGHT, "right")),
)


def _region_heads(organ: Organ) -> tuple[str, ...]:
    between = "95 %" if organ.has_iron else ""
    return "Region", "R2* /s", "95 %", "T2* ms", wording.third(organ), between, "voxels", "cm²"


def _region_rows(result: Result) -> Iterable[tuple[str, ...]]:
    for number, roi, numbers in pictures.rows(result):
        rate, time, iron = wording.values(numbers)
        shown = numbers.lic is not None and numbers.measurable and not wording.is_under_range(numbers)
        between = wording.interval(numbers.lic) if shown and numbers.lic is not None else ""
        label = wrapped(f"{number}  {wording.tracked(roi, numbers)}", 150, SMALL)
        name = label[0] if len(label) == 1 else f"{label[0]} …"
        size = (str(numbers.n_voxels), f"{numbers.area_mm2 / 100:.1f}")
        yield name, rate, wording.rate_interval(numbers), time, iron, between, *size


_SLICE_COLUMNS = (
    *((LEFT, "left"), (150.0, "right"), (186.0, "right"), (228.0, "right")),
    *((284.0, "right"), (300.0, "left")),
)


def _slice_heads(organ: Organ) -> tuple[str, ...]:
    return "Slice", "R2* /s", organ.symbol if organ.has_iron else "", "voxels", "confidence", ""


def _slice_rows(result: Result) -> Iterable[tuple[str, ...]]:
    for one in result.measurements[0].slices if result.measurements else ():
        rate = "–" if one.r2star_per_s is None else wording.number(one.r2star_per_s)
        iron = ("" if result.measurements[0].vial else "–") if one.lic_mg_per_g is None else f"{one.lic_mg_per_g:.1f}"
        note = wrapped(one.note, RIGHT - 300, SMALL) or [""]
        where = f"{one.index + 1}  at {result.stack.planes[one.index].location_mm:.1f} mm"
        yield where, rate, iron, str(one.n_voxels), wording.confidence(one.confidence) or "–", note[0]


# ---- the object


def _encapsulated(draft: Draft, content: bytes) -> Dataset:
    """Return the Encapsulated PDF IOD (PS3.3 A.45.1)."""
    instance = Dataset()
    stamp(instance, draft, KIND)
    instance.ConversionType = "WSD"
    instance.BurnedInAnnotation = "YES" if pictures.shows_identity(draft) else "NO"
    instance.AcquisitionDateTime = None
    instance.DocumentTitle = f"{draft.organ.subject} report"
    instance.ConceptNameCodeSequence = [codes.concept(codes.MEASUREMENT_REPORT)]
    instance.SourceInstanceSequence = [image_item(reference) for reference in merged(draft.source.references)]
    instance.MIMETypeOfEncapsulatedDocument = "application/pdf"
    instance.EncapsulatedDocumentLength = len(content)
    instance.EncapsulatedDocument = content + b"\x00" * (len(content) % 2)
    return instance
