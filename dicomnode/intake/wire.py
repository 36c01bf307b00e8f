"""The acceptor's side of DICOM's upper layer on one connection (PS3.8), with a time for everything a peer may take.

pynetdicom encodes and decodes what is said once an association. The rest, said thousands of times a study, is done
here: its reactor polls, holds an object in memory several times over, keeps the place of a peer that has gone, and
measures by a clock that can be set.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom._globals import APPLICATION_CONTEXT_NAME
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from dicomnode.errors import NodeError
from dicomnode.intake.commands import MOST_BYTES, Command, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_ASSOCIATE_RQ, _P_DATA, _RELEASE_RQ, _ABORT = 0x01, 0x04, 0x05, 0x07
_RELEASE_RP = b"\x06\x00" + struct.pack(">II", 4, 0)
_LONGEST_REQUEST = 1 << 20  # bytes: 128 contexts of 50 transfer syntaxes take a fifth of it
_BUFFER = 1 << 17
_SMALLEST_FRAGMENT = 4096  # where a peer says less, it gets that
_BY_USER, _BY_PROVIDER = 0x00, 0x02
_NO_REASON, _UNRECOGNIZED_PDU, _UNEXPECTED_PDU, _INVALID_VALUE = 0x00, 0x01, 0x02, 0x06


class Lost(NodeError):
    """The peer hung up, or was hung up on: the sentence says why."""


class Released(NodeError):
    """The peer asks to end the association in good order; ``release`` is the answer."""


class Sink(Protocol):
    """Where the bytes of a data set go; what goes wrong there is its own to keep until asked."""

    def write(self, chunk: memoryview) -> None:
        """Take the bytes, which are gone afterwards."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer may take, in seconds of a clock that nobody sets."""

    silence: float  # without a byte, in the middle of something
    request: float  # for one request as a whole
    idle: float  # between two requests


@dataclass(frozen=True, slots=True)
class Asked:
    """What a peer asks for when it opens an association."""

    calling: str
    called: str
    primitive: Any


@dataclass(frozen=True, slots=True)
class Context:
    """What was agreed for one presentation context."""

    sop_class_uid: str
    transfer_syntax: str


