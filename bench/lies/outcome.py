"""What comes of a series with lies, by the node's own code."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.lies.kinds import CHANGES_VALUES, KINDS, NEVER_TOGETHER
from bench.lies.scan import liver, scan
from bench.lies.threads import THREADS
from bench.lies.trials import TRIALS
from dicomnode import analyse, pixels, region
from dicomnode.config import FitSettings, GroupingSettings, MeasureSettings
from dicomnode.errors import NodeError
from dicomnode.measure.organs import LIVER
from dicomnode.model import Roi
from dicomnode.operate import offline

if TYPE_CHECKING:
    from collections.abc import Sequence

RATES = (40.0, 90.0, 180.0, 320.0)
RIGHT = 0.05  # of the true rate
LIES = KINDS | {name: lie for name, (lie, _) in THREADS.items()} | TRIALS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a series with lies: the rates that were given, what was said, which words might withhold one."""

    rate: float
    kinds: tuple[str, ...]
    given: tuple[float, ...]
    said: str
    words: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """One of "right", "named", "wrong", "twice", "withheld for another reason"."""
        if len(self.given) > 1:
            return "twice"
        if self.given:
            return "right" if abs(self.given[0] / self.rate - 1) <= RIGHT else "wrong"
        return "named" if any(word in self.said for word in self.words) else "withheld for another reason"


def go_together(kinds: Sequence[str]) -> bool:
    """Whether lies can be done to one series, and what is right then is known."""
    return set(kinds) not in NEVER_TOGETHER


def outcome(rate: float, shape: tuple[int, int], kinds: tuple[str, ...], seed: int) -> Outcome:
    """Make a series of ``shape`` (echoes, slices), lie, and let the node's own code judge and measure it."""
    made = scan(rate, *shape, seed)
    ordered = sorted(kinds, key=lambda kind: (kind not in CHANGES_VALUES, list(LIES).index(kind)))
    words = tuple(word for kind in ordered for word in LIES[kind](made))
    with tempfile.TemporaryDirectory() as folder:
        made.write(Path(folder))
        given, reasons = _measured(Path(folder))
    return Outcome(rate, kinds, tuple(given), " | ".join(reasons), words)


def _measured(folder: Path) -> tuple[list[float], list[str]]:
    """The rates that a folder gives in the known tissue, and every reason that was said."""
    rules = GroupingSettings()
    groups, others = offline.find([folder], rules, lambda _: None)
    reasons, rates = [str(other["reason"]) for other in others], []
    for group in groups:
        reasons += [group.reason.sentence] if group.reason else []
        stack = offline.stack_of(group, rules)
        if stack is None:
            continue
        try:
            signal = pixels.load(stack)
            maps = analyse.fit_signal(stack, signal, FitSettings(method="nls"))
        except NodeError as fault:
            reasons.append(str(fault))
            continue
        roi = Roi("liver", np.stack([liver()] * len(signal)), finding=LIVER.name, automatic=False)
        one, _ = region.measure(roi, region.Images.of(stack, signal, maps), MeasureSettings())
        reasons += [flag.sentence for flag in one.flags]
        rates += [one.r2star.value] if one.r2star is not None else []
    return rates, reasons
