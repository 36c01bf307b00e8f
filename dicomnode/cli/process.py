"""``dicomnode process``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from dicomnode import config, plugins
from dicomnode.cli.options import EXISTING, FOLDER, config_option, json_option, print_json, say
from dicomnode.operate import offline

if TYPE_CHECKING:
    from pathlib import Path


@click.command("process")
@click.argument("inputs", nargs=-1, required=True, type=EXISTING)
@click.option("--output", required=True, type=FOLDER, help="Where results go.")
@config_option
@click.option("--method", type=click.Choice((*config.FIT_METHODS, *plugins.names(plugins.METHODS))), help="How to fit.")
@click.option("--any-anatomy", is_flag=True, help="Make the maps of what is of no organ that is measured, too.")
@json_option
def command(
    inputs: tuple[Path, ...],
    output: Path,
    config_path: Path | None,
    method: str | None,
    *,
    any_anatomy: bool,
    as_json: bool,
) -> None:
    """Process files or folders without a network; write DICOM results and summary.json.

    A configuration is read only where --config or the environment variable DICOMNODE_CONFIG names it.
    """
    path = config_path or config.named_file()
    settings = config.load(path)
    if method is not None:
        settings = settings.model_copy(update={"fit": settings.fit.model_copy(update={"method": method})})
    if any_anatomy:
        rules = settings.grouping.model_copy(update={"anatomy": "any"})
        scanners = tuple(one.model_copy(update={"anatomy": None}) for one in settings.scanner)
        settings = settings.model_copy(update={"grouping": rules, "scanner": scanners})
    created = datetime.now(UTC)
    summary = offline.process(inputs, output, settings, created=created, progress=say, configuration=path)
    if as_json:
        print_json(summary)
    else:
        for series in summary["series"]:
            for line in offline.lines(series):
                click.echo(line)
        click.echo(f"results in {output}")
    statuses = {one["status"] for one in summary["series"]}
    sys.exit(0 if statuses & {"done", "no_number"} and "failed" not in statuses else 1)
