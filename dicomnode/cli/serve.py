"""``dicomnode serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option
from dicomnode.cli.running import run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("serve")
@config_option
def command(config_path: Path | None) -> None:
    """Run the node: receive, process, send; and its web page."""
    run(config_path, receives=True)
