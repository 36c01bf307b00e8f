"""The storage SCP: answers Success only when the bytes are durable under their final name."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicomnode import events, logs
from dicomnode.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, Report, encoded
from dicomnode.errors import InputError, NodeError
from dicomnode.header.envelope import glance, prefix, read_envelope
from dicomnode.intake import wire
from dicomnode.intake.commands import (
    ANSWER,
    C_ECHO,
    C_STORE,
    N_ACTION,
    N_EVENT_REPORT,
    Command,
    Status,
    event_report,
)
from dicomnode.intake.commit import Commitment, Letter
from dicomnode.intake.offered import STORED
from dicomnode.intake.places import Held, Places
from dicomnode.intake.wire import Lost, Patience, Released, Wire
from dicomnode.store.durable import file_digest
from dicomnode.tls import Certificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dicomnode.config import ReceiveSettings, Settings
    from dicomnode.store.durable import Partial
    from dicomnode.store.spool import Spool

_WAITING_TO_BE_ACCEPTED = 128
_HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # before it had said who it is
_LOOK_AROUND_SECONDS = 0.5
_FAREWELL_SECONDS = 1.0  # for the A-ABORTs to go out and the threads to end
_OWN = (str(PYNETDICOM_IMPLEMENTATION_UID), str(PYNETDICOM_IMPLEMENTATION_VERSION))
_C_CANCEL = 0x0FFF
_MEGABYTE = 1_000_000
_HEAD_BYTES = 1 << 15
_NOT_HEARD = "it ended the association; with [[scanner]] port it is told on another one"
_REPORT_ID = 1  # message ID of our requests: a peer answers one after the other


@dataclass(eq=False)
class _Association:
    """What an open association has brought so far."""

    calling: str
    peer: str
    begun: float  # monotonic
    studies: dict[str, list[str]] = field(default_factory=dict)  # study -> SOP Instance UIDs
    marks: dict[str, Path | None] = field(default_factory=dict)  # study -> what tells other machines
    reported: list[Report] = field(default_factory=list)  # on commitment, and not answered yet


class Receiver:
    """The storage SCP of the node.

    ``arrived(study_uid)`` is called after an instance became durable and after an association ended: a hint to look.
    So is ``reported(key, destination)`` after a destination said what it keeps of a result.
    ``member`` is the name of this process among those that share the spool.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        arrived: Callable[[str], None],
        say: events.Sink = logs.write,
        *,
        member: str = "",
        certificates: Certificates | None = None,
        reported: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._member = member
        self._certificates = certificates or Certificates(settings.tls, say)
        self._spool = spool
        self._arrived = arrived
        self._say = say
        always = dict.fromkeys((str(Verification), PUSH_MODEL), (ImplicitVRLittleEndian, ExplicitVRLittleEndian))
        self._offered = wire.contexts({**always, **STORED}, (PUSH_MODEL,))
        self._offered_to_destinations = wire.contexts(always, (PUSH_MODEL,))
        self._commitment = Commitment(settings, spool, reported, say)
        self._places = Places(settings)
        self.use(settings)
        self.turned = time.monotonic()  # when it last looked for who knocks
        self._lock = threading.Lock()
        self._open: set[_Association] = set()
        self._wires: set[Wire] = set()
        self._threads: set[threading.Thread] = set()
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()
        self._accepting: threading.Thread | None = None

    def use(self, settings: Settings) -> None:
        """Serve by these settings from the next connection on; address and name stay those of the start."""
        self._settings, receive = settings, settings.receive
        self._patience = Patience(receive.network_timeout_seconds, receive.request_seconds, receive.idle_seconds)
        self._places.use(settings)
        self._commitment.use(settings)

    @property
    def port(self) -> int:
        """The port that is listened on; the operating system's choice when none was set."""
        if self._listener is None:
            raise NodeError("the receiver is not started")
        return int(self._listener.getsockname()[1])

    @property
    def listens(self) -> bool:
        """Whether who calls is answered."""
        return self._accepting is not None and self._accepting.is_alive()

    @property
    def connections(self) -> int:
        """How many are open, with an association or without."""
        return len(self._places.everyone())

    def start(self) -> None:
        """Listen; raises NodeError with the address when that is not possible."""
        node = self._settings.node
        self._certificates.receiving()  # what is wrong with them is said before anybody calls
        try:
            self._listener = socket.create_server((node.host, node.port), backlog=_WAITING_TO_BE_ACCEPTED)
        except OSError as fault:
            raise NodeError(f"cannot listen on {node.host}:{node.port}: {fault.strerror or fault}") from fault
        self._listener.settimeout(_LOOK_AROUND_SECONDS)
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), name="receive", daemon=True)
        self._accepting.start()
        self._say(events.Listening(node.ae_title, node.host, self.port))

    def stop(self) -> None:
        """Stop listening and end what is open, without waiting for any peer."""
        if self._listener is None or self._accepting is None:
            return
        self._stopping.set()
        self._listener.close()
        self._accepting.join()
        self._listener = None
        deadline = time.monotonic() + _FAREWELL_SECONDS
        with self._lock:
            wires, threads = list(self._wires), list(self._threads)
        for one in wires:
            one.farewell(_FAREWELL_SECONDS / 10)
        for held in self._places.everyone():
            wire.hang_up(held.connection)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def bringing(self, study_uid: str) -> frozenset[str]:
        """The SOP Instance UIDs of a study that associations which are still open have brought."""
        with self._lock:
            return frozenset(uid for association in self._open for uid in association.studies.get(study_uid, ()))

    def _accept(self, listener: socket.socket) -> None:
        """Take connections without speaking to any: nobody who is silent keeps another waiting."""
        while not self._stopping.is_set():
            self.turned = time.monotonic()
            self._places.end_overdue()
            try:
                connection, address = listener.accept()
            except TimeoutError:
                continue
            except OSError as fault:
                if not self._stopping.is_set():
                    self._say(events.ConnectionFailed("", f"it could not be accepted: {fault.strerror or fault}"))
                    self._stopping.wait(_LOOK_AROUND_SECONDS)  # there may be no file handle left for a moment
                continue
            held = Held(connection, address[0])
            leaver = self._places.take(held)
            if leaver is not None:
                wire.hang_up(leaver.connection)
            thread = threading.Thread(target=self._serve, args=(held,), name="association", daemon=True)
            with self._lock:
                self._threads.add(thread)
            thread.start()

    def _serve(self, held: Held) -> None:
        """Serve one connection to its end, in a thread of its own."""
        try:
            self._hear(held)
        except Lost as fault:
            self._say(events.ConnectionFailed(held.address, str(fault)))
        except (ssl.SSLError, OSError) as fault:
            code = "tls" if isinstance(fault, ssl.SSLError) and not isinstance(fault, _HUNG_UP) else ""
            self._say(events.ConnectionFailed(held.address, f"{type(fault).__name__}: {fault}", code))
        except Exception as fault:  # noqa: BLE001  the edge of a connection
            self._say(events.StoreCrashed(fault))
        finally:
            self._places.leave(held)
            held.connection.close()
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _hear(self, held: Held) -> None:
        """Speak TLS, then agree to an association, then answer what is asked."""
        receive = self._settings.receive
        held.connection.settimeout(receive.setup_seconds)
        held.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        held.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # answers are small, and waited for
        tls = self._certificates.receiving()
        if tls is not None:
            held.connection = tls.wrap_socket(held.connection, server_side=True, do_handshake_on_connect=False)
            held.connection.do_handshake()
        spoken = Wire(held.connection, self._patience, receive.setup_seconds)
        asked = spoken.asked()
        refusal = self._places.admit(held, asked.calling, asked.called)
        if refusal is not None:
            self._say(events.AssociationRejected(asked.calling, held.address, refusal.reason, refusal.code))
            spoken.reject(*refusal.said)
            return
        association = _Association(asked.calling, held.address, time.monotonic())
        with self._lock:
            self._open.add(association)
            self._wires.add(spoken)
        try:
            may_send = self._places.may_send(asked.calling)
            spoken.accept(asked, self._offered if may_send else self._offered_to_destinations)
            self._answer(spoken, association)
        except Released:
            self._ended(association, released=True)  # written down before it is answered
            spoken.release()
        except Lost as fault:
            self._ended(association, released=False, why=str(fault))
        except Exception as fault:
            self._ended(association, released=False, why=f"the node failed: {type(fault).__name__}")
            raise
        finally:
            with self._lock:
                self._wires.discard(spoken)

    def _answer(self, spoken: Wire, association: _Association) -> None:
        """Answer one request after the other; raises Released or Lost."""
        while True:
            with _Arrivals(self._spool, spoken, association.calling, self._settings.receive) as arrivals:
                command = spoken.message(arrivals.sink_of)
                if command.kind == C_STORE:
                    status, comment = self._stored(command, arrivals.of(command), association)
                elif command.kind == C_ECHO:
                    status, comment = Status.SUCCESS, ""
                elif command.kind in (N_ACTION, N_EVENT_REPORT):
                    self._commit(command, arrivals.letter, spoken, association)
                    continue
                elif command.kind & ANSWER or command.kind == _C_CANCEL:
                    self._heard(command, association)
                    continue
                else:
                    status, comment = Status.UNRECOGNIZED_OPERATION, "this request is not answered here"
            spoken.answer(command, command.answer(status, comment))

    def _commit(self, command: Command, letter: Letter, spoken: Wire, association: _Association) -> None:
        """Answer a request of storage commitment, and report behind it where the peer hears that here."""
        syntax = spoken.contexts[command.context_id].transfer_syntax
        reply = self._commitment.reply(command, letter, syntax, association.calling)
        spoken.answer(command, command.answer(reply.status, reply.comment))
        if reply.report is not None:
            association.reported.append(reply.report)
            head = event_report(_REPORT_ID, PUSH_MODEL, PUSH_MODEL_INSTANCE, reply.report.event_type)
            spoken.answer(command, head, encoded(reply.report.as_data_set(), syntax))

    def _heard(self, command: Command, association: _Association) -> None:
        """A peer answers the report that was sent first of those that it has not answered."""
        if command.kind == N_EVENT_REPORT | ANSWER and association.reported:
            report = association.reported.pop(0)
            counts = len(report.committed), len(report.failed)
            given = events.CommitmentGiven(report.transaction_uid, association.calling, *counts, command.status)
            self._say(given)

    def _stored(self, command: Command, arrival: _Arrival, association: _Association) -> tuple[int, str]:
        """Keep one instance; every answer but Success leaves the object with its sender."""
        try:
            return self._store(command, arrival, association)
        except InputError as fault:
            return self._refuse(arrival, fault.dimse_status, str(fault))
        except NodeError as fault:
            self._say(events.StoreFailed(str(fault)))
            return fault.dimse_status, str(fault)
        except Exception as fault:  # noqa: BLE001  the edge of a request
            self._say(events.StoreCrashed(fault))
            return Status.CANNOT_UNDERSTAND, "the node failed; its log says how"

    def _store(self, command: Command, arrival: _Arrival, association: _Association) -> tuple[int, str]:
        arrived = arrival.all_of_it()
        study_uid, sop_uid = _identify(arrived, arrival.head)
        if sop_uid != command.sop_instance_uid:
            reason = "SOPInstanceUID differs from the request's"
            return self._refuse(arrival, Status.DATA_SET_DOES_NOT_MATCH, reason)
        received = self._spool.keep(study_uid, sop_uid, arrived)
        if received.conflict:
            self._say(events.InstanceConflict(study_uid, sop_uid, received.path.name))
        with self._lock:
            association.studies.setdefault(study_uid, []).append(sop_uid)
        if study_uid not in association.marks:
            association.marks[study_uid] = self._spool.mark_open(study_uid, self._member)
        self._arrived(study_uid)
        return Status.SUCCESS, ""

    def _refuse(self, arrival: _Arrival, status: int, reason: str) -> tuple[int, str]:
        """Put aside what cannot be taken in."""
        if arrival.file is None or arrival.fault is not None:  # it was not taken to its end
            self._say(events.InstanceRefused(reason, ""))
            return status, reason
        self._say(events.InstanceRefused(reason, file_digest(arrival.file.path)))
        try:
            self._spool.set_aside(arrival.file, "unreadable", reason)
        except NodeError as fault:
            self._say(events.StoreFailed(str(fault)))
            return fault.dimse_status, str(fault)
        return status, reason

    def _ended(self, association: _Association, *, released: bool, why: str = "") -> None:
        """Mark what a cleanly ended association brought: its sender believes it has sent all it wanted."""
        calling, peer = association.calling, association.peer
        seconds = round(time.monotonic() - association.begun, 3)
        if released:
            for study_uid, sop_uids in association.studies.items():
                try:
                    self._spool.release(study_uid, sop_uids)
                except NodeError as fault:
                    self._say(events.StoreFailed(str(fault)))
        with self._lock:  # only now: an association that is gone and has left no word was broken off
            self._open.discard(association)
        for study_uid, sop_uids in association.studies.items():
            if released:
                self._say(events.AssociationReleased(study_uid, len(sop_uids), calling, peer, seconds))
            else:
                self._say(events.AssociationLost(study_uid, len(sop_uids), calling, why, peer, seconds))
            mark = association.marks.get(study_uid)
            if mark is not None:
                mark.unlink(missing_ok=True)
            self._arrived(study_uid)
        for report in association.reported:
            self._say(events.CommitmentNotHeard(report.transaction_uid, association.calling, _NOT_HEARD))
        if not association.studies and not released:
            self._say(events.AssociationLost("", 0, calling, why, peer, seconds))


