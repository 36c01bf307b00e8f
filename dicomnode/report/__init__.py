"""A measured result becomes DICOM objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomnode.model import Output
from dicomnode.report import mr_maps, parametric_map, pdf, pictures, segmentation, source, structured_report
from dicomnode.report.instance import KINDS, Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pydicom.dataset import Dataset

    from dicomnode.config import ReportSettings
    from dicomnode.model import Result

    Written = Mapping[str, tuple[Dataset, ...]]  # kind -> the instances made so far
    Builder = Callable[[Draft, Written], tuple[Dataset, ...]]


def _parametric_map(draft: Draft, content: parametric_map.MapContent, written: Written) -> tuple[Dataset, ...]:
    return (parametric_map.build(draft, content, written.get(content.shown_on, ())),)


# In this order: later kinds point at earlier ones.
_BUILDERS: dict[str, Builder] = {
    "mr_map_r2star": lambda draft, _: mr_maps.build(draft, mr_maps.R2STAR),
    "mr_map_t2star": lambda draft, _: mr_maps.build(draft, mr_maps.T2STAR),
    "parametric_map_t2star": lambda draft, written: _parametric_map(draft, parametric_map.T2STAR, written),
    "parametric_map_r2star": lambda draft, written: _parametric_map(draft, parametric_map.R2STAR, written),
    "segmentation": segmentation.build,
    "structured_report": structured_report.build,
    "picture": pictures.build,
    "pdf": pdf.build,
}


def write(
    result: Result,
    folder: Path,
    *,
    created: datetime,
    settings: ReportSettings,
    shown_on: Mapping[str, Sequence[Dataset]] | None = None,
    header_of: Callable[[Path], Dataset] = source.header,
) -> tuple[Output, ...]:
    """Build every product of ``settings.products`` and write it into ``folder``.

    ``shown_on`` holds the maps of an earlier result, by kind, on which a person drew the regions of this one.
    ``header_of`` gives the header of a source file.
    The same arguments give the same bytes. File names say kind and number, nothing about the patient. Raises
    ValueError where ``created`` has no time zone, OSError where a source header cannot be read or a file written.
    """
    if created.tzinfo is None:
        raise ValueError("created needs a time zone")
    draft = Draft(result, source.read(result.stack, header_of), settings, created)
    made: dict[str, tuple[Dataset, ...]] = {}
    earlier = {kind: tuple(images) for kind, images in (shown_on or {}).items()}
    for kind, build in _BUILDERS.items():
        if KINDS[kind].product in settings.products:
            made[kind] = build(draft, {**earlier, **made})
    return tuple(
        _save(instance, kind, number, folder)
        for kind, instances in made.items()
        for number, instance in enumerate(instances, 1)
    )


def _save(instance: Dataset, kind: str, number: int, folder: Path) -> Output:
    path = folder / f"{kind}-{number:03d}.dcm"
    instance.save_as(path, enforce_file_format=True)
    return Output(kind, str(instance.SOPClassUID), str(instance.SOPInstanceUID), path)
