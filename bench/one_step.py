"""Runs one step of a job and prints what memory that took: ``python -m bench.one_step FOLDER KEY STEP``.

It loads what a child process of a node loads and nothing else.
"""

import json
import sys
from pathlib import Path

from dicomnode.jobs import pipeline


def main() -> None:
    """Run the step; print bytes before it and at its peak."""
    folder, key, step = sys.argv[1:]
    pipeline.prepare()
    loaded = _said("VmRSS")
    pipeline.run_step(folder, key, step)
    # Not ru_maxrss, which begins with that of the process that started this one.
    sys.stdout.write(json.dumps({"loaded": loaded, "peak": _said("VmHWM")}))


def _said(name: str) -> int:
    """What the kernel says of this process (proc(5)), bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
