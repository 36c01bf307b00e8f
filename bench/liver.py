"""How right the liver's number is, from files to liver iron: ``make study-liver``.

Each digital exam is written as DICOM files and goes through the node's own code, grouping, pixels, fit, finder, regions
and numbers; what comes out stands beside the truth. What is withheld is counted with the reason. Exams are of seeds
that no training and no limit was made with.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import anatomy, scans
from bench.anatomy import ct
from bench.training import known
from dicomnode import analyse, protocol
from dicomnode.compare.tables import Table
from dicomnode.config import FitSettings, GroupingSettings, MeasureSettings
from dicomnode.errors import Refused
from dicomnode.measure import iron
from dicomnode.operate import offline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.anatomy.ct import Ct
    from dicomnode.model import RoiMeasurement

EXAMS = 400
CLEAR = 3.0  # sigma that must be left at the second echo of a measurable liver
FEW_FAT = 0.05  # of the liver: what one exponential is made for
SMALLEST_MM2 = 1500.0  # of liver in all slices, to be called a liver exam
WRONG = 0.20  # of the truth: a number further off is a wrong one
T2STAR_BANDS = ((0.8, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 33.0))


@dataclass(frozen=True)
class Case:
    """One exam, what is true of it and what came out."""

    seed: int
    kind: str  # what was scanned
    plane: str
    shape: str
    habitus: str
    field_t: float
    train: str
    t2star_ms: float
    snr: float
    fat: float
    slices: int
    is_liver: bool
    measurable: bool
    true_per_s: float | None
    found_per_s: float | None
    low_per_s: float | None
    high_per_s: float | None
    lic: float | None
    lic_low: float | None
    lic_high: float | None
    true_lic: float | None
    at_least_per_s: float | None
    same_fit_per_s: float | None  # the same maps in the true region
    confidence: float
    dice: float | None  # None where no liver was outlined
    inside: float | None  # share of the measured region that is liver
    flags: tuple[str, ...]
    status: str

    @property
    def error(self) -> float | None:
        """Relative error of the rate."""
        if self.found_per_s is None or not self.true_per_s:
            return None
        return self.found_per_s / self.true_per_s - 1


def case(seed: int, volume: Ct | None = None) -> Case:
    """Make an exam, of a real CT where that is given, and judge it."""
    return of_exam(anatomy.exam(seed, family="study") if volume is None else known.warped(volume, seed), seed)


def of_exam(exam: anatomy.Exam, seed: int) -> Case:
    """Write an exam, read it back as the node does, measure it."""
    with tempfile.TemporaryDirectory() as folder:
        scans.write(exam, Path(folder), seed)
        groups, _ = offline.find([Path(folder)], GroupingSettings(), lambda _: None)
        stack = next((group.stack for group in groups if group.stack is not None), None)
        if stack is None:
            return _case(exam, seed, status="; ".join(str(group.reason) for group in groups))
        try:
            protocol.check_header(stack)
            signal, maps = analyse.fit_stack(stack, FitSettings())
            found = analyse.find_regions(stack, signal, maps)
            _, measurements, _ = analyse.measure_regions(found.rois, stack, signal, maps, MeasureSettings())
            protocol.check_images(stack, found, measurements)
        except Refused as fault:
            return _case(exam, seed, status=f"refused: {fault.code}")
    order = _order(exam, [plane.position for plane in stack.planes])
    liver, whole = exam.liver[order], exam.whole[order]
    inside = liver & maps.valid
    return _case(
        exam,
        seed,
        status="done" if analyse.why_no_number(measurements) is None else "no_number",
        measured=measurements[0],
        same_fit=float(np.median(maps.r2star_per_s[inside])) if inside.sum() > 30 else None,
        dice=_dice(found.organ, whole),
        inside=_share(found.rois[0].mask, whole),
    )


def _order(exam: anatomy.Exam, positions: Sequence[Sequence[float]]) -> list[int]:
    """Which slice of the exam each slice of the stack is."""
    there = np.array(exam.positions_mm)
    return [int(np.argmin(np.linalg.norm(there - np.array(one), axis=1))) for one in positions]


def _dice(found: Any, true: Any) -> float | None:
    return float(2 * (found & true).sum() / (found.sum() + true.sum())) if found.any() else None


def _share(region: Any, of: Any) -> float | None:
    return float((region & of).sum() / region.sum()) if region.any() else None


def _clear(meta: dict[str, Any], truth: float | None, exam: anatomy.Exam) -> bool:
    """Whether a second echo rises from the noise, under a header that says what is there."""
    left = meta["snr"] * np.exp(-(truth or 0) * exam.echo_times_ms[1] / 1000)
    return bool(left > CLEAR * np.sqrt(exam.n_coils)) and meta["fault"] == "none"


def _case(
    exam: anatomy.Exam,
    seed: int,
    *,
    status: str,
    measured: RoiMeasurement | None = None,
    same_fit: float | None = None,
    dice: float | None = None,
    inside: float | None = None,
) -> Case:
    meta = exam.meta
    area = float(exam.liver.sum()) * exam.spacing_mm[0] * exam.spacing_mm[1]
    is_liver = anatomy.has_liver(exam) and area >= SMALLEST_MM2
    fat = float(meta["liver_fat"]) * (1 - anatomy.SATURATED if meta["fat_saturated"] else 1)
    truth = float(np.median(exam.r2star_per_s[exam.liver])) if exam.liver.any() else None
    line = iron.calibration("hernando-2023", "liver", exam.field_t)
    number = None if measured is None else measured.r2star
    lic = None if measured is None else measured.lic
    return Case(
        seed=seed,
        kind=meta["scene"] if meta["fault"] == "none" else f"{meta['scene']}, {meta['fault']}",
        plane=meta["plane"],
        shape=meta.get("liver", "none"),
        habitus=meta.get("habitus", "none"),
        field_t=exam.field_t,
        train=meta["train"],
        t2star_ms=meta["t2star_ms"],
        snr=meta["snr"],
        fat=fat,
        slices=exam.signal.shape[0],
        is_liver=is_liver,
        measurable=is_liver and _clear(meta, truth, exam) and fat <= FEW_FAT,
        true_per_s=truth,
        found_per_s=None if number is None else number.value,
        low_per_s=None if number is None else number.ci95[0],
        high_per_s=None if number is None else number.ci95[1],
        lic=None if measured is None else measured.lic_mg_per_g,
        lic_low=None if lic is None else lic.ci95[0],
        lic_high=None if lic is None else lic.ci95[1],
        true_lic=None if truth is None or line is None else line.lic_mg_per_g(truth),
        at_least_per_s=None if measured is None or measured.at_least is None else measured.at_least.r2star_per_s,
        same_fit_per_s=same_fit,
        confidence=0.0 if measured is None or measured.confidence is None else measured.confidence,
        dice=dice,
        inside=inside,
        flags=() if measured is None else tuple(f"{flag.code}: {flag.grade.value}" for flag in measured.flags),
        status=status,
    )


# ---- tables


def _row(name: str, cases: Sequence[Case]) -> list[str]:
    livers = [one for one in cases if one.is_liver]
    measurable = [one for one in livers if one.measurable]
    given = [one for one in measurable if one.found_per_s is not None]
    dice = np.array([one.dice for one in livers if one.dice is not None])
    errors = np.abs([one.error for one in given if one.error is not None])
    wrong = [one for one in cases if is_wrong(one)]
    return [
        name,
        str(len(livers)),
        f"{dice.mean():.3f} / {np.percentile(dice, 5):.2f}" if len(dice) else "–",
        str(len(measurable)),
        f"{len(given) / len(measurable):.0%}" if measurable else "–",
        f"{np.mean(errors <= 0.03):.0%}" if len(errors) else "–",
        f"{100 * np.median(errors):.1f} / {100 * np.percentile(errors, 90):.1f}" if len(errors) else "–",
        str(len(wrong)),
    ]


def is_wrong(one: Case) -> bool:
    """Whether a number was given that is no liver's, or far from the liver's, or a bound that is not one."""
    if one.at_least_per_s is not None and (not one.is_liver or one.at_least_per_s > 1.05 * (one.true_per_s or 0)):
        return True
    if one.found_per_s is None:
        return False
    return not one.true_per_s or (one.error is not None and abs(one.error) > WRONG)


HEADINGS = (
    "exams",
    "livers",
    "Dice mean / p5, of those outlined",
    "measurable",
    "number given",
    "within 3 %",
    "R2* error % median / p90",
    "wrong numbers (> 20 %)",
)


def accuracy(cases: Sequence[Case]) -> Table:
    """Dice, errors and what is withheld, by what the exams differ in."""
    rows = [_row("all", cases)]
    for low, high in T2STAR_BANDS:
        rows.append(_row(f"T2* {low:g} to {high:g} ms", [one for one in cases if low <= one.t2star_ms < high]))
    groups: tuple[tuple[str, Callable[[Case], Any]], ...] = (
        ("", lambda one: f"{one.field_t:g} T"),
        ("", lambda one: one.plane),
        ("train ", lambda one: one.train),
        ("liver ", lambda one: one.shape if one.is_liver else None),
        ("body ", lambda one: one.habitus if one.is_liver else None),
        ("slices ", lambda one: "1" if one.slices == 1 else "2 to 4" if one.slices <= 4 else "5 or more"),
        ("scan of ", lambda one: one.kind),
    )
    for prefix, key in groups:
        values = sorted({key(one) for one in cases} - {None})
        rows += [_row(f"{prefix}{value}", [one for one in cases if key(one) == value]) for value in values]
    return Table("From files to R2* of the liver", HEADINGS, rows)


def coverage(cases: Sequence[Case]) -> Table:
    """How often the 95 % interval of R2* holds the truth."""
    rows = []
    bands = (("all", 0.0, 99.0), *((f"T2* {low:g} to {high:g} ms", low, high) for low, high in T2STAR_BANDS))
    for name, low, high in bands:
        given = [one for one in cases if one.found_per_s is not None and one.is_liver and low <= one.t2star_ms < high]
        held = [one for one in given if one.low_per_s <= one.true_per_s <= one.high_per_s]  # type: ignore[operator]
        width = [(one.high_per_s - one.low_per_s) / 2 / one.found_per_s for one in given]  # type: ignore[operator]
        share = f"{len(held) / len(given):.0%}" if given else "–"
        rows.append([name, str(len(given)), share, f"{100 * np.median(width):.1f} %" if width else "–"])
    return Table("95 % intervals of R2*", ("livers", "numbers", "hold the truth", "median half width"), rows)


def flags(cases: Sequence[Case]) -> Table:
    """How often each flag is raised where nothing is wrong, and where something is."""
    good = [one for one in cases if one.measurable and (one.dice or 0) >= 0.9]
    other = [one for one in cases if one not in good]
    names = sorted({flag for one in cases for flag in one.flags})
    rows = [
        [
            name,
            f"{sum(name in one.flags for one in good)} of {len(good)}",
            f"{sum(name in one.flags for one in other)} of {len(other)}",
        ]
        for name in names
    ]
    return Table("Flags", ("flag", "measurable livers, well outlined", "all others"), rows)


def wrong(cases: Sequence[Case]) -> Table:
    """Every wrong number, one by one."""
    rows = [
        [
            str(one.seed),
            f"{one.kind}, {one.plane}, {one.field_t:g} T, T2* {one.t2star_ms:.1f} ms, "
            f"S0/σ {one.snr:.0f}, fat {one.fat:.0%}",
            f"{one.true_per_s or 0:.0f}",
            f"{one.found_per_s or 0:.0f} (> {one.at_least_per_s or 0:.0f})",
            f"{one.dice or 0:.2f}",
            f"{one.confidence:.2f}",
            "; ".join(one.flags),
        ]
        for one in cases
        if is_wrong(one)
    ]
    return Table("Wrong numbers", ("seed", "exam", "true", "found", "Dice", "confidence", "flags"), rows)


def refused(cases: Sequence[Case]) -> Table:
    """What makes no objects at all, by what was scanned; no exam's header names an organ."""
    rows = []
    for kind in sorted({one.kind for one in cases}):
        those = [one for one in cases if one.kind == kind]
        codes = Counter(one.status.removeprefix("refused: ") for one in those if one.status.startswith("refused"))
        why = ", ".join(f"{code} {count}" for code, count in sorted(codes.items()))
        rows.append([kind, str(len(those)), str(codes.total()), why or "–"])
    return Table("Refused, so without any object", ("scan of", "exams", "refused", "why"), rows)


