"""``dicomnode retry``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import found, spool
from dicomnode.cli.options import config_option, node_settings
from dicomnode.operate import requests
from dicomnode.operate.status import request_retry

if TYPE_CHECKING:
    from pathlib import Path


@click.command("retry")
@click.argument("identifier", metavar="ID")
@click.option("--anyway", is_flag=True, help="The same as process-anyway.")
@config_option
def command(identifier: str, config_path: Path | None, *, anyway: bool) -> None:
    """Try again what was refused, failed or could not be delivered."""
    held = spool(node_settings(config_path))
    entries = found(held, identifier)
    if anyway:
        requests.ask(held, "process anyway", entries, by=requests.operator())
    else:
        request_retry(held, entries, by=requests.operator())
    click.echo(f"asked the node to try {len(entries)} series again")
