"""The folder of one result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dicomnode.store.durable import make_folder, read_json, unwritten, write_json


@dataclass(frozen=True)
class Job:
    """The folder of one result.

    ::

        manifest.json        sources, settings, software version, creation time  } both written before
        stack.json           which image is which echo of which slice            } the job is queued
        signal.npy           the decoded pixels                 } after these the job
        headers.npz          the headers that a report needs    } needs no received file
        phase.json           what became of the phase that came with the images
        maps.npz             the fit           } each written whole, so its presence
        measurement.npz      the regions       } means the step is done
        objects.json, pages.json   which parts of a report are made, until all are
        priors.json          earlier results of the patient, read once before the report is made
        outputs/*.dcm, summary.json, findings.json, outputs.json   } the last one vouches for the others
        comparison.json      how it differs from the result that a person had made again
        difference.png       and where: its R2* less that of the other
        receipts/<destination>.json            what the destination has confirmed, by SOP Instance UID
        commitments/<destination>/<transaction uid>.json   what it has said to keep, and what it has not
        notes/<destination>.dcm                says there that the result this one replaces is rejected
        replaced/<destination>.json            which result was told there in place of this one
        state.json           what to tell an operator
        hold.json            a person holds the result back
        overtaken.json       another result takes its place

    What the files of state mean is known to ``dicomnode.jobs`` alone.
    """

    folder: Path
    FINDINGS: ClassVar[str] = "findings.json"  # what a destination is told that gets no objects
    DIFFERENCE: ClassVar[str] = "difference.png"

    @property
    def key(self) -> str:
        """Digest of sources, settings and software version."""
        return self.folder.name

    def read(self, name: str) -> Any:
        """A JSON file of the job; None where there is none; raises StorageError."""
        return read_json(self.folder / name)

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file of the job durably; raises StorageError, also where the job was removed."""
        path = self.folder / name
        self.make_folder(str(path.parent.relative_to(self.folder)))
        write_json(path, value)

    def make_folder(self, name: str) -> Path:
        """A folder in that of the job; raises StorageError, also where the job was removed: nothing puts it back."""
        folder = self.folder
        for part in Path(name).parts:
            folder = folder / part
            try:
                make_folder(folder, parents=False)
            except OSError as fault:
                raise unwritten(folder, fault) from fault
        return folder

    @property
    def outputs(self) -> list[dict[str, str]] | None:
        """The objects that were made; None until the report step is done."""
        outputs: list[dict[str, str]] | None = self.read("outputs.json")
        return outputs
