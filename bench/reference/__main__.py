"""``python -m bench.reference [--check | --manual FOLDER]``: what docs/ say of keys and functions, or manual pages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.reference import completion, library, man, markdown
from bench.reference.example import EXAMPLE
from bench.reference.keys import tables

DOCUMENTS = Path(__file__).parents[2] / "docs"


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
    of_library = DOCUMENTS / "library.md"
    fresh = {
        DOCUMENTS / "configuration.md": markdown.document(known),
        of_library: library.filled(of_library.read_text(encoding="utf-8")),
    }
    if asked.check:
        return int(any(text != path.read_text(encoding="utf-8") for path, text in fresh.items()))
    for path, text in fresh.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
