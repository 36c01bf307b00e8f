"""The storage SCP: answers Success only when the bytes are durable under their final name."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from pydicom.uid import (
    JPEG2000,
    BasicTextSRStorage,
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    EnhancedSRStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    ParametricMapStorage,
    RawDataStorage,
    RLELossless,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, _config, evt
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from dicomnode import events, logs
from dicomnode.errors import ConfigError, InputError, NodeError
from dicomnode.header.envelope import read_envelope
from dicomnode.store.durable import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicomnode.config import Settings
    from dicomnode.store.spool import Spool

_UNCOMPRESSED = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
_COMPRESSED = (
    RLELossless,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)
# What scanners send with a multi-echo series, and what a radiologist's region comes back in. Everything but MR images
# is kept and said to be no echo; refusing it would make some scanners give up the whole series.
STORED: Mapping[str, tuple[str, ...]] = {
    MRImageStorage: _UNCOMPRESSED + _COMPRESSED,
    EnhancedMRImageStorage: _UNCOMPRESSED + _COMPRESSED,
    EnhancedMRColorImageStorage: _UNCOMPRESSED + _COMPRESSED,
    LegacyConvertedEnhancedMRImageStorage: _UNCOMPRESSED + _COMPRESSED,
    SecondaryCaptureImageStorage: _UNCOMPRESSED + _COMPRESSED,
    ParametricMapStorage: _UNCOMPRESSED,
    RawDataStorage: _UNCOMPRESSED,
    SegmentationStorage: (*_UNCOMPRESSED, RLELossless),
    "1.2.840.10008.5.1.4.1.1.66.7": (*_UNCOMPRESSED, RLELossless),  # Label Map Segmentation
    RTStructureSetStorage: _UNCOMPRESSED,
    GrayscaleSoftcopyPresentationStateStorage: _UNCOMPRESSED,
    ColorSoftcopyPresentationStateStorage: _UNCOMPRESSED,
    BasicTextSRStorage: _UNCOMPRESSED,
    EnhancedSRStorage: _UNCOMPRESSED,
    ComprehensiveSRStorage: _UNCOMPRESSED,
    Comprehensive3DSRStorage: _UNCOMPRESSED,
    "1.3.12.2.1107.5.9.1": _UNCOMPRESSED,  # Siemens CSA non-image
}

_FAREWELL_SECONDS = 1.0  # for the A-ABORTs to go out
_SUCCESS = 0x0000
_CANNOT_UNDERSTAND = 0xC000
_DATA_SET_DOES_NOT_MATCH = 0xA900


class BoundedServer(ThreadedAssociationServer):
    """Association server in which no peer can hold up another.

    pynetdicom 3.0.4 does the TLS handshake in its accept loop, so one silent client would block every other; here it
    is done in the worker thread. No single read or write may take longer than ``io_seconds``: a peer that sends half
    a PDU frees its slot. TCP_NODELAY, because answers are small and one waits for each.
    """

    request_queue_size = 128
    daemon_threads = True
    io_seconds = 60.0
    say: events.Sink = staticmethod(logs.write)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection without speaking to it."""
        if self.socket is None:
            raise OSError("the server is closed")
        connection, address = self.socket.accept()
        connection.settimeout(self.io_seconds)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Speak TLS, then DICOM, in the thread of this connection."""
        if isinstance(request, ssl.SSLSocket):
            request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Say which peer failed before there was an association."""
        fault = sys.exception()
        self.say(events.ConnectionFailed(peer=client_address[0], reason=f"{type(fault).__name__}: {fault}"))


