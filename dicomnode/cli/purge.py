"""``dicomnode purge``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import found, spool
from dicomnode.cli.options import config_option, node_settings
from dicomnode.errors import NodeError
from dicomnode.operate import removal
from dicomnode.operate.requests import operator

if TYPE_CHECKING:
    from pathlib import Path


@click.command("purge")
@click.argument("identifier", metavar="ID")
@click.option("--reason", required=True, help="Why; it is logged. Name no patient.")
@click.option("--undelivered", is_flag=True, help="Also what is not in every destination yet.")
@config_option
def command(identifier: str, config_path: Path | None, *, reason: str, undelivered: bool) -> None:
    """Remove all the node keeps of a study: images, results, record. What a PACS has stays there."""
    held = spool(node_settings(config_path))
    studies = {entry["study_instance_uid"] for entry in found(held, identifier)}
    try:
        asked = removal.ask(held, studies, reason, undelivered=undelivered, by=operator())
    except removal.Unfinished as fault:
        raise NodeError(f"{identifier}: {fault}; --undelivered removes it all the same") from fault
    for study_uid in asked:
        click.echo(f"asked the node to remove study {study_uid}")
