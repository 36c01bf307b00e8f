"""The folder of one result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicomnode.store.durable import make_folder, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Job:
    """The folder of one result.

    ::

        manifest.json        sources, settings, software version, creation time: written before the job is queued
        maps.npz             the fit           } each written whole, so its presence
        measurement.npz/json the regions       } means the step is done
        outputs/*.dcm, outputs.json            }
        receipts/<destination>.json            what the destination has confirmed, by SOP Instance UID
        state.json           what to tell an operator
    """

    folder: Path

    @property
    def key(self) -> str:
        """Digest of sources, settings and software version."""
        return self.folder.name

    @property
    def manifest(self) -> dict[str, Any]:
        """What the job is made from."""
        manifest: dict[str, Any] = read_json(self.folder / "manifest.json")
        return manifest

    @property
    def state(self) -> dict[str, Any]:
        """What was last said of the job."""
        return read_json(self.folder / "state.json") or {"status": "queued", "reason": None}

    def say(self, status: str, reason: str | None = None, **more: Any) -> None:
        """Record the state of the job; what else was said of it before stays."""
        write_json(self.folder / "state.json", {**self.state, **more, "status": status, "reason": reason})

    @property
    def outputs(self) -> list[dict[str, str]] | None:
        """The objects that were made; None until the report step is done."""
        outputs: list[dict[str, str]] | None = read_json(self.folder / "outputs.json")
        return outputs

    def delivery(self, destination: str) -> dict[str, Any]:
        """State of the delivery to one destination."""
        path = self.folder / "receipts" / f"{destination}.json"
        return read_json(path) or {"status": "waiting", "attempt": 0, "delivered": [], "refused": {}, "reason": None}

    def say_delivery(self, destination: str, delivery: dict[str, Any]) -> None:
        """Record the state of the delivery to one destination."""
        make_folder(self.folder / "receipts")
        write_json(self.folder / "receipts" / f"{destination}.json", delivery)
