"""The picture of the rooms in docs/architecture.md, from the imports: ``python -m bench.rooms [--check]``."""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import grimp

REPOSITORY = Path(__file__).parents[1]
DOCUMENT = REPOSITORY / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: made by `make rooms` -->", "<!-- /rooms -->"
THIRD_PARTIES = (
    *("pynetdicom", "highdicom", "dbos", "sqlalchemy", "watchdog", "pydicom", "numba"),
    *("scipy", "skimage", "PIL", "matplotlib", "pydantic", "click", "structlog"),
    *("starlette", "uvicorn", "jinja2", "argon2", "prometheus_client", "httpx", "hl7apy", "psycopg"),
)
EVERYWHERE = {"model", "errors", "events", "logs", "config"}  # arrows to these would hide the others


def main() -> int:
    """Write the picture into the document, or say whether it is still true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the picture is old")
    text = DOCUMENT.read_text(encoding="utf-8")
    between = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    fresh = re.sub(between, lambda _: f"{BEGIN}\n{picture()}\n{END}", text, flags=re.DOTALL)
    if parser.parse_args().check:
        return int(fresh != text)
    DOCUMENT.write_text(fresh, encoding="utf-8")
    return 0


def picture() -> str:
    """A drawing of who imports whom by layer, and a table of what each room imports."""
    arrows, outside = _imports()
    layers = _layers()
    count = sum(len(to) for to in arrows.values())
    lines = [f"{len(arrows)} rooms, {count} arrows, none upwards.", "", "```mermaid", "flowchart TD"]
    for number, rooms in enumerate(layers):
        shown = [room for room in rooms if room not in EVERYWHERE]
        lines += [f"  subgraph layer{number}[ ]", *(f"    {room}" for room in shown), "  end"] if shown else []
    lines += [f"  {room} --> {to}" for room in arrows for to in sorted(arrows[room] - EVERYWHERE)]
    lines += ["```", "", "| room | imports | and of others |", "|---|---|---|"]
    for room in (room for rooms in layers for room in rooms if room in arrows):
        ours = ", ".join(sorted(arrows[room] - EVERYWHERE)) or "-"
        lines.append(f"| `{room}` | {ours} | {', '.join(sorted(outside[room])) or '-'} |")
    return "\n".join(lines)


def _layers() -> list[list[str]]:
    """The rooms from the top down, as the import contract has them, and the solver."""
    linter = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    way = next(one for one in linter["contracts"] if one["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in way["layers"]] + [["solver"]]


def _imports() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """By room: the rooms it imports, and the packages of others."""
    graph = grimp.build_graph("dicomnode", "solver", include_external_packages=True, cache_dir=None)
    arrows: dict[str, set[str]] = defaultdict(set)
    outside: dict[str, set[str]] = defaultdict(set)
    for module in sorted(graph.modules):
        room = _room(module)
        if room is None:
            continue
        arrows[room]  # also one that imports nothing
        for imported in graph.find_modules_directly_imported_by(module):
            to = _room(imported)
            if to is not None and to != room:
                arrows[room].add(to)
            elif imported in THIRD_PARTIES:
                outside[room].add(imported)
    return dict(arrows), outside


def _room(module: str) -> str | None:
    """The room of a module of ours; None for the root and what others made."""
    package, _, rest = module.partition(".")
    if package == "solver":
        return "solver"
    return rest.split(".")[0] if package == "dicomnode" and rest else None


if __name__ == "__main__":
    sys.exit(main())
