"""One colour page per slice that any viewer can show."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager, patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from pydicom.dataset import Dataset

from dicomnode.report import codes, wording
from dicomnode.report.instance import MODEL_NAME, NOT_FOR_DIAGNOSIS, stamp
from dicomnode.report.provenance import derivation
from dicomnode.report.references import image_item, merged
from dicomnode.report.regions import is_shown, name, outlines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from dicomnode.model import Maps, Plane, Result, Roi, RoiMeasurement
    from dicomnode.report.instance import Draft

KIND = "picture"
WIDTH, HEIGHT, DPI = 1280, 960, 100
PAPER, INK, FAINT = "black", "white", "#b0b0b0"
# Told apart without colour: by the dashes, and by the number beside them.
DASHES = ("-", "--", ":", "-.")
ALERT = "#ffd27f"
LINE, BOTTOM = 0.022, 0.085  # of the page's height


@dataclass(frozen=True, slots=True)
class Scale:
    """How a quantity becomes a colour: always the same range, so that two exams compare."""

    label: str
    lowest: float
    highest: float
    logarithmic: bool = False

    def norm(self) -> Normalize:
        """Return the mapping to 0..1."""
        return (LogNorm if self.logarithmic else Normalize)(self.lowest, self.highest, clip=True)

    def values(self, maps: Maps) -> NDArray[np.float32]:
        """Return the map this scale is for."""
        return maps.t2star_ms if self is T2STAR else maps.r2star_per_s


T2STAR = Scale("T2* [ms]", 0.0, 30.0)
R2STAR = Scale("R2* [1/s]", 20.0, 1000.0, logarithmic=True)


def build(draft: Draft, _written: Mapping[str, tuple[Dataset, ...]]) -> tuple[Dataset, ...]:
    """Return one Secondary Capture image per slice, in the order of the slices."""
    return tuple(_capture(draft, k, page(draft, k)) for k in range(len(draft.source.slices)))


def page(draft: Draft, k: int) -> NDArray[np.uint8]:
    """Return the page of slice ``k`` as (HEIGHT, WIDTH, 3)."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    write(figure, 0.02, 0.965, _title(draft, k), size=15)
    for left, scale in ((0.02, T2STAR), (0.52, R2STAR)):
        axes = figure.add_axes((left, 0.34, 0.39, 0.57))
        draw_map(axes, draft, k, scale)
        draw_bar(figure, (left + 0.40, 0.37, 0.015, 0.51), scale, INK)
    _table(figure, draft, k)
    for line, sentence in enumerate(_footer(draft)):
        write(figure, 0.02, 0.065 - 0.022 * line, sentence, size=9, color=FAINT)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def _title(draft: Draft, k: int) -> str:
    plane = draft.source.slices[k].plane
    return f"T2* and R2*, slice {k + 1} of {len(draft.source.slices)} at {plane.location_mm:.1f} mm"


def _footer(draft: Draft) -> tuple[str, ...]:
    record = draft.result.maps.record
    echoes = draft.result.stack.echo_times_ms
    field = draft.result.stack.field_strength_t
    return (
        f"{len(echoes)} echoes {echoes[0]:g} to {echoes[-1]:g} ms, "
        f"{'field unknown' if field is None else f'{field:.2f} T'}, {record.method}, {record.model}, {record.noise} "
        f"noise. Black: no valid fit. {MODEL_NAME} {draft.software_version}, result {draft.key[:12]}",
        NOT_FOR_DIAGNOSIS,
    )


# ---- drawing, shared with the PDF


def draw_map(axes: Axes, draft: Draft, k: int, scale: Scale) -> None:
    """Draw a map with its regions; invalid voxels stay black."""
    maps, plane = draft.result.maps, draft.source.slices[k].plane
    shown = np.ma.masked_where(~maps.valid[k], scale.values(maps)[k])
    axes.set_facecolor("black")
    height, width = plane.pixel_spacing_mm
    axes.imshow(shown, cmap="viridis", norm=scale.norm(), interpolation="nearest", aspect=height / width)
    axes.set_axis_off()
    axes.add_patch(_backdrop(axes))
    _draw_letters(axes, plane)
    for index, roi in enumerate(draft.result.rois):
        if is_shown(roi):
            _draw_region(axes, roi, index, k)


def _backdrop(axes: Axes) -> mpl.patches.Rectangle:
    """Return the black ground that an axes without frame does not paint."""
    return mpl.patches.Rectangle((0, 0), 1, 1, transform=axes.transAxes, color="black", zorder=-1)


def _draw_region(axes: Axes, roi: Roi, index: int, k: int) -> None:
    """Draw white on black: seen on every colour and in greyscale."""
    for number, points in enumerate(outlines(roi.mask[k])):
        x, y = (points - 0.5).T
        (line,) = axes.plot(x, y, color="white", linewidth=1.4, linestyle=DASHES[index % len(DASHES)])
        line.set_path_effects([patheffects.Stroke(linewidth=3.2, foreground="black"), patheffects.Normal()])
        if number == 0:
            top = int(np.argmin(y))
            above = "bottom" if y[top] > 0.05 * len(roi.mask[k]) else "top"  # stays inside the map
            label = axes.text(x[top], y[top], str(index + 1), color="white", fontsize=11, ha="center", va=above)
            label.set_path_effects([patheffects.Stroke(linewidth=2.5, foreground="black"), patheffects.Normal()])


