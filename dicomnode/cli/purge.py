"""``dicomnode purge``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import found, spool
from dicomnode.cli.options import config_option, node_settings
from dicomnode.errors import NodeError
from dicomnode.operate.requests import operator
from dicomnode.operate.status import FINISHED, find, request_purge

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
    entries = found(held, identifier)
    studies = {entry["study_instance_uid"] for entry in entries}
    unfinished = [one for uid in studies for one in find(held, uid) if one["status"] not in FINISHED]
    if unfinished and not undelivered:
        states = ", ".join(sorted({one["status"] for one in unfinished}))
        raise NodeError(f"{identifier} is not finished ({states}); --undelivered removes it all the same")
    for study_uid in request_purge(held, entries, reason, undelivered=undelivered, by=operator()):
        click.echo(f"asked the node to remove study {study_uid}")
