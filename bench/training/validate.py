"""What the finder is worth, measured: ``python -m bench.training.validate``."""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.training import known, real
from bench.training.judging import GOOD_RATE, WRONG_RATE, Judged, judge, judge_all, maps_of
from dicomnode.measure.liver import network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from bench.anatomy import Exam

    Array = NDArray[Any]

FAMILY = "check"  # exams of neither training nor calibration
EXAMS = 400
CT_EXAMS = 30
T2STAR_BANDS_MS = ((0.8, 1), (1, 2), (2, 4), (4, 8), (8, 16), (16, 32))
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
CONFIDENCE_BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.01)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words and numbers under a title."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        """Markdown."""
        lines = [f"### {self.title}", "", _row(self.header), _row("---" for _ in self.header)]
        return "\n".join([*lines, *(_row(row) for row in self.rows), ""])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def dice_table(title: str, judged: Sequence[Judged], group: Callable[[Judged], str]) -> Table:
    """Dice of the parenchyma and errors of R2* of exams with a liver, by group and of all."""
    livers = [j for j in judged if j.liver]
    names = sorted({group(j) for j in livers}, key=_in_order)
    rows = [_dice_row(name, [j for j in livers if group(j) == name]) for name in names]
    header = ("", "exams", "Dice mean", "median", "5th percentile", "R2* within 3 %", "median error", "accepted at 0.9")
    return Table(title, header, (*rows, _dice_row("all", livers)))


def _in_order(name: str) -> str:
    """A name whose numbers sort as numbers."""
    return re.sub(r"\d+(\.\d+)?", lambda found: f"{float(found[0]):09.3f}", name)


def _dice_row(name: str, judged: Sequence[Judged]) -> tuple[str, ...]:
    dice = np.array([j.dice_parenchyma for j in judged])
    errors = np.abs([j.fit_error for j in judged])
    known = errors[np.isfinite(errors)]
    sure = np.mean([j.confidence >= 0.9 for j in judged])
    within = f"{np.mean(known <= 0.03):.0%}" if known.size else ""
    middle = f"{np.median(known):.2%}" if known.size else ""
    low = np.percentile(dice, 5)
    return (
        name,
        str(len(dice)),
        f"{dice.mean():.3f}",
        f"{np.median(dice):.3f}",
        f"{low:.3f}",
        within,
        middle,
        f"{sure:.0%}",
    )


def acceptance_table(judged: Sequence[Judged]) -> Table:
    """What each threshold of confidence accepts."""
    rows = []
    for threshold in THRESHOLDS:
        taken = [j for j in judged if j.confidence >= threshold]
        livers = [j for j in judged if j.liver]
        without = sum(j.absent for j in taken)
        wrong = sum(not j.absent and not abs(j.rate_error) <= WRONG_RATE for j in taken)
        off = sum(not j.absent and not abs(j.rate_error) <= GOOD_RATE for j in taken)
        share = sum(j.liver for j in taken) / max(len(livers), 1)
        rows.append(
            (f"{threshold}", f"{share:.1%}", str(without), str(wrong), str(off), str(sum(not j.good for j in taken)))
        )
    header = ("confidence ≥", "livers accepted", "no liver, accepted", "R2* > 20 % off", "R2* > 5 % off", "not good")
    return Table(f"Acceptance of {len(judged)} exams", header, tuple(rows))


def reliability_table(judged: Sequence[Judged]) -> Table:
    """What was said against what was true."""
    said, true = np.array([j.confidence for j in judged]), np.array([j.good for j in judged])
    rows = []
    for low, high in itertools.pairwise(CONFIDENCE_BINS):
        within = (said >= low) & (said < high)
        if within.any():
            rows.append(
                (
                    f"{low}–{min(high, 1.0)}",
                    str(within.sum()),
                    f"{said[within].mean():.3f}",
                    f"{true[within].mean():.3f}",
                )
            )
    return Table("Reliability of the confidence", ("said", "exams", "mean said", "good"), tuple(rows))


def by_t2star(judged: Judged) -> str:
    """The band of T2* of an exam."""
    low, high = next(band for band in T2STAR_BANDS_MS if judged.meta["t2star_ms"] <= band[1])
    return f"{low}–{high} ms"


def tables(judged: Sequence[Judged]) -> list[Table]:
    """Everything that is said of digital exams."""
    return [
        dice_table("By T2*", judged, by_t2star),
        dice_table("By plane", judged, lambda j: str(j.meta["plane"])),
        dice_table("By habitus", judged, lambda j: str(j.meta.get("habitus", j.meta["scene"]))),
        dice_table("By liver", judged, lambda j: str(j.meta.get("liver", j.meta["scene"]))),
        dice_table("By spleen", judged, lambda j: str(j.meta.get("spleen", j.meta["scene"]))),
        dice_table("By arms", judged, lambda j: str(j.meta.get("arms", j.meta["scene"]))),
        dice_table("By field", judged, lambda j: f"{j.meta['field_t']} T"),
        reliability_table(judged),
        acceptance_table(judged),
    ]


def one_by_one(title: str, judged: Sequence[Judged]) -> Table:
    """A row for every exam."""
    rows = []
    for j in judged:
        fit_error = f"{j.fit_error:.2%}" if np.isfinite(j.fit_error) else "not measurable"
        what = (str(j.meta["seed"]), f"{j.meta['t2star_ms']:.1f}", f"{j.meta['snr']:.0f}")
        found = (f"{j.dice_whole:.3f}", f"{j.dice_parenchyma:.3f}", fit_error, f"{j.confidence:.2f}", " ".join(j.codes))
        rows.append((*what, *found))
    header = ("exam", "T2* ms", "S0/σ", "Dice whole", "Dice parenchyma", "R2* error", "confidence", "doubts")
    return Table(title, header, tuple(rows))


def figure(judged: Sequence[Judged], path: Path) -> None:
    """Draw the reliability diagram."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that measuring does not need

    table = reliability_table(judged)
    said, good = ([float(row[k]) for row in table.rows] for k in (2, 3))
    count = [int(row[1]) for row in table.rows]
    drawn = Figure(figsize=(4.2, 4.2), layout="constrained")
    ax = drawn.subplots()
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    error = [1.96 * np.sqrt(max(g * (1 - g), 0.25 / n) / n) for g, n in zip(good, count, strict=True)]
    ax.errorbar(said, good, yerr=error, fmt="o-", color="tab:blue", capsize=2)
    for x, y, n in zip(said, good, count, strict=True):
        ax.annotate(str(n), (x, y), textcoords="offset points", xytext=(6, -10), fontsize=8)
    ax.set(
        xlabel="confidence said (mean of bin)",
        ylabel="share of regions that are right",
        xlim=(0, 1),
        ylim=(-0.02, 1.05),
    )
    ax.set_title(f"{len(judged)} exams kept aside; numbers: exams per bin", fontsize=9)
    drawn.savefig(path, dpi=110)


