"""A node as a process of its own, a scanner that can do anything, and a PACS that remembers what it was sent."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.sop_class import MRImageStorage, Verification  # type: ignore[attr-defined]

from dicomnode import simulate
from dicomnode.operate.status import overview
from dicomnode.report.instance import KINDS
from dicomnode.store.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LOOPBACK = "127.0.0.1"
ECHOES = 6
PRODUCTS = ("structured_report", "mr_maps")  # that the PACS gets
_MARK_LENGTH = 44
_config.LOG_HANDLER_LEVEL = "none"


class Failed(Exception):
    """A scenario did not come to the end it has to come to."""


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> float:
    """Wait until something is so; return how long that took."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise Failed(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
    return time.monotonic() - begin


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Pacs:
    """A storage SCP; ``mood(uid)`` gives the status of each answer, or does something worse."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.beside: dict[str, Sequence[Any]] = {}  # SOP classes beside the storing, and their handlers
        self.mood: Callable[[str], int] = lambda _: 0x0000
        self.got: Counter[str] = Counter()  # SOP Instance UID -> how often it was taken
        self.reports: dict[str, set[str]] = {}  # study -> SOP Instance UIDs of its reports
        self.superseding: set[str] = set()  # of those, the ones that name an earlier report they replace
        self._server: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> Pacs:
        entity = AE("PACS")
        for kind in KINDS.values():
            entity.add_supported_context(kind.sop_class_uid)
        for sop_class in (Verification, *self.beside):
            entity.add_supported_context(sop_class)
        entity.maximum_associations = 50
        handlers: list[Any] = [(evt.EVT_C_STORE, self._keep), (evt.EVT_C_ECHO, lambda _: 0x0000)]
        handlers += [one for handlers in self.beside.values() for one in handlers]
        self._server = entity.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _keep(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        status = self.mood(uid)
        if status == 0x0000:
            header = event.dataset
            with self._lock:
                self.got[uid] += 1
                if header.Modality == "SR":
                    self.reports.setdefault(str(header.StudyInstanceUID), set()).add(uid)
                    if "PredecessorDocumentsSequence" in header:
                        self.superseding.add(uid)
        return status


@dataclass
class Node:
    """``dicomnode serve`` in a process of its own."""

    folder: Path
    port: int = field(default_factory=free_port)
    pacs: int = 0
    more: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    shared: Path | None = None  # the data folder of several nodes
    role: str = "serve"
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.shared or self.folder / "dicomnode-data"

    @property
    def log(self) -> str:
        """All it has said."""
        return (self.folder / "log.jsonl").read_text(errors="replace")

    def configure(self) -> None:
        """Write the configuration file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.toml").write_text(
            f'[node]\nae_title = "NODE"\nhost = "{LOOPBACK}"\nport = {self.port}\n'
            '[[scanner]]\nae_title = "MR1"\n[[scanner]]\nae_title = "MR2"\n[web]\nenabled = false\n'
            f'[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "{LOOPBACK}"\nport = {self.pacs}\n'
            f"products = {list(PRODUCTS)}\ntimeout_seconds = 5.0\n"
            "retry_first_seconds = 0.5\nretry_longest_seconds = 2.0\n"
            f"{self.more}" + (f'folder = "{self.shared}"\n' if self.shared else "")
        )

    def start(self) -> None:
        """Start it and wait until it listens; a second start is after a kill."""
        self.configure()
        with (self.folder / "log.jsonl").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "dicomnode", "--log-json", self.role, "--config", self.folder / "config.toml"],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        if self.role == "serve":
            wait_for(self.listens, 60.0, "the node listens")

    def listens(self) -> bool:
        """Whether it takes connections; raises Failed when it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise Failed(f"the node has ended: {self.log[-1500:]}")
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=1.0):
            return True
        return False

    def kill(self) -> None:
        """Kill it and its children at once, as a power cut would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> float:
        """Ask it to stop; return how long that took."""
        begin = time.monotonic()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(100.0)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Failed("it did not stop within 100 s") from None
        return time.monotonic() - begin

    def status(self) -> list[dict[str, Any]]:
        """What ``dicomnode status --json`` prints."""
        return overview(Spool(self.data))

    def __enter__(self) -> Node:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Study:
    """A multi-echo series of tiny images, with UIDs of its own."""

    def __init__(self, template: Sequence[bytes]) -> None:
        self.uid = _uid()
        series = self.uid[:-2] + "00"
        self.images = {}  # SOP Instance UID -> encoded object
        for image in template:
            sop = _uid()
            content = image.replace(_mark("1"), self.uid.encode()).replace(_mark("2"), series.encode())
            self.images[sop] = content.replace(_mark("3"), sop.encode())


