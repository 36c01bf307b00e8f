"""Small pictures of real outputs, for docs/gallery.md."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from PIL import Image

from dicomnode import simulate
from dicomnode.config import Settings
from dicomnode.operate import offline

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parent.parent
WIDTH = 800
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


def _plan(**options: Any) -> simulate.SeriesPlan:
    return simulate.SeriesPlan(slices=1, **options)


SIMULATED = {
    "mild": ("Simulated, 3 T, T2* 12 ms, a lesion of 25 mm", _plan(liver_t2star_ms=12.0, lesion_diameter_mm=25.0)),
    "severe": ("Simulated, 1.5 T, T2* 2.2 ms", _plan(liver_t2star_ms=2.2, field_strength_t=1.5)),
    "beyond": ("Simulated, 3 T, T2* 0.7 ms: beyond the measurable range", _plan(liver_t2star_ms=0.7)),
}


def main() -> None:
    """Make the pictures and the page that shows them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs")
    output = parser.parse_args().output
    (output / "gallery").mkdir(parents=True, exist_ok=True)
    lines = ["# Gallery", "", "Made by `make gallery` from what the node writes; nothing is drawn by hand.", ""]
    with tempfile.TemporaryDirectory() as scratch:
        for name, title, folder in _series(Path(scratch)):
            results = Path(scratch) / f"{name}-results"
            summary = offline.process([folder], results, Settings(), created=WRITTEN, progress=lambda _: None)
            (done,) = [one for one in summary["series"] if one["status"] == "done"]
            lines += [f"## {title}", "", *(f"    {line}" for line in offline.lines(done)), ""]
            lines += [f"![{caption}](gallery/{file})\n" for caption, file in _pictures(done, results, output, name)]
    (output / "gallery.md").write_text("\n".join(lines))


def _series(scratch: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, title and folder of each series: the real one where it is at hand."""
    shared = Path(os.environ.get("SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    real = shared / "dicom" / "ge_mr750_12echo_abdomen"
    if real.is_dir():
        yield "ge", "In vivo, 3 T, coronal, 12 echoes (de-identified volunteer, no iron overload)", real
    for name, (title, plan) in SIMULATED.items():
        simulate.write(simulate.make(plan, WRITTEN), scratch / name)
        yield name, title, scratch / name


def _pictures(done: dict[str, Any], results: Path, output: Path, name: str) -> Iterator[tuple[str, str]]:
    """One colour page, and the first page of the report."""
    paths = {one["kind"]: results / one["path"] for one in reversed(done["outputs"])}
    page = pydicom.dcmread(paths["picture"]).pixel_array
    yield "colour page", _save(Image.fromarray(np.asarray(page)), output, f"{name}-page.png")
    if shutil.which("pdftoppm"):
        document = pydicom.dcmread(paths["pdf"]).EncapsulatedDocument
        command = ["pdftoppm", "-png", "-r", "110", "-f", "1", "-l", "1", "-"]
        drawn = subprocess.run(command, input=document, capture_output=True, check=True).stdout  # noqa: S603
        yield "report", _save(Image.open(io.BytesIO(drawn)), output, f"{name}-report.png")


def _save(picture: Image.Image, output: Path, file: str) -> str:
    height = round(picture.height * WIDTH / picture.width)
    small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.quantize(128).save(output / "gallery" / file, optimize=True)
    return file


if __name__ == "__main__":
    main()
