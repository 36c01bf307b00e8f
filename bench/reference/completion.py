"""What lets a shell complete the commands and their options."""

from __future__ import annotations

from click.shell_completion import get_completion_class

from dicomnode.cli import main

_FILES = {"bash": "dicomnode.bash", "zsh": "_dicomnode", "fish": "dicomnode.fish"}


def scripts() -> dict[str, str]:
    """A script for each shell, by the name of its file."""
    made = {}
    for shell, file in _FILES.items():
        kind = get_completion_class(shell)
        if kind is not None:
            made[file] = kind(main, {}, "dicomnode", "_DICOMNODE_COMPLETE").source()
    return made
