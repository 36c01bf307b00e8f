"""``dicomnode reprocess``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import found, spool
from dicomnode.cli.options import config_option, json_option, node_settings, print_json, say
from dicomnode.jobs import comparison
from dicomnode.operate import reprocess, requests

if TYPE_CHECKING:
    from pathlib import Path


@click.command("reprocess")
@click.argument("identifier", metavar="ID")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="A setting for this once: fit.method=nls.")
@click.option("--send", is_flag=True, help="Send it in place of the result that it stands beside.")
@config_option
@json_option
def command(identifier: str, sets: tuple[str, ...], config_path: Path | None, *, send: bool, as_json: bool) -> None:
    """Make a result again from the images that are kept, beside the old one, and say how they differ.

    With the settings of now, or some of [grouping], [fit] and [measure] changed for this once. Nothing is sent without
    --send. By the node where it runs, else by this command; the next node sends what is to be sent. Exit status 1:
    there is no result, and why.
    """
    settings = node_settings(config_path)
    held = spool(settings)
    found(held, identifier)
    asked = requests.Reprocess(reprocess.key_of(held, identifier), _changes(sets), requests.operator(), sends=send)
    outcome = reprocess.reprocess(held, settings, asked, say)
    if as_json:
        print_json(asdict(outcome))
    else:
        reason = f": {outcome.reason}" if outcome.reason else ""
        click.echo(f"result {outcome.key}  {outcome.status}{reason}")
        for line in comparison.lines(outcome.comparison) if outcome.comparison else ():
            click.echo(line)
    click.get_current_context().exit(0 if outcome.is_made else 1)


def _changes(sets: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in sets]
    for name, sign, _ in pairs:
        if not sign:
            raise click.BadParameter(f"{name}: KEY=VALUE is needed, as in fit.method=nls", param_hint="--set")
    return {name.strip(): value.strip() for name, _, value in pairs}
