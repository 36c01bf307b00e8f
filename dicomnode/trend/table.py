"""Earlier results that a site has written into a table, as before this node was there or by another method."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from dicomnode.errors import InputError
from dicomnode.measure.organ import Answered
from dicomnode.measure.organs import ORGANS
from dicomnode.trend.values import LIVER, Origin, Point

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEEDED = ("patient_id", "date")
_MEASURED = ("organ", "lic_mg_per_g", "t2star_ms", "r2star_per_s")
COLUMNS = (*NEEDED, "issuer", *_MEASURED, "field_t", "scanner", "method", "note")
_LONGEST = 40  # letters of a word that pages show
_MOST_BYTES = 1 << 26
_Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One measurement of a table: whose it is, and what was measured."""

    patient_id: str
    issuer: str  # empty: of any
    point: Point


@dataclass(frozen=True, slots=True)
class Table:
    """What of a table can be used, and by its number what cannot; a reason never repeats what stands there."""

    lines: tuple[Line, ...] = ()
    faults: tuple[str, ...] = ()

    def of(self, patient_id: str, issuer: str) -> Iterator[Point]:
        """What was measured of a patient; a line without an issuer is of whoever has that identifier."""
        return (one.point for one in self.lines if one.patient_id == patient_id and one.issuer in {"", issuer})


def read(path: Path) -> Table:
    """Read a CSV file: UTF-8, a head of column names, commas or semicolons or tabs.

    A line that cannot be used is left out and named; raises InputError where the file as a whole cannot be.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: larger than {_MOST_BYTES >> 20} MB, it is no table of earlier results")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(
            f"{path}: the table cannot be read: {type(fault).__name__}; save it as CSV in UTF-8"
        ) from fault
    rows = text.splitlines()
    separator = max(",;\t", key=(rows[0] if rows else "").count)
    reader = csv.DictReader(rows, delimiter=separator, restval="")
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    if missing := [name for name in NEEDED if name not in names]:
        raise InputError(f"{path}: line 1 must name the columns; missing: {', '.join(missing)}")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise InputError(f"{path}: unknown columns {', '.join(unknown)}; known are {', '.join(COLUMNS)}")
    reader.fieldnames = names
    return _table(reader)


def _table(reader: csv.DictReader[str]) -> Table:
    lines, faults = [], []
    for row in reader:
        values = {name: (text or "").strip() for name, text in row.items() if isinstance(name, str)}
        if not any(values.values()):
            continue
        try:
            lines.append(_line(values))
        except ValueError as fault:
            faults.append(f"line {reader.line_num}: {fault}")
    return Table(tuple(lines), tuple(faults))


def _line(row: _Row) -> Line:
    """One line; raises ValueError that names the column."""
    if not row["patient_id"]:
        raise ValueError("patient_id is needed")
    try:
        measured = date.fromisoformat(row["date"])
    except ValueError:
        raise ValueError("date is needed as YYYY-MM-DD") from None
    organ = ORGANS.get(row.get("organ", "").lower() or LIVER)
    if organ is None:
        raise ValueError(f"organ is none of {', '.join(ORGANS)}")
    column = "t2star_ms" if organ.answers is Answered.T2STAR else "lic_mg_per_g"
    value, rate = _number(row, column), _number(row, "r2star_per_s")
    if value is None and rate is None:
        raise ValueError(f"{column} or r2star_per_s is needed")
    time = value if organ.answers is Answered.T2STAR else None
    if organ.answers is Answered.T2STAR and time is None and rate:
        time = 1000.0 / rate
    point = Point(
        f"{measured:%Y%m%d}",
        Origin.TABLE,
        lic_mg_per_g=value if organ.answers is Answered.IRON else None,
        r2star_per_s=rate,
        field_t=_number(row, "field_t"),
        scanner_label=row.get("scanner", "")[:_LONGEST],
        method=row.get("method", "")[:_LONGEST],
        organ=organ.name,
        t2star_ms=time,
    )
    return Line(row["patient_id"], row.get("issuer", ""), point)


def _number(row: _Row, column: str) -> float | None:
    """A number with a decimal point or comma; raises ValueError for what is none."""
    text = row.get(column, "").replace(",", ".")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column} is not a number") from None
    if not 0 <= value < math.inf:
        raise ValueError(f"{column} is not a number from 0 on")
    return value
