"""The whole matrix of faults, one line a scenario: ``python -m bench.faults [--only NAME] [--quick]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.faults.scenarios import SCENARIOS
from bench.faults.world import Failed, Tally
from dicomnode.compare.tables import Table

COLUMNS = ("scenario", "studies", "answered", "lost", "double", "superseded", "sent twice", "seconds", "")


def main() -> int:
    """Run the scenarios and print what became of their studies; 1 where one was lost or reported twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="as few studies as in the tests")
    asked = parser.parse_args()
    rows, good = [], True
    with tempfile.TemporaryDirectory() as name:
        for number, (title, (scenario, many, few)) in enumerate(SCENARIOS.items()):
            if asked.only in (None, title):
                begin = time.monotonic()
                try:
                    found = scenario(Path(name) / str(number), few if asked.quick else many)
                except Failed as fault:
                    found = Tally(lost=1, seconds=time.monotonic() - begin, remarks=str(fault))
                good &= found.good
                counts = (found.studies, found.answered, found.lost, found.double, found.superseded, found.duplicates)
                rows.append((title, *map(str, counts), f"{found.seconds:.0f}", found.remarks))
                sys.stdout.write(f"{title}: {found}\n")
                sys.stdout.flush()
    sys.stdout.write("\n" + Table("Faults", COLUMNS, rows).markdown())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
