"""How the pages say what the node's files hold as codes and numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Tone = Literal["good", "doubt", "bad", "busy", "quiet"]


@dataclass(frozen=True, slots=True)
class Said:
    """A state as people read it: a sign, words, and a tone that only repeats them."""

    sign: str
    words: str
    tone: Tone
    next: str = ""  # what a person does about it


STATES: dict[str, Said] = {
    "failed": Said("✖", "Failed", "bad", "Cure the reason, then try again."),
    "unreadable": Said("✖", "Cannot be read", "bad", "A file of the node is damaged: see the operator's manual."),
    "disk low": Said("✖", "Disk full", "bad", "Make room: nothing is taken in until then."),
    "removed": Said("▲", "Removed by hand", "doubt", "Send the series again, or let the study be purged."),
    "waiting": Said("…", "Arriving", "busy"),
    "queued": Said("…", "Next in line", "busy"),
    "fitting": Said("…", "Being fitted", "busy"),
    "measuring": Said("…", "Being measured", "busy"),
    "reporting": Said("…", "Report in the making", "busy"),
    "delivering": Said("→", "Being sent", "busy"),
    "incomplete": Said("▲", "Images missing", "doubt", "Send the missing images: it goes on by itself."),
    "no_number": Said("▲", "Done, no number", "doubt", "Look at the maps; where the organ is there, draw it."),
    "done": Said("✓", "Done", "good"),
    "refused": Said("–", "Not measured", "quiet", "Nothing, unless the reason is wrong."),
    "kept": Said(
        "–",
        "Made again, not sent",
        "quiet",
        "Compare it with the one before; send it if it is better.",
    ),
    "overtaken": Said("–", "Replaced before it was sent", "quiet"),
    "not an echo": Said("–", "Other images", "quiet"),
    "not taken in": Said("▲", "Not taken in", "doubt", "Send it whole."),
}
# What a study is said to be where its series are of several states: the first of these.
ORDER = tuple(STATES)

DELIVERIES: dict[str, Said] = {
    "waiting": Said("…", "Waiting", "busy"),
    "sending": Said("→", "Being sent", "busy"),
    "delayed": Said("▲", "Tried again", "doubt"),
    "awaiting commitment": Said("…", "There, not committed to yet", "busy"),
    "delivered": Said("✓", "Delivered", "good"),
    "partly refused": Said("✖", "Refused in part", "bad"),
    "dead letter": Said("✖", "Given up", "bad", "Cure the reason, then try again."),
    "not configured": Said("–", "Destination removed", "quiet"),
    "replaced": Said("–", "Replaced there", "quiet"),
}
GRADES: dict[str, Said] = {
    "not measurable": Said("✖", "No number", "bad"),
    "low confidence": Said("▲", "Low confidence", "doubt"),
    "info": Said("•", "Note", "quiet"),
}
# What a person does about a result without a number, where its reason asks for something else.
_NEXT = {
    "beyond-range": "That bound is an answer. Where advice is given, it says how to scan again for a number.",
    "residuals": "The images are not what the method needs: scan again.",
    "clipped": "The images are not what the method needs: scan again with less gain.",
    "mixed": "The images are not what the method needs: scan again.",
    "slices-disagree": "The images are not what the method needs: scan again.",
    "noise": "Scan again with more signal.",
    "interval": "Scan again with more signal.",
}
_UNKNOWN = Said("?", "Unknown", "doubt")


def state(code: str) -> Said:
    """A state of a series."""
    return STATES.get(code, _UNKNOWN)


def advice(entry: Mapping[str, Any]) -> str:
    """What a person does about a series, or nothing."""
    of_code = _NEXT.get(entry["code"] or "", "") if entry["status"] == "no_number" else ""
    return of_code or state(entry["status"]).next


def delivery(code: str) -> Said:
    """A state of a delivery."""
    return DELIVERIES.get(code, _UNKNOWN)


def grade(code: str) -> Said:
    """A grade of a flag."""
    return GRADES.get(code, _UNKNOWN)


def when(seconds: float | None) -> str:
    """A time where the node is: 2026-11-30 17:24."""
    return "" if seconds is None else _local(seconds).strftime("%Y-%m-%d %H:%M")


def when_exactly(seconds: float | None) -> str:
    """The same with seconds."""
    return "" if seconds is None else _local(seconds).strftime("%Y-%m-%d %H:%M:%S")


def _local(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()


def ago(seconds: float | None) -> str:
    """How long ago a time is, as people say it."""
    return "" if seconds is None else f"{span(max(0.0, time.time() - seconds))} ago"


def span(seconds: float) -> str:
    """A length of time in its largest whole unit."""
    for unit, length in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{int(seconds)} s"


def size(count: float) -> str:
    """An amount of bytes."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"


def number(count: int, what: str, many: str = "") -> str:
    """A count with its noun: "1 series", "3 images"."""
    return f"{count} {what if count == 1 else many or what + 's'}"
