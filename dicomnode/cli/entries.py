"""The node's data folder and what it says of each series, for the sub-commands that print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import counted, print_json
from dicomnode.errors import NodeError
from dicomnode.jobs import comparison
from dicomnode.operate.status import find
from dicomnode.store.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicomnode.config import Settings

_SENT_TO = {"hl7": "message", "fhir": "transaction"}  # by kind of destination, where that is no object


def spool(settings: Settings) -> Spool:
    """The data folder of a configuration; raises NodeError where there is none."""
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


def meant(held: Spool, identifier: str) -> list[dict[str, Any]]:
    """The same without what a person had made again and did not send, unless it is named by its own key."""
    return [one for one in found(held, identifier) if one["status"] != "kept" or one["key"] == identifier]


def print_entries(entries: list[dict[str, Any]], settings: Settings, *, as_json: bool, in_full: bool = False) -> None:
    """Print one paragraph a series; the settings say what each destination gets."""
    if as_json:
        print_json(entries)
        return
    nouns = {one.name: _SENT_TO.get(one.kind, "object") for one in settings.destination}
    lines = [line for entry in entries for line in _lines(entry, nouns, in_full=in_full)]
    click.echo("\n".join(lines) if lines else "nothing yet")


def _lines(entry: dict[str, Any], nouns: dict[str, str], *, in_full: bool) -> Iterator[str]:
    name = entry["series_instance_uids"][0] if entry["series_instance_uids"] else entry["study_instance_uid"]
    yield f"{name or '-'}  {entry['status']}" + (f": {entry['reason']}" if entry["reason"] else "")
    if entry.get("accession_number"):
        yield f"  accession number {entry['accession_number']}"
    if entry.get("result") is not None:
        yield from _result(entry["result"])
    for destination, delivery in entry["deliveries"].items():
        reason = f": {delivery['reason']}" if delivery["reason"] else ""
        sent = counted(len(delivery["delivered"]), nouns.get(destination, "object"))
        yield f"  {destination}: {delivery['status']}, {sent}{reason}"
        if in_full and delivery.get("transactions"):
            asked = counted(len(delivery["transactions"]), "time")
            yield f"    commits to {len(delivery['committed'])} of them, asked {asked}"
        for uid, warning in delivery.get("warnings", {}).items() if in_full else ():
            yield f"    {uid} {warning}"
    if in_full:
        yield from _all_else(entry)


def _result(result: dict[str, Any]) -> Iterator[str]:
    """The answer, and of each region what there is."""
    if result["answer"]:
        yield f"  {result['answer']}"
    for region in result["regions"]:
        values = (("R2*", "r2star_per_s"), ("T2*", "t2star_ms"), ("LIC", "lic_mg_per_g"), ("", "range"), ("", "doubt"))
        said = [f"{symbol} {region[name]}".strip() for symbol, name in values if region.get(name)]
        yield f"    {region['name']}: {', '.join(said) if said else 'no number'}"


def _all_else(entry: dict[str, Any]) -> Iterator[str]:
    """What only who asks for one study wants to know."""
    size = f"{counted(entry['images'], 'image')}, {counted(entry['slices'], 'slice')}"
    yield f"  study {entry['study_instance_uid']}, {size}"
    if entry.get("key"):
        yield f"  result {entry['key']}"
    yield f"  echo times (ms) {', '.join(f'{t:g}' for t in entry['echo_times_ms'])}"
    if entry.get("supersedes"):
        yield f"  replaces result {entry['supersedes']}"
    yield from _on_a_persons_word(entry)
    if entry.get("advice"):
        yield f"  {entry['advice']}"
    for listed in ("missing", "left_out"):
        for what in entry.get(listed, ()):
            yield f"  {listed.replace('_', ' ')}: {what}"


def _on_a_persons_word(entry: dict[str, Any]) -> Iterator[str]:
    if ordered := entry.get("ordered"):
        yield f"  refused as {ordered['code']}, and processed on the order of {ordered['by']}, {ordered['at']}"
    if entry.get("beside"):
        yield f"  result {entry['key']}, made again beside {entry['beside']} and not sent"
    if said := entry.get("comparison"):
        yield f"  beside {said['of']}:"
        yield from (f"    {line}" for line in comparison.lines(said))