def _draw_letters(axes: Axes, plane: Plane) -> None:
    """Say which side of the patient each edge is (PS3.3 C.7.6.1.1.1)."""
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    places = ((0.01, 0.5, -row, "left"), (0.99, 0.5, row, "right"), (0.5, 0.97, -column, "center"))
    for x, y, direction, align in (*places, (0.5, 0.03, column, "center")):
        text = axes.text(
            x, y, side(direction), transform=axes.transAxes, color="white", fontsize=11, ha=align, va="center"
        )
        text.set_path_effects([patheffects.Stroke(linewidth=2, foreground="black"), patheffects.Normal()])


def side(direction: NDArray[np.float64]) -> str:
    """Return the side of the patient a direction points to, the strongest first: "L", "LA", "LAH"."""
    letters = [("R", "L"), ("A", "P"), ("F", "H")]
    order = [axis for axis in np.argsort(-np.abs(direction)) if abs(direction[axis]) > 0.2]
    return "".join(letters[axis][int(direction[axis] > 0)] for axis in order)


def draw_bar(figure: Figure, place: tuple[float, float, float, float], scale: Scale, ink: str) -> None:
    """Draw the colour bar with its unit; pointed ends say that the range goes on."""
    axes = figure.add_axes(place)
    colours = mpl.cm.ScalarMappable(norm=scale.norm(), cmap="viridis")
    bar = figure.colorbar(colours, cax=axes, extend="both" if scale.logarithmic else "max")
    if scale.logarithmic:
        bar.set_ticks([20, 50, 100, 200, 500, 1000], labels=["20", "50", "100", "200", "500", "1000"])
        bar.minorticks_off()
    axes.tick_params(colors=ink, labelsize=9)
    axes.set_title(scale.label, color=ink, fontsize=10, loc="left")
    bar.outline.set_edgecolor(ink)


def write(
    figure: Figure, x: float, y: float, text: str, *, size: float, color: str = INK, weight: str = "normal"
) -> None:
    """Write one line from its left top; what the font cannot draw becomes "?"."""
    figure.text(x, y, drawable(text), size=size, color=color, weight=weight, va="top", parse_math=False)


def drawable(text: str) -> str:
    """Replace characters that the font has no glyph for."""
    known = _glyphs()
    return "".join(c if ord(c) in known else "?" for c in text)


@cache
def _glyphs() -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=mpl.rcParams["font.family"]))
    return frozenset(font_manager.get_font(path).get_charmap())


def rows(result: Result) -> list[tuple[int, Roi, RoiMeasurement]]:
    """Return the regions with the numbers they are marked with."""
    return [(number, *pair) for number, pair in enumerate(zip(result.rois, result.measurements, strict=True), 1)]


def columns(number: int, roi: Roi, numbers: RoiMeasurement) -> tuple[str, ...]:
    """Return a row of the table of values."""
    return (
        f"{number}  {name(roi)}",
        wording.statistics(numbers.t2star_ms),
        wording.statistics(numbers.r2star_per_s),
        wording.lic(numbers),
        f"{numbers.n_voxels} voxels, {numbers.area_mm2 / 100:.1f} cm²",
    )


HEADINGS = ("Region", "T2* [ms]: mean ± SD (median)", "R2* [1/s]: mean ± SD (median)", "LIC", "Measured")


def notes(roi: Roi, numbers: RoiMeasurement) -> str:
    """Return what has to be read with a row: flags, calibration, published range."""
    slices = int(roi.mask.any(axis=(1, 2)).sum())
    parts = [*numbers.flags, numbers.calibration or "", wording.band(roi, numbers)]
    if slices > 1:
        parts.append(f"values of all {slices} slices of the region")
    if roi.mask.any() and not is_shown(roi):
        parts.append("not outlined: it encloses the others")
    return "; ".join(part for part in parts if part)


def _table(figure: Figure, draft: Draft, k: int) -> None:
    """Write the regions of a slice from the top down; what finds no room is counted, never just left out."""
    here = [entry for entry in rows(draft.result) if entry[1].mask[k].any()]
    _row(figure, 0.31, HEADINGS, color=FAINT)
    y = 0.285
    for done, (number, roi, numbers) in enumerate(here):
        remarks = textwrap.wrap(notes(roi, numbers), 165)
        if y - LINE * len(remarks) < BOTTOM:
            write(figure, 0.02, y, f"{len(here) - done} further regions: see the report", size=10.5, color=ALERT)
            return
        _row(figure, y, columns(number, roi, numbers))
        for line, remark in enumerate(remarks, 1):
            write(figure, 0.045, y - 0.003 - LINE * line, remark, size=9, color=ALERT)
        y -= LINE * (len(remarks) + 1) + 0.012
    if not here:
        write(figure, 0.02, y, "No region was measured in this slice.", size=11)


def _row(figure: Figure, y: float, cells: Sequence[str], color: str = INK) -> None:
    for x, cell in zip((0.02, 0.235, 0.445, 0.66, 0.815), cells, strict=True):
        write(figure, x, y, cell, size=10.5, color=color)


# ---- the object


def _capture(draft: Draft, k: int, pixels: NDArray[np.uint8]) -> Dataset:
    image = Dataset()
    stamp(image, draft, KIND, k + 1)
    image.ConversionType = "WSD"
    image.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    image.PatientOrientation = None
    image.BodyPartExamined = "LIVER"
    image.BurnedInAnnotation = "YES"
    image.update(draft.source.compression)
    image.DerivationDescription = derivation(draft, "Colour page of T2* and R2*.")
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
