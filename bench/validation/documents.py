"""Figures in the documents: what is marked is filled in from the record, what is not is found.

A figure is marked by a link to its run in docs/validation.md, whose title is the figure's name:
``[88 %](validation.md#liver "given")``. A table stands between ``<!-- record: RUN, TABLE -->`` and its end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.validation.record import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.validation.record import Record, Run

MARK = re.compile(
    r'\[(?P<value>[^\[\]]+)\]\((?P<page>(?:[\w./-]*validation\.md)?)#(?P<run>[\w-]+)\s"(?P<figure>[^"]+)"\)'
)
TABLE = re.compile(
    r"(?P<begin><!-- record: (?P<run>[\w-]+), (?P<table>.+?) -->\n).*?(?P<end><!-- /record -->)", re.DOTALL
)
RUNS_BEGIN, RUNS_END = "<!-- runs: made by `make validation` -->", "<!-- /runs -->"
_NUMBER = r"(?<![\w.,/–^×-])[±+-]?\d[\d,]*(?:\.\d+)?"
_UNIT = r"%|per cent\b|ms\b|s\b|minutes\b|KB\b|MB\b|GB\b|times\b|images\b"
# What looks measured: a number with a unit of share, time or size, and any decimal fraction but of T, mm and mg/g.
FIGURE = re.compile(
    rf"{_NUMBER}(?:\s?(?:–|to|and)\s?\d[\d,]*(?:\.\d+)?)?\s?(?:{_UNIT})"
    r"|(?<![\w.,/–^×-])\d+\.\d+(?![\d.]|\s?(?:T\b|mm\b|mg\b))"
)
_NO_TEXT = re.compile(r"```.*?```|`[^`]*`|<!--.*?-->|(?<=\])\([^)]*\)", re.DOTALL)


def filled(text: str, record: Record) -> str:
    """The document with its marked figures and tables as the record has them; raises Unknown for what it lacks."""
    text = TABLE.sub(lambda found: _table(found, record), text)
    text = MARK.sub(lambda found: _figure(found, record), text)
    between = f"{re.escape(RUNS_BEGIN)}.*{re.escape(RUNS_END)}"
    return re.sub(between, lambda _: "\n".join([RUNS_BEGIN, *runs(record), RUNS_END]), text, flags=re.DOTALL)


def _table(found: re.Match[str], record: Record) -> str:
    lines = record.run(found["run"]).table(found["table"])
    return "\n".join([found["begin"].rstrip("\n"), *lines, found["end"]])


def _figure(found: re.Match[str], record: Record) -> str:
    value = record.run(found["run"]).figure(found["figure"])
    same = " ".join(found["value"].split()) == value  # a line may end within
    return found[0] if same else f'[{value}]({found["page"]}#{found["run"]} "{found["figure"]}")'


def runs(record: Record) -> Iterator[str]:
    """A section for each run: command, date, commit, machine, and its figures by name."""
    for name, run in record.runs.items():
        yield from (f"### {name}", "", f"{_words(run)}", "")
        if run.figures:
            yield from ("| figure | value |", "|---|---|")
            yield from (f"| {_escaped(figure)} | {run.figure(figure)} |" for figure in run.figures)
            yield ""


def _words(run: Run) -> str:
    command = f"`{run.command}`" if " " in run.command and not run.command.startswith("not ") else run.command
    tables = f" Tables: {', '.join(run.tables)}." if run.tables else ""
    return f"Command: {command}. Date: {run.date}. Commit: {run.commit}. Machine: {run.machine}.{tables}".replace(
        "*", "\\*"
    )


def _escaped(words: str) -> str:
    return words.replace("*", "\\*")


def unmarked(text: str, phrases: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Line and words of what looks measured and is neither marked nor among the phrases that are no measurements."""
    for pattern in (TABLE, re.compile(f"{re.escape(RUNS_BEGIN)}.*{re.escape(RUNS_END)}", re.DOTALL), MARK, _NO_TEXT):
        text = pattern.sub(_blank, text)
    for phrase in phrases:
        text = re.sub(r"\s+".join(map(re.escape, phrase.split())), _blank, text)
    for found in FIGURE.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, " ".join(found[0].split())


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def unused(texts: Iterable[str], record: Record) -> Iterator[str]:
    """Figures and tables of the record that no document states."""
    stated = {(one["run"], one["figure"]) for text in texts for one in MARK.finditer(text)}
    shown = {(one["run"], one["table"]) for text in texts for one in TABLE.finditer(text)}
    for name, run in record.runs.items():
        yield from (f"{name}: figure {one!r}" for one in run.figures if (name, one) not in stated)
        yield from (f"{name}: table {one!r}" for one in run.tables if (name, one) not in shown)


__all__ = ["FIGURE", "Unknown", "filled", "runs", "unmarked", "unused"]