class Receiver:
    """The storage SCP of the node.

    ``arrived(study_uid)`` is called after an instance became durable and after an association ended: a hint to look.
    """

    def __init__(
        self, settings: Settings, spool: Spool, arrived: Callable[[str], None], say: events.Sink = logs.write
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._arrived = arrived
        self._say = say
        self._lock = threading.Lock()
        self._open: dict[Any, dict[str, list[str]]] = {}  # association -> study -> SOP Instance UIDs it brought
        self._server: ThreadedAssociationServer | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; the operating system's choice when none was set."""
        if self._server is None:
            raise NodeError("the receiver is not started")
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listen; raises NodeError with the address when that is not possible."""
        _config.LOG_HANDLER_LEVEL = "none"  # its default handlers print data sets, and so identities
        _config.UNRESTRICTED_STORAGE_SERVICE = False
        node = self._settings.node
        entity = self._entity()
        tls = self._tls()
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, lambda _: _SUCCESS),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_RELEASED, self._on_released),
            (evt.EVT_ABORTED, self._on_lost),
            (evt.EVT_CONN_CLOSE, self._on_lost),
        ]
        own = {"io_seconds": self._settings.receive.network_timeout_seconds, "say": staticmethod(self._say)}
        server_class = type("Server", (BoundedServer,), own)
        try:
            server = entity.make_server(
                (node.host, node.port),
                evt_handlers=handlers,
                ssl_context=tls,
                server_class=server_class,
            )
        except OSError as fault:
            raise NodeError(f"cannot listen on {node.host}:{node.port}: {fault.strerror or fault}") from fault
        entity._servers.append(server)  # noqa: SLF001  shutdown() removes it there
        threading.Thread(target=server.serve_forever, name="receive", daemon=True).start()
        self._server = server
        self._say(events.Listening(node.ae_title, node.host, self.port))

    def stop(self) -> None:
        """Stop listening and end what is open, without waiting for any peer."""
        if self._server is None:
            return
        server, self._server = self._server, None
        associations = server.active_associations
        server.shutdown()
        for association in associations:
            association.abort(block=False)
        deadline = time.monotonic() + _FAREWELL_SECONDS
        for association in associations:
            association.join(max(0.0, deadline - time.monotonic()))
            _hang_up(association)  # also on a peer that has sent half a PDU, for whose rest we would wait

    def is_receiving(self, study_uid: str) -> bool:
        """Whether an association that brought images of the study is still open."""
        with self._lock:
            return any(study_uid in studies for studies in self._open.values())

    def _entity(self) -> AE:
        receive = self._settings.receive
        entity = AE(self._settings.node.ae_title)
        entity.maximum_pdu_size = 0
        entity.maximum_associations = receive.maximum_associations
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = receive.network_timeout_seconds
        entity.require_calling_aet = (
            [] if receive.accept_any_scanner else [scanner.ae_title for scanner in self._settings.scanner]
        )
        entity.add_supported_context(Verification)
        for sop_class, syntaxes in STORED.items():
            entity.add_supported_context(sop_class, list(syntaxes))
        return entity

    def _tls(self) -> ssl.SSLContext | None:
        tls = self._settings.tls
        if not tls.receive or tls.certificate is None:
            return None
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.authority)
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as fault:
            named = f"certificate {tls.certificate}, key {tls.key}, authority {tls.authority}"
            raise ConfigError(f"[tls] {named}: cannot be used: {fault.strerror or fault}") from fault
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.authority:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _on_requested(self, event: Any) -> None:
        """Refuse a known AE title that calls from an unknown address."""
        calling = event.assoc.requestor.primitive.calling_ae_title
        address = event.assoc.requestor.address
        allowed = {scanner.address for scanner in self._settings.scanner if scanner.ae_title == calling}
        if None in allowed or not allowed or address in {_resolved(name) for name in allowed if name}:
            return
        self._say(events.AssociationRejected(calling, address, "address not allowed"))
        event.assoc.acse.send_reject(0x01, 0x01, 0x03)  # permanent: calling AE title not recognised
        event.assoc.kill()

    def _on_rejected(self, event: Any) -> None:
        """Say who was turned away: an AE title that is not configured is the commonest mistake of an installation."""
        requestor = event.assoc.requestor
        calling = requestor.primitive.calling_ae_title
        known = {scanner.ae_title for scanner in self._settings.scanner}
        unknown = not self._settings.receive.accept_any_scanner and calling not in known
        reason = "calling AE title is not in [[scanner]]" if unknown else "[receive] maximum_associations are open"
        self._say(events.AssociationRejected(calling, requestor.address, reason))

    def _on_store(self, event: Any) -> int:
        """Keep one instance; every answer but Success leaves the object with its sender."""
        try:
            return self._store(event)
        except Exception as fault:  # noqa: BLE001  the edge of a request: pynetdicom would answer and say nothing
            self._say(events.StoreCrashed(fault))
            return _CANNOT_UNDERSTAND

    def _store(self, event: Any) -> int:
        content = _encoded(event)
        requested_uid = str(event.request.AffectedSOPInstanceUID)
        try:
            study_uid, sop_uid = _identify(content)
            if sop_uid != requested_uid:
                return self._refuse(content, _DATA_SET_DOES_NOT_MATCH, "SOPInstanceUID differs from the request's")
            received = self._spool.store(study_uid, sop_uid, content)
        except InputError as fault:
            return self._refuse(content, fault.dimse_status, str(fault))
        except NodeError as fault:
            self._say(events.StoreFailed(str(fault)))
            return fault.dimse_status
        if received.conflict:
            self._say(events.InstanceConflict(study_uid, sop_uid, received.path.name))
        with self._lock:
            self._open.setdefault(event.assoc, {}).setdefault(study_uid, []).append(sop_uid)
        self._arrived(study_uid)
        return _SUCCESS

    def _refuse(self, content: bytes, status: int, reason: str) -> int:
        self._say(events.InstanceRefused(reason, digest(content)))
        try:
            self._spool.refuse(content, "unreadable", reason)
        except NodeError as fault:
            self._say(events.StoreFailed(str(fault)))
            return fault.dimse_status
        return status

    def _on_released(self, event: Any) -> None:
        """Mark what a cleanly ended association brought: its sender believes it has sent all it wanted."""
        studies = self._forget(event.assoc)
        for study_uid, sop_uids in studies.items():
            try:
                self._spool.release(study_uid, sop_uids)
            except NodeError as fault:
                self._say(events.StoreFailed(str(fault)))
            self._say(events.AssociationReleased(study_uid, len(sop_uids)))
            self._arrived(study_uid)

    def _on_lost(self, event: Any) -> None:
        for study_uid, sop_uids in self._forget(event.assoc).items():
            self._say(events.AssociationLost(study_uid, len(sop_uids)))
            self._arrived(study_uid)

    def _forget(self, association: Any) -> dict[str, list[str]]:
        with self._lock:
            return self._open.pop(association, {})


def _encoded(event: Any) -> bytes:
    """The object as a file that names who sent it (PS3.10 7.1)."""
    meta = event.file_meta
    meta.SendingApplicationEntityTitle = event.assoc.requestor.primitive.calling_ae_title
    return b"".join((b"\0" * 128, b"DICM", encode_file_meta(meta), event.encoded_dataset(include_meta=False)))


def _identify(content: bytes) -> tuple[str, str]:
    """Study and SOP Instance UID of an encoded object that is all there; raises InputError."""
    envelope = read_envelope(content)
    for keyword, uid in (("StudyInstanceUID", envelope.study_uid), ("SOPInstanceUID", envelope.sop_uid)):
        if not uid:
            raise InputError(f"{keyword} is missing")
    if envelope.cut_short:
        raise InputError("the pixel data is cut short")
    return envelope.study_uid, envelope.sop_uid


def _hang_up(association: Any) -> None:
    connection = association.dul.socket.socket if association.dul.socket else None
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _resolved(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except OSError:
        return name
