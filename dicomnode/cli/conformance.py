"""``dicomnode conformance``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option, node_settings
from dicomnode.operate.conformance import statement

if TYPE_CHECKING:
    from pathlib import Path


@click.command("conformance")
@config_option
def command(config_path: Path | None) -> None:
    """Print the DICOM conformance statement of this configuration."""
    click.echo(statement(node_settings(config_path)), nl=False)