class _Arrivals:
    """Where the data set of a request goes: for a C-STORE to the disk, for anything else into memory."""

    def __init__(self, spool: Spool, spoken: Wire, calling: str, limits: ReceiveSettings) -> None:
        self._spool = spool
        self._wire = spoken
        self._calling = calling
        self._most = limits.maximum_object_mb * _MEGABYTE
        self._arrival: _Arrival | None = None
        self.letter = Letter()

    def sink_of(self, command: Command) -> _Arrival | Letter:
        """Begin to take a data set."""
        if command.kind != C_STORE:
            return self.letter
        self._arrival = _Arrival(self._most)
        uids = command.sop_class_uid, command.sop_instance_uid
        context = self._wire.contexts[command.context_id]
        if context.sop_class_uid in STORED:
            self._arrival.begin(self._spool, prefix(*uids, context.transfer_syntax, _OWN, self._calling))
        else:
            self._arrival.fault = InputError("a C-STORE on the presentation context of another service")
        return self._arrival

    def of(self, command: Command) -> _Arrival:
        """What came with a command."""
        if self._arrival is None:
            self._arrival = _Arrival(self._most)
            self._arrival.fault = InputError(f"the request for {command.sop_instance_uid} came without a data set")
        return self._arrival

    def __enter__(self) -> _Arrivals:
        return self

    def __exit__(self, *_: object) -> None:
        if self._arrival is not None and self._arrival.file is not None:
            self._arrival.file.close()


