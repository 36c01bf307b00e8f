"""``dicomnode status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import print_entries, spool
from dicomnode.cli.options import config_option, json_option
from dicomnode.operate.status import overview

if TYPE_CHECKING:
    from pathlib import Path


@click.command("status")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Say what is waiting, done, refused or failed, and why."""
    print_entries(overview(spool(config_path)), as_json=as_json)
