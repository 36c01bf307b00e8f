"""Echo images -> stacks of one echo × slice grid each, or a named reason why not."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from dicomnode.group.same import once
from dicomnode.group.scans import complex_pairs, scans_of, series_per_echo, with_companions, with_derived
from dicomnode.group.verdict import REASONS, Wishes, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dicomnode.config import GroupingSettings
    from dicomnode.group.verdict import Damaged
    from dicomnode.model import EchoImage, Group

__all__ = ["REASONS", "Wishes", "assemble"]


def assemble(
    images: Iterable[EchoImage],
    rules: GroupingSettings,
    damaged: Damaged = MappingProxyType({}),
    wishes: Wishes | None = None,
) -> tuple[Group, ...]:
    """Sort images of any number of series and studies into candidate stacks, each with a verdict.

    The answer depends on the set of images only: not on their order, nor on how often each comes. Every image is in
    exactly one group. ``damaged`` says of series which of their images cannot be used, and why; ``wishes`` what is
    wanted beside the rules.
    """
    studies: dict[str, list[EchoImage]] = defaultdict(list)
    for image in _unique(images):
        studies[image.study_instance_uid].append(image)
    judging = _Judging(rules, wishes or Wishes(), damaged)
    groups = [group for study in sorted(studies) for group in _study(studies[study], judging)]
    return _with_distinct_ids(groups)


@dataclass(frozen=True, slots=True)
class _Judging:
    """By what every scan is judged."""

    rules: GroupingSettings
    wishes: Wishes
    damaged: Damaged


def _order(image: EchoImage) -> tuple[object, ...]:
    echo_time = -1.0 if image.echo_time_ms is None else image.echo_time_ms
    place = (image.plane.position, image.plane.orientation, image.component, echo_time)
    frame = -1 if image.frame is None else image.frame
    return (image.series_number or 0, image.series_instance_uid, image.sop_instance_uid, frame, place)


def _unique(images: Iterable[EchoImage]) -> list[EchoImage]:
    """Return each image once; a copy is the same frame of the same instance and looks the same."""
    unique: dict[tuple[object, ...], EchoImage] = {}
    for image in images:
        key = (image.study_instance_uid, _order(image))
        if key not in unique or str(image.path) < str(unique[key].path):
            unique[key] = image
    return [unique[key] for key in sorted(unique)]


def _in_one_frame(images: Sequence[EchoImage]) -> list[EchoImage]:
    """Give the images of a series one frame of reference where the header's contradicts nothing.

    That is where it is missing on some, and where every image or every slice has one of its own, as anonymisers and
    some exports write it.
    """
    by_series: dict[str, list[EchoImage]] = defaultdict(list)
    for image in images:
        by_series[image.series_instance_uid].append(image)
    frames = {series: _frame_of(members) for series, members in by_series.items()}
    alone = all(len(members) == 1 for members in by_series.values()) and len(by_series) > 1
    if alone and len(set(frames.values())) == len(frames):  # series and frames alike are made for every image
        frames = dict.fromkeys(frames, "")
    return [
        image
        if (frame := frames[image.series_instance_uid]) is None or frame == image.plane.frame_of_reference_uid
        else replace(image, plane=replace(image.plane, frame_of_reference_uid=frame))
        for image in images
    ]


def _frame_of(images: Sequence[EchoImage]) -> str | None:
    """The one frame of reference of a series; None where its images have several that mean something."""
    named = {image.plane.frame_of_reference_uid for image in images} - {""}
    if len(named) <= 1:
        return next(iter(named), "")
    of_slice: dict[float, set[str]] = defaultdict(set)
    for image in images:
        of_slice[round(image.plane.location_mm, 1)].add(image.plane.frame_of_reference_uid)
    by_slice = all(len(one) == 1 for one in of_slice.values()) and len(of_slice) == len(named)
    return min(named) if by_slice or len(named) == len(images) else None


def _study(images: Sequence[EchoImage], by: _Judging) -> list[Group]:
    images = _in_one_frame(images)
    scans = scans_of(images)
    wholes = series_per_echo([scan for scan in scans if scan.has_signal])
    wholes, rest = with_companions(wholes, [scan for scan in scans if scan.images and not scan.has_signal])
    complex_scans, rest = complex_pairs(rest)
    wholes, alone = with_derived(wholes + complex_scans, [scan for scan in scans if not scan.images])
    arrived = Counter(image.series_instance_uid for image in images)
    return once([judge(scan, by.rules, by.wishes, arrived, by.damaged) for scan in (*wholes, *rest, *alone)])


def _with_distinct_ids(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Make the names of groups distinct where the stable part alone is not."""
    counts = Counter(group.group_id for group in groups)
    seen: Counter[str] = Counter()
    named = []
    for group in groups:
        seen[group.group_id] += 1
        unique = group.group_id if counts[group.group_id] == 1 else f"{group.group_id}-{seen[group.group_id]}"
        named.append(replace(group, group_id=unique))
    return tuple(named)
