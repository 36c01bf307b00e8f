"""One page per slice that any viewer can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from dicomnode.model import Grade
from dicomnode.report import codes, figures, raster, wording
from dicomnode.report.fonts import font
from dicomnode.report.instance import NOT_FOR_DIAGNOSIS, stamp
from dicomnode.report.provenance import derivation
from dicomnode.report.references import image_item, merged
from dicomnode.report.regions import beyond
from dicomnode.report.sheet import SCREEN, Box, Sheet, leading, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from dicomnode.model import Result, Roi, RoiMeasurement
    from dicomnode.report.instance import Draft
    from dicomnode.report.references import Reference

KIND = "picture"
WIDTH, HEIGHT = 1280, 960
LEFT, RIGHT = 20, 1260
# Read in half a viewport: nothing is smaller than 19 pixels of 1280.
SMALL, PLAIN, LARGE, HUGE = 19, 20, 24, 38
TITLES, IMAGES_TOP = 156, 166
IMAGE_WIDTH, IMAGE_HEIGHT, LEAST_HEIGHT = 500, 470, 330  # a bar of fewer pixels has no room for its numbers
SECOND, BAR, MIDDLE = 540, 1144, 610  # columns: of the map, of the colours, where flags begin
SCALE_WIDTH = 510
FOOT = 898


@dataclass(frozen=True, slots=True)
class Scale:
    """A range for pictures of a quantity that `dicomnode compare` shares."""

    label: str
    lowest: float
    highest: float

    def norm(self) -> Any:
        """Return matplotlib's mapping to 0..1; only who draws with matplotlib loads it."""
        from matplotlib.colors import Normalize  # noqa: PLC0415  takes longer to load than a page to draw

        return Normalize(self.lowest, self.highest, clip=True)


T2STAR = Scale("T2* [ms]", 0.0, 30.0)


def build(draft: Draft, _written: Mapping[str, tuple[Reference, ...]]) -> tuple[Dataset, ...]:
    """Return one Secondary Capture image per slice, in the order of the slices; of a drawing those it lies on."""
    result = draft.result
    lies = [any(roi.mask[k].any() for roi in result.rois) for k in range(len(draft.source.slices))]
    return tuple(_capture(draft, k, page(draft, k)) for k, here in enumerate(lies) if here or result.drawn is None)


def page(draft: Draft, k: int) -> NDArray[np.uint8]:
    """Return the page of slice ``k`` as (HEIGHT, WIDTH, 3)."""
    return raster.pixels(sheet(draft, k))


def sheet(draft: Draft, k: int) -> Sheet:
    """Return what is drawn on the page of slice ``k``."""
    made = Sheet(WIDTH, HEIGHT, SCREEN)
    _head(made, draft, k)
    bottom = _images(made, draft, k)
    _iron(made, draft, k, bottom)
    _words(made, draft, bottom)
    _foot(made, draft)
    return made


# ---- the answer


def _head(made: Sheet, draft: Draft, k: int) -> None:
    """Write who and when, then the answer of the whole exam."""
    place = f"Slice {k + 1} of {len(draft.source.slices)}"
    made.write(RIGHT, 32, place, PLAIN, made.palette.faint, align="right")
    room = RIGHT - LEFT - 180
    named = " · ".join(identity(draft)) or draft.organ.subject
    made.write(LEFT, 32, wrapped(named, room, PLAIN)[0], PLAIN, made.palette.faint)
    made.line(((LEFT, 44), (RIGHT, 44)), 1, made.palette.rule)
    answer = wording.headline(draft.result)
    width = RIGHT - LEFT
    size = next((s for s in (HUGE, 34, 30, 26) if len(wrapped(answer.found, width, s, bold=True)) == 1), LARGE)
    made.write(LEFT, 88, _first(wrapped(answer.found, width, size, bold=True)), size, bold=True)
    doubt = f"{wording.GRADES[Grade.LOW_CONFIDENCE][0]} low confidence" if answer.doubted else ""
    end = _meaning(made, wording.capital(answer.meaning), width - font().width(f"   {doubt}", LARGE))
    made.write(end, 120, doubt, LARGE, made.palette.doubt)


def _meaning(made: Sheet, words: str, width: float) -> float:
    """Write what the answer means in one line, or in two smaller ones, and return where it ends."""
    if len(lines := wrapped(words, width, LARGE)) <= 1:
        return made.write(LEFT, 120, words, LARGE) + (LARGE if lines else 0)
    first, *rest = wrapped(words, width, SMALL)
    places = ((112, first), (135, _first(rest))) if rest else ((119, first),)
    return max(made.write(LEFT, y, line, SMALL) for y, line in places) + LARGE


