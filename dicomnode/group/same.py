"""Groups of one study that are one scan in truth: copies of it, or parts of its train of echoes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dicomnode.group.geometry import ECHO_MS, LOCATION_MM
from dicomnode.group.scans import TOGETHER_S, apart_s
from dicomnode.model import Group, GroupStatus, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicomnode.model import EchoImage, EchoStack

_SPACING = 0.1  # relative: by how much the step from one part of a train to the next differs from those within


def once(groups: Sequence[Group]) -> list[Group]:
    """Refuse what would be a second result of a scan, and say truly why lone echoes are no train."""
    judged: list[Group] = []
    for group in groups:
        why = _again(group, judged)
        refused = replace(group, status=GroupStatus.REFUSED, reason=why, stack=None, partial=None)
        judged.append(group if why is None else refused)
    return [_with_siblings(group, judged) for group in judged]


def _again(group: Group, before: Sequence[Group]) -> Reason | None:
    """Why a group is no scan of its own beside those before it."""
    if group.stack is None:
        return None
    for other in before:
        if other.stack is None or not _at_once(group.stack, other.stack):
            continue
        if _times(group.stack) == _times(other.stack) and _first(group).twin == _first(other).twin:
            return Reason("copy", f"a copy of {_name(other)}: the same places, echo times and moment of acquisition")
        if _goes_on(other.stack, group.stack) or _goes_on(group.stack, other.stack):
            differ = _differences([_first(group), _first(other)])
            said = (
                f"the same train of echoes as {_name(other)}, from which it differs in {differ}; only one is measured"
            )
            return Reason("part-of-a-train", said)
    return None


def _at_once(one: EchoStack, other: EchoStack) -> bool:
    """Whether two stacks lie at one place and were acquired at one moment, which both must say."""
    if one.shape[:3] != other.shape[:3] or _places(one) != _places(other):
        return False
    moments = [stack.images[0][0].acquired_s for stack in (one, other)]
    return None not in moments and apart_s(*moments) <= TOGETHER_S  # type: ignore[arg-type]


def _goes_on(one: EchoStack, other: EchoStack) -> bool:
    """Whether the echoes of the other follow those of one at the same step."""
    first, then = one.echo_times_ms, other.echo_times_ms
    step = (first[-1] - first[0]) / max(len(first) - 1, 1)
    return abs(then[0] - first[-1] - step) <= _SPACING * step


def _with_siblings(group: Group, groups: Sequence[Group]) -> Group:
    """Say of a lone echo how many others lie at its place, and what keeps them apart."""
    if group.reason is None or group.reason.code != "too-few-echoes" or len(group.echo_times_ms) != 1:
        return group
    here = _first(group)
    others = [
        other
        for other in groups
        if len(other.echo_times_ms) == 1
        and other.echo_times_ms != group.echo_times_ms
        and (_first(other).plane.rows, _first(other).plane.columns) == (here.plane.rows, here.plane.columns)
        and abs(_first(other).plane.location_mm - here.plane.location_mm) <= LOCATION_MM
    ]
    if not others:
        return group
    differ = _differences([here, *map(_first, others)])
    said = f"{group.reason.sentence}; {len(others)} more of one echo each lie at its place and differ in {differ}"
    return replace(group, reason=Reason(group.reason.code, said))


def _differences(images: Sequence[EchoImage]) -> str:
    """Which attributes tell images apart, of those that decide what is one scan."""
    names = ("Protocol Name", "Sequence Name", "MR Acquisition Type", "Repetition Time", "Flip Angle")
    facts = [dict(zip(names, image.protocol, strict=False)) for image in images]
    found = [name for name in names if len({fact.get(name) for fact in facts}) > 1]
    planes = [image.plane for image in images]
    found += ["Pixel Spacing"] if len({plane.pixel_spacing_mm for plane in planes}) > 1 else []
    found += ["Frame of Reference UID"] if len({plane.frame_of_reference_uid for plane in planes}) > 1 else []
    found += ["what Image Type and Scan Options say"] if len({image.twin for image in images}) > 1 else []
    moments = [image.acquired_s for image in images if image.acquired_s is not None]
    apart = max((apart_s(a, b) for a in moments for b in moments), default=0.0)
    found += [f"Acquisition Time, by {apart:.0f} s"] if apart > TOGETHER_S else []
    return ", ".join(found) or "Series Instance UID"


def _first(group: Group) -> EchoImage:
    return group.images[0]


def _name(group: Group) -> str:
    number = _first(group).series_number
    return f"series {number}" if number is not None else f"series {group.series_instance_uids[0]}"


def _places(stack: EchoStack) -> tuple[int, ...]:
    return tuple(round(plane.location_mm / LOCATION_MM) for plane in stack.planes)


def _times(stack: EchoStack) -> tuple[int, ...]:
    return tuple(round(time / ECHO_MS) for time in stack.echo_times_ms)
