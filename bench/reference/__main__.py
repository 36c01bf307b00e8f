"""``python -m bench.reference [--check | --manual FOLDER]``: docs/configuration.md, or what is installed beside it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.reference import completion, man, markdown
from bench.reference.example import EXAMPLE
from bench.reference.keys import tables

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def main() -> int:
    """Write the reference, or say whether it is still true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the reference is old")
    parser.add_argument(
        "--manual", type=Path, metavar="FOLDER", help="write manual pages and completions there instead"
    )
    asked = parser.parse_args()
    known = tables(EXAMPLE.read_text(encoding="utf-8"))
    if asked.manual:
        asked.manual.mkdir(parents=True, exist_ok=True)
        for name, text in (man.pages(known) | completion.scripts()).items():
            (asked.manual / name).write_text(text, encoding="utf-8")
        return 0
    fresh = markdown.document(known)
    if asked.check:
        return int(fresh != DOCUMENT.read_text(encoding="utf-8"))
    DOCUMENT.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