class Wire:
    """One connection; used by one thread, but for ``hang_up`` and ``farewell``, which any may call."""

    def __init__(self, connection: socket.socket, patience: Patience, setup_seconds: float) -> None:
        self._connection = connection
        self._patience = patience
        self._buffer = memoryview(bytearray(_BUFFER))
        self._begin = self._end = 0
        self._left_of_pdu = 0
        self._sending = threading.Lock()
        self._timeout = 0.0
        self._longest_fragment = _SMALLEST_FRAGMENT
        self._until, self._doing, self._longest_wait = 0.0, "", 0.0
        self._phase(f"it asked for no association within {setup_seconds:g} s", setup_seconds, setup_seconds)
        self.contexts: dict[int, Context] = {}

    # ---- association

    def asked(self) -> Asked:
        """Wait for the request for an association; raises Lost."""
        kind, length = self._header()
        if kind != _ASSOCIATE_RQ or length > _LONGEST_REQUEST:
            self.abort(_BY_PROVIDER, _UNEXPECTED_PDU)
            raise Lost("it did not begin with a request for an association")
        request = A_ASSOCIATE_RQ()
        try:
            request.decode(struct.pack(">BBI", kind, 0, length) + self._whole(length))
            primitive = request.to_primitive()
            return Asked(str(primitive.calling_ae_title).strip(), str(primitive.called_ae_title).strip(), primitive)
        except Lost:
            raise
        except Exception as fault:  # any bytes may arrive: the parser's every complaint is the same answer
            self.abort(_BY_PROVIDER, _INVALID_VALUE)
            raise Lost(f"its request for an association cannot be read: {type(fault).__name__}") from fault

    def accept(self, asked: Asked, offered: Sequence[PresentationContext]) -> None:
        """Agree to an association, on the contexts that both know; raises Lost."""
        request = asked.primitive
        roles = {
            item.sop_class_uid: (item.scu_role, item.scp_role)
            for item in request.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid is not None
        }
        results, role_answers = negotiate_as_acceptor(
            request.presentation_context_definition_list, list(offered), roles or None
        )
        self.contexts = {
            int(one.context_id): Context(str(one.abstract_syntax), str(one.transfer_syntax[0]))
            for one in results
            if one.result == 0 and one.context_id is not None
        }
        for item in request.user_information:
            if isinstance(item, MaximumLengthNotification):
                most = int(item.maximum_length_received) or _BUFFER
                self._longest_fragment = max(_SMALLEST_FRAGMENT, min(most, _BUFFER)) - 6
        answer = A_ASSOCIATE()
        answer.application_context_name = UID(APPLICATION_CONTEXT_NAME)
        answer.calling_ae_title, answer.called_ae_title = request.calling_ae_title, request.called_ae_title
        answer.result, answer.result_source = 0x00, 0x01
        answer.presentation_context_definition_results_list = results
        answer.user_information = [*_own_information(), *role_answers]
        self._send(_encoded(A_ASSOCIATE_AC(), answer))

    def reject(self, result: int, source: int, reason: int) -> None:
        """Refuse an association (PS3.8 9.3.4); raises Lost."""
        answer = A_ASSOCIATE()
        answer.result, answer.result_source, answer.diagnostic = result, source, reason
        self._send(_encoded(A_ASSOCIATE_RJ(), answer))
        self._wait_for_close()

    def release(self) -> None:
        """Agree to the end of the association that the peer has asked for."""
        self._send(_RELEASE_RP)
        self._wait_for_close()

    def abort(self, source: int = _BY_USER, reason: int = _NO_REASON) -> None:
        """Break the association off; the peer may not hear it."""
        try:
            self._send(_abort(source, reason))
        except Lost:
            return

    def farewell(self, seconds: float) -> None:
        """Say from another thread that the association is broken off, then hang up."""
        spoken = not isinstance(self._connection, ssl.SSLSocket)  # of which two threads must not make use at once
        if spoken and self._sending.acquire(timeout=seconds):
            try:
                self._connection.send(_abort(_BY_USER, _NO_REASON), socket.MSG_DONTWAIT)
            except OSError:
                pass  # it has gone before us, or does not read
            finally:
                self._sending.release()
        self.hang_up()

    def hang_up(self) -> None:
        """End whatever the thread of this connection waits for."""
        hang_up(self._connection)

    # ---- messages

    def message(self, sink_of: Callable[[Command], Sink]) -> Command:
        """Wait for the next request and all of its data set, which goes to ``sink_of`` it; raises Released, Lost."""
        command, asked, sink = bytearray(), None, None
        most = self._patience
        self._phase(f"it asked for nothing for {most.idle:g} s", most.idle, most.idle)
        while True:
            if self._left_of_pdu == 0:
                self._next_pdu()
                continue
            context_id, control, length = self._fragment()
            if not command and asked is None:
                slow = f"a request took more than {most.request:g} s, or paused for {most.silence:g} s"
                self._phase(slow, most.request, most.silence)
            last = bool(control & 2)
            if control & 1:
                if asked is not None or len(command) + length > MOST_BYTES:
                    raise self._broken("a command where a data set should be")
                command += self._take(length)
                if last:
                    asked = self._decoded(context_id, command)
                    if not asked.has_data_set:
                        return asked
                    sink = sink_of(asked)
            else:
                if sink is None or asked is None:
                    raise self._broken("a data set that no command announced")
                self._pour(length, sink)
                if last:
                    return asked

    def answer(self, command: Command, encoded: bytes, data_set: bytes | None = None) -> None:
        """Send a command set, and a data set behind it, on the context a command came on; raises Lost."""
        pdus = [_p_data(command.context_id, 0x03, encoded)]
        if data_set is not None:
            step = self._longest_fragment
            for at in range(0, len(data_set), step):
                end = at + step >= len(data_set)
                pdus.append(_p_data(command.context_id, 0x02 if end else 0x00, data_set[at : at + step]))
        self._send(b"".join(pdus))

    def _next_pdu(self) -> None:
        kind, length = self._header()
        if kind == _P_DATA:
            self._left_of_pdu = length
        elif kind == _RELEASE_RQ:
            self._whole(min(length, _LONGEST_REQUEST))
            raise Released
        elif kind == _ABORT:
            raise Lost("it broke the association off")
        else:
            self.abort(_BY_PROVIDER, _UNEXPECTED_PDU if kind in range(1, 8) else _UNRECOGNIZED_PDU)
            raise Lost("it sent what has no place here")

    def _fragment(self) -> tuple[int, int, int]:
        """Context, control bits and length of the next presentation data value (PS3.8 9.3.5.1, E.2)."""
        if self._left_of_pdu < 6:
            raise self._broken("a fragment that is cut short")
        length, context_id, control = struct.unpack(">IBB", self._take(6))
        if length < 2 or length + 4 > self._left_of_pdu:
            raise self._broken("a fragment that is longer than what holds it")
        if context_id not in self.contexts:
            raise self._broken("a presentation context that was not accepted")
        self._left_of_pdu -= length + 4
        return context_id, control, length - 2

    def _decoded(self, context_id: int, command: bytearray) -> Command:
        try:
            return Command.decode(context_id, command)
        except Malformed as fault:
            raise self._broken(str(fault)) from fault

    def _broken(self, what: str) -> Lost:
        self.abort(_BY_PROVIDER, _INVALID_VALUE)
        return Lost(f"it sent {what}")

    # ---- bytes

    def _phase(self, doing: str, seconds: float, longest_wait: float) -> None:
        """Begin something that may take so long as a whole, and be silent for so long."""
        self._doing, self._until, self._longest_wait = doing, time.monotonic() + seconds, longest_wait

    def _header(self) -> tuple[int, int]:
        kind, _, length = struct.unpack(">BBI", self._take(6))
        return kind, length

    def _take(self, count: int) -> bytes:
        """The next bytes, no more than the buffer holds."""
        while self._end - self._begin < count:
            if self._begin and self._begin + count > _BUFFER:
                waiting = self._end - self._begin
                self._buffer[:waiting] = bytes(self._buffer[self._begin : self._end])
                self._begin, self._end = 0, waiting
            self._fill()
        taken = bytes(self._buffer[self._begin : self._begin + count])
        self._begin += count
        return taken

    def _whole(self, count: int) -> bytes:
        parts = []
        while count:
            parts.append(self._take(min(count, _BUFFER // 2)))
            count -= len(parts[-1])
        return b"".join(parts)

    def _pour(self, count: int, sink: Sink) -> None:
        """Hand the next bytes to a sink as they come."""
        while count:
            if self._begin == self._end:
                self._fill()
            here = min(count, self._end - self._begin)
            sink.write(self._buffer[self._begin : self._begin + here])
            self._begin += here
            count -= here

    def _fill(self) -> None:
        if self._begin == self._end:
            self._begin = self._end = 0
        left = self._until - time.monotonic()
        if left <= 0:
            raise self._late()
        self._wait_at_most(min(left, self._longest_wait))
        try:
            count = self._connection.recv_into(self._buffer[self._end :])
        except TimeoutError:
            raise self._late() from None
        except OSError as fault:
            raise Lost(f"the connection broke: {fault.strerror or type(fault).__name__}") from fault
        if count == 0:
            raise Lost("it hung up")
        self._end += count

    def _late(self) -> Lost:
        self._longest_wait = _GOODBYE_SECONDS
        self.abort(_BY_PROVIDER, _NO_REASON)
        return Lost(self._doing)

    def _wait_at_most(self, seconds: float) -> None:
        """A system call, so only where it makes a difference."""
        if not 0.9 * seconds <= self._timeout <= seconds:
            self._timeout = seconds
            self._connection.settimeout(seconds)

    def _send(self, content: bytes) -> None:
        try:
            with self._sending:
                self._wait_at_most(max(0.1, self._longest_wait))
                self._connection.sendall(content)
        except TimeoutError:
            raise Lost("it does not read what it is answered") from None
        except OSError as fault:
            raise Lost(f"the connection broke: {fault.strerror or type(fault).__name__}") from fault

    def _wait_for_close(self) -> None:
        """Whoever asked closes (PS3.8 9.2, AA-2); a moment is enough, so that the answer is not lost with a reset."""
        self._phase("it did not close", _GOODBYE_SECONDS, _GOODBYE_SECONDS)
        try:
            while True:
                self._begin = self._end = 0
                self._wait_at_most(_GOODBYE_SECONDS)
                if self._connection.recv_into(self._buffer) == 0 or time.monotonic() > self._until:
                    return
        except OSError:
            return


_GOODBYE_SECONDS = 1.0


def contexts(table: Mapping[str, Sequence[str]], both_roles: Sequence[str] = ()) -> list[PresentationContext]:
    """What is offered, as the negotiation wants it; for SOP classes in ``both_roles`` a peer may be either side."""
    found = [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in table.items()]
    for one in found:
        if one.abstract_syntax in both_roles:
            one.scu_role = one.scp_role = True
    return found


def hang_up(connection: socket.socket) -> None:
    """Close both ways; a TLS socket's own method would take the layer away from under its thread."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # it was closed before


def _own_information() -> list[Any]:
    length = MaximumLengthNotification()
    length.maximum_length_received = 0  # any: nothing here is as large as a PDU
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(PYNETDICOM_IMPLEMENTATION_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = PYNETDICOM_IMPLEMENTATION_VERSION
    return [length, implementation, version]


def _encoded(pdu: Any, primitive: A_ASSOCIATE) -> bytes:
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def _abort(source: int, reason: int) -> bytes:
    return struct.pack(">BBIBBBB", _ABORT, 0, 4, 0, 0, source, reason)


def _p_data(context_id: int, control: int, content: bytes) -> bytes:
    return struct.pack(">BBIIBB", _P_DATA, 0, len(content) + 6, len(content) + 2, context_id, control) + content
