"""What this node asks of other applications: C-STORE of results above all."""

from __future__ import annotations

import contextlib
import copy
import socket
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

import pydicom
import pynetdicom.timer
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, _config, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicomnode import events, logs
from dicomnode.commitment import PUSH_MODEL
from dicomnode.delivery import archive, commit, find
from dicomnode.delivery.carrier import Outcome, Sent
from dicomnode.errors import ConfigError, NoAnswer, NotOffered, Unreachable
from dicomnode.report.reading import SOP_CLASS_UID
from dicomnode.tls import Certificates

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from pydicom.dataset import FileMetaDataset
    from pynetdicom.association import Association
    from pynetdicom.events import EventHandlerType
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

    from dicomnode.commitment import Report, Request
    from dicomnode.config import DestinationSettings, TlsSettings

_UNCOMPRESSED = {ExplicitVRLittleEndian, ImplicitVRLittleEndian}
_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: identifiers are odd numbers up to 255
_LOSSLESS = {"rle": str(RLELossless), "jpeg-ls": str(JPEGLSLossless), "jpeg-2000": str(JPEG2000Lossless)}
_PAGE = str(SecondaryCaptureImageStorage)
# PS3.7 C.4. 0x0111: it has that instance already, for an object that got no answer goes again under the same UID.
_WARNINGS = (0x0001, 0x0107, 0x0111, 0x0116)
# Its timers measure by a clock that can be set, and would break off an association when that is put forward.
pynetdicom.timer.time = SimpleNamespace(time=time.monotonic)  # type: ignore[attr-defined,assignment]


class Peer(Protocol):
    """An application that is called: a destination, or a scanner that waits for an answer."""

    @property
    def name(self) -> str:
        """How logs call it."""

    @property
    def ae_title(self) -> str:
        """Its AE title."""

    @property
    def host(self) -> str:
        """Its host name or address."""

    @property
    def port(self) -> int:
        """Its port."""

    @property
    def tls(self) -> bool:
        """Whether TLS is spoken with it."""

    @property
    def timeout_seconds(self) -> float:
        """For connecting, and for each answer."""


@dataclass(frozen=True)
class Negotiated:
    """What a destination says to a SOP class before anything is sent."""

    sop_class_uid: str
    accepted: bool


