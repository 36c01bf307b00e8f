"""Syslog (RFC 5424) over TLS (RFC 5425), TCP (RFC 6587) or UDP (RFC 5426), or into a file."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Protocol

from dicomnode.errors import NodeError
from dicomnode.store.outbox import NotTaken

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

_PRIORITY = 10 * 8 + 5  # security/authorization messages, notice (PS3.15 A.6)
_MESSAGE_ID = "DICOM+RFC3881"
_BOM = b"\xef\xbb\xbf"
_SECONDS = 10.0


class Repository(Protocol):
    """Where messages go."""

    def take(self, line: bytes) -> None:
        """Send one; raises NotTaken, and then it is sent again."""

    def close(self) -> None:
        """End what is open."""


def line(xml: bytes, when: datetime, host: str, program: str) -> bytes:
    """An audit message as one syslog message."""
    head = f"<{_PRIORITY}>1 {when.isoformat(timespec='milliseconds')} {host} {program} {os.getpid()} {_MESSAGE_ID} - "
    return head.encode("ascii", "replace") + _BOM + xml


class Stream:
    """TCP, with TLS where ``tls`` makes a context; octets are counted (RFC 6587 3.4.1)."""

    def __init__(self, host: str, port: int, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._socket: socket.socket | None = None

    def take(self, line: bytes) -> None:
        """Send one, on a new connection where the old one is gone."""
        try:
            if self._socket is None or _is_closed(self._socket):
                self.close()
                self._socket = self._connect()
            self._socket.sendall(b"%d %b" % (len(line), line))
        except (OSError, NodeError) as fault:
            self.close()
            why = getattr(fault, "strerror", None) or fault
            raise NotTaken(f"[audit] host {self._host}, port {self._port}: {why}") from fault

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        plain = socket.create_connection((self._host, self._port), timeout=_SECONDS)
        if self._tls is None:
            return plain
        try:
            return self._tls().wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise


class Datagrams:
    """UDP: nobody knows what arrives."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)

    def take(self, line: bytes) -> None:
        """Send one."""
        try:
            family, kind, _, _, address = socket.getaddrinfo(*self._to, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as out:
                out.sendto(line, address)
        except OSError as fault:
            raise NotTaken(f"[audit] host {self._to[0]}, port {self._to[1]}: {fault.strerror or fault}") from fault

    def close(self) -> None:
        """Nothing is open."""


class File:
    """One line a message; whoever rotates it may move it away at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, line: bytes) -> None:
        """Append one."""
        try:
            with open(self._path, "ab", opener=_for_its_group) as out:
                out.write(line.replace(b"\n", b" ") + b"\n")
        except OSError as fault:
            raise NotTaken(f"[audit] file {self._path}: {fault.strerror}") from fault

    def close(self) -> None:
        """Nothing is open."""


def _for_its_group(name: str, flags: int) -> int:
    return os.open(name, flags, 0o640)


def _is_closed(connection: socket.socket) -> bool:
    """Whether the peer has hung up; a syslog receiver never says anything else."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, InterruptedError):
        return False
    except OSError as fault:
        return "SSL_ERROR_WANT" not in str(fault) and "did not complete" not in str(fault)
    finally:
        connection.settimeout(_SECONDS)