class _Arrival:
    """A data set on its way to the disk; the peer's bytes are read to their end whatever goes wrong here."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.file: Partial | None = None
        self.fault: Exception | None = None
        self.head = b""  # the first bytes, in which a header ends

    def begin(self, spool: Spool, content: bytes) -> None:
        """Open the file, with what goes before the data set."""
        try:
            self.file = spool.arriving()
            self._write(content)
        except Exception as fault:  # noqa: BLE001  kept until it is asked for
            self.fault = fault

    def write(self, chunk: memoryview) -> None:
        """Take bytes as they come."""
        if self.file is None or self.fault is not None:
            return
        if self.file.size + len(chunk) > self._most:
            self.fault = InputError(f"it is larger than [receive] maximum_object_mb, {self._most // _MEGABYTE} MB")
            return
        try:
            self._write(chunk)
        except Exception as fault:  # noqa: BLE001  kept until it is asked for
            self.fault = fault

    def _write(self, chunk: bytes | memoryview) -> None:
        if self.file is not None:
            if len(self.head) < _HEAD_BYTES:
                self.head += chunk[: _HEAD_BYTES - len(self.head)]
            self.file.write(chunk)

    def all_of_it(self) -> Partial:
        """The file; raises what went wrong on the way to it."""
        if self.fault is not None:
            raise self.fault
        if self.file is None:
            raise InputError("the request came without a data set")
        return self.file


def _identify(arrived: Partial, head: bytes) -> tuple[str, str]:
    """Study and SOP Instance UID of an encoded object that is all there; raises InputError."""
    envelope = glance(head, arrived.size)
    if envelope is None:
        with arrived.path.open("rb") as file:
            envelope = read_envelope(file)
    for keyword, uid in (("StudyInstanceUID", envelope.study_uid), ("SOPInstanceUID", envelope.sop_uid)):
        if not uid:
            raise InputError(f"{keyword} is missing")
    if envelope.cut_short:
        raise InputError("the pixel data is cut short")
    return envelope.study_uid, envelope.sop_uid
