"""docs/configuration.md, from the tables of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.reference.keys import Table

_BEGIN = """\
# Configuration reference

Made by `make reference` from the schema in `dicomnode/config/` and the sentences in `deploy/config.example.toml`; a
test fails when it is old. Unknown keys are faults, and every fault is reported with its line: `dicomnode check --config
FILE`. What is "needed" has no default; `[[name]]` may stand several times.

The file is the one that `--config` names, else the one in the environment variable `DICOMNODE_CONFIG`, else
`/etc/dicomnode/config.toml`. Relative paths in it are relative to it. A change counts from the next start; what of it
changes a number (`[grouping]`, `[fit]`, `[measure]`) makes results of their own, never others under the same UIDs.
"""


def document(tables: Iterable[Table]) -> str:
    """The whole document."""
    return "\n".join([_BEGIN, *(line for table in tables for line in _lines(table))])


def _lines(table: Table) -> Iterator[str]:
    yield f"## `{table.head}`"
    yield ""
    yield _cell(table.about)
    yield ""
    if not table.keys:
        return
    yield "| key | type | default | bounds | meaning |"
    yield "|---|---|---|---|---|"
    for key in table.keys:
        default = key.default if key.default in {"needed", "not set"} else f"`{key.default}`"
        yield f"| `{key.name}` | {_cell(key.kind)} | {_cell(default)} | {_cell(key.bounds)} | {_cell(key.meaning)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
