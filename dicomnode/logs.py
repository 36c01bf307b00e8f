"""One structured line per state change on standard error, without patient identity."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from dicomnode.events import Event


def configure(*, json: bool, level: str = "info") -> None:
    """Send the node's events and the libraries' warnings to standard error, as text or as JSON lines."""
    stamps: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=stamps,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    set_level(level)
    # pynetdicom and pydicom print data sets, and so identities, below this level.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    structlog.configure(
        processors=[*stamps, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def set_level(level: str) -> None:
    """Write events from this level on; libraries keep theirs."""
    logging.getLogger("dicomnode").setLevel(level.upper())


def write(event: Event) -> None:
    """Log an event; the sink that every part has unless it is given another."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(f"dicomnode.{event.part}")
    fault = getattr(event, "fault", None)
    said = event.said() | ({"exc_info": fault} if fault is not None else {})
    getattr(bound, event.level)(event.name, **said)
