"""A scan -> the verdict on it: a stack, what is missing, or why it is refused."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from dicomnode.group.grid import COMPLEX, SIGNAL, Grid, Table, stack_of
from dicomnode.group.scans import echoes_of
from dicomnode.model import Component, EchoImage, Group, GroupStatus, Reason, SequenceKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicomnode.config import GroupingSettings
    from dicomnode.group.scans import Scan

REASONS = {
    # REFUSED: more images of the same kind cannot cure it
    "not-wanted": "a rule in [grouping] leaves this series out",
    "echo-planar": "echo-planar read-out: distorted, and one echo is a whole train of gradient echoes",
    "spin-echo": "spin echo: decays with T2, not T2*",
    "turbo-spin-echo": "turbo spin echo: decays with T2, not T2*",
    "diffusion": "diffusion weighted: the signal does not decay with T2* alone",
    "inversion-recovery": "inversion recovery: the signal does not decay with T2* alone",
    "unknown-sequence": "the header does not say what made the echo",
    "derived-only": "maps or other derived images only",
    "no-magnitude": "no magnitude images, nor real and imaginary ones to compute them from",
    "no-echo-time": "no image gives an echo time",
    "repetitions": "several repetitions at one position",
    "ambiguous": "several different images at one echo and slice",
    "too-many-echoes": "more echo times than the scanner announced: one of them is not an echo",
    "too-few-echoes": "fewer echoes than [grouping] minimum_echoes",
    # INCOMPLETE: more images may cure it
    "images-missing": "the echo × slice grid has holes",
    "echoes-missing": "the scanner announced more echoes than arrived",
    "parts-missing": "an enhanced object was sent in parts, of which some have not arrived",
    "echo-numbers-skip": "the grid is full, but the scanner's own numbers of the echoes have a gap",
    "fewer-images-than-announced": "the grid is full, but the scanner announced more images than can be accounted for",
}

_KIND_CODES = {
    SequenceKind.ECHO_PLANAR: "echo-planar",
    SequenceKind.SPIN_ECHO: "spin-echo",
    SequenceKind.TURBO_SPIN_ECHO: "turbo-spin-echo",
    SequenceKind.DIFFUSION: "diffusion",
    SequenceKind.INVERSION_RECOVERY: "inversion-recovery",
    SequenceKind.UNKNOWN: "unknown-sequence",
}
_MAPS = 3  # per slice: T2*, R2*, goodness of fit
_NAMED = 3  # holes that a sentence names; the group lists all
_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}


def judge(scan: Scan, rules: GroupingSettings, arrived: Mapping[str, int]) -> Group:
    """Judge one scan: what is not wanted or cannot be used first, then what is ambiguous, then what is missing."""
    group = Group(
        group_id=hashlib.sha256(f"{scan.first.study_instance_uid}|{scan.anchor}".encode()).hexdigest()[:16],
        study_instance_uid=scan.first.study_instance_uid,
        series_instance_uids=tuple(sorted({i.series_instance_uid for i in (*scan.images, *scan.derived)})),
        status=GroupStatus.REFUSED,
        reason=None,
        echo_times_ms=(),
        n_slices=0,
        images=(*scan.images, *scan.derived),
        left_out=_left_out(scan.derived, "derived: a map, a mean or not a magnitude"),
    )
    reason = _not_wanted(scan.first, rules) or _unusable(scan)
    if reason is not None:
        return replace(group, reason=reason)
    return _gridded(scan, group, rules, arrived)


def _not_wanted(image: EchoImage, rules: GroupingSettings) -> Reason | None:
    wanted = (
        ("manufacturer", rules.manufacturer, image.manufacturer),
        ("series_description", rules.series_description, image.series_description),
        ("station_name", rules.station_name, image.station_name),
    )
    for name, pattern, value in wanted:
        if pattern and not re.search(pattern, value, re.IGNORECASE):
            return Reason("not-wanted", f"not wanted: [grouping] {name} = {pattern!r} does not match this series")
    pattern = rules.exclude_series_description
    if pattern and re.search(pattern, image.series_description, re.IGNORECASE):
        return Reason(
            "not-wanted", f"not wanted: [grouping] exclude_series_description = {pattern!r} matches this series"
        )
    return None


def _unusable(scan: Scan) -> Reason | None:
    if not scan.images:
        return Reason("derived-only", f"{_number(len(scan.derived), 'derived image')}, no echo among them")
    kind = scan.first.sequence_kind
    if kind is not SequenceKind.GRADIENT_ECHO:
        return Reason(_KIND_CODES[kind], REASONS[_KIND_CODES[kind]])
    if not scan.has_signal:
        parts = " and ".join(sorted({str(image.component) for image in scan.images}))
        return Reason("no-magnitude", f"only {parts} images, and no magnitude")
    if not echoes_of(scan):
        return Reason("no-echo-time", "no image gives an echo time")
    return None


def _gridded(scan: Scan, group: Group, rules: GroupingSettings, arrived: Mapping[str, int]) -> Group:
    table = Table.of(scan)
    grids = {c: Grid.of(c, members, table) for c in SIGNAL if (members := scan.of(c))}
    needed = [grids[Component.MAGNITUDE]] if Component.MAGNITUDE in grids else [grids[c] for c in COMPLEX]
    group = replace(
        group,
        echo_times_ms=table.echoes.values,
        n_slices=len(table.slices),
        left_out=group.left_out + _left_over(grids, needed, table),
    )
    reason = _ambiguous(scan, needed, table) or _too_many(scan, table) or _too_few(scan, table, rules)
    if reason is not None:
        return replace(group, reason=reason)
    holes = [cell for cell in table.cells() if any(cell not in grid.cells for grid in needed)]
    whole = [s for s in range(len(table.slices)) if not any(hole[0] == s for hole in holes)]
    enough = whole and len(table.echoes) >= rules.minimum_echoes
    stack = stack_of(whole, grids, needed, table) if enough else None
    reason = _missing_echoes(scan, table) or _missing_images(holes, table)
    reason = reason or _missing_parts(scan) or _skipped_echo_numbers(table) or _unaccounted(scan, table, arrived)
    if reason is None:
        return replace(group, status=GroupStatus.COMPLETE, stack=stack)
    missing = (*(table.name(hole) for hole in holes), *(f"echo {one}" for one in _missing_echo_numbers(scan, table)))
    full = None if missing else stack  # where nothing more can come, a full grid may go although more was announced
    return replace(group, status=GroupStatus.INCOMPLETE, reason=reason, stack=full, partial=stack, missing=missing)


def _left_over(grids: Mapping[Component, Grid], needed: Sequence[Grid], table: Table) -> tuple[str, ...]:
    """Say which images are in no stack."""
    said: tuple[str, ...] = ()
    for component, grid in grids.items():
        said += _left_out(grid.copies, f"{component} that is there in another encoding too")
        said += _left_out(grid.outside, f"{component} without an echo time or outside the magnitude's grid")
        if grid not in needed and not grid.full(table):
            kept = tuple(image for images in grid.cells.values() for image in images)
            said += _left_out(kept, f"{component} that does not fill the grid")
    return said


def _left_out(images: Sequence[EchoImage], what: str) -> tuple[str, ...]:
    return (f"{_number(len(images), 'image')}: {what}",) if images else ()


def _ambiguous(scan: Scan, needed: Sequence[Grid], table: Table) -> Reason | None:
    """Two images in one cell are never chosen between."""
    crowded = {cell: images for grid in needed for cell in table.cells() if len(images := grid.cells.get(cell, ())) > 1}
    if not crowded:
        return None
    cell, images = next(iter(crowded.items()))
    most = max(map(len, crowded.values()))
    if all(_repeated(images) for images in crowded.values()):
        return Reason("repetitions", f"{most} repetitions at one position, where one is expected")
    where = f"echo {table.echoes.values[cell[1]]:g} ms, slice {cell[0] + 1}"
    more = f" (and at {_number(len(crowded) - 1, 'more place')})" if len(crowded) > 1 else ""
    promised = _promised_echoes(scan)
    hint = f"; {promised} echoes were announced" if promised > len(table.echoes) else ""
    return Reason("ambiguous", f"{_WORDS.get(len(images), len(images))} different images at {where}{more}{hint}")


def _repeated(images: Sequence[EchoImage]) -> bool:
    """Tell whether the header numbers the images of one cell: then they are repetitions."""
    numbers: tuple[Callable[[EchoImage], int | None], ...] = (lambda i: i.repetition, lambda i: i.acquisition_number)
    return any(None not in found and len(found) == len(images) for found in ({n(i) for i in images} for n in numbers))


def _promised_echoes(scan: Scan) -> int:
    return max((image.promised_echoes or 0 for image in scan.images), default=0)


def _too_few(scan: Scan, table: Table, rules: GroupingSettings) -> Reason | None:
    """Judge by what is announced where that is more than what has arrived."""
    count = max(len(table.echoes), _promised_echoes(scan))
    if count >= rules.minimum_echoes:
        return None
    return Reason("too-few-echoes", f"{_number(count, 'echo', 'echoes')}, minimum is {rules.minimum_echoes}")


def _too_many(scan: Scan, table: Table) -> Reason | None:
    """A mean or a root of squares may hide among the echoes (its Image Type need not say so)."""
    promised = _promised_echoes(scan)
    if promised < 2 or len(table.echoes) <= promised:
        return None
    sentence = f"{len(table.echoes)} echo times where the scanner announced {promised}: not all of them are echoes"
    return Reason("too-many-echoes", sentence)


def _missing_echo_numbers(scan: Scan, table: Table) -> list[int]:
    return sorted(set(range(1, _promised_echoes(scan) + 1)) - set(table.echo_numbers))


def _missing_echoes(scan: Scan, table: Table) -> Reason | None:
    promised = _promised_echoes(scan)
    if promised <= len(table.echoes):
        return None
    sentence = f"{_ranges(_missing_echo_numbers(scan, table))} missing: {len(table.echoes)} of {promised} announced"
    return Reason("echoes-missing", sentence)


def _skipped_echo_numbers(table: Table) -> Reason | None:
    """A scanner that counts its echoes 1, 2, 3, 5 has made a fourth; one that counts 1, 3, 5 counts like that."""
    numbers = table.echo_numbers
    steps = {b - a for a, b in pairwise(numbers)}
    if len(steps) < 2:
        return None
    absent = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    return Reason("echo-numbers-skip", f"{_ranges(absent)} missing by the scanner's own count up to {numbers[-1]}")


def _missing_images(holes: Sequence[tuple[int, int]], table: Table) -> Reason | None:
    if not holes:
        return None
    names = "; ".join(table.name(hole) for hole in holes[:_NAMED])
    more = f" and {len(holes) - _NAMED} more" if len(holes) > _NAMED else ""
    return Reason("images-missing", f"{_number(len(holes), 'image')} missing: {names}{more}")


def _missing_parts(scan: Scan) -> Reason | None:
    parts: dict[tuple[str, int], set[str]] = defaultdict(set)
    for image in scan.images:
        if image.concatenation is not None:
            parts[image.concatenation].add(image.sop_instance_uid)
    short = ((len(uids), total) for (_, total), uids in parts.items() if len(uids) < total)
    return next((Reason("parts-missing", f"{n} of {total} parts of an enhanced object") for n, total in short), None)


def _unaccounted(scan: Scan, table: Table, arrived: Mapping[str, int]) -> Reason | None:
    """Compare with the number of images announced, as far as it can be understood.

    The number counts every component and map that the scanner made (GE: magnitude, real and imaginary together), of
    which a site may send only some. So a full grid is taken for the whole where any number of components and maps
    explains the announcement, and is incomplete only where none does. A series of several geometries is not judged.
    """
    announced = max((image.promised_images or 0 for image in scan.images), default=0)
    here = len(scan.images) + len(scan.derived)
    if here < sum(arrived[uid] for uid in {image.series_instance_uid for image in scan.images}):
        return None
    per_slice, rest = divmod(announced, len(table.slices))
    possible = (n * len(table.echoes) + maps for n in range(1, len(SIGNAL) + 1) for maps in range(_MAPS + 1))
    if announced <= here or (rest == 0 and per_slice in possible):
        return None
    return Reason(
        "fewer-images-than-announced",
        f"{here} of {announced} announced images: whole slices are missing",
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Write 5, 6, 7, 9 as "echoes 5–7, 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
    return f"echo{'' if len(numbers) == 1 else 'es'} {text}"


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
