"""Pages as the bytes of a PDF file (ISO 32000-1), its text to be selected and searched."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicomnode.report.fonts import font
from dicomnode.report.sheet import Fill, Picture, Stroke, Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dicomnode.report.sheet import Colour, Item, Point, Sheet

_NAMES = {False: "F1", True: "F2"}  # regular, bold
_HALO = (0, 0, 0)


def document(sheets: Sequence[Sheet], facts: Mapping[str, str]) -> bytes:
    """Return a file of these pages, whose units are points; ``facts`` are written into its Info dictionary.

    The same pages give the same bytes.
    """
    file = _File()
    catalogue, tree, info = file.reserve(), file.reserve(), file.reserve()
    fonts = " ".join(f"/{_NAMES[bold]} {_font(file, sheets, bold)} 0 R" for bold in (False, True))
    pages = [_page(file, sheet, tree, fonts) for sheet in sheets]
    file.set(catalogue, f"<< /Type /Catalog /Pages {tree} 0 R >>")
    kids = " ".join(f"{page} 0 R" for page in pages)
    file.set(tree, f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    file.set(info, "<< " + " ".join(f"/{name} {_string(value)}" for name, value in facts.items()) + " >>")
    return file.content(catalogue, info)


@dataclass(slots=True)
class _File:
    """Numbered objects, then the table of where they are."""

    objects: list[bytes] = field(default_factory=list)

    def reserve(self) -> int:
        self.objects.append(b"")
        return len(self.objects)

    def set(self, number: int, text: str) -> None:
        self.objects[number - 1] = text.encode("latin-1")

    def add(self, text: str) -> int:
        number = self.reserve()
        self.set(number, text)
        return number

    def stream(self, content: bytes, entries: str = "") -> int:
        packed = zlib.compress(content, 6)
        head = f"<< {entries} /Length {len(packed)} /Filter /FlateDecode >>\nstream\n".encode("latin-1")
        self.objects.append(head + packed + b"\nendstream")
        return len(self.objects)

    def content(self, catalogue: int, info: int) -> bytes:
        parts = [b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n"]
        places = []
        for number, body in enumerate(self.objects, 1):
            places.append(sum_of(parts))
            parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, body))
        start, count = sum_of(parts), len(places) + 1
        table = "".join(f"{place:010d} 00000 n \n" for place in places)
        trailer = f"<< /Size {count} /Root {catalogue} 0 R /Info {info} 0 R >>"
        end = f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n"
        return b"".join(parts) + end.encode("latin-1")


def sum_of(parts: Sequence[bytes]) -> int:
    """How many bytes there are so far."""
    return sum(len(part) for part in parts)


def _string(text: str) -> str:
    return f"<feff{text.encode('utf-16-be').hex()}>"


# ---- fonts


def _font(file: _File, sheets: Sequence[Sheet], bold: bool) -> int:
    """Embed the glyphs that the pages use, as a composite font (9.7)."""
    face = font(bold)
    used = sorted({c for sheet in sheets for text in sheet.texts() if text.bold == bold for c in text.text})
    glyphs = face.numbers("".join(used))
    data = face.embedded(glyphs)
    program = file.stream(data, f"/Length1 {len(data)}")
    name = f"LVRIRN+{face.name}"
    box = " ".join(map(str, face.box))
    descriptor = file.add(
        f"<< /Type /FontDescriptor /FontName /{name} /Flags 4 /FontBBox [{box}] /ItalicAngle 0 /Ascent {face.ascent} "
        f"/Descent {face.descent} /CapHeight {face.ascent} /StemV 80 /FontFile2 {program} 0 R >>"
    )
    widths = " ".join(f"{glyph} [{face.advances[glyph]:.1f}]" for glyph in glyphs)
    descendant = file.add(
        f"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /{name} /CIDToGIDMap /Identity /W [{widths}] "
        f"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /FontDescriptor {descriptor} 0 R >>"
    )
    readable = file.stream(_to_unicode(used, glyphs).encode())
    return file.add(
        f"<< /Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /Identity-H /DescendantFonts [{descendant} 0 R] "
        f"/ToUnicode {readable} 0 R >>"
    )


def _to_unicode(used: Sequence[str], glyphs: Sequence[int]) -> str:
    """Return the table by which a reader copies and finds text (9.10.3)."""
    pairs = [f"<{glyph:04x}> <{c.encode('utf-16-be').hex()}>" for c, glyph in zip(used, glyphs, strict=True)]
    blocks = [pairs[start : start + 100] for start in range(0, len(pairs), 100)]
    lines = [f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks]
    return "\n".join(
        [
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
            "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
            "1 begincodespacerange <0000> <ffff> endcodespacerange",
            *lines,
            "endcmap CMapName currentdict /CMap defineresource pop end end",
        ]
    )


# ---- pages


def _page(file: _File, sheet: Sheet, tree: int, fonts: str) -> int:
    pictures = [item for item in sheet.items if isinstance(item, Picture)]
    names = {id(item): f"P{number}" for number, item in enumerate(pictures, 1)}
    images = " ".join(f"/{names[id(item)]} {_image(file, item.pixels)} 0 R" for item in pictures)
    drawn = "\n".join(_operators(item, sheet.height, names) for item in sheet.items)
    content = file.stream(drawn.encode("latin-1"))
    resources = f"<< /Font << {fonts} >> /XObject << {images} >> >>"
    size = f"[0 0 {sheet.width:g} {sheet.height:g}]"
    entries = f"/Parent {tree} 0 R /MediaBox {size} /Resources {resources} /Contents {content} 0 R"
    return file.add(f"<< /Type /Page {entries} >>")


def _image(file: _File, pixels: NDArray[np.uint8]) -> int:
    height, width = pixels.shape[:2]
    entries = f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB"
    return file.stream(pixels.tobytes(), f"{entries} /BitsPerComponent 8")


def _operators(item: Item, height: float, names: Mapping[int, str]) -> str:
    match item:
        case Text():
            return _text(item, height)
        case Stroke():
            dash = f"[{item.dash[0]:g} {item.dash[1]:g}] 0 d" if item.dash else "[] 0 d"
            line = f"{_colour(item.colour)} RG {item.width:g} w 1 j 1 J {dash}"
            return f"{line} {_path(item.points, height)} S"
        case Fill():
            return f"{_colour(item.colour)} rg {_path(item.points, height)} h f"
        case Picture():
            box = item.box
            place = f"{box.width:.2f} 0 0 {box.height:.2f} {box.x:.2f} {height - box.bottom:.2f}"
            return f"q {place} cm /{names[id(item)]} Do Q"


def _text(item: Text, height: float) -> str:
    glyphs = "".join(f"{glyph:04x}" for glyph in font(item.bold).numbers(item.text))
    set_up = f"BT /{_NAMES[item.bold]} {item.size:g} Tf {item.left:.2f} {height - item.y:.2f} Td"
    written = f"{set_up} {_colour(item.colour)} rg 0 Tr <{glyphs}> Tj ET"
    if not item.halo:
        return written
    # Its outline first, thick and black; readers drop characters that stand on themselves when they copy text.
    outline = f"{set_up} {_colour(_HALO)} RG {0.22 * item.size:.2f} w [] 0 d 1 Tr <{glyphs}> Tj ET"
    return f"{outline} {written}"


def _path(points: Sequence[Point], height: float) -> str:
    return " ".join(f"{x:.2f} {height - y:.2f} {'l' if n else 'm'}" for n, (x, y) in enumerate(points))


def _colour(colour: Colour) -> str:
    return " ".join(f"{value / 255:.3f}" for value in colour)
