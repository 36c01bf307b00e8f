"""ADMM beside LM beside the scanner's own map for every series of a folder."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

import dicomnode
from dicomnode.compare import figures, page, series
from dicomnode.compare.figures import Panel
from dicomnode.compare.methods import LAMBDAS, METHODS, REFERENCE, SWEEP
from dicomnode.compare.tables import COLUMNS, Means, Table, best_roi_table, csv_text, roi_table, time_table
from dicomnode.errors import InputError, NodeError
from dicomnode.fit import Noise
from dicomnode.operate import offline
from dicomnode.store.durable import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dicomnode.compare.series import Compared, Images
    from dicomnode.config import Settings
    from dicomnode.model import EchoImage, Group

TITLE = "Methods compared"
Picture = tuple[str, str, Figure]  # file, caption, drawing

_QUANTITIES = (("T2* in ms", "t2star_ms"), ("R2* in 1/s", "r2star_per_s"))


def run(
    folder: Path,
    output: Path,
    chosen: Sequence[str],
    settings: Settings,
    progress: Callable[[str], None],
    *,
    configuration: Path | None = None,
) -> tuple[dict[str, Any], str]:
    """Compare the methods on every series in ``folder``; write ``compare.json``, a report, a page, CSV and figures.

    ``chosen`` are keys of METHODS; ADMM is always there. ``configuration`` is the file that the settings are from, to
    be named beside the result. Returns what ``compare.json`` and ``report.md`` hold, this without its pictures. Raises
    InputError where no series can be fitted.
    """
    candidates, _ = offline.find([folder], settings.grouping, progress)
    done, left, files = _compare_all(candidates, output, chosen, settings, progress=progress)
    if not done:
        raise InputError("; ".join(f"{one['name']}: {one['reason']}" for one in left) or "there is no series of echoes")
    tables, pictures = _tables(done)
    files += _save(pictures, output)
    not_run = [METHODS[key].label for key in METHODS if key not in done[0].records]
    result = {
        "software_version": dicomnode.__version__,
        "configuration": None if configuration is None else str(configuration),
        "series": [*(series.summary_of(one) for one in done), *left],
        "not_run": not_run,
        "figures": [name for name, _ in files],
    }
    write_json(output / "compare.json", result)
    text = _text(done, left, tables, not_run)
    images = [f"![{caption}]({name})\n\n{caption}\n" for name, caption in files]
    (output / "report.md").write_text("\n".join([text, "## Figures\n", *images]), encoding="utf-8")
    (output / "index.html").write_text(page.html(TITLE, _remarks(done, left, not_run), tables, files), encoding="utf-8")
    numbers = [row for quantity, attribute in _QUANTITIES for row in _means(done, quantity, attribute).numbers()]
    (output / "compare.csv").write_text(csv_text(COLUMNS, numbers), encoding="utf-8")
    return result, text


def _compare_all(
    candidates: Sequence[Group],
    output: Path,
    chosen: Sequence[str],
    settings: Settings,
    *,
    progress: Callable[[str], None],
) -> tuple[list[Compared], list[dict[str, Any]], list[tuple[str, str]]]:
    """Compare what can be fitted and draw it; what cannot has a reason and does not hold back the others."""
    studies: dict[str, list[EchoImage]] = defaultdict(list)
    for candidate in candidates:
        studies[candidate.study_instance_uid] += candidate.images
    done: list[Compared] = []
    left: list[dict[str, Any]] = []
    files: list[tuple[str, str]] = []
    for candidate in candidates:
        name = _name(candidate, [one.name for one in done])
        stack = offline.stack_of(candidate, settings.grouping)
        if stack is None:
            left.append(_left(candidate, name, candidate.status.value, str(candidate.reason)))
            continue
        study = studies[candidate.study_instance_uid]
        try:
            compared, images = series.compare(name, stack, study, chosen, settings, progress=progress)
        except NodeError as fault:
            progress(f"{name}: failed: {fault}")
            left.append(_left(candidate, name, "failed", str(fault)))
            continue
        files += _save(_pictures(compared, images), output)
        done.append(compared)
    used = {one.scanner.series_instance_uid for one in done}
    return done, [one for one in left if one["series_instance_uid"] not in used], files


def _save(pictures: Sequence[Picture], output: Path) -> list[tuple[str, str]]:
    """Write pictures; return file and caption of each."""
    output.mkdir(parents=True, exist_ok=True)
    for name, _, figure in pictures:
        figure.savefig(output / name, dpi=figures.DPI)
    return [(name, caption) for name, caption, _ in pictures]


def _name(candidate: Group, taken: Sequence[str]) -> str:
    """Name a series by its number; a second of that number is told apart."""
    number = candidate.images[0].series_number
    name = "Series" if number is None else f"Series {number}"
    again = sum(other == name or other.startswith(f"{name} (") for other in taken)
    return f"{name} ({again + 1})" if again else name


def _left(candidate: Group, name: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "series_instance_uid": candidate.series_instance_uids[0],
        "name": name,
        "status": status,
        "reason": reason,
    }


def _tables(done: Sequence[Compared]) -> tuple[list[Table], list[Picture]]:
    """Return the tables, and the figures that are drawn from the same numbers."""
    tables, drawn = [], []
    for quantity, attribute in _QUANTITIES:
        means = _means(done, quantity, attribute)
        tables.append(roi_table(f"Mean {quantity} per region and method (layout of tables 2, 4 and 6)", means))
        if means.has_reference:
            caption = f"Mean {quantity} nearest to the scanner's (layout of table 3)"
            tables.append(best_roi_table(caption, means))
            caption = f"Means of {quantity}; the colour is the distance from the scanner's"
            drawn.append((f"differences-{attribute.split('_')[0]}.png", caption, figures.differences(means)))
        if len(SWEEP.keys() & done[0].records.keys()) > 1:
            caption = f"Mean {quantity} by λ of eq. 2 (figure 21, table 4)"
            drawn.append((f"lambda-{attribute.split('_')[0]}.png", caption, figures.sweep(means, _swept(means))))
    seconds = {
        METHODS[key].label: (
            sum(one.records[key].seconds for one in done),
            sum(one.cpu_seconds[key] for one in done),
        )
        for key in done[0].records
    }
    tables.append(time_table("Time for all series (figure 16), compilation left out", seconds))
    drawn.append(("times.png", "CPU time of each method for all series", figures.times(seconds)))
    return tables, drawn


def _means(done: Sequence[Compared], quantity: str, attribute: str) -> Means:
    """Collect the means of every series; a region that a series lacks is NaN there."""
    regions = list(dict.fromkeys(roi.name for one in done for roi in one.rois))

    def mean(numbers: Sequence[Any], one: Compared, region: str) -> float:
        index = next((k for k, roi in enumerate(one.rois) if roi.name == region), None)
        found = None if index is None or numbers[index] is None else getattr(numbers[index], attribute)
        return float("nan") if found is None else float(found.mean)

    return Means(
        quantity,
        [one.name for one in done],
        "scanner",
        {region: [mean(one.scanner_numbers, one, region) for one in done] for region in regions},
        {
            METHODS[key].label: {region: [mean(one.numbers[key], one, region) for one in done] for region in regions}
            for key in done[0].records
        },
    )


def _swept(means: Means) -> dict[float, str]:
    """The methods of the sweep that were run, by their λ."""
    labels = {weight: one.label for weight, one in zip(LAMBDAS, SWEEP.values(), strict=True)}
    return {weight: label for weight, label in labels.items() if label in means.methods}


def _pictures(one: Compared, images: Images) -> list[Picture]:
    """Draw one slice of each map, the regions and their decays."""
    k = series.shown_slice(one)
    stem = one.name.lower().replace(" ", "-").replace("(", "").replace(")", "")
    where = f"{one.name}, slice {k + 1}"
    spacing = one.stack.planes[k].pixel_spacing_mm
    t2star, s0 = (
        [
            Panel(METHODS[key].label, np.where(maps.valid[k], getattr(maps, quantity)[k], np.nan), spacing)
            for key, maps in images.maps.items()
        ]
        for quantity in ("t2star_ms", "s0")
    )
    scanner = [Panel("scanner", images.scanner.t2star_ms[k], spacing)] if images.scanner else []
    outlined = [(roi, roi.mask[k]) for roi in one.rois if roi.mask[k].any()]
    first = Panel(f"TE {one.stack.echo_times_ms[0]:g} ms", images.signal[k, ..., 0], spacing)
    brightest = 1.2 * float(np.percentile(images.signal[..., 0], 99.5))
    signals = {roi.name: images.signal[roi.mask].mean(axis=0, dtype=float) for roi in one.rois if roi.mask.any()}
    floor = Noise.of(images.maps[REFERENCE]).floor
    decays = figures.decays(one.stack.echo_times_ms, signals, floor)
    maps = figures.t2star_maps([*scanner, *t2star])
    return [
        (f"{stem}-t2star.png", f"{where}: T2* by method (figures 9, 14, 21, 25)", maps),
        (f"{stem}-s0.png", f"{where}: signal at TE 0 by method (figures 10, 15)", figures.s0_maps(s0, brightest)),
        (f"{stem}-regions.png", f"{where}: the regions (figures 11, 24)", figures.regions(first, outlined)),
        (f"{stem}-decay.png", f"{one.name}: mean signal of each region (figure 12)", decays),
    ]


def _text(done: Sequence[Compared], left: Sequence[dict[str, Any]], tables: Sequence[Table], not_run: list[str]) -> str:
    """Say everything in Markdown but the pictures."""
    lines = [f"# {TITLE}\n", *(table.markdown() for table in tables)]
    for one in done:
        lines += [f"{one.name}:\n", *(f"- {remark}" for remark in series.remarks_of(one)), ""]
    return "\n".join([*lines, *(f"{what}\n" for what in _left_out(left, not_run))])


def _remarks(done: Sequence[Compared], left: Sequence[dict[str, Any]], not_run: list[str]) -> list[str]:
    """What qualifies the numbers, and what is missing among them."""
    return [*(f"{one.name}: {remark}" for one in done for remark in series.remarks_of(one)), *_left_out(left, not_run)]


def _left_out(left: Sequence[dict[str, Any]], not_run: list[str]) -> list[str]:
    told = Counter(f"{one['name']}: {one['status']}: {one['reason']}" for one in left)
    lines = [f"{what}{f' ({count} times)' if count > 1 else ''}" for what, count in told.items()]
    return [*lines, f"Not run: {'; '.join(not_run)} (--methods chooses)."] if not_run else lines
