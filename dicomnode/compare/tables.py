"""Tables of T2* and R2* per region beside a reference, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A caption, the heads of the columns, the rows as text, and sentences that belong under it."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """Return the table with its columns padded, so that the text is readable as it is."""
        cells = [list(self.columns), *[list(row) for row in self.rows]]
        widths = [max(len(row[k]) for row in cells) for k in range(len(self.columns))]
        lines = [_line(row, widths) for row in cells]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([f"**{self.caption}**", "", *lines, *notes, ""])


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


def roi_table(caption: str, means: Means) -> Table:
    """Lay out the means per region under the value they are compared with, as tables 2, 4 and 6 of the paper."""
    rows = []
    for region, reference in means.reference.items():
        if means.has_reference:
            rows.append([region, means.reference_name, *[number(value) for value in reference]])
        rows += [[region, method, *means.cells(method, region)] for method in means.methods]
    error = " (difference)" if means.has_reference else ""
    return Table(caption, ["region", means.quantity + error, *means.subjects], rows)


def best_roi_table(caption: str, means: Means) -> Table:
    """Per region and subject the mean nearest to the reference and the methods it is from, as table 3."""
    wins = dict.fromkeys(means.methods, 0)
    rows = []
    for region, reference in means.reference.items():
        row = [region]
        for k, value in enumerate(reference):
            best = nearest({name: regions[region][k] for name, regions in means.methods.items()}, value)
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


def number(value: float) -> str:
    """Print a value with the paper's four decimals; a dash where there is none."""
    return f"{value:.4f}" if math.isfinite(value) else "–"


def with_error(value: float, reference: float) -> str:
    """Print a value and how far it is from the reference, where there is one."""
    return f"{number(value)} ({value - reference:+.4f})" if math.isfinite(value - reference) else number(value)
