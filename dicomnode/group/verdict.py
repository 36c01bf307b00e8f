"""A scan -> the verdict on it: a stack, what is missing, or why it is refused."""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from dicomnode.config import matching
from dicomnode.group.grid import COMPLEX, SIGNAL, Grid, Table, stack_of
from dicomnode.group.scans import TOGETHER_S, apart_s, echoes_of
from dicomnode.model import Component, EchoImage, Group, GroupStatus, Reason, SequenceKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicomnode.config import GroupingSettings, ScannerSettings
    from dicomnode.group.scans import Scan

REASONS = {
    # REFUSED: more images of the same kind cannot cure it
    "not-wanted": "a rule in [grouping] leaves this series out",
    "scanner-ignores": "a rule of its [[scanner]] leaves this series out",
    "scanner-takes-others": "its [[scanner]] names the series that are taken, and this is none of them",
    "echo-planar": "echo-planar read-out: distorted, and one echo is a whole train of gradient echoes",
    "spin-echo": "spin echo: decays with T2, not T2*",
    "turbo-spin-echo": "turbo spin echo: decays with T2, not T2*",
    "diffusion": "diffusion weighted: the signal does not decay with T2* alone",
    "inversion-recovery": "inversion recovery: the signal does not decay with T2* alone",
    "unknown-sequence": "the header does not say what made the echo",
    "derived-only": "maps or other derived images only",
    "no-magnitude": "no magnitude images, nor real and imaginary ones to compute them from",
    "no-echo-time": "no image gives an echo time",
    "two-patients": "images of several patients under one series",
    "lossy": "compressed with loss: the values, and the noise above all, are not those the scanner made",
    "repetitions": "several repetitions at one position",
    "ambiguous": "several different images at one echo and slice",
    "too-many-echoes": "more echo times than the scanner announced: one of them is not an echo",
    "too-few-echoes": "fewer echoes than [grouping] minimum_echoes",
    "copy": "the same scan is there under another series",
    "part-of-a-train": "the train of echoes goes on in another series",
    # INCOMPLETE: more images may cure it
    "images-missing": "the echo × slice grid has holes",
    "echoes-missing": "the scanner announced more echoes than arrived",
    "parts-missing": "an enhanced object was sent in parts, of which some have not arrived",
    "damaged-images": "an image of the series cannot be used, and may be an echo",
    "two-acquisitions": "the echoes of a slice were not acquired together",
    "positions-disagree": "the echoes of a slice do not lie at one place",
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
Damaged = Mapping[str, Sequence[str]]  # Series Instance UID to why images of it cannot be used
_MAPS = 3  # per slice: T2*, R2*, goodness of fit
_TORN_MM = 5.0  # along the normal; slices of a scan are further apart, or every echo is there in each
_NAMED = 3  # holes that a sentence names; the group lists all
_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted beside [grouping]: by a site of what its scanners send, by a person of single groups."""

    scanners: Mapping[str, ScannerSettings] = field(default_factory=dict)  # by AE title
    ordered: frozenset[str] = frozenset()  # groups that a person wants processed although they were refused

    def has_ordered(self, group_id: str) -> bool:
        """Whether a person wants a group processed; of twins that share the stable part of their name both."""
        return any(one.partition("-")[0] == group_id for one in self.ordered)


def judge(scan: Scan, rules: GroupingSettings, wishes: Wishes, arrived: Mapping[str, int], damaged: Damaged) -> Group:
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
        counted=any(image.promised_images for image in scan.images),
    )
    ordered = wishes.has_ordered(group.group_id)
    reason = (None if ordered else _not_wanted(scan.first, rules, wishes)) or _unusable(scan, ordered=ordered)
    if reason is not None:
        return replace(group, reason=reason)
    return _gridded(scan, group, rules, arrived, damaged)


def _not_wanted(image: EchoImage, rules: GroupingSettings, wishes: Wishes) -> Reason | None:
    scanner = wishes.scanners.get(image.sender)
    if scanner is not None:
        if scanner.accepts(image.names):
            return None
        if reason := _not_of_scanner(image, scanner):
            return reason
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


def _not_of_scanner(image: EchoImage, scanner: ScannerSettings) -> Reason | None:
    where = f"not wanted: [[scanner]] {scanner.ae_title}"
    pattern = matching(scanner.ignore_series, image.names)
    if pattern is not None:
        return Reason("scanner-ignores", f"{where} ignore_series = {pattern!r} matches this series")
    if scanner.only_series and matching(scanner.only_series, image.names) is None:
        return Reason("scanner-takes-others", f"{where} only_series: none of its patterns matches this series")
    return None


def _unusable(scan: Scan, *, ordered: bool) -> Reason | None:
    if not scan.images:
        return Reason("derived-only", f"{_number(len(scan.derived), 'derived image')}, no echo among them")
    kind = scan.first.sequence_kind
    if kind is not SequenceKind.GRADIENT_ECHO and not (ordered and kind is SequenceKind.UNKNOWN):
        return Reason(_KIND_CODES[kind], REASONS[_KIND_CODES[kind]])
    parts = " and ".join(sorted({str(image.component) for image in scan.images}))
    told = _patients(scan)
    faults = (
        (not scan.has_signal, "no-magnitude", f"only {parts} images, and no magnitude"),
        (not echoes_of(scan), "no-echo-time", "no image gives an echo time"),
        (bool(told), "two-patients", f"images of several patients in one series: {told} differs"),
        (any(image.lossy for image in scan.images), "lossy", f"{REASONS['lossy']}; send what the scanner made"),
    )
    return next((Reason(code, sentence) for fault, code, sentence in faults if fault), None)


def _patients(scan: Scan) -> str:
    """What says that a scan holds several patients; what is empty contradicts nothing, a name counts by itself only."""
    identifiers, births, names = ({one.patient[k] for one in scan.images} - {""} for k in range(3))
    told = [what for what, values in (("Patient ID", identifiers), ("Patient's Birth Date", births)) if len(values) > 1]
    told += ["Patient's Name"] if len(names) > 1 and not identifiers else []
    return " and ".join(told)


def _gridded(scan: Scan, group: Group, rules: GroupingSettings, arrived: Mapping[str, int], damaged: Damaged) -> Group:
    table = Table.of(scan)
    grids = {c: Grid.of(c, members, table) for c in SIGNAL if (members := scan.of(c))}
    needed = [grids[Component.MAGNITUDE]] if Component.MAGNITUDE in grids else [grids[c] for c in COMPLEX]
    group = replace(
        group,
        echo_times_ms=table.echoes.values,
        n_slices=len(table.slices),
        left_out=group.left_out + _left_over(grids, needed, table),
    )
    reason = _torn(scan) or _ambiguous(scan, needed, table) or _apart(needed) or _too_many(scan, table)
    reason = reason or _too_few(scan, table, rules)
    if reason is not None:
        return replace(group, reason=reason)
    holes = [cell for cell in table.cells() if any(cell not in grid.cells for grid in needed)]
    whole = [s for s in range(len(table.slices)) if not any(hole[0] == s for hole in holes)]
    enough = whole and len(table.echoes) >= rules.minimum_echoes
    stack = replace(stack_of(whole, grids, needed, table), left_out=group.left_out) if enough else None
    reason = _missing_echoes(scan, table) or _missing_images(holes, table)
    reason = reason or _missing_parts(scan) or _damaged(scan, table, damaged) or _skipped_echo_numbers(table)
    reason = reason or _unaccounted(scan, table, arrived)
    if reason is None:
        return replace(group, status=GroupStatus.COMPLETE, stack=stack)
    stack = None if stack is None else replace(stack, incomplete=reason.sentence)
    # Without its first echoes a train knows little of severe iron; one that lacks a later echo may go, marked.
    early = {one for one in _absent_numbers(table) if one < table.echo_numbers[0]}
    numbers = sorted({*_missing_echo_numbers(scan, table), *early})
    missing = (*(table.name(hole) for hole in holes), *(f"echo {one}" for one in numbers))
    if not missing and reason.code == "damaged-images":
        missing = (reason.sentence,)
    full = None if missing else stack  # where nothing more can come, a full grid may go although more was announced
    return replace(
        group,
        status=GroupStatus.INCOMPLETE,
        reason=reason,
        stack=full,
        partial=stack,
        missing=missing,
        holes=tuple(holes),
    )


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


def _torn(scan: Scan) -> Reason | None:
    if not scan.shifted_mm:
        return None
    sentence = f"echoes of one slice lie {scan.shifted_mm:.1f} mm apart (Image Position): not one image in time"
    return Reason("positions-disagree", sentence)


def _apart(needed: Sequence[Grid]) -> Reason | None:
    """Echoes of one read-out come within a repetition time; another breath-hold has another gain and another place."""
    for grid in needed:
        moments: dict[int, list[float]] = defaultdict(list)
        for (s, _), images in grid.cells.items():
            moments[s] += [image.acquired_s for image in images if image.acquired_s is not None]
        for s in sorted(moments):
            apart = max((apart_s(one, other) for one in moments[s] for other in moments[s]), default=0.0)
            if apart > TOGETHER_S:
                sentence = f"echoes of slice {s + 1} were acquired {apart:.0f} s apart (Acquisition Time): not one scan"
                return Reason("two-acquisitions", sentence)
    return None


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


def _absent_numbers(table: Table) -> list[int]:
    """A scanner that counts its echoes 1, 2, 3, 5 has made a fourth; one that counts 1, 3, 5 counts like that.

    One that counts 3, 4, 5 has made two before.
    """
    numbers = table.echo_numbers
    steps = {b - a for a, b in pairwise(numbers)}
    late = numbers[0] > 1 and steps <= {1}
    if len(steps) < 2 and not late:
        return []
    return sorted(set(range(1, numbers[-1] + 1)) - set(numbers))


def _skipped_echo_numbers(table: Table) -> Reason | None:
    absent, last = _absent_numbers(table), table.echo_numbers[-1]
    sentence = f"{_ranges(absent)} missing by the scanner's own count up to {last}"
    return Reason("echo-numbers-skip", sentence) if absent else None


def _damaged(scan: Scan, table: Table, damaged: Damaged) -> Reason | None:
    """An image of the series that cannot be read may be an echo, unless all that were announced are there."""
    if 0 < _promised_echoes(scan) <= len(table.echoes):
        return None
    whys = [why for uid in sorted(scan.series) for why in damaged.get(uid, ())]
    if not whys:
        return None
    return Reason("damaged-images", f"{_number(len(whys), 'image')} of this series cannot be used; {whys[0]}")


def _missing_images(holes: Sequence[tuple[int, int]], table: Table) -> Reason | None:
    if not holes:
        return None
    echoes = len(table.echoes)
    lacking: dict[int, set[int]] = defaultdict(set)
    for s, echo in holes:
        lacking[s].add(echo)
    for s in sorted(lacking):
        # What one slice lacks the next one has, and nothing else: they are one, torn apart along the normal.
        apart = table.slices.values[s + 1] - table.slices.values[s] if s + 1 in lacking else math.inf
        both = lacking[s] | lacking.get(s + 1, set())
        if apart < _TORN_MM and len(both) == echoes == len(lacking[s]) + len(lacking[s + 1]) and echoes > 2:
            sentence = f"echoes of one slice lie {apart:.1f} mm apart (Image Position): not one image in time"
            return Reason("positions-disagree", sentence)
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
