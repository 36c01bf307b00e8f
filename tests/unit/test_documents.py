"""The documents say what is so."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_picture_of_the_rooms_is_that_of_the_imports():
    command = [sys.executable, "-m", "bench.rooms", "--check"]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0, "run `make rooms`"


def test_every_file_that_the_documents_name_exists():
    """A recipe that names what was moved sends the newcomer astray."""
    for document in ("CONTRIBUTING.md", "docs/architecture.md"):
        for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*\.(?:py|md|toml))`", (REPOSITORY / document).read_text()):
            places = (REPOSITORY / name, REPOSITORY / "dicomnode" / name, REPOSITORY / "docs" / name)
            assert any(place.exists() for place in places), f"{document} names {name}"
