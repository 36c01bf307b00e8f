"""The typeface of pages and PDF: its widths, its glyphs."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

_TABLE = ">4sIII"
_EMBEDDED = ("cvt ", "fpgm", "glyf", "head", "hhea", "hmtx", "loca", "maxp", "prep")  # what a PDF needs (ISO 32000 9.9)
_MORE_COMPONENTS, _WORDS, _SCALE, _TWO_SCALES, _MATRIX = 0x20, 0x01, 0x08, 0x40, 0x80  # of a composite glyph


@dataclass(frozen=True)
class Font:
    """A TrueType font; lengths are in thousandths of its size."""

    name: str
    path: Path
    tables: Mapping[str, bytes]
    glyphs: Mapping[int, int]  # by code point
    advances: NDArray[np.float64]  # by glyph
    box: tuple[int, int, int, int]
    ascent: int
    descent: int

    def drawable(self, text: str) -> str:
        """Replace characters that the font has no glyph for."""
        return "".join(c if ord(c) in self.glyphs else "?" for c in text)

    def numbers(self, text: str) -> list[int]:
        """The glyphs of a drawable text."""
        return [self.glyphs[ord(c)] for c in text]

    def width(self, text: str, size: float) -> float:
        """How wide a text is in the unit of ``size``."""
        return float(self.advances[self.numbers(self.drawable(text))].sum()) * size / 1000.0

    def embedded(self, used: Iterable[int]) -> bytes:
        """Return the font file with the outlines of the glyphs ``used`` only; every glyph keeps its number."""
        glyf, loca = self._outlines(set(used) | {0})
        kept = {**self.tables, "glyf": glyf, "loca": loca}
        return _file({name: kept[name] for name in _EMBEDDED if name in kept})

    def _outlines(self, wanted: set[int]) -> tuple[bytes, bytes]:
        long = struct.unpack(">h", self.tables["head"][50:52])[0] == 1
        offsets = np.frombuffer(self.tables["loca"], ">u4" if long else ">u2").astype(np.int64) * (1 if long else 2)
        glyf, kept, waiting = self.tables["glyf"], dict[int, bytes](), sorted(wanted)
        while waiting:
            number = waiting.pop()
            kept[number] = glyf[offsets[number] : offsets[number + 1]]
            waiting += [part for part in _components(kept[number]) if part not in kept]
        lengths = np.zeros(len(offsets) - 1, np.int64)
        lengths[list(kept)] = [len(outline) for outline in kept.values()]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        stored = starts.astype(">u4") if long else (starts // 2).astype(">u2")
        return b"".join(kept[number] for number in sorted(kept)), stored.tobytes()


def _components(outline: bytes) -> list[int]:
    """The glyphs that a composite glyph is made of (OpenType, glyf table)."""
    if len(outline) < 10 or struct.unpack(">h", outline[:2])[0] >= 0:
        return []
    found, place, more = [], 10, True
    while more:
        flags, number = struct.unpack_from(">HH", outline, place)
        found.append(number)
        place += 8 if flags & _WORDS else 6
        place += 2 if flags & _SCALE else 4 if flags & _TWO_SCALES else 8 if flags & _MATRIX else 0
        more = bool(flags & _MORE_COMPONENTS)
    return found


def _file(tables: Mapping[str, bytes]) -> bytes:
    """Put tables together to a font file."""
    place, head, body = 12 + 16 * len(tables), [struct.pack(">IHHHH", 0x00010000, len(tables), 0, 0, 0)], []
    for name, content in sorted(tables.items()):
        padded = content + bytes(-len(content) % 4)
        checksum = int(np.frombuffer(padded, ">u4").sum(dtype=np.uint64)) & 0xFFFFFFFF
        head.append(struct.pack(_TABLE, name.encode(), checksum, place, len(content)))
        body.append(padded)
        place += len(padded)
    return b"".join((*head, *body))


def _read(path: Path) -> Font:
    content = path.read_bytes()
    count = struct.unpack_from(">H", content, 4)[0]
    entries = [struct.unpack_from(_TABLE, content, 12 + 16 * number) for number in range(count)]
    tables = {name.decode(): content[start : start + length] for name, _, start, length in entries}
    unit = 1000.0 / struct.unpack_from(">H", tables["head"], 18)[0]
    ascent, descent = struct.unpack_from(">hh", tables["hhea"], 4)
    n_advances, n_glyphs = (struct.unpack_from(">H", tables[t], at)[0] for t, at in (("hhea", 34), ("maxp", 4)))
    advances = np.frombuffer(tables["hmtx"], ">u2", 2 * n_advances)[::2].astype(np.float64) * unit
    low_x, low_y, high_x, high_y = (round(v * unit) for v in struct.unpack_from(">hhhh", tables["head"], 36))
    return Font(
        name=path.stem,
        path=path,
        tables=tables,
        glyphs=_characters(tables["cmap"]),
        advances=np.concatenate([advances, np.full(n_glyphs - n_advances, advances[-1])]),
        box=(low_x, low_y, high_x, high_y),
        ascent=round(ascent * unit),
        descent=round(descent * unit),
    )


def _characters(cmap: bytes) -> dict[int, int]:
    """Read the glyph of every code point from the font's format 12 table (OpenType, cmap)."""
    count = struct.unpack_from(">H", cmap, 2)[0]
    places = [struct.unpack_from(">HHI", cmap, 4 + 8 * number)[2] for number in range(count)]
    start = next(place for place in places if struct.unpack_from(">H", cmap, place)[0] == 12)
    groups = struct.unpack_from(">I", cmap, start + 12)[0]
    found: dict[int, int] = {}
    for number in range(groups):
        first, last, glyph = struct.unpack_from(">III", cmap, start + 16 + 12 * number)
        found.update(zip(range(first, last + 1), range(glyph, glyph + last - first + 1), strict=True))
    return found


@cache
def font(bold: bool = False) -> Font:
    """Return DejaVu Sans as matplotlib brings it along; matplotlib itself is not loaded: that takes longer than a page.

    It has Latin, Greek, Cyrillic and the signs that formulas need.
    """
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise ImportError("matplotlib is not installed, which brings the typeface of the reports")
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return _read(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"))
