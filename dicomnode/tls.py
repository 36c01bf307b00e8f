"""TLS as BCP 195 and PS3.15 B.12 want it, with certificates that may be renewed while the node runs."""

from __future__ import annotations

import ssl
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dicomnode import events, logs
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from dicomnode.config import TlsSettings

# Of TLS 1.2 what keeps earlier talk secret when a key is lost and authenticates what it encrypts; 1.3 has only such.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
WARN_DAYS = 30
_DAY_SECONDS = 86400.0
_VERSION, _UTC_TIME = 0xA0, 0x17


class Certificates:
    """Contexts of both sides, made anew when a file they were made from has changed."""

    def __init__(self, tls: TlsSettings, say: events.Sink = logs.write, *, also: Iterable[Path] = ()) -> None:
        self._tls = tls
        self._also = tuple(also)  # of whose end is told, too
        self._say = say
        self._lock = threading.Lock()
        self._made: dict[str, tuple[tuple[object, ...], ssl.SSLContext]] = {}
        self._next_reminder = 0.0

    def use(self, tls: TlsSettings) -> None:
        """Take other files, or none, from the next connection on."""
        self._tls = tls

    def try_out(self, *, sends: bool) -> None:
        """Raise ConfigError where the files cannot be used for what they are for."""
        self.receiving()
        if sends:
            self.sending()

    def receiving(self) -> ssl.SSLContext | None:
        """For who calls this node; None where that needs no TLS. Raises ConfigError where there was never one."""
        if not self._tls.receive or self._tls.certificate is None:
            return None
        return self._context("receive", self._for_callers)

    def sending(self) -> ssl.SSLContext:
        """For whom this node calls; raises ConfigError where there was never one."""
        return self._context("send", self._for_called)

    def remind(self, now: float) -> None:
        """Once a day, say which certificates end within a month; ``now`` is of a clock that nobody sets."""
        if now < self._next_reminder:
            return
        self._next_reminder = now + _DAY_SECONDS
        for path in (self._tls.certificate, self._tls.authority, *self._also):
            days = None if path is None else days_left(path)
            if path is not None and days is not None and days <= WARN_DAYS:
                self._say(events.CertificateEnds(str(path), days))

    def _context(self, side: str, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        files = (self._tls.certificate, self._tls.key, self._tls.authority)
        stamps = tuple((path, _stamp(path)) for path in files)
        with self._lock:
            known = self._made.get(side)
            if known is not None and known[0] == stamps:
                return known[1]
            try:
                context = make()
            except OSError as fault:  # ssl's errors are some, too
                tls = self._tls
                named = f"certificate {tls.certificate}, key {tls.key}, authority {tls.authority}"
                problem = f"[tls] {named}: cannot be used: {fault.strerror or fault}"
                if known is None:
                    raise ConfigError(problem) from fault
                self._say(events.CertificateNotTaken(problem))
                context = known[1]
            else:
                if known is not None:
                    self._say(events.CertificateRenewed(str(self._tls.certificate)))
            self._made[side] = (stamps, context)
            return context

    def _for_callers(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self._tls.authority)
        context.load_cert_chain(str(self._tls.certificate), self._tls.key)
        if self._tls.authority:
            context.verify_mode = ssl.CERT_REQUIRED
        return _hardened(context)

    def _for_called(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self._tls.authority)
        if self._tls.certificate:
            context.load_cert_chain(self._tls.certificate, self._tls.key)
        return _hardened(context)


def _hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    return context


def _stamp(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_mtime_ns
    except OSError:
        return 0


def days_left(path: Path) -> int | None:
    """Whole days until the first certificate of a PEM file ends, negative when it has; None where there is none."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
        begin = text.index("-----BEGIN CERTIFICATE-----")
        end = _not_after(ssl.PEM_cert_to_DER_cert(text[begin : text.index("-----END CERTIFICATE-----") + 25]))
    except (OSError, ValueError, IndexError):
        return None
    return int((end.timestamp() - time.time()) // _DAY_SECONDS)


def _not_after(der: bytes) -> datetime:
    """The second time of the validity of a certificate (RFC 5280 4.1)."""
    _, at, _ = _element(der, 0)  # Certificate
    _, at, _ = _element(der, at)  # TBSCertificate
    kind, value, after = _element(der, at)
    if kind == _VERSION:
        at = after
    for _ in range(3):  # serial number, signature algorithm, issuer
        _, _, at = _element(der, at)
    _, at, _ = _element(der, at)  # validity
    _, _, at = _element(der, at)  # not before
    kind, value, after = _element(der, at)
    text = der[value:after].decode("ascii")
    form = "%y%m%d%H%M%SZ" if kind == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text, form).replace(tzinfo=UTC)


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Kind, begin and end of the value of an element (X.690 8.1)."""
    kind, length, value = der[at], der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, value = int.from_bytes(der[value : value + count], "big"), value + count
    return kind, value, value + length
