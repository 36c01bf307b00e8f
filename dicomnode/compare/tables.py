"""Tables of T2* and R2* per region beside a reference, as Markdown; the numbers in them, as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

COLUMNS = ("quantity", "subject", "region", "method", "mean", "reference", "difference", "nearest")


@dataclass(frozen=True, slots=True)
class Mark:
    """What is seen of a cell: its error as a share of the table's largest, and whether no other is nearer."""

    error: float = 0.0
    nearest: bool = False


PLAIN = Mark()


@dataclass(frozen=True, slots=True)
class Table:
    """A caption, the heads of the columns, the rows as text, and sentences that belong under it."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)  # by row and column, from 0

    def markdown(self) -> str:
        """Return the table with its columns padded, so that the text is readable as it is; the nearest is bold."""
        cells = [list(self.columns), *[self._bold(number) for number in range(len(self.rows))]]
        widths = [max(len(row[k]) for row in cells) for k in range(len(self.columns))]
        lines = [_line(row, widths) for row in cells]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([f"**{self.caption}**", "", *lines, *notes, ""])

    def _bold(self, number: int) -> list[str]:
        nearest = [self.marks.get((number, column), PLAIN).nearest for column in range(len(self.columns))]
        return [f"**{cell}**" if best else cell for cell, best in zip(self.rows[number], nearest, strict=True)]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"


# Region -> its mean in each subject, NaN where there is none.
Regions = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Means:
    """Means of one quantity: of the reference, and of the methods by their names."""

    quantity: str
    subjects: Sequence[str]
    reference_name: str
    reference: Regions
    methods: Mapping[str, Regions]

    @property
    def has_reference(self) -> bool:
        """Say whether there is anything to compare with."""
        return any(math.isfinite(value) for values in self.reference.values() for value in values)

    def cells(self, method: str, region: str) -> list[str]:
        """Return what a method's row says of a region."""
        return [with_error(v, r) for v, r in zip(self.methods[method][region], self.reference[region], strict=True)]

    def error(self, method: str, region: str, subject: int) -> float:
        """Return how far a mean is from the reference; NaN without one."""
        return abs(self.methods[method][region][subject] - self.reference[region][subject])

    def nearest(self, region: str, subject: int) -> list[str]:
        """Return the methods that are nearest to the reference."""
        estimates = {name: regions[region][subject] for name, regions in self.methods.items()}
        return nearest(estimates, self.reference[region][subject])

    def marks(self, method: str, region: str) -> list[Mark]:
        """Return what is seen of a method's means in a region."""
        everywhere = range(len(self.subjects))
        errors = [self.error(name, one, k) for name in self.methods for one in self.reference for k in everywhere]
        largest = max((one for one in errors if math.isfinite(one)), default=0.0) or 1.0
        own = [self.error(method, region, k) for k in everywhere]
        shares = [one / largest if math.isfinite(one) else 0.0 for one in own]
        several = len(self.methods) > 1
        return [Mark(share, several and method in self.nearest(region, k)) for k, share in enumerate(shares)]

    def numbers(self) -> Iterator[tuple[str | float, ...]]:
        """Return a row of ``COLUMNS`` for each mean, empty where there is none."""
        for region, reference in self.reference.items():
            for name, regions in self.methods.items():
                for k, (value, theirs) in enumerate(zip(regions[region], reference, strict=True)):
                    row = (value, theirs, value - theirs)
                    best = int(name in self.nearest(region, k)) if math.isfinite(value - theirs) else ""
                    full = tuple(one if math.isfinite(one) else "" for one in row)
                    yield (self.quantity, self.subjects[k], region, name, *full, best)


def roi_table(caption: str, means: Means) -> Table:
    """Lay out the means per region under the value they are compared with, as tables 2, 4 and 6 of the paper."""
    rows: list[list[str]] = []
    marks: dict[tuple[int, int], Mark] = {}
    for region, reference in means.reference.items():
        if means.has_reference:
            rows.append([region, means.reference_name, *[number(value) for value in reference]])
        for method in means.methods:
            marks |= {(len(rows), 2 + k): mark for k, mark in enumerate(means.marks(method, region))}
            rows.append([region, method, *means.cells(method, region)])
    error = " (difference)" if means.has_reference else ""
    return Table(caption, ["region", means.quantity + error, *means.subjects], rows, marks=marks)


def best_roi_table(caption: str, means: Means) -> Table:
    """Per region and subject the mean nearest to the reference and the methods it is from, as table 3."""
    wins = dict.fromkeys(means.methods, 0)
    rows = []
    for region, reference in means.reference.items():
        row = [region]
        for k, value in enumerate(reference):
            best = means.nearest(region, k)
            wins.update({name: wins[name] + 1 for name in best})
            row.append(f"{with_error(means.methods[best[0]][region][k], value)} {' = '.join(best)}" if best else "–")
        rows.append(row)
    note = "Nearest: " + "; ".join(f"{name}: {count}" for name, count in wins.items()) + "."
    return Table(caption, [f"{means.quantity} (difference) method", *means.subjects], rows, [note])


def nearest(estimates: Mapping[str, float], reference: float) -> list[str]:
    """Names of the estimates nearest to the reference, several where they print alike; none without a number."""
    errors = {name: abs(value - reference) for name, value in estimates.items() if math.isfinite(value - reference)}
    if not errors:
        return []
    best = min(errors, key=lambda name: errors[name])
    return [name for name in errors if number(estimates[name]) == number(estimates[best])]


def time_table(caption: str, seconds: Mapping[str, tuple[float, float]]) -> Table:
    """Total wall-clock and CPU seconds per method, as figure 16 of the paper."""
    fastest = min(max(cpu, 1e-3) for _, cpu in seconds.values())
    rows = [[name, f"{wall:.2f}", f"{cpu:.2f}", f"{cpu / fastest:.0f}×"] for name, (wall, cpu) in seconds.items()]
    return Table(caption, ["method", "seconds", "CPU seconds", "ratio of CPU seconds"], rows)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[str | float]]) -> str:
    """Return rows as CSV: numbers with a point and in full."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def number(value: float) -> str:
    """Print a value with the paper's four decimals; a dash where there is none."""
    return f"{value:.4f}" if math.isfinite(value) else "–"


def with_error(value: float, reference: float) -> str:
    """Print a value and how far it is from the reference, where there is one."""
    return f"{number(value)} ({value - reference:+.4f})" if math.isfinite(value - reference) else number(value)
