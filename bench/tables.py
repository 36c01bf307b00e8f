"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


Regions = Mapping[str, Sequence[float]]  # region -> mean T2* in ms of each subject; NaN prints as a dash


def roi_table(
    caption: str, subjects: Sequence[str], reference_ms: Regions, estimates_ms: Regions, reference_name: str = "scanner"
) -> Table:
    """Lay out mean T2* per region under the value it is compared with, as tables 2, 4 and 6 of the paper."""
    rows = []
    for region, values in estimates_ms.items():
        reference = reference_ms[region]
        rows.append([f"{region}, {reference_name}", *[_ms(value) for value in reference]])
        rows.append([region, *[_with_error(v, r) for v, r in zip(values, reference, strict=True)]])
    return Table(caption, ["T2* in ms (error)", *subjects], rows)


def best_roi_table(
    caption: str, subjects: Sequence[str], reference_ms: Regions, methods: Mapping[str, Regions]
) -> Table:
    """Per region and subject the estimate nearest to the reference and the method it is from, as table 3."""
    rows = []
    wins = dict.fromkeys(methods, 0)
    for region, reference in reference_ms.items():
        row = [region]
        for k, value in enumerate(reference):
            best = _nearest({name: estimates[region][k] for name, estimates in methods.items()}, value)
            wins[best] += 1
            row.append(f"{_with_error(methods[best][region][k], value)} {best}")
        rows.append(row)
    note = "Nearest: " + "; ".join(f"{name}: {count}" for name, count in wins.items()) + "."
    return Table(caption, ["T2* in ms (error) method", *subjects], rows, [note])


def _nearest(estimates: Mapping[str, float], reference: float) -> str:
    """Name of the estimate nearest to the reference, the first of equals; what is not a number is far."""
    errors = {name: abs(value - reference) for name, value in estimates.items()}
    return min(errors, key=lambda name: np.inf if np.isnan(errors[name]) else errors[name])


def mean_in(values: NDArray[np.floating[Any]], region: NDArray[np.bool_]) -> float:
    """Mean of the finite values in a region; NaN when there is none."""
    chosen = values[region]
    chosen = chosen[np.isfinite(chosen)]
    return float(chosen.mean()) if chosen.size else float("nan")


def _ms(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4f}"


def _with_error(value: float, reference: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4f} ({value - reference:+.4f})"
