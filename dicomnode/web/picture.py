"""The pages of a result as pictures for a browser."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

import pydicom
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

# Rows of a page, from its top, in which report/pictures writes who was scanned and when.
NAMED_ROWS = 45


def read(path: Path, width: int | None, *, names: bool) -> bytes:
    """A page as PNG, as wide as is asked for; without ``names`` the line that says whose it is, is left out.

    The page may be packed since (jobs/tidy.py). Raises FileNotFoundError where it is neither here nor packed.
    """
    packed = path.with_name(f"{path.name}.gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() and not path.exists() else path.read_bytes()
    page = pydicom.dcmread(io.BytesIO(content))
    picture = Image.fromarray(page.pixel_array)
    if not names and page.get("BurnedInAnnotation") != "NO":
        picture = picture.crop((0, NAMED_ROWS, picture.width, picture.height))
    if width is not None and width < picture.width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()
