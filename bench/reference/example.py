"""The sentences of the example configuration file, by table and key.

The example is the manual: what a key means is said beside it and nowhere else. A sentence after a key is the key's,
with the indented lines below it. Lines right before a key that has none of its own are that key's; any others are their
table's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "deploy" / "config.example.toml"

_HEAD = re.compile(r"(?:# )?\[\[?([\w.]+)\]\]?")
_KEY = re.compile(r"(?:# )?(\w+) = .*?(?:\s+# (.*))?")
_MORE = re.compile(r"\s+# (.*)")
_PROSE = re.compile(r"#(?: (.*))?")


@dataclass
class Said:
    """What the example says of one table."""

    about: list[str] = field(default_factory=list)  # its own lines
    keys: dict[str, list[str]] = field(default_factory=dict)


def sentences(text: str) -> dict[str, Said]:
    """What an example says, by the name of the table: "receive", "measure.calibrations"."""
    tables: dict[str, Said] = defaultdict(Said)
    table, key, before = Said(), "", list[str]()
    for line in text.splitlines():
        if head := _HEAD.fullmatch(line):
            table, key = tables[head[1]], ""
            table.about += before
            before = []
        elif found := _KEY.fullmatch(line):
            key, own = found[1], found[2]
            if own:
                table.about += before
                table.keys[key] = [own]
            else:
                table.keys[key] = before
            before = []
        elif (more := _MORE.fullmatch(line)) and key:
            table.keys[key].append(more[1])
        elif prose := _PROSE.fullmatch(line):
            before.append(prose[1] or "")
        else:
            if not key:
                table.about += before
                before = []
            key = ""
    table.about += before
    return dict(tables)
