"""Print what came of many series with lies, by kind; fail where one was silently wrong."""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict

import numpy as np

from bench.lies import KINDS, RATES, THREADS, TRIALS, go_together, outcome
from dicomnode.compare.tables import Table


def main() -> int:
    """Print what came of many series, by kind; fail where one was silently wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    faults = []
    while seen["all"].total() < options.examples:
        kinds = tuple(str(k) for k in rng.choice(sorted(KINDS), size=int(rng.integers(1, 3)), replace=False))
        if not go_together(kinds):
            continue
        shape = (int(rng.integers(6, 10)), int(rng.integers(1, 4)))
        found = outcome(float(rng.choice(RATES)), shape, kinds, int(rng.integers(1 << 30)))
        for name in (*kinds, "all"):
            seen[name][found.verdict] += 1
        if found.verdict not in {"right", "named"}:
            faults.append(found)
    for name in (*THREADS, *TRIALS):
        for rate in RATES:
            for shape in ((6, 1), (8, 3)):
                found = outcome(rate, shape, (name,), int(rng.integers(1 << 30)))
                seen[name][found.verdict] += 1
                if found.verdict not in {"right", "named"}:
                    faults.append(found)
    verdicts = ("right", "named", "withheld for another reason", "twice", "wrong")
    rows = [
        [name, str(count.total()), *(str(count[verdict]) for verdict in verdicts)]
        for name, count in sorted(seen.items(), key=lambda item: (item[0] != "all", item[0]))
    ]
    sys.stdout.write(Table("Series with one or two lies", ("lie", "series", *verdicts), rows).markdown() + "\n")
    for fault in faults:
        sys.stdout.write(f"{fault.verdict}: {fault.kinds}, {fault.given} for {fault.rate}: {fault.said}\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
