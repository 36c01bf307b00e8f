"""Results as one HTML file that needs nothing else: numbers, what qualifies them, and the maps."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import dicomnode
from dicomnode.export.results import subjects
from dicomnode.export.volumes import maps
from dicomnode.report import colours
from dicomnode.store.durable import write_durably

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from dicomnode.export.results import Finished

NAME = "results.html"
HEADS = ("region", "voxels", "T2* ms", "R2* 1/s", "95 %", "iron mg/g", "95 %", "what qualifies it")
STYLE = (
    "body{font:15px/1.4 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border:1px solid #999;padding:.2em .6em;text-align:left}"
    "img{image-rendering:pixelated;width:16em;margin:.3em}"
)


def write(results: Sequence[Finished], folder: Path) -> tuple[Path, ...]:
    """Write ``results.html``."""
    body = "\n".join(line for result in results for line in _section(result))
    title = escape(subjects(results))
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        f"<p>dicomnode {escape(dicomnode.__version__)}. For research and clinical evaluation; not a cleared medical "
        f"device.</p>\n{body}\n</body></html>\n"
    )
    path = folder / NAME
    write_durably(path, text.encode())
    return (path,)


def _section(result: Finished) -> Iterator[str]:
    summary = result.summary
    yield f"<h2>Result {escape(result.name)}</h2>"
    yield f"<p><strong>{escape(summary['answer'])}</strong></p>"
    yield f"<p>{escape(_scan(summary))}</p>"
    yield f"<table><tr>{''.join(f'<th>{escape(head)}</th>' for head in HEADS)}</tr>"
    for region in summary["rois"]:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(region)) + "</tr>"
    yield "</table>"
    image = result.object_of("parametric_map_r2star")
    if image is not None:
        ends = f"{colours.SLOWEST:g} (dark) to {colours.FASTEST:g} 1/s (bright)"
        yield f"<p>R2* from {ends}, logarithmic; black: no value.</p>"
        yield "<p>" + "".join(_picture(slice_, number) for number, slice_ in enumerate(_slices(image), 1)) + "</p>"


def _scan(summary: Mapping[str, Any]) -> str:
    times = ", ".join(f"{time:g}" for time in summary["echo_times_ms"])
    field = "" if summary["field_strength_t"] is None else f"{summary['field_strength_t']:.2f} T, "
    fitted = f"{summary['method']}, {summary['verdict']}"
    return f"Series {summary['series_instance_uid']}: {field}echo times {times} ms; {fitted}"


def _cells(region: Mapping[str, Any]) -> Iterator[str]:
    words = region["words"]
    yield from (
        region["name"],
        str(region["n_voxels"]),
        words["t2star_ms"],
        words["r2star_per_s"],
        words["r2star_ci95"],
    )
    yield from (words["lic_mg_per_g"], words["lic_ci95"])
    yield "; ".join(flag["sentence"] for flag in region["flags"])


def _slices(image: Dataset) -> Iterator[NDArray[np.float32]]:
    """The slices of a map, (rows, columns)."""
    for volume in maps(image):
        yield from np.moveaxis(volume.values, (2, 1), (0, 1))


def _picture(rates: NDArray[np.float32], number: int) -> str:
    valid = np.isfinite(rates)
    pixels = colours.table()[np.rint(colours.position(np.where(valid, rates, colours.SLOWEST)) * 255).astype(np.uint8)]
    pixels[~valid] = colours.NOT_FITTED
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        content = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="R2* of slice {number}" src="data:image/png;base64,{content}">'
