"""``dicomnode check``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option, json_option, node_settings, print_json
from dicomnode.operate.checks import check_destinations

if TYPE_CHECKING:
    from pathlib import Path


@click.command("check")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Validate the file; ask every destination what it would refuse."""
    findings = check_destinations(node_settings(config_path, for_serving=True))
    if as_json:
        print_json(findings)
    else:
        click.echo("the configuration is valid")
        for finding in findings:
            click.echo(f"{finding['destination']}: {finding['verdict']}")
    sys.exit(0 if all(finding["ok"] for finding in findings) else 1)
