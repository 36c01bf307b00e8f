"""Every fault of a file in a sentence, with its line and its key."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from dicomnode.config.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def report(path: Path | None, faults: list[str]) -> str:
    """Every fault of a file, one a line."""
    head = f"{path or 'configuration'}: {len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return "\n".join([head, *(f"  {fault}" for fault in faults)])


_Key = tuple[str | int, ...]


class Lines:
    """Finds the line of a key; tomllib reports none."""

    _TABLE = re.compile(r"^\s*(\[\[?)\s*([\w.-]+)\s*\]")
    _ASSIGNMENT = re.compile(r"""^\s*["']?([\w-]+)["']?\s*=""")

    def __init__(self, text: str) -> None:
        self._lines: dict[_Key, int] = {}
        table: _Key = ()
        seen: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if head := self._TABLE.match(line):
                name = head[2]
                table = tuple(name.split("."))
                if head[1] == "[[":
                    table = (*table, seen.get(name, 0))
                    seen[name] = seen.get(name, 0) + 1
                self._lines.setdefault(table, number)
            elif assignment := self._ASSIGNMENT.match(line):
                self._lines.setdefault((*table, assignment[1]), number)

    def of(self, key: _Key) -> str:
        """``line 12: `` for the key or the closest table around it; empty when neither is in the file."""
        while key:
            if key in self._lines:
                return f"line {self._lines[key]}: "
            key = key[:-1]
        return ""


def _name(key: _Key) -> str:
    """Write a key as it stands in the file: [grouping] quiet_seconds, [[scanner]] 2 address."""
    match key:
        case (str(table), int(index), *rest):
            number = f" {index + 1}" if index else ""
            return " ".join([f"[[{table}]]{number}", *map(_counted, rest)])
        case (str(table), *rest):
            return " ".join([f"[{table}]", *map(_counted, rest)])
    return ".".join(map(str, key))


def _counted(part: str | int) -> str:
    """People count from 1."""
    return str(part + 1) if isinstance(part, int) else part


def _known(key: _Key) -> list[str]:
    """Return the keys that exist where this one was looked for."""
    model: Any = Settings
    for part in key[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = annotation if isinstance(annotation, type) else annotation.__args__[0]
    return list(model.model_fields)


_SECRET = {"password", "url", "token_url"}  # what stands there may be the password itself, or hold one


def sentence(fault: Any, lines: Lines) -> str:
    """What is wrong with a value, where it stands; what may be a secret is not repeated."""
    key: _Key = tuple(
        part for part in fault["loc"] if not (isinstance(part, str) and part.startswith(("tuple", "literal")))
    )
    if not key:  # of several tables, which its words name
        return str(fault["msg"]).removeprefix("Value error, ")
    where = lines.of(key) + _name(key)
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(key[-1]), _known(key), 1)
        return f"{where}: unknown key" + (f"; did you mean '{near[0]}'?" if near else "")
    if fault["type"] == "missing":
        return f"{where}: is needed"
    message = fault["msg"].removeprefix("Value error, ")
    value = fault["input"]
    if isinstance(value, dict) or key[-1] in _SECRET:
        return f"{where}: {message}"
    return f"{where}: {message}, not {value!r}"