def real_scans(data: Path, pictures: Path | None, net: network.Network) -> Table:
    """What is said of real scans; their outlines are drawn for people to look at."""
    rows = []
    for scan in (real.axial_array(data), real.series(data, real.CORONAL_SERIES)):
        found = real.found_in(scan, net)
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            real.picture(scan, found, pictures / f"liver-{scan.name.replace('/', '-').replace(' ', '-')}.png")
        slices = " ".join(f"{c:.2f}" for c in found.slice_confidence)
        rows.append((scan.name, f"{found.confidence:.3f}", slices, " ".join(d.code for d in found.doubts)))
    return Table("Real scans", ("scan", "confidence", "of slices", "doubts"), tuple(rows))


def outside(arguments: argparse.Namespace, net: network.Network) -> Iterator[Table]:
    """Tables of series that the generator did not draw."""

    def judged(exams: Iterable[Exam]) -> list[Judged]:
        return [judge(made, net, maps_of(made), explain=True) for made in exams]

    yield one_by_one("The solver's phantom", judged(known.simulated()))
    if arguments.cases:
        yield one_by_one("Cases that went wrong once", judged(known.cases(arguments.cases)))
    if arguments.data:
        real_ct = judged(known.warped_ct(arguments.data / "anatomy", CT_EXAMS))
        yield dice_table(f"One real CT, {CT_EXAMS} times warped", real_ct, by_t2star)
        yield real_scans(arguments.data, arguments.pictures, net)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=EXAMS)
    parser.add_argument("--first", type=int, default=0, help="seed of the first exam")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--weights", type=Path, help="other weights than the shipped ones")
    parser.add_argument("--figure", type=Path, help="where to draw the reliability diagram")
    parser.add_argument("--cases", type=Path, help="folder of stored cases")
    parser.add_argument("--data", type=Path, help="folder of real data: anatomy, arrays, dicom")
    parser.add_argument("--pictures", type=Path, help="folder for outlines on real scans")
    arguments = parser.parse_args()
    net = network.read(arguments.weights) if arguments.weights else network.shipped()
    seeds = range(arguments.first, arguments.first + arguments.exams)
    judged = judge_all(net, seeds, FAMILY, arguments.processes) if arguments.exams else []
    if arguments.figure:
        figure(judged, arguments.figure)
    for table in (*(tables(judged) if judged else ()), *outside(arguments, net)):
        sys.stdout.write(f"{table}\n")
        sys.stdout.flush()
    sys.stdout.write(json.dumps({"sha256": net.sha256, "training": dict(net.record)}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