def _first(lines: list[str]) -> str:
    """Return the first of some lines, with a sign where there are more; the report has them all."""
    return "" if not lines else lines[0] if len(lines) == 1 else f"{lines[0]} …"


def identity(draft: Draft) -> list[str]:
    """Return who was scanned and when, where the site lets pages say so."""
    if not shows_identity(draft):
        return []
    known = draft.source.identity
    born, sex = date(known.get("PatientBirthDate")), str(known.get("PatientSex") or "")
    patient = ", ".join(part for part in (f"born {born}" if born else "", sex) if part)
    facts = [wording.person(str(known.get("PatientName") or "")), str(known.get("PatientID") or ""), patient]
    study = date(known.get("StudyDate"))
    facts += [f"study {study}" if study else "", _named("accession", known.get("AccessionNumber"))]
    return [fact for fact in facts if fact]


def shows_identity(draft: Draft) -> bool:
    """Whether pages and PDF name the patient: they live in the patient's folder, unless a site says no."""
    return bool(getattr(draft.settings, "identity_on_pages", True))


def _named(what: str, value: Any) -> str:
    return f"{what} {value}" if value else ""


def date(value: Any) -> str:
    """Return a date (PS3.5 6.2 DA) as 2026-03-04; what is none as it is."""
    text = str(value or "")
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text


# ---- images


def _images(made: Sheet, draft: Draft, k: int) -> float:
    """Show the slice in grey and as R2*, each with the regions; return where the page goes on."""
    result, plane = draft.result, draft.source.slices[k].plane
    view = figures.View.of(result)
    image, white, name = figures.brightness(result)
    lines = figures.traced(result, k)
    bottom: float = IMAGES_TOP + LEAST_HEIGHT
    for x in (LEFT, SECOND):
        panel = figures.Panel.within(Box(x, IMAGES_TOP, IMAGE_WIDTH, IMAGE_HEIGHT), view, plane)
        bottom = max(bottom, panel.box.bottom)
        if x == LEFT:
            figures.magnitude(made, panel, image[k], white)
        else:
            figures.rate_map(made, panel, result.maps, beyond(result), k)
        figures.sides(made, panel, SMALL)
        figures.regions(made, panel, lines, 1.8, SMALL)
    made.write(LEFT, TITLES, name, PLAIN, made.palette.faint)
    made.write(SECOND, TITLES, f"R2* map, at {plane.location_mm:.1f} mm", PLAIN, made.palette.faint)
    figures.colour_bar(made, Box(BAR, IMAGES_TOP + 20, 26, bottom - IMAGES_TOP - 26), SMALL)
    figures.legend(made, SECOND, bottom + 28, SMALL)
    return bottom + 28


# ---- numbers


def _iron(made: Sheet, draft: Draft, k: int, top: float) -> None:
    """Show the concentration on its scale, and below it the values of this slice's regions."""
    first = wording.lead(draft.result)
    y: float = top + 32
    if first is not None and wording.has_scale(*first):
        y = figures.iron_scale(made, Box(LEFT, top + 8, SCALE_WIDTH, 32), *first, SMALL) + 1.6 * SMALL
    here = [entry for entry in rows(draft.result) if entry[1].mask[k].any()]
    if not here:
        made.write(LEFT, y, "No region on this slice.", SMALL)
        return
    heads = ("R2* /s", "T2* ms", wording.third(draft.organ))
    cells = ((LEFT, "left", "Medians"), *zip((330, 440, 570), ("right",) * 3, heads, strict=True))
    figures.row(made, y, cells, SMALL, made.palette.faint)
    lines = list(_lines(k, here))
    most = int((FOOT - 26 - y) / leading(SMALL))
    for line in lines[: most if len(lines) <= most else most - 1]:
        y += leading(SMALL)
        figures.row(made, y, line, SMALL)
    if len(lines) > most:
        made.write(LEFT, y + leading(SMALL), f"{len(lines) - most + 1} more in the report", SMALL, made.palette.faint)


def rows(result: Result) -> list[tuple[int, Roi, RoiMeasurement]]:
    """Return the regions with the numbers they are marked with."""
    return [(number, *pair) for number, pair in enumerate(zip(result.rois, result.measurements, strict=True), 1)]


