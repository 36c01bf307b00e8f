"""``dicomnode serve``."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option, node_settings
from dicomnode.node import Node

if TYPE_CHECKING:
    from pathlib import Path


@click.command("serve")
@config_option
def command(config_path: Path | None) -> None:
    """Run the node: receive, process, send."""
    settings = node_settings(config_path, for_serving=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Node(settings).serve(stop)
