"""The process of the page: hears what happens in the node, answers browsers."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicomnode import events
from dicomnode.jobs.children import stay_apart

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    import uvicorn

    from dicomnode.config import Settings
    from dicomnode.web.metrics import Metrics
    from dicomnode.web.shelf import Shelf

NICENESS = 5  # an image that arrives goes before a page
_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 3.0  # for answers on their way


def serve(settings: Settings, pipe: Connection, node: int) -> None:
    """Answer browsers until the node, a process, says stop or is gone."""
    stay_apart()
    os.nice(NICENESS)
    say = _speaker(pipe)
    try:
        listener = socket.create_server((settings.web.host, settings.web.port), family=_family(settings.web.host))
    except OSError as fault:
        where = f"[web] {settings.web.host} port {settings.web.port}"
        say(events.PageFailed(f"{where}: {fault.strerror or fault}; the node goes on, and tries again"))
        return
    # Loaded here, so that the node need not: it only starts this process.
    import uvicorn  # noqa: PLC0415

    from dicomnode.store.spool import Spool  # noqa: PLC0415
    from dicomnode.web.app import Site, application  # noqa: PLC0415
    from dicomnode.web.metrics import Metrics  # noqa: PLC0415
    from dicomnode.web.shelf import Shelf  # noqa: PLC0415

    spool = Spool(settings.storage_folder(), settings.storage.minimum_free_mb)
    shelf = Shelf(settings, spool)
    metrics = Metrics(settings, shelf)
    logging.disable(logging.CRITICAL)  # what a library logs of a request may hold what was asked for
    certificate, key = certificates(settings)
    try:
        config = uvicorn.Config(
            application(Site(settings, spool, shelf, metrics, say)),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=100,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        config.load()
    except OSError as fault:
        say(events.PageFailed(f"[web] certificate {certificate}, key {key}: cannot be used: {fault}"))
        return
    server = uvicorn.Server(config)
    answering = threading.Thread(target=server.run, args=([listener],), daemon=True)
    answering.start()
    say(events.PageOpened(address(settings)))
    _Hearing(pipe, say, shelf, metrics, node).run(server)
    answering.join(_PATIENCE_SECONDS)


def certificates(settings: Settings) -> tuple[Path | None, Path | None]:
    """Certificate and key of the page: its own, else the node's; on this machine alone only its own."""
    if settings.web.certificate:
        return settings.web.certificate, settings.web.key
    return (None, None) if settings.web.is_local else (settings.tls.certificate, settings.tls.key)


def address(settings: Settings) -> str:
    """What to type into a browser."""
    host = f"[{settings.web.host}]" if ":" in settings.web.host else settings.web.host
    return f"http{'s' if certificates(settings)[0] else ''}://{host}:{settings.web.port}/"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _speaker(pipe: Connection) -> events.Sink:
    """Tell the node what happens here, one thread at a time."""
    lock = threading.Lock()

    def say(event: events.Event) -> None:
        with lock, contextlib.suppress(OSError):  # it is gone
            pipe.send(event)

    return say


@dataclass(frozen=True)
class _Hearing:
    """What the node tells goes to those that want to know."""

    pipe: Connection
    say: events.Sink
    shelf: Shelf
    metrics: Metrics
    node: int  # its process

    def run(self, server: uvicorn.Server) -> None:
        """Take in what the node tells, until it stops or is gone; renew certificates."""
        stamp = _stamp(server.config.ssl_certfile)
        with contextlib.suppress(EOFError, OSError):
            while os.getppid() == self.node:
                if self.pipe.poll(_LOOK_SECONDS) and not self._take(self.pipe.recv()):
                    break
                before, stamp = stamp, _stamp(server.config.ssl_certfile)
                if stamp != before:
                    _renew(server.config, self.say)
        server.should_exit = True

    def _take(self, told: tuple[Any, ...]) -> bool:
        """Take in one message; False for the last."""
        match told:
            case ("tally", counted):
                self.metrics.count(counted)
                self.shelf.count(counted)
            case ("report", key):
                self.metrics.count_result(key)
            case ("health", ailments):
                self.shelf.examined(ailments)
            case ("stop",):
                return False
        return True


def _stamp(path: str | os.PathLike[str] | None) -> int:
    try:
        return 0 if path is None else os.stat(path).st_mtime_ns  # noqa: PTH116  of uvicorn's own
    except OSError:
        return 0


def _renew(config: uvicorn.Config, say: events.Sink) -> None:
    """Use a certificate that was put in place of another, from the next connection on."""
    if config.ssl is None or config.ssl_certfile is None:
        return
    try:
        config.ssl.load_cert_chain(config.ssl_certfile, config.ssl_keyfile)
    except (OSError, ssl.SSLError) as fault:
        say(events.CertificateNotTaken(f"[web] certificate {config.ssl_certfile}: cannot be used: {fault}"))
    else:
        say(events.CertificateRenewed(str(config.ssl_certfile)))