def _lines(k: int, here: list[tuple[int, Roi, RoiMeasurement]]) -> Iterator[tuple[tuple[float, str, str], ...]]:
    """Return the regions that lie on a slice; the first, which goes through many, also by this slice alone."""
    for number, roi, numbers in here:
        yield _cells(f"{number} {roi.name}", *wording.values(numbers))
        one = next((s for s in numbers.slices if s.index == k), None) if len(numbers.slices) > 1 else None
        if one is not None and numbers.vial is None:
            rate = "–" if one.r2star_per_s is None else wording.number(one.r2star_per_s)
            time = "–" if not one.r2star_per_s else wording.number(1000.0 / one.r2star_per_s)
            iron = "–" if one.lic_mg_per_g is None else f"{one.lic_mg_per_g:.1f}"
            yield _cells("this slice alone", rate, time, iron, 24)


def _cells(name: str, rate: str, time: str, iron: str, indent: int = 0) -> tuple[tuple[float, str, str], ...]:
    shown = _first(wrapped(name, 220, SMALL))
    return (LEFT + indent, "left", shown), (330, "right", rate), (440, "right", time), (570, "right", iron)


def _words(made: Sheet, draft: Draft, top: float) -> None:
    """Write verdict, flags and advice beside the numbers; what finds no room is counted, never just left out."""
    result, width = draft.result, RIGHT - MIDDLE
    first = wording.lead(result)
    y = top + 32
    verdict, *rest = wording.quality(result)
    y = made.paragraph((MIDDLE, y), width, " ".join([verdict, *rest[:1]]), SMALL)
    everything = wording.flags_by_grade(first[1].flags) if first is not None else []
    flags = [flag for flag in everything if flag.grade is not Grade.INFO]  # notes are for the report
    tips = [line for tip in wording.advice(result) for line in wrapped(tip, width, SMALL)]
    room, line = FOOT - 26 - len(tips) * leading(SMALL), leading(SMALL)
    shown = 0
    for one in flags:
        height = len(figures.flag_lines(one, width, SMALL)) * line
        if y + height > room:  # a line is kept for what is counted
            break
        y = figures.flag(made, (MIDDLE, y), width, one, SMALL)
        shown += 1
    if left := len(everything) - shown:
        note = f"{left} more {'note' if left == 1 else 'notes'}: see the report"
        made.write(MIDDLE, y, note, SMALL, made.palette.faint)
        y += line
    for tip in tips[: max(0, int((FOOT - 20 - y) / line) + 1)]:
        made.write(MIDDLE, y, tip, SMALL)
        y += line


def _foot(made: Sheet, draft: Draft) -> None:
    result = draft.result
    made.line(((LEFT, FOOT - 20), (RIGHT, FOOT - 20)), 1, made.palette.rule)
    field = result.stack.field_strength_t
    echoes = result.stack.echo_times_ms
    at = "field unknown" if field is None else f"{field:.2f} T"
    scan = f"{len(echoes)} echoes {echoes[0]:.4g} to {echoes[-1]:.4g} ms, {at}"
    made_by = f"{scan}; {draft.device} {draft.software_version}, result {draft.key[:12]}"
    more = wording.history(result)
    made_by += f"; {more}" if more else ""
    made.write(LEFT, FOOT + 4, made_by, SMALL, made.palette.faint)
    made.paragraph((LEFT, FOOT + 4 + leading(SMALL)), RIGHT - LEFT, NOT_FOR_DIAGNOSIS, SMALL, made.palette.faint)


# ---- the object


def _capture(draft: Draft, k: int, pixels: NDArray[np.uint8]) -> Dataset:
    image = Dataset()
    stamp(image, draft, KIND, k + 1)
    image.ConversionType = "WSD"
    image.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    image.PatientOrientation = None
    image.BodyPartExamined = draft.organ.body_part
    # Whether it names the patient and the date (PS3.3 C.7.6.1).
    image.BurnedInAnnotation = "YES" if shows_identity(draft) else "NO"
    image.update(draft.source.compression)
    image.DerivationDescription = derivation(draft, "Colour page of R2* with regions.")
    image.SourceImageSequence = [
        image_item(reference, codes.SOURCE_FOR_PROCESSING) for reference in merged(draft.source.slices[k].echoes)
    ]
    image.SamplesPerPixel = 3
    image.PhotometricInterpretation = "RGB"
    image.PlanarConfiguration = 0
    image.Rows, image.Columns = pixels.shape[:2]
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.PixelRepresentation = 0
    image.PixelData = pixels.tobytes()
    return image