def tables(cases: Sequence[Case]) -> list[Table]:
    """All of them."""
    return [accuracy(cases), coverage(cases), refused(cases), flags(cases), wrong(cases)]


def run(seeds: Iterable[int], processes: int, say: Callable[[str], None], volume: Ct | None = None) -> list[Case]:
    """All cases of the seeds, in their order."""
    cases = []
    with ProcessPoolExecutor(processes) as pool:
        for number, one in enumerate(pool.map(partial(case, volume=volume), seeds, chunksize=4), 1):
            cases.append(one)
            if number % 20 == 0:
                say(f"{number} exams")
    return cases


def main() -> None:
    """Print the tables and write them with every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=EXAMS)
    parser.add_argument("--first", type=int, default=0, help="seed of the first exam")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("build/study-liver"))
    parser.add_argument(
        "--ct", type=Path, help="folder of a real CT, whose anatomy is warped in place of digital bodies"
    )
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.exams)
    volume = None if options.ct is None else ct.load(options.ct)
    cases = run(seeds, options.processes, lambda what: print(what, flush=True), volume)  # noqa: T201
    options.output.mkdir(parents=True, exist_ok=True)
    text = "\n".join(table.markdown() for table in tables(cases))
    (options.output / "report.md").write_text(text, encoding="utf-8")
    (options.output / "cases.json").write_text(json.dumps([asdict(one) for one in cases]), encoding="utf-8")
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
