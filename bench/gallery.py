"""Pictures of real outputs, for docs/gallery.md."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from PIL import Image

import dicomnode
from dicomnode import analyse, group, header, report, simulate
from dicomnode.config import GroupingSettings, Settings
from dicomnode.measure import rois
from dicomnode.measure.organs import HEART, LIVER
from dicomnode.model import Drawn, Identity, Result
from dicomnode.operate import offline
from dicomnode.report import change, identity, point, reading, source, summary
from dicomnode.trend import rules
from dicomnode.trend.values import NONE_KNOWN, Origin, Point, Priors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicomnode.model import EchoStack

REPOSITORY = Path(__file__).parent.parent
WIDTH = 960
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)
REPORT_ALONE = "fat-"  # how a name begins whose page shows nothing that its report does not
NO_NUMBER = ("beyond", "no-liver")
SHORT_ECHO_TIMES_MS = tuple(round(0.95 + 0.85 * k, 2) for k in range(12))
DRAWN_ON = "moderate"  # the result that the reader of the gallery draws on


@dataclass(frozen=True, slots=True)
class Shown:
    """One result of the gallery: what it is, the words of its summary, its objects."""

    name: str
    title: str
    number: bool  # whether one was given
    words: tuple[str, ...]
    pages: tuple[Path, ...]
    document: Path
    sheet: int = 1  # of the document that is shown


def _plan(**options: Any) -> simulate.SeriesPlan:
    return simulate.SeriesPlan(**{"slices": 3, **options})


SIMULATED = {
    "mild": ("Mild: simulated, 1.5 T, T2* 7 ms, a lesion of 25 mm", _plan(
        liver_t2star_ms=7.0, field_strength_t=1.5, lesion_diameter_mm=25.0)),
    "moderate": ("Moderate: simulated, 3 T, T2* 1.6 ms", _plan(liver_t2star_ms=1.6, snr=80)),
    "severe": ("Severe: simulated, 1.5 T, T2* 1.4 ms", _plan(liver_t2star_ms=1.4, field_strength_t=1.5, snr=120)),
    **{
        f"fat-{percent}-{field:g}t": (
            f"Fat, {percent} % of the liver's signal: simulated, {field:g} T, R2* {rate} /s",
            _plan(liver_fat=percent / 100, liver_t2star_ms=1000 / rate, field_strength_t=field, snr=60,
                  echo_times_ms=SHORT_ECHO_TIMES_MS))
        for field, rate in ((1.5, 100), (3.0, 200))
        for percent in (0, 10, 30)
    },
    "heart": ("Heart: simulated in its short axis, black blood, 1.5 T, T2* of the septum 12 ms", _plan(
        heart=simulate.HeartPlan(t2star_ms=12.0, blood="black"), orientation="short-axis", field_strength_t=1.5,
        echo_times_ms=simulate.HEART_ECHO_TIMES_MS, patient_name="HEART^SIMULATED")),
    "beyond": ("Beyond the measurable range: simulated, 3 T, T2* 0.9 ms", _plan(liver_t2star_ms=0.9)),
}  # fmt: skip


def main() -> None:
    """Make the pictures and the page that shows them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs")
    output = parser.parse_args().output
    (output / "gallery").mkdir(parents=True, exist_ok=True)
    lines = ["# Gallery", "", "Made by `make gallery` from what the node writes; nothing is drawn by hand.", ""]
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for shown in _all(Path(scratch)):
            if (shown.name in NO_NUMBER) == shown.number:
                wrong.append(f"{shown.name} has {'a' if shown.number else 'no'} number")
            lines += [f"## {shown.title}", "", *(f"    {line}" for line in shown.words), ""]
            lines += [f"![{caption}](gallery/{file})\n" for caption, file in _pictures(shown, output)]
    (output / "gallery.md").write_text("\n".join(lines))
    if wrong:
        raise SystemExit(f"the gallery is not what it says: {'; '.join(wrong)}")


def _all(scratch: Path) -> Iterator[Shown]:
    for name, title, folder in _series(scratch):
        results = scratch / f"{name}-results"
        yield _shown(name, title, results, _processed(folder, results))
    yield _drawn(scratch)
    yield _trend(scratch)


def _processed(folder: Path, results: Path) -> dict[str, Any]:
    settings = Settings(grouping=GroupingSettings(organs=(LIVER.name, HEART.name)))
    summary = offline.process([folder], results, settings, created=WRITTEN, progress=lambda _: None)
    (made,) = [one for one in summary["series"] if one["outputs"]]
    return dict(made)


