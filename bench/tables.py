"""Tables as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def roi_table(
    caption: str,
    subjects: Sequence[str],
    reference_ms: Sequence[float],
    estimates_ms: Mapping[str, Sequence[float]],
    reference_name: str = "Scanner result",
) -> Table:
    """Lay out mean T2* per region beside a reference, as tables 2, 4 and 6 of the paper.

    ``estimates_ms`` maps a region's name to one mean T2* in ms per subject; NaN prints as a dash.
    """
    rows = [[reference_name, *[_ms(value) for value in reference_ms]]]
    for region, values in estimates_ms.items():
        rows.append([region, *[_with_error(v, r) for v, r in zip(values, reference_ms, strict=True)]])
    return Table(caption, ["T2* in ms (error)", *subjects], rows)


def best_roi_table(
    caption: str,
    subjects: Sequence[str],
    reference_ms: Sequence[float],
    methods: Mapping[str, Mapping[str, Sequence[float]]],
    reference_name: str = "Scanner result",
) -> Table:
    """Per region and subject the estimate nearest to the reference and the method it is from, as table 3."""
    rows = [[reference_name, *[_ms(value) for value in reference_ms]]]
    wins = dict.fromkeys(methods, 0)
    for region in next(iter(methods.values())):
        row = [region]
        for k, reference in enumerate(reference_ms):
            errors = {name: abs(estimates[region][k] - reference) for name, estimates in methods.items()}
            best = min(errors, key=lambda name: (np.isnan(errors[name]), errors[name]))
            wins[best] += 1
            row.append(f"{_ms(methods[best][region][k])} {best}")
        rows.append(row)
    note = "Nearest: " + ", ".join(f"{name} {count}" for name, count in wins.items()) + "."
    return Table(caption, ["T2* in ms (method)", *subjects], rows, [note])


def mean_in(values: NDArray[np.floating[Any]], region: NDArray[np.bool_]) -> float:
    """Mean of the finite values in a region; NaN when there is none."""
    chosen = values[region]
    chosen = chosen[np.isfinite(chosen)]
    return float(chosen.mean()) if chosen.size else float("nan")


def _ms(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4f}"


def _with_error(value: float, reference: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4f} ({value - reference:+.4f})"
