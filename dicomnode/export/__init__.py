"""Results out of DICOM: maps and regions as NIfTI, numbers as CSV, both as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomnode.errors import StorageError
from dicomnode.export import bids, page, table
from dicomnode.export.results import Finished, of_folder, of_job

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FORMS", "Finished", "of_folder", "of_job", "write"]

FORMS = {"nifti": bids.write, "csv": table.write, "html": page.write}


def write(results: Sequence[Finished], form: str, folder: Path) -> tuple[Path, ...]:
    """Write results into a folder in one of ``FORMS``; return the files.

    Files of the same name are replaced, others stay. Nothing that is written says who the patient is. Raises InputError
    for a result that lacks what is asked for, StorageError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FORMS[form](results, folder)
    except OSError as fault:
        raise StorageError(f"{fault.filename or folder}: cannot be written: {fault.strerror or fault}") from fault
