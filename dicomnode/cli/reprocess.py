"""``dicomnode reprocess``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import found, spool
from dicomnode.cli.options import config_option, json_option, node_settings, print_json, say
from dicomnode.jobs import comparison
from dicomnode.operate import archive, reprocess, requests

if TYPE_CHECKING:
    from datetime import datetime

    from dicomnode.config import Settings
    from dicomnode.store.spool import Spool


@click.command("reprocess")
@click.argument("identifier", metavar="[ID]", default="")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="A setting for this once: fit.method=nls.")
@click.option("--send", is_flag=True, help="Send it in place of the result that it stands beside.")
@click.option("--all", "everything", is_flag=True, help="Every result that stands, one after the other.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="With --all: of those made since that day.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --all: what moved and why, as .html, .csv or .json.",
)
@config_option
@json_option
def command(
    identifier: str,
    sets: tuple[str, ...],
    since: datetime | None,
    report: Path | None,
    config_path: Path | None,
    *,
    send: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """Make a result again from the images that are kept, beside the old one, and say how they differ.

    With the settings of now, or some of [grouping], [fit] and [measure] changed for this once. Nothing is sent without
    --send. By the node where it runs, else by this command; the next node sends what is to be sent. Exit status 1:
    there is no result, and why.

    With --all a whole archive, behind new studies, and nothing is sent; called again it goes on where it was stopped.
    """
    settings = node_settings(config_path)
    held = spool(settings)
    if everything:
        _archive(held, settings, _changes(sets), since, report, alone=not identifier and not send)
        return
    if not identifier or since or report:
        raise click.UsageError("name a result, or --all with --report")
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
        if (picture := held.job(outcome.key).folder / "difference.png").exists():
            click.echo(f"where: {picture}")
    click.get_current_context().exit(0 if outcome.is_made else 1)


def _archive(
    held: Spool,
    settings: Settings,
    changes: dict[str, str],
    since: datetime | None,
    report: Path | None,
    *,
    alone: bool,
) -> None:
    if not alone:
        raise click.UsageError("--all is of every result, and sends none: name no ID, leave --send out")
    if report is None or report.suffix not in archive.FORMATS:
        raise click.UsageError(f"--report FILE is needed, whose name ends in one of {', '.join(archive.FORMATS)}")
    keys = archive.candidates(held, since.date() if since else None)
    for line in archive.summary(archive.run(held, settings, changes, keys, report=report, progress=say)):
        click.echo(line)


def _changes(sets: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in sets]
    for name, sign, _ in pairs:
        if not sign:
            raise click.BadParameter(f"{name}: KEY=VALUE is needed, as in fit.method=nls", param_hint="--set")
    return {name.strip(): value.strip() for name, _, value in pairs}
