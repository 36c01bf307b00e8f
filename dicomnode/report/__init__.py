"""A measured result becomes DICOM objects."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from dicomnode.model import Output
from dicomnode.report import mr_maps, parametric_map, pdf, pictures, segmentation, source, structured_report
from dicomnode.report.instance import KINDS, Draft
from dicomnode.report.quantities import WRITTEN
from dicomnode.report.references import to
from dicomnode.trend.values import NONE_KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pydicom.dataset import Dataset

    from dicomnode.config import ReportSettings
    from dicomnode.model import Result
    from dicomnode.report.quantities import Quantity
    from dicomnode.report.references import Reference
    from dicomnode.trend.values import Priors

    Written = Mapping[str, tuple[Reference, ...]]  # kind -> the instances of the kinds before
    Builder = Callable[[Draft, Written], tuple[Dataset, ...]]


def _mr_map(quantity: Quantity) -> Builder:
    return lambda draft, _: mr_maps.build(draft, quantity)


def _parametric_map(quantity: Quantity) -> Builder:
    return lambda draft, written: parametric_map.build(draft, quantity, written.get(quantity.mr_kind, ()))


# In this order: within a part later kinds point at earlier ones.
_BUILDERS: dict[str, dict[str, Builder]] = {
    "objects": {
        **{quantity.mr_kind: _mr_map(quantity) for quantity in WRITTEN},
        **{quantity.float_kind: _parametric_map(quantity) for quantity in WRITTEN},
        "segmentation": segmentation.build,
        "structured_report": structured_report.build,
    },
    "pages": {
        "picture": pictures.build,
        "pdf": pdf.build,
    },
}
PARTS = tuple(_BUILDERS)


def write(
    result: Result,
    folder: Path,
    *,
    created: datetime,
    settings: ReportSettings,
    shown_on: Mapping[str, Sequence[Dataset]] | None = None,
    header_of: Callable[[Path], Dataset] = source.header,
    parts: Sequence[str] = PARTS,
    priors: Priors = NONE_KNOWN,
) -> tuple[Output, ...]:
    """Build every product of ``settings.products`` and write it into ``folder``.

    ``parts`` can be written one by one, in any order and at the same time; together they are the whole. ``shown_on``
    holds the maps of an earlier result, by kind, on which a person drew the regions of this one. ``header_of`` gives
    the header of a source file. ``priors`` are earlier results of the patient; no number depends on them.
    The same arguments give the same bytes. File names say kind and number, nothing about the patient. Raises
    ValueError where ``created`` has no time zone, OSError where a source header cannot be read or a file written.
    """
    if created.tzinfo is None:
        raise ValueError("created needs a time zone")
    draft = Draft(result, source.read(result.stack, header_of), settings, created, priors)
    made: dict[str, tuple[Dataset, ...]] = {}
    written = {kind: tuple(map(to, images)) for kind, images in (shown_on or {}).items()}
    for kind, build in ((kind, build) for part in parts for kind, build in _BUILDERS[part].items()):
        if KINDS[kind].product in settings.products:
            made[kind] = build(draft, written)
            written[kind] = tuple(map(to, made[kind]))
    return tuple(
        _save(instance, kind, number, folder)
        for kind, instances in made.items()
        for number, instance in enumerate(instances, 1)
    )


def _save(instance: Dataset, kind: str, number: int, folder: Path) -> Output:
    path = folder / f"{kind}-{number:03d}.dcm"
    part = path.with_name(f".{path.name}-{uuid4().hex}.part")
    instance.save_as(part, enforce_file_format=True)
    part.replace(path)  # whole at any moment: another process may send the same bytes
    return Output(kind, str(instance.SOPClassUID), str(instance.SOPInstanceUID), path)
