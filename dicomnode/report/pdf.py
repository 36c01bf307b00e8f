"""The whole result on paper, as an Encapsulated PDF."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages
from matplotlib.figure import Figure
from pydicom.dataset import Dataset

from dicomnode.report import codes, pictures, wording
from dicomnode.report.instance import MODEL_NAME, NOT_FOR_DIAGNOSIS, stamp
from dicomnode.report.pictures import R2STAR, T2STAR, write
from dicomnode.report.provenance import parameters
from dicomnode.report.references import image_item, merged
from dicomnode.report.regions import is_shown, name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from dicomnode.model import DecayCurve, Result
    from dicomnode.report.instance import Draft

KIND = "pdf"
A4_INCHES = (8.27, 11.69)
INK, FAINT, ALERT = "black", "#555555", "#8a3b00"
LEFT, TOP, BOTTOM, LINE = 0.07, 0.95, 0.06, 0.0135  # of the page
COLUMNS = (LEFT, 0.25, 0.455, 0.66, 0.81)
TABLE_BOTTOM, DECAY_HEIGHT, MAP_HEIGHT = 0.62, 0.14, 0.30
MOST_CURVES = 3
LINES_PER_PAGE = int((TOP - 0.04 - BOTTOM) / LINE)


def build(draft: Draft, _written: Mapping[str, tuple[Dataset, ...]]) -> tuple[Dataset, ...]:
    """Return the report as one Encapsulated PDF."""
    return (_encapsulated(draft, document(draft)),)


def document(draft: Draft) -> bytes:
    """Return the PDF: numbers, decay and maps, then remarks and every parameter.

    The same draft gives the same bytes.
    """
    file = io.BytesIO()
    facts = {"Title": "Liver iron report", "Creator": MODEL_NAME, "Producer": MODEL_NAME, "CreationDate": draft.created}
    with PdfPages(file, metadata=facts) as pages:
        for figure in (_results(draft), *_words(draft)):
            write(figure, LEFT, 0.035, NOT_FOR_DIAGNOSIS, size=6.5, color=FAINT)
            pages.savefig(figure)
    return file.getvalue()


def _page(title: str) -> Figure:
    figure = Figure(figsize=A4_INCHES, facecolor="white")
    FigureCanvasPdf(figure)
    write(figure, LEFT, TOP, title, size=14, color=INK, weight="bold")
    return figure


# ---- first page


def _results(draft: Draft) -> Figure:
    figure = _page("Liver iron: T2* and R2*")
    summary = [line for fact in _summary(draft) for line in textwrap.wrap(fact, 125)]
    y = _lines(figure, TOP - 0.03, summary, FAINT)
    y = _table(figure, draft.result, y - LINE)
    y = _decays(figure, draft.result, y - 0.02)
    _maps(figure, draft, y - 0.06)
    return figure


def _summary(draft: Draft) -> list[str]:
    stack, record = draft.result.stack, draft.result.maps.record
    slices, rows, columns, _ = stack.shape
    field = "unknown" if stack.field_strength_t is None else f"{stack.field_strength_t:.2f} T"
    echoes = ", ".join(f"{t:g}" for t in stack.echo_times_ms)
    return [
        f"{slices} slices of {rows} x {columns}, field {field}, echoes used: {echoes} ms",
        f"fit {record.method}, model {record.model}, noise {record.noise}: {record.verdict}",
        f"{MODEL_NAME} {draft.software_version}, result {draft.key}, written {draft.local_time:%Y-%m-%d %H:%M}",
    ]


def _lines(figure: Figure, y: float, lines: Sequence[str], color: str) -> float:
    """Write lines from ``y`` down and return where the page goes on."""
    for line in lines:
        write(figure, LEFT, y, line, size=7.5, color=color)
        y -= LINE
    return y


def _table(figure: Figure, result: Result, y: float) -> float:
    """Write the regions with their notes; the words on the next page repeat all that finds no room here."""
    _row(figure, y, pictures.HEADINGS, FAINT)
    y -= 1.4 * LINE
    everything = pictures.rows(result)
    for done, (number, roi, numbers) in enumerate(everything):
        notes = textwrap.wrap(pictures.notes(roi, numbers), 125)
        if y - LINE * (len(notes) + 1) < TABLE_BOTTOM:
            return _lines(figure, y, [f"{len(everything) - done} further regions: next page"], ALERT)
        _row(figure, y, pictures.columns(number, roi, numbers), INK)
        y = _lines(figure, y - LINE, notes, ALERT) - 0.4 * LINE
    return y if everything else _lines(figure, y, ["No region was measured."], ALERT)


def _row(figure: Figure, y: float, cells: Sequence[str], color: str) -> None:
    for x, cell in zip(COLUMNS, cells, strict=True):
        write(figure, x, y, cell, size=7, color=color)


def _decays(figure: Figure, result: Result, y: float) -> float:
    """Draw the median signal of the first regions over echo time and return where the page goes on."""
    regions = enumerate(zip(result.rois, result.decays, strict=False), 1)
    curves = [(f"{number}  {name(roi)}", curve) for number, (roi, curve) in regions if curve is not None]
    if not curves:
        return y
    bottom = y - 0.02 - DECAY_HEIGHT
    for place, (title, curve) in enumerate(curves[:MOST_CURVES]):
        _draw_decay(figure.add_axes((LEFT + 0.04 + 0.30 * place, bottom, 0.23, DECAY_HEIGHT)), title, curve)
    return bottom


def _draw_decay(axes: Axes, title: str, curve: DecayCurve) -> None:
    axes.plot(curve.echo_times_ms, curve.signal, "o", color="black", markersize=3.5, label="median signal")
    if curve.s0 is not None and curve.r2star_per_s is not None:
        t = np.linspace(0.0, max(curve.echo_times_ms), 100)
        fitted = curve.s0 * np.exp(-curve.r2star_per_s * t / 1000.0)
        axes.plot(t, fitted, "-", color="#33628d", linewidth=1.2, label=f"R2* {curve.r2star_per_s:.1f} 1/s")
    axes.axhline(curve.noise_floor, color="#8a3b00", linestyle="--", linewidth=1, label="noise floor")
    axes.set_ylim(bottom=0.0)
    axes.set_xlim(left=0.0)
    axes.set_title(pictures.drawable(title), fontsize=7.5, loc="left", parse_math=False)
    axes.set_xlabel("echo time [ms]", fontsize=7)
    axes.tick_params(labelsize=6.5)
    axes.legend(fontsize=6, frameon=False)


def _maps(figure: Figure, draft: Draft, y: float) -> None:
    """Draw the slice that holds most of the measured regions; the colour pages show them all."""
    measured = [roi.mask.sum(axis=(1, 2)) for roi in draft.result.rois if is_shown(roi)]
    k = int(np.argmax(np.sum(measured, axis=0))) if measured else len(draft.source.slices) // 2
    write(figure, LEFT, y, _which(draft, k), size=8.5, color=INK)
    bottom = y - 0.02 - MAP_HEIGHT
    for left, scale in ((LEFT, T2STAR), (0.53, R2STAR)):
        pictures.draw_map(figure.add_axes((left, bottom, 0.35, MAP_HEIGHT)), draft, k, scale)
        pictures.draw_bar(figure, (left + 0.36, bottom + 0.04, 0.012, MAP_HEIGHT - 0.08), scale, INK)


def _which(draft: Draft, k: int) -> str:
    place = draft.source.slices[k].plane.location_mm
    return f"Slice {k + 1} of {len(draft.source.slices)} at {place:.1f} mm; black: no valid fit"


# ---- remarks and parameters


def _words(draft: Draft) -> list[Figure]:
    """Write all remarks and parameters, on as many pages as they need."""
    result = draft.result
    lines = ["Remarks", *wording.remarks(result), ""]
    lines += ["All regions", *("   ".join(pictures.columns(*row)) for row in pictures.rows(result)), ""]
    lines += ["Made with: the same values and the same images give the same numbers", *parameters(draft)]
    wrapped = [part for line in lines for part in textwrap.wrap(line, 125, subsequent_indent="    ") or [""]]
    parts = [wrapped[start : start + LINES_PER_PAGE] for start in range(0, len(wrapped), LINES_PER_PAGE)]
    figures = [_page("Liver iron: remarks and provenance") for _ in parts]
    for figure, part in zip(figures, parts, strict=True):
        _lines(figure, TOP - 0.04, part, INK)
    return figures


# ---- the object


def _encapsulated(draft: Draft, content: bytes) -> Dataset:
    """Return the Encapsulated PDF IOD (PS3.3 A.45.1)."""
    instance = Dataset()
    stamp(instance, draft, KIND)
    instance.ConversionType = "WSD"
    instance.BurnedInAnnotation = "YES"
    instance.AcquisitionDateTime = None
    instance.DocumentTitle = "Liver iron report"
    instance.ConceptNameCodeSequence = [codes.concept(codes.MEASUREMENT_REPORT)]
    instance.SourceInstanceSequence = [image_item(reference) for reference in merged(draft.source.references)]
    instance.MIMETypeOfEncapsulatedDocument = "application/pdf"
    instance.EncapsulatedDocumentLength = len(content)
    instance.EncapsulatedDocument = content + b"\x00" * (len(content) % 2)
    return instance