class Sender:
    """The SCU of the node: each method is one association."""

    def __init__(self, calling_ae_title: str, tls: TlsSettings, say: events.Sink = logs.write) -> None:
        self._calling = calling_ae_title
        self._certificates = Certificates(tls, say)
        self._say = say
        _config.LOG_HANDLER_LEVEL = "none"  # its default handlers print data sets, and so identities
        _config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent as it lies there, without decoding it

    def use(self, tls: TlsSettings) -> None:
        """Speak TLS with other certificates from the next association on."""
        self._certificates.use(tls)

    def send(self, destination: DestinationSettings, files: list[Path]) -> Iterator[Sent]:
        """Send files on one association, yielding after each; a refused object does not hold back the next.

        Raises Unreachable when no association can be opened, NoAnswer when it was lost on the way: the peer may or
        may not have the object then, so it is sent again with the same UIDs.
        """
        headers = [read_file_meta_info(file) for file in files]
        contexts = {(str(one.MediaStorageSOPClassUID), str(one.TransferSyntaxUID)) for one in headers}
        syntax = _LOSSLESS.get(destination.compress_pages)
        if syntax and any(sop_class == _PAGE for sop_class, _ in contexts):
            contexts.add((_PAGE, syntax))
        association = self._associate(destination, sorted(contexts))
        packing = syntax if (_PAGE, syntax) in contexts else None
        if packing and not _takes(association, packing):
            self._say(events.PagesGoUncompressed(destination.name, destination.compress_pages, "not accepted"))
            packing = None
        try:
            for file, header in zip(files, headers, strict=True):
                yield self._store(association, destination, file, header, packing)
        finally:
            if association.is_established:
                association.release()

    def echo(self, destination: DestinationSettings) -> None:
        """Verify that the destination answers; raises Unreachable or NoAnswer."""
        association = self._associate(destination, [(str(Verification), str(ImplicitVRLittleEndian))])
        status = association.send_c_echo()
        association.release()
        if status.get("Status") != 0x0000:
            raise NoAnswer(f"{destination.name} did not answer C-ECHO")

    def negotiate(self, destination: DestinationSettings, sop_classes: list[str]) -> list[Negotiated]:
        """Ask which SOP classes the destination would take, sending nothing; raises Unreachable."""
        syntax = str(ExplicitVRLittleEndian)
        association = self._associate(destination, [(sop_class, syntax) for sop_class in sop_classes])
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        association.release()
        return [Negotiated(sop_class, sop_class in accepted) for sop_class in sop_classes]

    def ask_commitment(
        self, destination: DestinationSettings, request: Request, keep: Callable[[Report], bool]
    ) -> None:
        """Ask a destination to keep objects for good; ``keep`` is called with each report heard on this association.

        Where ``storage_commitment`` is "same" the report is waited for, as long as for any answer. Raises NotOffered,
        Unreachable, NoAnswer.
        """
        listener = commit.Listener(keep)
        with self._service(destination, PUSH_MODEL, handlers=listener.handlers) as association:
            commit.ask(association, request)
            if destination.storage_commitment == "same":
                listener.wait(association, request.transaction_uid, destination.timeout_seconds)

    def tell_commitment(self, peer: Peer, report: Report) -> None:
        """Tell a peer which of its objects are kept; raises NotOffered, Unreachable, NoAnswer."""
        with self._service(peer, PUSH_MODEL, roles=[commit.provider()]) as association:
            commit.tell(association, report)

    def missing(self, destination: DestinationSettings, objects: Iterable[find.Sought]) -> set[str]:
        """Which of these a destination does not have, by C-FIND; raises NotOffered, Unreachable, NoAnswer."""
        with self._service(destination, find.FIND) as association:
            return find.missing(association, objects)

    def earlier(self, destination: DestinationSettings, question: archive.Question) -> list[pydicom.Dataset]:
        """Structured reports of earlier studies that an archive has; raises NotOffered, Unreachable, NoAnswer."""
        hurried = destination.model_copy(update={"timeout_seconds": min(destination.timeout_seconds, question.seconds)})
        arriving = archive.Arriving()
        services = (find.FIND, archive.GET, SOP_CLASS_UID)
        with self._service(hurried, *services, handlers=arriving.handlers, roles=archive.roles()) as association:
            return archive.reports(association, question, arriving)

    @contextlib.contextmanager
    def _service(
        self,
        peer: Peer,
        *sop_classes: str,
        handlers: Iterable[EventHandlerType] = (),
        roles: Iterable[SCP_SCU_RoleSelectionNegotiation] = (),
    ) -> Iterator[Association]:
        """An association for some services; raises NotOffered where the peer does not agree to all of them."""
        contexts = [(one, str(ExplicitVRLittleEndian)) for one in sop_classes]
        association = self._associate(peer, contexts, handlers, roles)
        try:
            accepted = {str(one.abstract_syntax) for one in association.accepted_contexts}
            if lacking := [UID(one).name for one in sop_classes if one not in accepted]:
                raise NotOffered(f"{_peer(peer)} does not offer {', '.join(lacking)}")
            yield association
        finally:
            if association.is_established:
                association.release()

    def _associate(
        self,
        destination: Peer,
        contexts: list[tuple[str, str]],
        handlers: Iterable[EventHandlerType] = (),
        roles: Iterable[SCP_SCU_RoleSelectionNegotiation] = (),
    ) -> Association:
        entity = AE(self._calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = destination.timeout_seconds
        entity.connection_timeout = destination.timeout_seconds
        proposals = [build_context(sop_class, _offered(syntax)) for sop_class, syntax in contexts]
        # Verification, so that a peer that takes none of the objects still says so instead of hanging up.
        proposals = [*proposals[: _MOST_CONTEXTS - 1], build_context(Verification, ImplicitVRLittleEndian)]
        rejection = _Rejection()
        try:
            association = entity.associate(
                destination.host,
                destination.port,
                contexts=proposals,
                ae_title=destination.ae_title,
                max_pdu=0,
                evt_handlers=[
                    *handlers,
                    (evt.EVT_CONN_OPEN, rejection.connect),
                    (evt.EVT_PDU_RECV, rejection.hear),
                ],
                ext_neg=list(roles),
                tls_args=(self._tls(), destination.host) if destination.tls else None,
            )
        except OSError as fault:  # its host name has no address
            raise Unreachable(f"{_peer(destination)} cannot be found: {fault.strerror or fault}") from fault
        if not association.is_established:
            raise Unreachable(_why_not(association, rejection, destination))
        _set_up_connection(association, destination.timeout_seconds)
        return association

    def _tls(self) -> ssl.SSLContext:
        try:
            return self._certificates.sending()
        except ConfigError as fault:
            raise Unreachable(str(fault)) from fault

    def _store(
        self,
        association: Association,
        destination: DestinationSettings,
        file: Path,
        header: FileMetaDataset,
        packing: str | None,
    ) -> Sent:
        uid, sop_class = str(header.MediaStorageSOPInstanceUID), UID(header.MediaStorageSOPClassUID)
        packs = packing is not None and sop_class == _PAGE
        taken_as_it_is = not packs and _has_context(association, sop_class, [header.TransferSyntaxUID])
        try:
            status = association.send_c_store(file if taken_as_it_is else self._recoded(file, packing, destination))
        except ValueError as fault:  # pynetdicom: no accepted presentation context, or it cannot be encoded
            if not association.is_established:
                raise NoAnswer(f"{destination.name} closed the association") from fault
            if _has_context(association, sop_class, _offered(str(header.TransferSyntaxUID))):
                return Sent(uid, Outcome.REFUSED, "this object cannot be encoded")
            return Sent(uid, Outcome.REFUSED, f"presentation context not accepted: {sop_class.name}")
        except RuntimeError as fault:  # pynetdicom: the association is gone
            raise NoAnswer(f"{destination.name} closed the association") from fault
        if "Status" not in status:
            raise NoAnswer(f"{destination.name} did not answer within {destination.timeout_seconds:g} s")
        return Sent(uid, *_judge(int(status.Status), status.get("ErrorComment", "")))

    def _recoded(self, file: Path, packing: str | None, destination: DestinationSettings) -> pydicom.Dataset:
        """Return an object that pynetdicom encodes as the peer takes it, packed where it is a page."""
        data_set: pydicom.Dataset = pydicom.dcmread(file)
        return self._compressed(data_set, packing, destination) if packing and _is_page(data_set) else data_set

    def _compressed(self, data_set: pydicom.Dataset, syntax: str, destination: DestinationSettings) -> pydicom.Dataset:
        """Return a page with the same pixels in fewer bytes; it stays the same instance, for nothing of it is lost.

        JPEG 2000 stores grey in one of three channels when it may turn the colours (PS3.5 8.2.4).
        """
        packed = copy.deepcopy(data_set)
        if syntax == JPEG2000Lossless:
            packed.PhotometricInterpretation = "YBR_RCT"
        try:
            packed.compress(syntax, generate_instance_uid=False)
        except RuntimeError as fault:  # pydicom: no codec could do it
            self._say(events.PagesGoUncompressed(destination.name, destination.compress_pages, str(fault)))
            return data_set
        return packed


def _takes(association: Association, syntax: str) -> bool:
    """Whether the peer takes pages in that syntax."""
    taken = {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts}
    return (_PAGE, syntax) in taken


def _has_context(association: Association, sop_class: str, syntaxes: Collection[str]) -> bool:
    """Whether the peer takes objects of a kind in one of these transfer syntaxes."""
    return any(
        one.abstract_syntax == sop_class and str(one.transfer_syntax[0]) in syntaxes
        for one in association.accepted_contexts
    )


def _is_page(data_set: pydicom.Dataset) -> bool:
    """Whether this is an uncompressed colour page."""
    colour = data_set.get("PhotometricInterpretation") == "RGB"
    return colour and str(data_set.SOPClassUID) == _PAGE and data_set.file_meta.TransferSyntaxUID in _UNCOMPRESSED


def _offered(syntax: str) -> list[str]:
    """Uncompressed objects are re-encoded by pynetdicom to whichever of the two the peer takes."""
    return sorted(_UNCOMPRESSED) if syntax in _UNCOMPRESSED else [syntax]


def _judge(status: int, comment: str) -> tuple[Outcome, str | None]:
    """PS3.4 B.2.3: success and warnings mean the object is stored; whatever else is said, it is not."""
    said = f"status 0x{status:04X}" + (f" ({comment})" if comment else "")
    if status == 0x0000:
        return Outcome.DELIVERED, None
    if 0xB000 <= status <= 0xBFFF or status in _WARNINGS:
        return Outcome.DELIVERED, f"with warning {said}"
    return Outcome.REFUSED, said


def _peer(destination: Peer) -> str:
    return f"{destination.name} ({destination.ae_title}@{destination.host}:{destination.port})"


class _Rejection:
    """What a peer said when it refused an association.

    Heard where it comes in: a peer that answers before pynetdicom looks whether the connection stands is, to
    ``Association.is_rejected``, one that was never reached.
    """

    reason = ""
    connected = False  # whether there was anybody to say something

    def connect(self, _event: evt.Event) -> None:
        """Somebody listens."""
        self.connected = True

    def hear(self, event: evt.Event) -> None:
        """Keep the reason of a rejection, of all that the peer sends."""
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            self.reason = event.pdu.reason_str


def _why_not(association: Association, rejection: _Rejection, destination: Peer) -> str:
    peer = _peer(destination)
    if rejection.reason:
        return f"{peer} rejected the association: {rejection.reason}"
    if association.is_aborted:  # by pynetdicom also where there was never a connection
        return (
            f"{peer} {'aborted the association' if rejection.connected else 'cannot be reached: nobody answers there'}"
        )
    return f"{peer} accepts none of the presentation contexts, or cannot be reached"


def _set_up_connection(association: Association, timeout_seconds: float) -> None:
    """Send small requests at once, and give up on a peer that stops reading.

    Without TCP_NODELAY each small request waits for the peer's delayed acknowledgement: 20 images a second. Without
    a timeout a full receive window at the peer would block for ever, and with it this destination's queue.
    """
    connection = association.dul.socket.socket if association.dul.socket else None
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(timeout_seconds)
