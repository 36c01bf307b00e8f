"""``python -m bench.reference [--check]``: docs/configuration.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.reference import markdown
from bench.reference.example import EXAMPLE
from bench.reference.keys import tables

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def main() -> int:
    """Write the reference, or say whether it is still true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the reference is old")
    fresh = markdown.document(tables(EXAMPLE.read_text(encoding="utf-8")))
    if parser.parse_args().check:
        return int(fresh != DOCUMENT.read_text(encoding="utf-8"))
    DOCUMENT.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
