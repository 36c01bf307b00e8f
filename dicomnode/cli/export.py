"""``dicomnode export``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dicomnode import export
from dicomnode.cli.entries import meant, spool
from dicomnode.cli.options import FOLDER, config_option, node_settings
from dicomnode.errors import InputError, NodeError


@click.command("export")
@click.argument("what", metavar="ID|DIR")
@click.option("--to", "form", type=click.Choice(list(export.FORMS)), required=True, help="What to write.")
@click.option("--output", type=FOLDER, required=True, help="Where to; other files there stay.")
@config_option
def command(what: str, form: str, output: Path, config_path: Path | None) -> None:
    """Write results out of DICOM: maps and regions as NIfTI, numbers as CSV, both as an HTML page.

    ID is a study, series, accession number or result of the node; DIR a folder that `dicomnode process` wrote.
    Nothing that is written says who the patient is.
    """
    results = export.of_folder(Path(what)) if Path(what).is_dir() else _kept(what, config_path)
    for path in export.write(results, form, output):
        click.echo(path)


def _kept(identifier: str, config_path: Path | None) -> tuple[export.Finished, ...]:
    """The results that the node keeps under a name; raises NodeError where there are none."""
    if os.sep in identifier and Path(identifier).parent.is_dir():  # accession numbers may hold strokes, too
        raise InputError(f"{identifier} is no folder")
    held = spool(node_settings(config_path))
    keys = {entry["key"]: None for entry in meant(held, identifier) if entry["key"]}
    results = tuple(one for one in map(export.of_job, map(held.job, keys)) if one is not None)
    if not results:
        raise NodeError(f"{identifier} has no result yet: `dicomnode show {identifier}` says why")
    return results