def _shown(name: str, title: str, results: Path, made: dict[str, Any]) -> Shown:
    paths = {kind: [results / o["path"] for o in made["outputs"] if o["kind"] == kind] for kind in ("picture", "pdf")}
    number = made["status"] == "done"
    return Shown(name, title, number, tuple(offline.lines(made)), tuple(paths["picture"]), paths["pdf"][0])


def _series(scratch: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, title and folder of each series: the real one where it is at hand."""
    shared = Path(os.environ.get("SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    real = shared / "dicom" / "ge_mr750_12echo_abdomen"
    if real.is_dir():
        yield "ge", "In vivo, 3 T, coronal, 12 echoes (de-identified volunteer, no iron overload)", real
    for name, (title, plan) in SIMULATED.items():
        simulate.write(simulate.make(plan, WRITTEN), scratch / name)
        yield name, title, scratch / name
    phantom = shared / "dicom" / "siemens_prisma_6echo_phantom"
    if phantom.is_dir():
        yield "no-liver", "No number: a phantom of bottles, 3 T, 6 echoes", phantom
    else:
        simulate.write(_mirrored(simulate.make(SIMULATED["mild"][1], WRITTEN)), scratch / "no-liver")
        title = "No number: the exam of the mild one, its pixels mirrored against its header"
        yield "no-liver", title, scratch / "no-liver"


def _mirrored(scan: simulate.Simulated) -> simulate.Simulated:
    """Swap left and right in the pixels only, as a damaged export does."""
    for one in scan.instances:
        one.PixelData = np.ascontiguousarray(one.pixel_array[:, ::-1]).tobytes()
    return scan


def _drawn(scratch: Path) -> Shown:
    """Draw a region on the maps of a result as a reader would, and measure it as the node does."""
    results = scratch / f"{DRAWN_ON}-results"
    maps, drawing = _maps(results), _drawing(results, scratch / "drawing.dcm")
    settings = Settings()
    stack = _stack(scratch / DRAWN_ON, settings)
    canvas = rois.Canvas.of(stack.planes, [one for kind in maps.values() for one in kind], stack.sop_instance_uids)
    target = scratch / "drawn-results"
    target.mkdir()
    result = _measured(stack, rois.read(drawing, canvas), settings)
    wanted = settings.report.model_copy(update={"products": ("segmentation", "structured_report", "pictures", "pdf")})
    outputs = report.write(result, target, created=WRITTEN, settings=wanted, shown_on=maps)
    local = tuple(replace(one, path=one.path.relative_to(target)) for one in outputs)
    trend = rules.trend(point.of(result, source.read(result.stack)), NONE_KNOWN, LIVER)
    title = "Drawn: a region that a reader drew on the maps of the moderate one"
    return _shown("drawn", title, target, summary.of(result, local, trend))


EARLIER = (  # date, scanner's dialect and station, T2* in ms
    (datetime(2024, 1, 10, tzinfo=UTC), "ge", "MR-OLD", 2.6),
    (datetime(2024, 7, 22, tzinfo=UTC), "ge", "MR-OLD", 3.0),
    (datetime(2025, 2, 5, tzinfo=UTC), "siemens-ve", "MR-NEW", 3.4),
    (datetime(2025, 9, 18, tzinfo=UTC), "siemens-ve", "MR-NEW", 4.6),
)
TODAY = (WRITTEN, "siemens-ve", "MR-NEW", 4.8)


def _trend(scratch: Path) -> Shown:
    """Set a result beside four that were read back from their reports, of two scanners, and one of a table."""
    reports = [_reported(scratch / f"earlier-{number}", *exam) for number, exam in enumerate(EARLIER)]
    by_hand = Point("20230614", Origin.TABLE, lic_mg_per_g=9.8, scanner_label="Avanto", field_t=1.5, method="biopsy")
    settings, target = Settings(), scratch / "trend-results"
    result = _found(_stack(_exam(scratch / "trend", *TODAY), settings), settings)
    target.mkdir()
    priors = Priors((by_hand, *map(reading.point, reports)))
    outputs = report.write(result, target, created=WRITTEN, settings=settings.report, priors=priors)
    local = tuple(replace(one, path=one.path.relative_to(target)) for one in outputs)
    trend = rules.trend(point.of(result, source.read(result.stack)), priors, LIVER)
    title = "Trend: five earlier results, of two scanners and of another method"
    shown = _shown("trend", title, target, summary.of(result, local, trend))
    return replace(shown, words=(*change.remarks(trend), *change.lines(trend)), sheet=2)


def _exam(folder: Path, when: datetime, dialect: str, station: str, t2star_ms: float) -> Path:
    scan = simulate.make(_plan(dialect=dialect, liver_t2star_ms=t2star_ms), when)
    for one in scan.instances:
        one.StationName = one.DeviceSerialNumber = station
    simulate.write(scan, folder)
    return folder


def _reported(folder: Path, *exam: Any) -> pydicom.Dataset:
    _processed(_exam(folder / "images", *exam), folder / "results")
    (path,) = (folder / "results").glob("*/structured_report-*.dcm")
    return pydicom.dcmread(path)


def _stack(folder: Path, settings: Settings) -> EchoStack:
    images = [image for path in sorted(folder.iterdir()) for image in header.read(path).images]
    (candidate,) = group.assemble(images, settings.grouping)
    stack = offline.stack_of(candidate, settings.grouping)
    assert stack is not None  # noqa: S101  a simulated one is whole
    return stack


def _found(stack: EchoStack, settings: Settings) -> Result:
    signal, maps = analyse.fit_stack(stack, settings.fit)
    found = analyse.find_regions(stack, signal, maps)
    regions, measurements, decays = analyse.measure_regions(found.rois, stack, signal, maps, settings.measure)
    parameters, version = settings.result_parameters(), dicomnode.__version__
    return Result(
        stack=stack,
        maps=analyse.with_what_is_beyond(maps, regions, measurements),
        rois=regions,
        measurements=measurements,
        decays=decays,
        identity=Identity(identity.result_key(stack.sop_instance_uids, parameters, version), version),
        settings=parameters,
        anatomy=signal[..., 0],
        finder=found.finder,
    )


def _maps(results: Path) -> dict[str, list[pydicom.Dataset]]:
    kinds = ("mr_map_r2star", "mr_map_t2star")
    return {kind: [pydicom.dcmread(path) for path in sorted(results.glob(f"*/{kind}-*.dcm"))] for kind in kinds}


def _drawing(results: Path, path: Path) -> Path:
    """Make a reader's segmentation of the node's own: its third region alone, by another name and another hand."""
    (own,) = results.glob("*/segmentation-*.dcm")
    drawing = pydicom.dcmread(own)
    drawing.SOPInstanceUID = drawing.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("2.25.7")
    drawing.ContentCreatorName, drawing.Manufacturer, drawing.ManufacturerModelName = "Reader^Rita", "A viewer", "3"
    drawing.SegmentSequence[2].SegmentLabel = "right lobe"
    drawing.save_as(path)
    return path


def _measured(stack: EchoStack, drawing: rois.Drawing, settings: Settings) -> Result:
    signal, maps = analyse.fit_stack(stack, settings.fit)
    wanted = tuple(one for one in drawing.rois if one.name == "right lobe")
    found, measurements, decays = analyse.measure_regions(wanted, stack, signal, maps, settings.measure)
    parameters = settings.result_parameters()
    return Result(
        stack=stack,
        maps=maps,
        rois=found,
        measurements=measurements,
        decays=decays,
        identity=Identity(identity.result_key([drawing.sop_instance_uid], parameters, "drawn"), dicomnode.__version__),
        settings=parameters,
        drawn=Drawn(drawing.sop_class_uid, drawing.sop_instance_uid, drawing.author, drawing.made_with),
        anatomy=signal[..., 0],
    )


def _pictures(shown: Shown, output: Path) -> Iterator[tuple[str, str]]:
    """The page of the middle slice, and a page of the report."""
    if not shown.name.startswith(REPORT_ALONE):
        page = pydicom.dcmread(shown.pages[len(shown.pages) // 2]).pixel_array
        yield "page", _save(Image.fromarray(np.asarray(page)), output, f"{shown.name}-page.png")
    if shutil.which("pdftoppm"):
        document = pydicom.dcmread(shown.document).EncapsulatedDocument
        command = ["pdftoppm", "-png", "-r", "120", "-f", str(shown.sheet), "-l", str(shown.sheet), "-"]
        drawn = subprocess.run(command, input=document, capture_output=True, check=True).stdout  # noqa: S603
        yield "report", _save(Image.open(io.BytesIO(drawn)), output, f"{shown.name}-report.png")


def _save(picture: Image.Image, output: Path, file: str) -> str:
    height = round(picture.height * WIDTH / picture.width)
    small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.save(output / "gallery" / file, optimize=True)  # fewer colours would make the scale lie
    return file


if __name__ == "__main__":
    main()
