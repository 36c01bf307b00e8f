"""The command line: one file a sub-command, loaded when it is called.

Results go to standard output, what happens on the way to standard error. Exit status 0: done, 1: failed, 2: bad usage
or configuration.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import click
from click.shell_completion import CompletionItem

import dicomnode
from dicomnode import logs
from dicomnode.errors import ConfigError, NodeError

# Slices are worked on side by side, so threads inside a product of matrices only get in each other's way. Read by
# numpy's library when it is loaded, and by the processes that are started here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# What each does, so that ``dicomnode --help`` need not load them all. Each has a file of its name here.
COMMANDS = {
    "serve": "Run the node: receive, process, send.",
    "worker": "Process and send what the nodes that share this data folder and queue receive.",
    "process": "Process files or folders without a network.",
    "dry-run": "Say what a folder of past exams would give; write and send nothing.",
    "demo": "Run scanner, node and PACS on loopback, end to end.",
    "compare": "Set ADMM beside LM beside the scanner's own map.",
    "simulate": "Make or send a synthetic series with known truth.",
    "check": "Validate the configuration, look at the machine, ask every destination what it would refuse.",
    "status": "Say what is waiting, done, refused or failed, and why.",
    "show": "Say all about a study, series, accession number or result.",
    "export": "Write results out of DICOM: as NIfTI, CSV or an HTML page.",
    "retry": "Try again what was refused, failed or could not be delivered.",
    "hold": "Send nothing more of a result until it is released.",
    "release": "Send what was held back.",
    "send-again": "Send all of a result once more.",
    "quality": "Say how each scanner does over time: control charts of its phantoms, every exam as CSV.",
    "reprocess": "Make a result again from the images that are kept, and say how it differs.",
    "process-anyway": "Process one series that was refused as not ours.",
    "purge": "Remove all the node keeps of a study, for a reason.",
    "support-bundle": "Write what a vendor needs to see of this node, without identities.",
    "conformance": "Print the DICOM conformance statement of this configuration.",
    "password": "Print the hash of a password, for who may log in on the web page.",
    "warm": "Compile the numerical kernels into the cache.",
}


class _Group(click.Group):
    """Loads a sub-command when it is called, and turns the errors of the node into messages and exit statuses."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Name every sub-command."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load the file of a sub-command."""
        if cmd_name not in COMMANDS:
            return None
        _use_cache_directory()
        command: click.Command = importlib.import_module(f"dicomnode.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the sub-commands without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Name the sub-commands to a shell without loading any."""
        named = [CompletionItem(name, help=said) for name, said in COMMANDS.items() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a sub-command."""
        try:
            return super().invoke(ctx)
        except ConfigError as fault:
            click.echo(f"dicomnode: {fault}", err=True)
            ctx.exit(2)
        except NodeError as fault:
            click.echo(f"dicomnode: {fault}", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            raise  # click ends quietly when nobody reads on
        except OSError as fault:
            click.echo(f"dicomnode: {fault.filename or 'operating system'}: {fault.strerror or fault}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(dicomnode.__version__)
@click.option("--log-json", is_flag=True, help="Log JSON lines.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="In place of [node] log_level."
)
def main(log_json: bool, log_level: str | None) -> None:
    """Measure liver iron from multi-echo MRI and return the result to the PACS.

    Results are for research and clinical evaluation; this is not a cleared medical device.
    """
    logs.configure(json=log_json, level=log_level or "info")


def _use_cache_directory() -> None:
    """Let numba keep compiled kernels, and matplotlib its fonts, where systemd lets the service write.

    Both look at it when they are imported, so this comes before any sub-command is loaded.
    """
    cache = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if cache:
        os.environ.setdefault("NUMBA_CACHE_DIR", f"{cache}/numba")
        os.environ.setdefault("MPLCONFIGDIR", f"{cache}/matplotlib")
