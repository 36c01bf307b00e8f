"""What several sub-commands ask for and print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dicomnode import config

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
config_option = click.option("--config", "config_path", type=EXISTING_FILE, help="The configuration file.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def node_settings(path: Path | None, *, for_serving: bool = False) -> config.Settings:
    """The settings of the node on this machine: of the file that is named, else of the system's."""
    return config.load(path or config.named_file() or config.system_file(), for_serving=for_serving)


def print_json(value: Any) -> None:
    """Write a result for programs."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def counted(number: int, noun: str) -> str:
    """A number of things in words."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def say(what: str) -> None:
    """Tell what happens on the way."""
    click.echo(what, err=True)
