"""``dicomnode dry-run``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dicomnode import config
from dicomnode.cli.options import EXISTING, config_option, json_option, print_json, say
from dicomnode.operate import offline

if TYPE_CHECKING:
    from pathlib import Path


@click.command("dry-run")
@click.argument("inputs", nargs=-1, required=True, type=EXISTING)
@config_option
@json_option
def command(inputs: tuple[Path, ...], config_path: Path | None, as_json: bool) -> None:
    """Say what a folder of past exams would give; write and send nothing.

    A configuration is read only where --config or the environment variable DICOMNODE_CONFIG names it.
    """
    summary = offline.dry_run(inputs, config.load(config_path or config.named_file()), progress=say)
    if as_json:
        print_json(summary)
    else:
        for series in summary["series"]:
            for line in offline.lines(series):
                click.echo(line)
        for line in offline.counts(summary):
            click.echo(line)
    sys.exit(1 if any(one["status"] == "failed" for one in summary["series"]) else 0)
