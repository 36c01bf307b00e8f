"""``dicomnode compare``."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode import config
from dicomnode.cli.options import EXISTING, FOLDER, config_option, json_option, print_json, say
from dicomnode.compare import comparison


@click.command("compare")
@click.argument("folder", metavar="DIR", type=EXISTING)
@click.option("--output", type=FOLDER, default=Path("build/compare"))
@config_option
@click.option(
    "--methods",
    help="What to set beside ADMM: nls,bayesian,lm-100,lm-50 (the default), algorithm-1,algorithm-1-lambda-10, or 'all'.",
)
@json_option
def command(folder: Path, output: Path, config_path: Path | None, methods: str | None, as_json: bool) -> None:
    """Set ADMM beside LM beside the scanner's own map, per region; write tables and figures.

    A configuration is read only where --config or the environment variable DICOMNODE_CONFIG names it.
    """
    path = config_path or config.named_file()
    settings = config.load(path)
    chosen = list(comparison.METHODS) if methods == "all" else (methods or ",".join(comparison.QUICK)).split(",")
    unknown = [name for name in chosen if name not in comparison.METHODS]
    if unknown:
        known = ", ".join(comparison.METHODS)
        raise click.BadParameter(f"'{unknown[0]}' is none of {known}, all", param_hint="--methods")
    result, text = comparison.run(folder, output, chosen, settings, say, configuration=path)
    if as_json:
        print_json(result)
    else:
        click.echo(text)
        click.echo(f"tables and figures in {output}")
