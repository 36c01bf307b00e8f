"""``dicomnode process-anyway``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import found, spool
from dicomnode.cli.options import config_option, node_settings
from dicomnode.operate import requests

if TYPE_CHECKING:
    from pathlib import Path


@click.command("process-anyway")
@click.argument("identifier", metavar="ID")
@config_option
def command(identifier: str, config_path: Path | None) -> None:
    """Process one series that was refused as not ours, on your order.

    Who ordered it is written down and audited, and the report says that it was made on a person's order. What a number
    can never be made of stays refused: damaged images, no echo times, too few echoes, another decay than T2*.
    """
    held = spool(node_settings(config_path))
    entries = found(held, identifier)
    asked = requests.ask(held, "process anyway", entries, by=requests.operator())
    for entry in entries:
        if entry["status"] == "refused" and entry not in asked:
            click.echo(f"stays refused: {entry['reason']}", err=True)
    click.echo(f"asked the node to process {len(asked)} series anyway")
