"""Findings to a system that speaks HL7 v2: one message over MLLP (HL7 transport specification, release 1)."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hl7apy.exceptions import HL7apyException

from dicomnode import events, logs
from dicomnode.delivery import oru
from dicomnode.delivery.carrier import NO_PATIENT, Outcome, Sent
from dicomnode.errors import ConfigError, NoAnswer, Unreachable
from dicomnode.report import findings, identity
from dicomnode.store.durable import read_json
from dicomnode.tls import Certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicomnode.config import DestinationSettings, TlsSettings
    from dicomnode.report.findings import Findings

_BEGIN, _END = b"\x0b", b"\x1c\r"
_MOST_BYTES = 1 << 20  # of an acknowledgement
_TAKEN = ("AA", "CA")  # table 0008
_REFUSED = ("AE", "AR", "CE", "CR")
# What of an ERR segment is a code and a place, and no words that may name a patient: ERR-3 (table 0357), ERR-2.
_ERROR = re.compile(r"[12]\d\d")
_PLACE = re.compile(r"[A-Z][A-Z0-9]{2}(\^\d{1,3}){0,3}")


class Mllp:
    """Sends findings as one message on one connection, and hears what is said to it."""

    def __init__(self, tls: TlsSettings, say: events.Sink = logs.write) -> None:
        self._certificates = Certificates(tls, say)

    def use(self, tls: TlsSettings) -> None:
        """Speak TLS with other certificates from the next connection on."""
        self._certificates.use(tls)

    def send(self, destination: DestinationSettings, files: list[Path]) -> Iterator[Sent]:
        """Send findings; raises Unreachable, and NoAnswer where it is not known whether they were taken."""
        for file in files:
            yield self._tell(destination, findings.read(read_json(file)))

    def ask(self, destination: DestinationSettings) -> str:
        """Open a connection and say nothing; raises Unreachable."""
        with self._connect(destination):
            return "takes connections; what it says to a message is known when one is sent"

    def _tell(self, destination: DestinationSettings, told: Findings) -> Sent:
        uid = identity.uid(told.key, "findings")
        if not told.patient.id:
            return Sent(uid, Outcome.REFUSED, NO_PATIENT)
        try:
            message = oru.message(told, destination)
        except HL7apyException as fault:  # its words quote the message
            return Sent(uid, Outcome.REFUSED, f"HL7 v2.5.1 cannot say it: {type(fault).__name__}")
        with self._connect(destination) as connection:
            answer = _exchange(connection, message.encode(), destination)
        return Sent(uid, *_judge(Acknowledgement.read(answer), oru.control_id(told), destination))

    def _connect(self, destination: DestinationSettings) -> contextlib.closing[socket.socket]:
        peer = f"{destination.name} ({destination.host}:{destination.port})"
        try:
            address = (destination.host, destination.port)
            connection = socket.create_connection(address, destination.timeout_seconds)
        except OSError as fault:
            raise Unreachable(f"{peer} cannot be reached: {fault.strerror or fault}") from fault
        if not destination.tls:
            return contextlib.closing(connection)
        try:
            context = self._certificates.sending()
            return contextlib.closing(context.wrap_socket(connection, server_hostname=destination.host))
        except (OSError, ConfigError) as fault:
            connection.close()
            raise Unreachable(f"{peer} cannot be spoken with by TLS: {fault}") from fault


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What is decided by of an ACK: its code, the message that it is of, and codes and places of what is wrong."""

    code: str
    of: str
    errors: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Acknowledgement | None:
        """Any version's; None where it is none."""
        lines = [line for line in re.split(r"[\r\n]+", text.lstrip()) if line]
        if not lines or not lines[0].startswith("MSH") or len(lines[0]) < 4:
            return None
        segments = [line.split(lines[0][3]) for line in lines]
        errors = tuple(_error(fields) for fields in segments if fields[0] == "ERR")
        for fields in segments:
            if fields[0] == "MSA" and len(fields) > 2:
                return cls(fields[1].strip(), fields[2].strip(), tuple(error for error in errors if error))
        return None


def _error(fields: list[str]) -> str:
    code, place = ((*fields, "", "", "", "")[3].split("^")[0], (*fields, "", "", "")[2])
    known = f"error {code}" if _ERROR.fullmatch(code) else ""
    where = f"at {place}" if _PLACE.fullmatch(place) else ""
    return " ".join(part for part in (known, where) if part)


def _judge(
    answer: Acknowledgement | None, control_id: str, destination: DestinationSettings
) -> tuple[Outcome, str | None]:
    if answer is None or answer.of != control_id or answer.code not in (*_TAKEN, *_REFUSED):
        raise NoAnswer(f"{destination.name} answered with something else than an acknowledgement of the message")
    if answer.code in _TAKEN:
        return Outcome.DELIVERED, None
    return Outcome.REFUSED, f"acknowledged with {answer.code}" + "".join(f", {error}" for error in answer.errors)


def _exchange(connection: socket.socket, message: bytes, destination: DestinationSettings) -> str:
    """Send one block and read one; raises NoAnswer."""
    until = time.monotonic() + destination.timeout_seconds
    heard = bytearray()
    try:
        connection.sendall(_BEGIN + message + _END)
        while _END not in heard and len(heard) < _MOST_BYTES:
            connection.settimeout(max(until - time.monotonic(), 0.001))
            piece = connection.recv(1 << 12)
            if not piece:
                break
            heard += piece
    except OSError as fault:
        why = "nothing was heard in time" if isinstance(fault, TimeoutError) else type(fault).__name__
        raise NoAnswer(f"{destination.name} did not acknowledge the message: {why}") from fault
    begin, end = heard.find(_BEGIN), heard.find(_END)
    if begin < 0 or end < begin:
        raise NoAnswer(f"{destination.name} closed the connection without an acknowledgement")
    return heard[begin + 1 : end].decode("utf-8", errors="replace")
