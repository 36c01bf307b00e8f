"""A page as a list of what is drawn on it, whatever it is drawn with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicomnode.report.fonts import font

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a kind of page."""

    paper: Colour
    ink: Colour
    faint: Colour  # what is read second
    rule: Colour  # lines between parts
    doubt: Colour
    stop: Colour
    curve: Colour
    shade: Colour  # an interval around a curve
    bands: tuple[Colour, ...]  # light to dark, from normal to severe
    band_ink: Colour


SCREEN = Palette(
    paper=(0, 0, 0),
    ink=(255, 255, 255),
    faint=(184, 184, 184),
    rule=(90, 90, 90),
    doubt=(255, 210, 127),
    stop=(255, 150, 140),
    curve=(120, 190, 255),
    shade=(40, 66, 92),
    bands=((38, 56, 66), (52, 72, 78), (84, 84, 56), (116, 84, 40), (140, 62, 44)),
    band_ink=(255, 255, 255),
)
PAPER = Palette(
    paper=(255, 255, 255),
    ink=(0, 0, 0),
    faint=(85, 85, 85),
    rule=(190, 190, 190),
    doubt=(138, 59, 0),
    stop=(160, 0, 20),
    curve=(20, 80, 150),
    shade=(205, 222, 240),
    bands=((232, 240, 244), (214, 227, 228), (243, 229, 186), (240, 200, 150), (226, 150, 130)),
    band_ink=(0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle from its left top."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height

    def corners(self) -> tuple[Point, ...]:
        """Its corners, around."""
        return (self.x, self.y), (self.right, self.y), (self.right, self.bottom), (self.x, self.bottom)

    def overlaps(self, other: Box) -> bool:
        """Whether it shares more than an edge with another."""
        across = self.x < other.right and other.x < self.right
        return across and self.y < other.bottom and other.y < self.bottom


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text; ``x`` is its left end or, by ``align``, its middle or right end; ``y`` is its baseline."""

    x: float
    y: float
    text: str
    size: float
    colour: Colour
    bold: bool = False
    align: str = "left"  # "middle", "right"
    halo: bool = False  # black around it, to be read on a picture

    @property
    def width(self) -> float:
        """How wide it is."""
        return font(self.bold).width(self.text, self.size)

    @property
    def left(self) -> float:
        """Where it begins."""
        return self.x - {"left": 0.0, "middle": 0.5, "right": 1.0}[self.align] * self.width

    @property
    def box(self) -> Box:
        """What it covers, from the top of its capitals to the bottom of its descenders."""
        return Box(self.left, self.y - 0.76 * self.size, self.width, 0.98 * self.size)


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line through points."""

    points: tuple[Point, ...]
    colour: Colour
    width: float
    dash: tuple[float, float] | None = None  # on, off


@dataclass(frozen=True, slots=True)
class Fill:
    """A filled outline."""

    points: tuple[Point, ...]
    colour: Colour


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels (height, width, 3) that fill a box."""

    box: Box
    pixels: NDArray[np.uint8]


Item = Text | Stroke | Fill | Picture


@dataclass(slots=True)
class Sheet:
    """A page that is being filled; later items cover earlier ones."""

    width: float
    height: float
    palette: Palette
    items: list[Item] = field(default_factory=list)

    def write(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        colour: Colour | None = None,
        *,
        bold: bool = False,
        align: str = "left",
        halo: bool = False,
    ) -> float:
        """Write one line and return where it ends; what the font cannot draw becomes "?"."""
        shown = font(bold).drawable(text)
        item = Text(x, y, shown, size, colour or self.palette.ink, bold, align, halo)
        self.items.append(item)
        return item.box.right

    def paragraph(
        self,
        place: Point,
        width: float,
        text: str,
        size: float,
        colour: Colour | None = None,
        *,
        bold: bool = False,
    ) -> float:
        """Write words as wide as there is room and return the baseline of the next line."""
        x, y = place
        for line in wrapped(text, width, size, bold=bold):
            self.write(x, y, line, size, colour, bold=bold)
            y += leading(size)
        return y

    def line(
        self,
        points: Iterable[Point],
        width: float,
        colour: Colour | None = None,
        dash: tuple[float, float] | None = None,
    ) -> None:
        """Draw a line through points."""
        self.items.append(Stroke(tuple(points), colour or self.palette.ink, width, dash))

    def fill(self, points: Iterable[Point], colour: Colour) -> None:
        """Fill an outline."""
        self.items.append(Fill(tuple(points), colour))

    def picture(self, box: Box, pixels: NDArray[np.uint8]) -> None:
        """Show pixels in a box."""
        self.items.append(Picture(box, pixels))

    def texts(self) -> Iterator[Text]:
        """Every line of text."""
        return (item for item in self.items if isinstance(item, Text))


def leading(size: float) -> float:
    """From one baseline to the next."""
    return 1.32 * size


def wrapped(text: str, width: float, size: float, *, bold: bool = False) -> list[str]:
    """Break a text into lines no wider than ``width``; a word that is wider itself is broken where it must be."""
    face = font(bold)
    lines: list[str] = []
    line = ""
    for word in (part for token in text.split() for part in _parts(token, width, size, bold=bold)):
        longer = f"{line} {word}" if line else word
        if line and face.width(longer, size) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


def _parts(word: str, width: float, size: float, *, bold: bool) -> Sequence[str]:
    face = font(bold)
    if face.width(word, size) <= width:
        return (word,)
    widths = face.advances[face.numbers(face.drawable(word))] * size / 1000.0
    parts, start, used = [], 0, 0.0
    for index, advance in enumerate(widths):
        if used + advance > width and index > start:
            parts.append(word[start:index])
            start, used = index, 0.0
        used += advance
    return (*parts, word[start:])
