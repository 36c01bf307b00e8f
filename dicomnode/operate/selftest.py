"""A scan with known truth through the node of a configuration, and a marked result into the PACS."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomnode import simulate
from dicomnode.delivery import kinds
from dicomnode.delivery.carrier import Outcome
from dicomnode.delivery.send import Sender
from dicomnode.errors import DeliveryError, NodeError
from dicomnode.operate import demo, offline
from dicomnode.operate.machine import Finding
from dicomnode.report.instance import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicomnode.config import DestinationSettings, Settings
    from dicomnode.delivery.carrier import Carrier

TOLERANCE = 0.03  # of R2*, in the median of each region
MARK = "LIVERIRON-TEST"  # patient ID and accession number of what is no patient's
_ALWAYS_THE_SAME = datetime(2026, 1, 1, tzinfo=UTC)  # so that a second test replaces the first in the PACS


def check_numbers(settings: Settings, say: Callable[[str], None]) -> Finding:
    """Send a phantom over DICOM to a node with these settings and compare what comes back with the truth."""
    with tempfile.TemporaryDirectory(prefix="dicomnode-check-") as folder:
        try:
            outcome = demo.run(None, Path(folder), say=say, settings=settings)
        except NodeError as fault:
            return Finding("numbers", "error", f"a simulated scan gave no result: {fault}")
    away = {one["region"]: one["r2star_per_s"] / one["true_r2star_per_s"] - 1.0 for one in outcome["regions"]}
    far = {name: error for name, error in away.items() if abs(error) > TOLERANCE}
    if far:
        wrong = ", ".join(f"{name} {error:+.1%}" for name, error in far.items())
        return Finding(
            "numbers", "error", f"R2* of a simulated scan is off: {wrong}; nothing may be measured with this"
        )
    most = max(map(abs, away.values()), default=0.0)
    said = f"a simulated scan came back with R2* of {len(away)} regions within {most:.1%} of the truth"
    return Finding("numbers", "ok", said)


def send_test(settings: Settings, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Put one result that is marked as a test into every destination; say how to find and remove it."""
    scan = simulate.make(simulate.SeriesPlan(patient_name="TEST^LIVER IRON NODE", patient_id=MARK), _ALWAYS_THE_SAME)
    for instance in scan.instances:
        instance.AccessionNumber = MARK
    with tempfile.TemporaryDirectory(prefix="dicomnode-test-") as name:
        folder = Path(name)
        files = list(simulate.write(scan, folder / "scan"))
        summary = offline.process(files, folder / "result", settings, created=_ALWAYS_THE_SAME, progress=say)
        outputs = [one for series in summary["series"] for one in series["outputs"]]
        if not outputs:
            raise NodeError(f"the test scan gave no result: {summary['series'][0]['reason']}")
        sender = Sender(settings.node.ae_title, settings.tls)
        senders: dict[str, Carrier] = {"dicom": sender, **kinds.carriers(settings.tls)}
        return [_sent(senders[one.kind], one, outputs, folder / "result") for one in settings.destination]


def _sent(
    sender: Carrier, destination: DestinationSettings, outputs: list[dict[str, Any]], folder: Path
) -> dict[str, Any]:
    if not destination.gets_objects:
        verdict = f'no test goes to kind "{destination.kind}": it could not be told from a patient\'s result there'
        return _finding(destination.name, ok=True, verdict=verdict, refuses=[])
    wanted = [folder / one["path"] for one in outputs if KINDS[one["kind"]].product in destination.products]
    try:
        sent = list(sender.send(destination, wanted))
    except DeliveryError as fault:
        return _finding(destination.name, ok=False, verdict=str(fault), refuses=[])
    refused = sorted({one.reason or "no reason given" for one in sent if one.outcome is not Outcome.DELIVERED})
    taken = len([one for one in sent if one.outcome is Outcome.DELIVERED])
    verdict = f"took {taken} of {len(sent)} objects of a test result; remove the study with accession number {MARK}"
    verdict += "" if not refused else f"; refused: {', '.join(refused)}"
    return _finding(destination.name, ok=not refused, verdict=verdict, refuses=refused)


def _finding(destination: str, *, ok: bool, verdict: str, refuses: list[str]) -> dict[str, Any]:
    grade = "ok" if ok else "error"
    return {
        "check": "test",
        "destination": destination,
        "ok": ok,
        "grade": grade,
        "verdict": verdict,
        "refuses": refuses,
    }
