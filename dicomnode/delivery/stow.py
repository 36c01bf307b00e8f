"""Objects to a DICOMweb service: STOW-RS (PS3.18 10.5)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom.filereader import read_file_meta_info

from dicomnode.delivery import wado
from dicomnode.delivery.carrier import Outcome, Sent
from dicomnode.errors import NotOffered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pydicom import Dataset

    from dicomnode.config import DestinationSettings, TlsSettings
    from dicomnode.delivery.archive import Question
    from dicomnode.delivery.web import Answer, Session, Web

_JSON = "application/dicom+json"
_PIECE = 1 << 16
_STORED, _FAILED, _INSTANCE = "00081199", "00081198", "00081155"
_WARNING_REASON, _FAILURE_REASON = "00081196", "00081197"
_DUPLICATES = (0x0111, 0xB00E)  # PS3.7 C.5.5; dicom-server of Microsoft: the same identifiers are stored
_NOBODYS = "2.25.1"  # no study has this UID: what is asked for it names no patient


class Stow:
    """Stores the objects of a result, one study a request, streamed from their files."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def use(self, tls: TlsSettings) -> None:
        """Speak TLS with other certificates from the next connection on."""
        self._web.use(tls)

    def send(self, destination: DestinationSettings, files: list[Path]) -> Iterator[Sent]:
        """Send files in requests of bounded size; each is judged by what the answer says of its own instance.

        Raises Unreachable, NoAnswer, NotAllowed, Busy.
        """
        with self._web.session(destination) as session:
            for batch in batches(files, destination.request_mb * 1_000_000):
                yield from _store(session, batch)

    def earlier(self, destination: DestinationSettings, question: Question) -> list[Dataset]:
        """Structured reports of earlier studies, by QIDO-RS and WADO-RS; raises DeliveryError."""
        with self._web.session(destination) as session:
            return wado.reports(session, question)

    def ask(self, destination: DestinationSettings) -> str:
        """Search for a study that nobody has; raises DeliveryError where even that is refused."""
        with self._web.session(destination) as session:
            query = {"StudyInstanceUID": _NOBODYS, "limit": "1"}
            answer = session.ask("GET", "/studies", params=query, headers={"Accept": _JSON})
        if not answer.is_success:
            raise NotOffered(f"{destination.name} does not answer QIDO-RS at {destination.url}: {answer}")
        return "answers QIDO-RS; what it stores is known when it is sent"


def batches(files: Iterable[Path], most_bytes: int) -> Iterator[list[Path]]:
    """Split files so that each batch holds at most so many bytes, or one file that alone is larger."""
    batch: list[Path] = []
    size = 0
    for file in files:
        more = file.stat().st_size
        if batch and size + more > most_bytes:
            yield batch
            batch, size = [], 0
        batch, size = [*batch, file], size + more
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Multipart:
    """A body of type multipart/related; iterated anew it is the same, so that a request can be repeated."""

    files: tuple[Path, ...]
    boundary: str

    def __iter__(self) -> Iterator[bytes]:
        """Read the files piece by piece."""
        for file in self.files:
            yield self._head
            with file.open("rb") as opened:
                while piece := opened.read(_PIECE):
                    yield piece
            yield b"\r\n"
        yield self._end

    @property
    def headers(self) -> dict[str, str]:
        """What a request with this body says of it."""
        kind = f'multipart/related; type="application/dicom"; boundary={self.boundary}'
        return {"Content-Type": kind, "Content-Length": str(self._length)}

    @property
    def _head(self) -> bytes:
        return f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()

    @property
    def _end(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode()

    @property
    def _length(self) -> int:
        sizes = (len(self._head) + file.stat().st_size + 2 for file in self.files)
        return sum(sizes) + len(self._end)


def _store(session: Session, batch: list[Path]) -> Iterator[Sent]:
    uids = [str(read_file_meta_info(file).MediaStorageSOPInstanceUID) for file in batch]
    body = Multipart(tuple(batch), secrets.token_hex(16))
    answer = session.ask("POST", "/studies", content=body, headers={"Accept": _JSON, **body.headers})
    told = _told(answer)
    for uid in uids:
        yield told.get(uid) or _untold(uid, answer, some=bool(told))


def _told(answer: Answer) -> dict[str, Sent]:
    """What the Store Instances Response Module (PS3.18 I) says of each instance, whatever the status of the answer."""
    said = answer.json()
    module = said[0] if isinstance(said, list) and said else said
    stored = {uid: _stored(uid, why) for uid, why in _items(module, _STORED, _WARNING_REASON)}
    return stored | {uid: _failed(uid, why) for uid, why in _items(module, _FAILED, _FAILURE_REASON)}


def _stored(uid: str, warning: int | None) -> Sent:
    return Sent(uid, Outcome.DELIVERED, None if warning is None else f"with warning reason 0x{warning:04X}")


def _failed(uid: str, why: int | None) -> Sent:
    if why in _DUPLICATES:
        return Sent(uid, Outcome.DELIVERED, f"was there already (failure reason 0x{why:04X})")
    return Sent(uid, Outcome.REFUSED, "no failure reason given" if why is None else f"failure reason 0x{why:04X}")


def _untold(uid: str, answer: Answer, *, some: bool) -> Sent:
    """An instance that the answer does not name: 200 alone means that all are stored (PS3.18 10.5.3.1)."""
    if answer.status == 200 and not some:
        return Sent(uid, Outcome.DELIVERED, "with HTTP 200 that names no instance")
    cure = ": lower [[destination]] request_mb, or raise its limit" if answer.status == 413 else ""
    return Sent(uid, Outcome.REFUSED, f"{answer} that does not name it{cure}")


def _items(module: Any, sequence: str, reason: str) -> Iterator[tuple[str, int | None]]:
    """SOP Instance UID and reason of each item of a sequence in the DICOM JSON Model (PS3.18 F)."""
    for item in _values(module, sequence):
        for uid in _values(item, _INSTANCE)[:1]:
            why = next(iter(_values(item, reason)), None)
            yield str(uid), why if isinstance(why, int) else None


def _values(of: Any, tag: str) -> list[Any]:
    element = of.get(tag) if isinstance(of, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
