"""``dicomnode status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import print_entries, spool
from dicomnode.cli.options import config_option, json_option, node_settings
from dicomnode.operate.status import NEEDS_A_PERSON, disk_in_words, overview

if TYPE_CHECKING:
    from pathlib import Path


@click.command("status")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Say what is waiting, done, refused or failed, and why. Exit status 1: something needs a person."""
    settings = node_settings(config_path)
    held = spool(settings)
    entries = overview(held)
    print_entries(entries, settings, as_json=as_json)
    if not as_json:
        click.echo(disk_in_words(held))
    if any(entry["status"] in NEEDS_A_PERSON for entry in entries):
        click.get_current_context().exit(1)
