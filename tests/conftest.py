"""Fixtures shared by every test: real data and real peers, or a reason why not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from dicomnode import config

REPOSITORY = Path(__file__).parent.parent


_MINUTES_FIRST = ("acceptance", "integration", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes: begun last, it would have one worker at it and the others waiting."""
    items.sort(key=lambda item: next(i for i, kind in enumerate(_MINUTES_FIRST) if kind in item.path.parts))


def absent(reason: str) -> None:
    """A user's machine skips; continuous integration fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _no_configuration_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing that a test does depends on what is installed here; child processes are told by the environment."""
    monkeypatch.setattr(config, "SYSTEM_FILE", tmp_path_factory.getbasetemp() / "no such file")
    for name in (config.NAMED_BY, "STATE_DIRECTORY", "CACHE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _logging_of_its_own() -> Iterator[None]:
    """Tests that run the command line configure logging; the next test starts without that."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scanner series."""
    folder = Path(os.environ.get("SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "dicom").is_dir():
        pytest.skip(f"the real scanner series are not at {folder}; set SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """Find the program of a real peer: ``peer("storescu")`` is its path."""

    def find(program: str) -> str:
        # Debian's dcmtk before the scripts of the same name that pynetdicom puts into the virtual environment.
        path = shutil.which(program, path="/usr/bin:/usr/sbin:/usr/local/bin") or shutil.which(program)
        if path is None:
            absent(
                f"{program} is not installed (Debian: orthanc, dcmtk, dicom3tools, pixelmed-apps, chromium, prometheus)"
            )
        return str(path)

    return find
