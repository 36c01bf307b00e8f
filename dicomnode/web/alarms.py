"""What a person has to see first, and what to do about it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomnode.web import words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicomnode.web.shelf import Disk, Figures, Shelf

DAYS_OF_DISK = 14
DAYS_OF_CERTIFICATE = 30
SECONDS_OF_BACKLOG = 3600.0
DAYS_WITHOUT_IMAGES = 7


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is wrong, and what to do."""

    code: str
    what: str
    do: str
    tone: words.Tone = "bad"

    @property
    def sign(self) -> str:
        """The same without colour."""
        return "✖" if self.tone == "bad" else "▲"

    @property
    def weight(self) -> str:
        """The same in a word."""
        return "Alarm" if self.tone == "bad" else "Warning"


def of(shelf: Shelf) -> list[Alarm]:
    """Everything that is wrong now, the worst first."""
    ailing = [
        Alarm("node", f"The {part} does not work: {why}.", "See the log.") for part, why in shelf.ailments().items()
    ]
    figures = shelf.figures()
    found = [*ailing, *_disk(shelf.disk()), *_destinations(figures), *_certificates(shelf.certificates())]
    found += [*_quality(shelf.scanner_alarms()), *_scanners(shelf.last_images()), *_series(figures)]
    return sorted(found, key=lambda alarm: alarm.tone != "bad")


def _disk(disk: Disk) -> Iterator[Alarm]:
    if disk.free < disk.least:
        yield Alarm("disk", f"The disk is full: {words.size(disk.free)} free. Nothing is taken in.", "Make room on it.")
    elif disk.days_left is not None and disk.days_left < DAYS_OF_DISK:
        what = f"The disk lasts for {words.number(int(disk.days_left), 'more day')} as studies come now."
        yield Alarm("disk", what, "Make room on it, or give the node a larger one.", "doubt")


def _destinations(figures: Figures) -> Iterator[Alarm]:
    for one in figures.destinations:
        if one.given_up:
            what = f"{one.name}: {words.number(one.given_up, 'result')} given up after days of trying."
            yield Alarm("dead-letter", what, "Cure the reason at the PACS, then try them again.")
        if one.oldest is not None and time.time() - one.oldest > SECONDS_OF_BACKLOG:
            what = (
                f"{one.name}: {words.number(one.backlog, 'result')} waiting, the oldest since {words.when(one.oldest)}."
            )
            yield Alarm("backlog", what, "See whether the PACS is there. They go by themselves when it is.", "doubt")
        elif one.backlog and (one.last_error or 0.0) > (one.last_success or 0.0):
            what = f"{one.name} does not take results now: {one.reason}."
            yield Alarm("destination", what, "It is tried again by itself.", "doubt")


def _certificates(certificates: list[tuple[Path, int]]) -> Iterator[Alarm]:
    for path, days in certificates:
        if days < 0:
            yield Alarm("certificate", f"The certificate {path.name} has ended.", "Put a new one in its place.")
        elif days <= DAYS_OF_CERTIFICATE:
            what = f"The certificate {path.name} ends in {words.number(days, 'day')}."
            yield Alarm("certificate", what, "Put a new one in its place.", "doubt")


def _scanners(last: dict[str, float]) -> Iterator[Alarm]:
    for name, since in last.items():
        days = int((time.time() - since) // 86400)
        if days >= DAYS_WITHOUT_IMAGES:
            what = f"{name} has sent nothing for {words.number(days, 'day')}."
            yield Alarm("scanner", what, "See whether it still sends here.", "doubt")


def _quality(scanners: list[tuple[str, str]]) -> Iterator[Alarm]:
    for title, what in scanners:
        do = "See its charts under Quality; scan the phantom again before you call service."
        yield Alarm("quality", f"{title}: the last scan of its phantom is off: {what}.", do, "doubt")


def _series(figures: Figures) -> Iterator[Alarm]:
    damaged = figures.states["unreadable"]
    if damaged:
        yield Alarm(
            "unreadable", f"{words.number(damaged, 'study', 'studies')} cannot be read.", "See the list of studies."
        )
