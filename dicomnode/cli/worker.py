"""``dicomnode worker``."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option, node_settings
from dicomnode.errors import ConfigError
from dicomnode.node import Node

if TYPE_CHECKING:
    from pathlib import Path


@click.command("worker")
@config_option
def command(config_path: Path | None) -> None:
    """Process and send what the nodes that share this data folder and queue receive; on any machine."""
    settings = node_settings(config_path, for_serving=True)
    if not settings.is_shared():
        raise ConfigError("[engine] url: workers need postgresql://USER@HOST/DATABASE, which machines can share")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Node(settings, receives=False).serve(stop)
