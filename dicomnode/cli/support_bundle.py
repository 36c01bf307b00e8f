"""``dicomnode support-bundle``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from dicomnode import config
from dicomnode.cli.options import EXISTING_FILE, config_option, json_option, print_json
from dicomnode.operate import support


@click.command("support-bundle")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 365), help="Of the log.")
@click.option("--log", type=EXISTING_FILE, help="A file with the service's log, in place of systemd's journal.")
@click.option("--anonymous-network", is_flag=True, help="Also replace AE titles, host names, addresses, destinations.")
@config_option
@json_option
def command(
    file: Path | None,
    days: int,
    log: Path | None,
    config_path: Path | None,
    *,
    anonymous_network: bool,
    as_json: bool,
) -> None:
    """Write what a vendor needs to see of this node into one archive, without whose images it was given.

    FILE is dicomnode-support-TIME.tar.gz in this folder unless it is named; what is there is never overwritten.
    """
    now = datetime.now(UTC)
    target = file or Path(f"dicomnode-support-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    path = config_path or config.named_file() or config.system_file()
    wanted = support.Wanted(days, log, network=not anonymous_network)
    bundle = support.write(target, path, wanted, now)
    if as_json:
        print_json({"path": str(bundle.path.absolute()), "bytes": bundle.size, "missing": bundle.missing})
        return
    click.echo(f"{bundle.path.absolute()}: {bundle.size / 1000:.0f} KB")
    for name, why in bundle.missing.items():
        click.echo(f"not in it: {name}: {why}")
    click.echo("read it before you send it: README.txt in it says what each file is, and what was removed")
