"""``dicomnode demo``."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.options import EXISTING, FOLDER, json_option, print_json, say
from dicomnode.operate import demo


@click.command("demo")
@click.option("--input", "folder", type=EXISTING, help="Use this series instead.")
@click.option("--output", type=FOLDER, default=Path("build/demo"))
@json_option
def command(folder: Path | None, output: Path, as_json: bool) -> None:
    """Run scanner, node and PACS on loopback, end to end over real DICOM; print what was measured."""
    outcome = demo.run(folder, output, say=say)
    if as_json:
        print_json(outcome)
    else:
        click.echo(demo.table(outcome))
