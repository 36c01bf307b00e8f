"""``dicomnode send-again``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import meant, spool
from dicomnode.cli.options import config_option, node_settings
from dicomnode.errors import ConfigError, InputError
from dicomnode.operate import requests

if TYPE_CHECKING:
    from pathlib import Path


@click.command("send-again")
@click.argument("identifier", metavar="ID")
@click.option("--to", "names", metavar="NAME", multiple=True, help="A [[destination]]; all of them without it.")
@config_option
def command(identifier: str, names: tuple[str, ...], config_path: Path | None) -> None:
    """Send all of a result once more with the same UIDs, as to a PACS that lost it.

    A result that was made again (`dicomnode reprocess`) is sent where ID is its own key: in place of the one before.
    """
    settings = node_settings(config_path)
    known = [one.name for one in settings.destination]
    for name in names:
        if name not in known:
            raise ConfigError(f"--to {name}: no [[destination]] has that name; there are {', '.join(known) or 'none'}")
    held = spool(settings)
    entries = meant(held, identifier)
    if names and any(one["status"] == "kept" for one in entries):
        raise InputError("what was made again goes to every destination: leave --to out")
    asked = requests.ask(held, "send again", entries, by=requests.operator(), to=names)
    click.echo(f"asked the node to send {len(asked)} series again to {', '.join(names) or 'every destination'}")
