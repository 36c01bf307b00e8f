"""Scanner, node and PACS on loopback: the whole way of a study over real DICOM associations."""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.uid import EncapsulatedPDFStorage
from pynetdicom import AE, evt

from dicomnode import simulate
from dicomnode.config import (
    DestinationSettings,
    GroupingSettings,
    NodeSettings,
    ScannerSettings,
    Settings,
    StorageSettings,
    TlsSettings,
)
from dicomnode.delivery.carrier import Outcome
from dicomnode.delivery.send import Sender
from dicomnode.errors import NodeError
from dicomnode.node import Node
from dicomnode.operate import offline
from dicomnode.operate.status import overview
from dicomnode.report.instance import KINDS
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

_LOOPBACK = "127.0.0.1"
_PATIENCE_SECONDS = 600.0
_GIVE_UP_SECONDS = 10.0  # everything there is was sent at once: what is missing then does not come
_ENDS = {"done", "no_number", "failed", "refused", "incomplete", "not an echo"}


class StandInPacs:
    """A storage SCP that keeps what it is sent in a folder, for want of a PACS."""

    def __init__(self, folder: Path, ae_title: str = "PACS") -> None:
        self.folder = folder
        self._entity = AE(ae_title)
        for kind in KINDS.values():
            self._entity.add_supported_context(kind.sop_class_uid)
        self._entity.add_supported_context("1.2.840.10008.1.1")
        self._server: Any = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Listen on a free port of the loopback address."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._keep), (evt.EVT_C_ECHO, lambda _: 0x0000)]
        self._server = self._entity.start_server((_LOOPBACK, 0), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def _keep(self, event: Any) -> int:
        path = self.folder / f"{event.request.AffectedSOPInstanceUID}.dcm"
        path.write_bytes(event.encoded_dataset())
        return 0x0000


@dataclass(frozen=True)
class _Maps:
    """A parametric map as it lies in the PACS."""

    values: NDArray[np.float64]  # (frames, K, L)
    positions: NDArray[np.float64]  # (frames, 3)

    def at(self, position: tuple[float, float, float]) -> NDArray[np.float64]:
        """The frame at a slice's position."""
        distance = np.linalg.norm(self.positions - np.asarray(position), axis=1)
        return np.asarray(self.values[int(distance.argmin())])


def run(
    folder: Path | None, output: Path, *, say: Callable[[str], None], settings: Settings | None = None
) -> dict[str, Any]:
    """Send a series (the user's, or a simulated one) through a node to a PACS; return what came back.

    It is fitted, measured and reported as ``settings`` say. Everything that was made stays in ``output``. Raises
    NodeError when nothing comes back in time.
    """
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    truth, files = _series(folder, output, say)
    pacs = StandInPacs(output / f"pacs-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    pacs.start()
    with tempfile.TemporaryDirectory(prefix="dicomnode-demo-") as storage:
        node = Node(_node_settings(Path(storage), pacs.port, settings or Settings()))
        node.start()
        say(f"node listens on {_LOOPBACK}:{node.port}, the stand-in PACS on {_LOOPBACK}:{pacs.port}")
        try:
            send_files(files, _LOOPBACK, node.port, calling="SCANNER", called="LIVERIRON")
            say(f"scanner sent {len(files)} objects")
            entries = _wait(node, say)
        finally:
            node.stop()
            pacs.stop()
        summaries = [_summary(node, entry) for entry in entries if entry["key"]]
    outcome = {
        "series": summaries or entries,
        "regions": _beside_truth(truth, pacs.folder) if truth else [],
        "pacs": str(pacs.folder),
        "reports": [str(path) for path in _reports(pacs.folder)],
        "objects": len(list(pacs.folder.glob("*.dcm"))),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(output / "demo.json", outcome)
    if not summaries:
        raise NodeError("no result came back: " + "; ".join(str(entry["reason"]) for entry in entries))
    return outcome


def send_files(files: list[Path], host: str, port: int, *, calling: str, called: str) -> int:
    """Send files as a scanner would, on one association; raises NodeError for what is not taken."""
    peer = DestinationSettings(name="peer", ae_title=called, host=host, port=port)
    sent = list(Sender(calling, TlsSettings()).send(peer, files))
    refused = [one for one in sent if one.outcome is not Outcome.DELIVERED]
    if refused:
        raise NodeError(f"{len(refused)} of {len(sent)} objects were not taken: {refused[0].reason}")
    return len(sent)


def send_series(instances: Iterable[pydicom.Dataset], host: str, port: int, *, calling: str, called: str) -> int:
    """Send objects that are not files yet."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.dcm" for number, _ in enumerate(instances)]
        for file, instance in zip(files, instances, strict=True):
            instance.save_as(file, enforce_file_format=True)
        return send_files(files, host, port, calling=calling, called=called)


def table(outcome: dict[str, Any]) -> str:
    """What the demo prints at its end."""
    lines = []
    if outcome["regions"]:
        lines.append(f"{'region':<14}{'T2* true':>10}{'measured':>10}{'R2* true':>12}{'measured':>10}{'error':>9}")
        for one in outcome["regions"]:
            error = one["r2star_per_s"] / one["true_r2star_per_s"] - 1.0
            lines.append(
                f"{one['region']:<14}{one['true_t2star_ms']:>7.2f} ms{one['t2star_ms']:>7.2f} ms"
                f"{one['true_r2star_per_s']:>9.1f} /s{one['r2star_per_s']:>7.1f} /s{error:>+9.1%}"
            )
    lines += [line for series in outcome["series"] if "rois" in series for line in offline.lines(series)]
    lines.append(f"{outcome['objects']} objects in the PACS after {outcome['seconds']} s: {outcome['pacs']}")
    lines += [f"open {path}" for path in outcome["reports"]]
    return "\n".join(lines)


def _reports(folder: Path) -> list[Path]:
    """Take the PDFs out of what the PACS was sent, for people without a DICOM viewer."""
    found: list[Path] = []
    for path in sorted(folder.glob("*.dcm")):
        if pydicom.dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID == EncapsulatedPDFStorage:
            report = folder / f"report-{len(found) + 1}.pdf"
            report.write_bytes(pydicom.dcmread(path).EncapsulatedDocument)
            found.append(report)
    return found


def _series(folder: Path | None, output: Path, say: Callable[[str], None]) -> tuple[simulate.Truth | None, list[Path]]:
    if folder is not None:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and pydicom.misc.is_dicom(path))
        if not files:
            raise NodeError(f"{folder} holds no DICOM file")
        return None, files
    plan = simulate.SeriesPlan(lesion_diameter_mm=25.0)
    say(f"simulating {plan.slices} slices of {plan.rows} × {plan.columns}, {len(plan.echo_times_ms)} echoes")
    simulated = simulate.make(plan, datetime.now(UTC))
    return simulated.truth, list(simulate.write(simulated, output / "scanner"))


def _node_settings(storage: Path, pacs_port: int, like: Settings) -> Settings:
    pacs = DestinationSettings(name="stand-in-pacs", ae_title="PACS", host=_LOOPBACK, port=pacs_port)
    return Settings(
        node=NodeSettings.model_construct(ae_title="LIVERIRON", host=_LOOPBACK, port=0),
        scanner=(ScannerSettings(ae_title="SCANNER"),),
        destination=(pacs,),
        grouping=GroupingSettings(give_up_after=_GIVE_UP_SECONDS),
        storage=StorageSettings(folder=storage, minimum_free_mb=0),
        fit=like.fit,
        measure=like.measure,
        report=like.report,
    )


def _wait(node: Node, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Report every change of state until every series has come to an end."""
    said: dict[str, str] = {}
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = threading.Event()
    while time.monotonic() < deadline:
        entries = overview(node.spool)
        for entry in entries:
            name = entry["series_instance_uids"][0] if entry["series_instance_uids"] else entry["code"]
            state = entry["status"] + (f": {entry['reason']}" if entry["reason"] else "")
            if said.get(name) != state:
                said[name] = state
                say(f"series {name}: {state}")
        if entries and all(entry["status"] in _ENDS for entry in entries):
            return entries
        pause.wait(0.2)
    raise NodeError(f"the series did not come to an end within {_PATIENCE_SECONDS:g} s")


def _summary(node: Node, entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, **(read_json(node.spool.job(entry["key"]).folder / "summary.json") or {})}


def _beside_truth(truth: simulate.Truth, pacs: Path) -> list[dict[str, Any]]:
    """Median of each true region in the maps that came back, beside the truth."""
    t2star, r2star = _map_in(pacs, "ms"), _map_in(pacs, "/s")
    rows = []
    for name, region in truth.regions.items():
        if name in {"air", "body"}:
            continue
        inside = {
            quantity: np.concatenate(
                [found.at(position)[mask] for position, mask in zip(truth.positions, region.mask, strict=True)]
            )
            for quantity, found in (("t2star_ms", t2star), ("r2star_per_s", r2star))
        }
        valid = {quantity: values[values > 0] for quantity, values in inside.items()}
        rows.append(
            {
                "region": name,
                "true_t2star_ms": region.t2star_ms,
                "true_r2star_per_s": region.r2star_per_s,
                "n_voxels": int(valid["r2star_per_s"].size),
                **{quantity: float(np.median(values)) for quantity, values in valid.items() if values.size},
            }
        )
    return rows


def _map_in(pacs: Path, unit: str) -> _Maps:
    """Find the parametric map with that unit among what the PACS holds."""
    for path in sorted(pacs.glob("*.dcm")):
        found = pydicom.dcmread(path)
        if found.SOPClassUID != KINDS["parametric_map_r2star"].sop_class_uid:
            continue
        shared = found.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        if shared.MeasurementUnitsCodeSequence[0].CodeValue != unit:
            continue
        frames = found.PerFrameFunctionalGroupsSequence
        positions = [frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames]
        values = found.pixel_array.reshape(len(frames), found.Rows, found.Columns)
        return _Maps(values.astype(float), np.array(positions, float))
    raise NodeError(f"the PACS holds no parametric map in {unit}")
