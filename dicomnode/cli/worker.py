"""``dicomnode worker``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option
from dicomnode.cli.running import run

if TYPE_CHECKING:
    from pathlib import Path


@click.command("worker")
@config_option
def command(config_path: Path | None) -> None:
    """Process and send what the nodes that share this data folder and queue receive; on any machine."""
    run(config_path, receives=False)
