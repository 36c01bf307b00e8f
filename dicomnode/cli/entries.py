"""The node's data folder and what it says of each series, for the sub-commands that print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import node_settings, print_json
from dicomnode.errors import NodeError
from dicomnode.operate.status import find
from dicomnode.store.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def spool(config_path: Path | None) -> Spool:
    """The data folder of a configuration; raises NodeError where there is none."""
    settings = node_settings(config_path)
    held = Spool(settings.storage_folder(), settings.storage.minimum_free_mb)
    if not held.studies.is_dir():
        raise NodeError(f"{held.folder} holds no node's data; is this the right --config?")
    return held


def found(held: Spool, identifier: str) -> list[dict[str, Any]]:
    """What is known under a name; raises NodeError where nothing is."""
    entries = find(held, identifier)
    if not entries:
        raise NodeError(f"nothing is known of {identifier}")
    return entries


def print_entries(entries: list[dict[str, Any]], *, as_json: bool, in_full: bool = False) -> None:
    """Print one paragraph a series."""
    if as_json:
        print_json(entries)
        return
    lines = [line for entry in entries for line in _lines(entry, in_full=in_full)]
    click.echo("\n".join(lines) if lines else "nothing yet")


def _lines(entry: dict[str, Any], *, in_full: bool) -> Iterator[str]:
    name = entry["series_instance_uids"][0] if entry["series_instance_uids"] else entry["study_instance_uid"]
    yield f"{name or '-'}  {entry['status']}" + (f": {entry['reason']}" if entry["reason"] else "")
    for destination, delivery in entry["deliveries"].items():
        reason = f": {delivery['reason']}" if delivery["reason"] else ""
        yield f"  {destination}: {delivery['status']}, {len(delivery['delivered'])} objects{reason}"
        if in_full and delivery.get("transactions"):
            yield f"    commits to {len(delivery['committed'])} of them, asked {len(delivery['transactions'])} times"
        for uid, warning in delivery.get("warnings", {}).items() if in_full else ():
            yield f"    {uid} {warning}"
    if in_full:
        yield f"  study {entry['study_instance_uid']}, {entry['images']} images, {entry['slices']} slices"
        yield f"  echo times (ms) {', '.join(f'{t:g}' for t in entry['echo_times_ms'])}"
        if entry.get("supersedes"):
            yield f"  replaces result {entry['supersedes']}"
        if entry.get("advice"):
            yield f"  {entry['advice']}"
        for listed in ("missing", "left_out"):
            for what in entry.get(listed, ()):
                yield f"  {listed.replace('_', ' ')}: {what}"
