"""``dicomnode quality``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from dicomnode.cli.entries import spool
from dicomnode.cli.options import config_option, json_option, node_settings, print_json
from dicomnode.control import scanner
from dicomnode.operate import quality, requests

if TYPE_CHECKING:
    from pathlib import Path


@click.command("quality")
@click.argument("name", metavar="[SCANNER]", default="")
@click.option("--csv", "as_csv", is_flag=True, help="Print every exam as CSV, of a phantom a line a vial.")
@click.option("--new-baseline", "why", metavar="WHY", help="Judge this scanner anew from now on: it was serviced, say.")
@config_option
@json_option
def command(name: str, why: str | None, config_path: Path | None, *, as_csv: bool, as_json: bool) -> None:
    """Say how each scanner does over time: signal, noise, ghosts, and the control charts of its phantoms.

    SCANNER is the beginning of the name that is printed first. Exit status 1: the last scan of a phantom is an alarm.
    """
    held = spool(node_settings(config_path))
    if why is not None:
        if not name:
            raise click.UsageError("name the scanner that gets a new baseline")
        quality.restart(held, name, datetime.now(), requests.operator(), why)  # noqa: DTZ005  scanners tell their own time
    found = quality.histories(held, name)
    if as_csv:
        click.echo(scanner.table(found), nl=False)
    elif as_json:
        print_json([quality.as_json(one) for one in found])
    else:
        for line in (line for one in found for line in quality.lines(one)):
            click.echo(line)
    click.get_current_context().exit(1 if any(scanner.standing(one) for one in found) else 0)
