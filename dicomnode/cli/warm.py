"""``dicomnode warm``."""

import click

from dicomnode.fit import compile_kernels


@click.command("warm")
def command() -> None:
    """Compile the numerical kernels into the cache, so that the first study need not wait for it."""
    compile_kernels()
    click.echo("the kernels are compiled")
