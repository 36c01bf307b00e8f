"""Another version of the software: a copy of the package that says so of itself."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import dicomnode
from dicomnode.jobs import manifest


def another_version(folder: Path, version: str, manifest_version: int = manifest.VERSION) -> dict[str, str]:
    """Make the copy; return the environment of a process that is to run it.

    One of a later ``manifest_version`` writes manifests that the software of today does not know, and reads both.
    """
    ours = Path(dicomnode.__file__).parent
    copy = folder / ours.name
    shutil.copytree(ours, copy, ignore=shutil.ignore_patterns("__pycache__"))
    _change(copy / "__init__.py", f'__version__ = "{dicomnode.__version__}"', f'__version__ = "{version}"')
    if manifest_version != manifest.VERSION:
        path = copy / "jobs" / "manifest.py"
        _change(path, f"\nVERSION = {manifest.VERSION} ", f"\nVERSION = {manifest_version} ")
        known = f"KNOWN_VERSIONS = {(*manifest.KNOWN_VERSIONS, manifest_version)}"
        _change(path, "KNOWN_VERSIONS = (1, VERSION, BESIDE_VERSION)", known)
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}  # before what lies in the current folder


def software_versions(data: Path) -> Counter[str]:
    """Under which versions the results of a data folder were begun."""
    return Counter(json.loads(path.read_bytes())["software_version"] for path in data.glob("jobs/*/manifest.json"))


def _change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    if before not in text:
        raise RuntimeError(f"{path.name} does not hold {before!r}")
    path.write_text(text.replace(before, after))
