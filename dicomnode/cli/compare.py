"""``dicomnode compare``."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode import config
from dicomnode.cli.options import EXISTING, FOLDER, config_option, json_option, print_json, say
from dicomnode.compare import comparison
from dicomnode.compare import methods as ways


@click.command("compare")
@click.argument("folder", metavar="DIR", type=EXISTING)
@click.option("--output", type=FOLDER, default=Path("build/compare"))
@config_option
@click.option(
    "--methods",
    default="quick",
    show_default=True,
    help=f"What to set beside ADMM, between commas: {', '.join(ways.METHODS)}; or "
    + ", ".join(f"'{name}'" for name in ways.GROUPS)
    + ". The sweep is of eq. 2's weights; Algorithm 1 takes most of a minute a slice, bi-exponential decays seconds.",
)
@json_option
def command(folder: Path, output: Path, config_path: Path | None, methods: str, as_json: bool) -> None:
    """Set ADMM beside LM beside the scanner's own map, per region; write a page, tables, CSV and figures.

    A configuration is read only where --config or the environment variable DICOMNODE_CONFIG names it.
    """
    path = config_path or config.named_file()
    settings = config.load(path)
    try:
        chosen = ways.chosen(methods)
    except KeyError as unknown:
        known = ", ".join((*ways.METHODS, *ways.GROUPS))
        raise click.BadParameter(f"{unknown} is none of {known}", param_hint="--methods") from unknown
    result, text = comparison.run(folder, output, chosen, settings, say, configuration=path)
    if as_json:
        print_json(result)
    else:
        click.echo(text)
        click.echo(f"tables and figures in {output}")
