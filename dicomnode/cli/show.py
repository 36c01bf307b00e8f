"""``dicomnode show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import found, print_entries, spool
from dicomnode.cli.options import config_option, json_option, node_settings
from dicomnode.operate.status import in_full

if TYPE_CHECKING:
    from pathlib import Path


@click.command("show")
@click.argument("identifier", metavar="ID")
@config_option
@json_option
def command(identifier: str, config_path: Path | None, as_json: bool) -> None:
    """Say all about a study, series, accession number or result."""
    settings = node_settings(config_path)
    held = spool(settings)
    entries = [in_full(held, entry) for entry in found(held, identifier)]
    print_entries(entries, settings, as_json=as_json, in_full=True)