def template(**plan: Any) -> list[bytes]:
    """The encoded images of a series, with places for UIDs."""
    times = tuple(round(1.2 + 1.4 * k, 2) for k in range(ECHOES))
    series = simulate.SeriesPlan(**{"rows": 48, "columns": 64, "slices": 1, "echo_times_ms": times, **plan})
    encoded = []
    for image in simulate.make(series, datetime(2026, 1, 1, tzinfo=UTC)).instances:
        marks = [UID(_mark(digit).decode()) for digit in "123"]
        image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = marks
        image.file_meta.MediaStorageSOPInstanceUID = marks[2]
        buffer = BytesIO()
        pydicom.dcmwrite(buffer, image, enforce_file_format=True)
        encoded.append(buffer.getvalue())
    return encoded


class Scanner:
    """Sends studies as long as it takes, and remembers what was answered with Success."""

    def __init__(self, port: int, calling: str = "MR1") -> None:
        self._port = port
        self._calling = calling
        self.taken: set[str] = set()  # SOP Instance UIDs answered with Success

    @contextlib.contextmanager
    def association(self) -> Iterator[Any]:
        """An association; raises Failed when there is none to be had."""
        entity = AE(self._calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20.0
        entity.connection_timeout = 5.0
        contexts = [build_context(MRImageStorage, ExplicitVRLittleEndian), build_context(Verification)]
        association = entity.associate(LOOPBACK, self._port, contexts=contexts, ae_title="NODE")
        if not association.is_established:
            raise Failed("no association was to be had")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def store(self, association: Any, study: Study, uids: Sequence[str] | None = None) -> None:
        """Send images of a study; raises Failed at the first that is not taken."""
        for uid in study.images if uids is None else uids:
            try:
                status = association.send_c_store(pydicom.dcmread(BytesIO(study.images[uid])))
            except (RuntimeError, ValueError) as fault:
                raise Failed("the association is gone") from fault
            if status.get("Status") != 0x0000:
                raise Failed(f"answered 0x{status.get('Status', 0xFFFF):04X}")
            self.taken.add(uid)

    def send(self, study: Study, uids: Sequence[str] | None = None) -> None:
        """Send images on one association."""
        with self.association() as association:
            self.store(association, study, uids)

    def insist(self, study: Study, seconds: float = 120.0) -> None:
        """Send a study again and again until it was taken whole on one association, as scanners do."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.send(study)
            except Failed:
                if time.monotonic() > end:
                    raise
                time.sleep(0.3)
            else:
                return


@dataclass
class Tally:
    """What became of the studies of a scenario."""

    studies: int = 0
    answered: int = 0  # studies of which every image was answered with Success
    lost: int = 0  # of those, without a report in the PACS in the end
    double: int = 0  # studies with more than one report, of which none says that it replaces the other
    superseded: int = 0  # reports that a later one says it replaces
    duplicates: int = 0  # objects that the PACS was sent more than once: allowed, for they are the same
    seconds: float = 0.0
    remarks: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing was lost and nothing said twice."""
        return not self.lost and not self.double and self.answered == self.studies


def tally(studies: Sequence[Study], scanner: Scanner, pacs: Pacs, begin: float, remarks: str = "") -> Tally:
    """Count, once every study has its report or the time is over."""
    answered = [study for study in studies if scanner.taken >= set(study.images)]
    return Tally(
        len(studies),
        len(answered),
        sum(study.uid not in pacs.reports for study in answered),
        sum(len(pacs.reports.get(study.uid, set()) - pacs.superseding) > 1 for study in studies),
        sum(len(pacs.reports.get(study.uid, set()) & pacs.superseding) for study in studies),
        sum(count - 1 for count in pacs.got.values()),
        time.monotonic() - begin,
        remarks,
    )


def all_reported(studies: Sequence[Study], pacs: Pacs) -> Callable[[], bool]:
    """Whether each study has a report in the PACS."""
    return lambda: all(study.uid in pacs.reports for study in studies)


def chance(seed: int) -> random.Random:
    """Numbers that are the same in every run."""
    return random.Random(seed)  # noqa: S311


def _mark(digit: str) -> bytes:
    return b"2.25." + digit.encode() * (_MARK_LENGTH - 5)


def _uid() -> str:
    return f"2.25.1{uuid.uuid4().int:039d}"[:_MARK_LENGTH]
