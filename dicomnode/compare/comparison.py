"""ADMM beside LM beside the scanner's own map for every series of a folder."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

import dicomnode
from dicomnode import offline
from dicomnode.compare import figures, series
from dicomnode.compare.figures import Panel
from dicomnode.compare.methods import METHODS, QUICK, REFERENCE
from dicomnode.compare.tables import Means, Table, best_roi_table, roi_table, time_table
from dicomnode.errors import InputError, NodeError
from dicomnode.spool import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from dicomnode.compare.series import Compared
    from dicomnode.config import Settings
    from dicomnode.model import EchoImage, Group

__all__ = ["METHODS", "QUICK", "run"]

_QUANTITIES = (("T2* in ms", "t2star_ms"), ("R2* in 1/s", "r2star_per_s"))


def run(
    folder: Path, output: Path, chosen: Sequence[str], settings: Settings, progress: Callable[[str], None]
) -> tuple[dict[str, Any], str]:
    """Compare the methods on every series in ``folder``; write ``compare.json``, ``report.md`` and figures.

    ``chosen`` are keys of METHODS; ADMM is always there. Returns what the two files hold, the report without its
    pictures. Raises InputError where no series can be fitted.
    """
    candidates, _ = offline.find([folder], settings.grouping, progress)
    done, left = _compare_all(candidates, chosen, settings, progress)
    used = {one.scanner.map.series_instance_uid for one in done if one.scanner.map}
    left = [one for one in left if one["series_instance_uid"] not in used]
    if not done:
        raise InputError("; ".join(f"{one['name']}: {one['reason']}" for one in left) or "there is no series of echoes")
    output.mkdir(parents=True, exist_ok=True)
    pictures = [picture for one in done for picture in _pictures(one)]
    tables, more = _tables(done)
    files = [(name, caption) for name, caption, figure in (*pictures, *more) if _saved(figure, output / name)]
    not_run = [METHODS[key].label for key in METHODS if key not in done[0].fits]
    result = {
        "software_version": dicomnode.__version__,
        "series": [*(series.summary_of(one) for one in done), *left],
        "not_run": not_run,
        "figures": [name for name, _ in files],
    }
    write_json(output / "compare.json", result)
    text = _text(done, left, tables, not_run)
    images = [f"![{caption}]({name})\n\n{caption}\n" for name, caption in files]
    (output / "report.md").write_text("\n".join([text, "## Figures\n", *images]), encoding="utf-8")
    return result, text


def _compare_all(
    candidates: Iterable[Group], chosen: Sequence[str], settings: Settings, progress: Callable[[str], None]
) -> tuple[list[Compared], list[dict[str, Any]]]:
    """Compare what can be fitted; the rest with its reason. A series that fails does not hold back the others."""
    images: dict[str, list[EchoImage]] = defaultdict(list)
    for candidate in candidates:
        images[candidate.study_instance_uid] += candidate.images
    done: list[Compared] = []
    left = []
    for candidate in candidates:
        stack = offline.stack_of(candidate, settings.grouping)
        name = _name(candidate, [one.name for one in done])
        if stack is None:
            status = "refused" if candidate.status == "refused" else "incomplete"
            left.append(_left(candidate, name, status, str(candidate.reason)))
            continue
        try:
            study = images[candidate.study_instance_uid]
            done.append(series.compare(name, stack, study, chosen, settings, progress=progress))
        except NodeError as fault:
            left.append(_left(candidate, name, "failed", str(fault)))
        progress(f"{name}: done" if done and done[-1].name == name else f"{name}: {left[-1]['reason']}")
    return done, left


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


def _tables(done: Sequence[Compared]) -> tuple[list[Table], list[tuple[str, str, Figure]]]:
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
    seconds = {
        METHODS[key].label: (
            sum(one.fits[key].maps.record.seconds for one in done),
            sum(one.fits[key].cpu_seconds for one in done),
        )
        for key in done[0].fits
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
            for key in done[0].fits
        },
    )


def _pictures(one: Compared) -> list[tuple[str, str, Figure]]:
    """File, caption and figure of each picture of a series."""
    k = series.shown_slice(one)
    stem = one.name.lower().replace(" ", "-").replace("(", "").replace(")", "")
    where = f"{one.name}, slice {k + 1}"
    spacing = one.stack.planes[k].pixel_spacing_mm
    t2star: list[Panel] = []
    s0: list[Panel] = []
    if one.scanner.map is not None:
        t2star.append(Panel("scanner", one.scanner.map.t2star_ms[k], spacing))
    for key, fit in one.fits.items():
        for panels, values in ((t2star, fit.maps.t2star_ms), (s0, fit.maps.s0)):
            shown = np.where(fit.maps.valid[k], values[k], np.nan)
            panels.append(Panel(METHODS[key].label, shown, spacing))
    outlined = [(roi, roi.mask[k]) for roi in one.rois if roi.finding != "body" and roi.mask[k].any()]
    first = Panel(f"TE {one.stack.echo_times_ms[0]:g} ms", one.signal[k, ..., 0], spacing)
    brightest = 1.2 * float(np.percentile(one.signal[..., 0], 99.5))
    signals = {roi.name: one.signal[roi.mask].mean(axis=0, dtype=float) for roi in one.rois if roi.mask.any()}
    floor = float(np.sqrt(np.pi / 2) * np.median(one.fits[REFERENCE].maps.sigma))
    return [
        (f"{stem}-t2star.png", f"{where}: T2* by method (figures 9, 14, 21, 25)", figures.t2star_maps(t2star)),
        (f"{stem}-s0.png", f"{where}: signal at TE 0 by method (figures 10, 15)", figures.s0_maps(s0, brightest)),
        (f"{stem}-regions.png", f"{where}: the regions (figures 11, 24)", figures.regions(first, outlined)),
        (
            f"{stem}-decay.png",
            f"{one.name}: mean signal of each region (figure 12)",
            figures.decays(one.stack.echo_times_ms, signals, floor),
        ),
    ]


def _saved(figure: Figure, path: Path) -> bool:
    figure.savefig(path, dpi=figures.DPI)
    return True


def _text(done: Sequence[Compared], left: Sequence[dict[str, Any]], tables: Sequence[Table], not_run: list[str]) -> str:
    """Say everything in Markdown but the pictures."""
    lines = ["# Methods compared\n", *(table.markdown() for table in tables)]
    for one in done:
        lines += [f"{one.name}:\n", *(f"- {remark}" for remark in series.remarks_of(one)), ""]
    told = Counter(f"{one['name']}: {one['status']}: {one['reason']}" for one in left)
    lines += [f"{what}{f' ({count} times)' if count > 1 else ''}\n" for what, count in told.items()]
    if not_run:
        lines.append(f"Not run: {'; '.join(not_run)} (--methods chooses).\n")
    return "\n".join(lines)
