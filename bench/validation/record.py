"""What was measured, by which command, when, of what and on what: ``record.json``."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = Path(__file__).with_name("record.json")
NOT_RECORDED = "not recorded"


class Unknown(Exception):
    """A figure, table or run that is not in the record."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command.

    A figure is its words, or where it stands in a table: ``{"table", "row", "column"}``, with ``"part"`` counted from 0
    where a cell holds several values between strokes, and ``"unit"`` where the cell has none. A table is its lines.
    """

    command: str
    date: str
    commit: str
    machine: str
    figures: Mapping[str, Any]
    tables: Mapping[str, tuple[str, ...]]

    def figure(self, name: str) -> str:
        """The words of a figure; raises Unknown."""
        if name not in self.figures:
            raise Unknown(f"figure {name!r}")
        found = self.figures[name]
        return found if isinstance(found, str) else self._cell(**found)

    def _cell(self, table: str, row: str, column: str, part: int | None = None, unit: str = "") -> str:
        head, _, *rows = map(cells, self.table(table))
        found = next((one for one in rows if one[0] == row), None)
        if found is None or column not in head:
            raise Unknown(f"row {row!r}, column {column!r} of table {table!r}")
        value = found[head.index(column)]
        value = value if part is None else value.split(" / ")[part]
        return re.sub(r"(?<=\d)%", " %", value + unit)

    def table(self, name: str) -> tuple[str, ...]:
        """The lines of a table; raises Unknown."""
        if name not in self.tables:
            raise Unknown(f"table {name!r}")
        return self.tables[name]

    def again(self, tables: Mapping[str, tuple[str, ...]], date: str, commit: str, machine: str) -> Run:
        """The same command, run again: its tables are new; raises Unknown where one of them did not come out."""
        missing = [name for name in self.tables if name not in tables]
        if missing:
            raise Unknown(f"tables {', '.join(missing)} in what {self.command!r} printed")
        kept = {name: tables[name] for name in self.tables}
        return replace(self, date=date, commit=commit, machine=machine, tables=kept)


@dataclass(frozen=True, slots=True)
class Record:
    """All runs by name, and for each document the phrases with numbers in them that are no measurements."""

    runs: Mapping[str, Run]
    no_measurements: Mapping[str, tuple[str, ...]]

    def run(self, name: str) -> Run:
        """A run; raises Unknown."""
        if name not in self.runs:
            raise Unknown(f"run {name!r}")
        return self.runs[name]


def cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read(path: Path = FILE) -> Record:
    """Read the record."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    runs = {
        name: Run(**{**one, "tables": {table: tuple(lines) for table, lines in one["tables"].items()}})
        for name, one in kept["runs"].items()
    }
    return Record(runs, {name: tuple(phrases) for name, phrases in kept["no_measurements"].items()})


def write(record: Record, path: Path = FILE) -> None:
    """Write the record."""
    path.write_text(json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
