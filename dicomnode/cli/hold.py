"""``dicomnode hold``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import found, spool
from dicomnode.cli.options import config_option, node_settings
from dicomnode.operate import requests

if TYPE_CHECKING:
    from pathlib import Path


@click.command("hold")
@click.argument("identifier", metavar="ID")
@config_option
def command(identifier: str, config_path: Path | None) -> None:
    """Send nothing more of a result until it is released; what replaces it is held back, too."""
    held = spool(node_settings(config_path))
    asked = requests.ask(held, "hold", found(held, identifier), by=requests.operator())
    click.echo(f"asked the node to hold back {len(asked)} series")
