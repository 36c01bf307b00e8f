"""Tables and figures as one page that a browser shows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from dicomnode.compare.tables import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dicomnode.compare.tables import Mark, Table

STYLE = (
    "body{font:15px/1.4 sans-serif;max-width:80em;margin:2em auto;padding:0 1em;color:#000;background:#fff}"
    "table{border-collapse:collapse;margin:.5em 0}caption{text-align:left;font-weight:bold}"
    "td,th{border:1px solid #999;padding:.2em .6em;text-align:left}"
    ".wide{overflow-x:auto}figure{margin:1.5em 0}img{max-width:100%}.best{outline:2px solid #0072B2}"
)
KEY = "The redder a cell, the farther it is from the reference; framed and bold is the nearest."
REDDEST = 0.75  # so that black letters stay readable


def html(
    title: str,
    remarks: Iterable[str],
    tables: Iterable[Table],
    pictures: Iterable[tuple[str, str]],
) -> str:
    """Return the page; ``pictures`` are files beside it with their captions."""
    body = [f"<h1>{escape(title)}</h1>", f"<p>{KEY}</p>"]
    body += [f"<p>{escape(one)}</p>" for one in remarks]
    body += [line for table in tables for line in _table(table)]
    body += [_figure(file, caption) for file, caption in pictures]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def _table(table: Table) -> Iterator[str]:
    yield f'<div class="wide"><table><caption>{escape(table.caption)}</caption>'
    yield "<tr>" + "".join(f'<th scope="col">{escape(head)}</th>' for head in table.columns) + "</tr>"
    for number, row in enumerate(table.rows):
        marks = [table.marks.get((number, column), PLAIN) for column in range(len(row))]
        yield _row(row, marks)
    yield "</table></div>"
    yield from (f"<p>{escape(note)}</p>" for note in table.notes)


def _row(row: Sequence[str], marks: Sequence[Mark]) -> str:
    return "<tr>" + "".join(_cell(text, mark) for text, mark in zip(row, marks, strict=True)) + "</tr>"


def _cell(text: str, mark: Mark) -> str:
    words = f"<strong>{escape(text)}</strong>" if mark.nearest else escape(text)
    best = ' class="best"' if mark.nearest else ""
    red = f' style="background:rgba(222,45,38,{REDDEST * mark.error:.2f})"' if mark.error else ""
    return f"<td{best}{red}>{words}</td>"


def _figure(file: str, caption: str) -> str:
    name, words = escape(file), escape(caption)
    return f'<figure><img src="{name}" alt="{words}"><figcaption>{words}</figcaption></figure>'
