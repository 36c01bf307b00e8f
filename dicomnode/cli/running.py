"""A node as a process: what its signals mean, and whom it tells how it goes."""

from __future__ import annotations

import faulthandler
import signal
import threading
from typing import TYPE_CHECKING

import click

from dicomnode import events, logs
from dicomnode.cli.options import node_settings
from dicomnode.errors import ConfigError
from dicomnode.node import Node
from dicomnode.service import Service
from dicomnode.web.beside import Page

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.config import Settings


def run(config_path: Path | None, *, receives: bool) -> None:
    """Run a node until SIGTERM or SIGINT; SIGHUP has it read the configuration again."""
    level = click.get_current_context().find_root().params["log_level"]
    settings = _read(config_path, level, receives=receives)
    logs.set_level(settings.node.log_level)
    stop, hangup = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: hangup.set())
    faulthandler.enable()  # systemd ends what hangs by SIGABRT: then the log has where every thread was

    def reread() -> Settings | None:
        if not hangup.is_set():
            return None
        hangup.clear()
        return _read(config_path, level, receives=receives)

    service = Service()
    if not receives:
        Node(settings, receives=receives, sinks=(service.count,)).serve(stop, service=service, reread=reread)
        return

    def say(event: events.Event) -> None:
        logs.write(event)
        node.audit(event)

    page = Page(settings, say, stop=stop)
    node = Node(settings, sinks=(service.count, page.sink), beside=(page.use,))
    with page.open(node.ailments):
        node.serve(stop, service=service, reread=reread)


def _read(config_path: Path | None, level: str | None, *, receives: bool) -> Settings:
    """The configuration, with the level that the command line names, if it does."""
    settings = node_settings(config_path, for_serving=True)
    if not receives and not settings.is_shared():
        raise ConfigError("[engine] url: workers need postgresql://USER@HOST/DATABASE, which machines can share")
    if level is None:
        return settings
    return settings.model_copy(update={"node": settings.node.model_copy(update={"log_level": level})})
