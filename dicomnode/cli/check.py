"""``dicomnode check``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import config_option, json_option, node_settings, print_json
from dicomnode.operate.checks import check_destinations
from dicomnode.operate.machine import check_machine

if TYPE_CHECKING:
    from pathlib import Path


@click.command("check")
@click.option("--syntax", is_flag=True, help="Validate the file only: look at nothing and ask nobody.")
@click.option("--numbers", is_flag=True, help="Also measure a simulated scan over DICOM and compare with its truth.")
@click.option("--send-test", is_flag=True, help="Also put one result, marked as a test, into every destination.")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool, *, syntax: bool, numbers: bool, send_test: bool) -> None:
    """Validate the file, look at the machine, ask every destination what it would refuse."""
    settings = node_settings(config_path, for_serving=True)
    findings: list[dict[str, Any]] = []
    if not syntax:
        findings += [one.as_json() for one in check_machine(settings)]
        findings += [{"check": "destination", **_graded(one)} for one in check_destinations(settings)]
    if numbers or send_test:
        from dicomnode.operate import selftest  # noqa: PLC0415  it brings the whole node

        findings += [selftest.check_numbers(settings, _progress).as_json()] if numbers else []
        findings += selftest.send_test(settings, _progress) if send_test else []
    if as_json:
        print_json(findings)
    else:
        click.echo("the configuration is valid")
        for one in findings:
            click.echo(f"{one['grade']:<8}{one['destination'] or one['check']}: {one['verdict']}")
    sys.exit(0 if all(one["ok"] for one in findings) else 1)


def _graded(finding: dict[str, Any]) -> dict[str, Any]:
    return {**finding, "grade": "ok" if finding["ok"] else "error"}


def _progress(what: str) -> None:
    click.echo(what, err=True)
