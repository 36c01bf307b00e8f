"""``dicomnode password``."""

from __future__ import annotations

import click

from dicomnode.web.passwords import LEAST, hashed


@click.command("password")
@click.password_option(help="Asked for where it is not given.")
def command(password: str) -> None:
    """Print the hash of a password, for [[web.users]]."""
    if len(password) < LEAST:
        raise click.UsageError(f"a password has at least {LEAST} characters")
    click.echo(hashed(password))
