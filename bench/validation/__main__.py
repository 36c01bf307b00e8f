"""``python -m bench.validation [--check | --run NAME ...]``: fill figures into the documents from the record."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.validation import documents, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.validation.record import Record

REPOSITORY = Path(__file__).parents[2]
# Written whole by commands of their own, from what they themselves ran.
MADE = {"docs/gallery.md", "docs/configuration.md", "docs/library.md"}


def main() -> int:
    """Write the documents, or say what in them is not in the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 where a document is not as recorded"
    )
    parser.add_argument("--run", nargs="+", default=[], metavar="NAME", help="run these again first, keep their tables")
    asked = parser.parse_args()
    try:
        return _write(asked.run, check=asked.check)
    except record.Unknown as fault:
        sys.stderr.write(f"the record has no {fault}\n")
        return 1


def _write(again: Sequence[str], *, check: bool) -> int:
    kept = record.read()
    for name in again:
        kept = run_again(name, kept)
        record.write(kept)
    texts = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in names()}
    fresh = {name: documents.filled(text, kept) for name, text in texts.items()}
    faults = list(all_faults(texts, kept))
    if check and fresh != texts:
        faults.append("the documents state other figures than the record: run `make validation`")
    elif not check:
        for name, text in fresh.items():
            (REPOSITORY / name).write_text(text, encoding="utf-8")
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    return int(bool(faults))


def names() -> list[str]:
    """The documents whose figures are watched."""
    found = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
    return sorted(name for name in (str(path.relative_to(REPOSITORY)) for path in found) if name not in MADE)


def all_faults(texts: dict[str, str], kept: Record) -> Iterator[str]:
    """What a document states that the record does not hold, and what the record holds that none states."""
    for name, text in texts.items():
        for line, words in documents.unmarked(text, kept.no_measurements.get(name, ())):
            yield f"{name}:{line}: {words} is neither marked as a figure of the record nor said to be no measurement"
    yield from (f"record: no document states {one}" for one in documents.unused(texts.values(), kept))


def run_again(name: str, kept: Record) -> Record:
    """Run a command and keep the tables it prints; raises Unknown where one is missing.

    Figures that stand in no table stay as they were, and are named: whoever ran it looks at them.
    """
    run = kept.run(name)
    command = (
        [sys.executable, *shlex.split(run.command)[1:]]
        if run.command.startswith("python ")
        else shlex.split(run.command)
    )
    printed = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603
    again = run.again(tables_in(printed), f"{datetime.now(UTC):%Y-%m-%d}", _commit(), _machine())
    by_hand = [figure for figure, value in run.figures.items() if isinstance(value, str)]
    if by_hand:
        sys.stderr.write(f"{name}: set by hand in record.json: {', '.join(by_hand)}\n{printed}\n")
    return replace(kept, runs={**kept.runs, name: again})


def tables_in(printed: str) -> dict[str, tuple[str, ...]]:
    """The Markdown tables that a command printed, by the bold caption over each, else by its heads."""
    found = re.findall(r"(?:\*\*(.+?)\*\*\n\n)?((?:^\|.*\n?)+)", printed, re.MULTILINE)
    tables = [(caption, tuple(lines.splitlines())) for caption, lines in found]
    return {caption or ", ".join(record.cells(lines[0])): lines for caption, lines in tables}


def _commit() -> str:
    said: Sequence[str] = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return said[0] + (" with changes" if said[1] else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603, S607
    return done.stdout.strip()


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
