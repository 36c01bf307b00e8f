"""Pictures of the study, numbered as the paper's figures they stand beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from solver.phantom import PAPER_ECHO_TIMES_MS, PAPER_S0, PAPER_T2STAR_MS, paper_images, signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from bench.study import Estimate, Patient

    Array = NDArray[np.floating[Any]]

# Perceptually uniform and safe for the colour-blind; ranges are fixed so that pictures can be compared.
SIGNAL = {"cmap": "gray", "vmin": 0.0, "vmax": 480.0}
S0 = {"cmap": "viridis", "vmin": 100.0, "vmax": 500.0}
T2STAR = {"cmap": "cividis", "vmin": 0.0, "vmax": 25.0}
ERROR = {"cmap": "PuOr", "vmin": -20.0, "vmax": 20.0}
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito
STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True, slots=True)
class Picture:
    """A file beside the report and its caption."""

    file: str
    caption: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One image with its title, its colour range and the unit of its colour bar."""

    title: str
    image: Array
    look: Mapping[str, Any]
    unit: str


def draw(
    folder: Path,
    runs: Mapping[float, Mapping[str, Estimate]],
    found: Mapping[str, list[Estimate]],
    subjects: list[Patient],
    paper_signal: Callable[[float], Array],
) -> list[Picture]:
    """Write every figure to ``folder`` and return them in the order of their numbers."""
    made = {
        3: ("Signal at each echo time; the four images side by side", _echoes()),
        4: ("a without noise, Algorithm 1", _results(runs, paper_signal, 0, "Algorithm 1, λ = 1e−5", "s0")),
        5: (
            "a with noise of variance 10, Algorithm 1",
            _results(runs, paper_signal, 10, "Algorithm 1, λ = 1e−5", "s0"),
        ),
        6: ("T2* without noise, Algorithm 1", _results(runs, paper_signal, 0, "Algorithm 1, λ = 1e−5", "t2star_ms")),
        7: (
            "T2* with noise of variance 10, Algorithm 1",
            _results(runs, paper_signal, 10, "Algorithm 1, λ = 1e−5", "t2star_ms"),
        ),
        13: ("T2* with noise of variance 100: LM, Algorithm 1 with λ = 100, and the default", _robustness(runs[100])),
        16: ("CPU time for the four patients", _times(found)),
        17: ("Decay of the signal in the four images", _decay()),
        18: (
            "a with noise of variance 100, Algorithm 1",
            _results(runs, paper_signal, 100, "Algorithm 1, λ = 1e−5", "s0"),
        ),
        19: (
            "T2* with noise of variance 100, Algorithm 1",
            _results(runs, paper_signal, 100, "Algorithm 1, λ = 1e−5", "t2star_ms"),
        ),
        20: (
            "T2* with noise of variance 100, Algorithm 1 with λ = 100",
            _results(runs, paper_signal, 100, "Algorithm 1, λ = 100", "t2star_ms"),
        ),
        21: (
            "Stand-ins for the patients: Algorithm 1 with λ = 10 beside the truth and the default",
            _patients(found, subjects),
        ),
        22: (
            "a, LM from [100, 0.2], noise of variance 10",
            _results(runs, paper_signal, 10, "LM from [100, 0.2]", "s0"),
        ),
        23: (
            "T2*, LM from [100, 0.2], noise of variance 10",
            _results(runs, paper_signal, 10, "LM from [100, 0.2]", "t2star_ms"),
        ),
    }
    pictures = []
    for number, (caption, figure) in made.items():
        name = f"figure_{number:02d}.png"
        figure.savefig(folder / name, dpi=120)
        pictures.append(Picture(name, f"Figure {number}. {caption}"))
    return pictures


def _square(images: Array) -> Array:
    """Put four images in a 2×2 square, in reading order."""
    return np.block([[images[0], images[1]], [images[2], images[3]]])


def _row_of(panels: Sequence[Panel], columns: int | None = None, size: float = 3.2) -> Figure:
    columns = columns or len(panels)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(size * columns, 0.95 * size * rows), layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for place, panel in zip(axes, panels, strict=False):
        _show(figure, place, panel)
    for place in axes[len(panels) :]:
        place.set_axis_off()
    return figure


def _show(figure: Figure, place: Axes, panel: Panel) -> None:
    drawn = place.imshow(panel.image, interpolation="nearest", **panel.look)
    place.set_title(panel.title, fontsize=9)
    place.set_xticks([])
    place.set_yticks([])
    figure.colorbar(drawn, ax=place, shrink=0.8, label=panel.unit)


def _echoes() -> Figure:
    clean = signal(paper_images(), PAPER_ECHO_TIMES_MS)
    panels = [
        Panel(f"TE {te:g} ms", _square(clean[..., k]), SIGNAL, "signal") for k, te in enumerate(PAPER_ECHO_TIMES_MS)
    ]
    return _row_of(panels, 4)


def _results(
    runs: Mapping[float, Mapping[str, Estimate]],
    paper_signal: Callable[[float], Array],
    variance: float,
    method: str,
    quantity: str,
) -> Figure:
    """Truth, first echo, estimate, its mean per image, and its error."""
    truth, look, unit = (PAPER_S0, S0, "signal") if quantity == "s0" else (PAPER_T2STAR_MS, T2STAR, "ms")
    estimate = np.asarray(getattr(runs[variance][method], quantity))
    true = np.broadcast_to(np.reshape(truth, (4, 1, 1)), estimate.shape)
    mean = np.broadcast_to(np.nanmean(estimate, axis=(1, 2), keepdims=True), estimate.shape)
    return _row_of(
        [
            Panel("truth", _square(true), look, unit),
            Panel(
                f"signal at TE {PAPER_ECHO_TIMES_MS[0]} ms", _square(paper_signal(variance)[..., 0]), SIGNAL, "signal"
            ),
            Panel("estimate", _square(estimate), look, unit),
            Panel("mean of the estimate", _square(mean), look, unit),
            Panel("error of the estimate", _square(100 * (estimate / true - 1)), ERROR, "%"),
        ]
    )


def _robustness(estimates: Mapping[str, Estimate]) -> Figure:
    panels = [
        Panel(name, _square(np.asarray(estimates[name].t2star_ms)), T2STAR, "T2* in ms")
        for name in estimates
        if name.startswith(("LM from [100", "Algorithm 1, λ = 100", "default"))
    ]
    return _row_of(panels, size=4.0)


def _decay() -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    place = figure.subplots()
    for k, (s0, t2star_ms) in enumerate(zip(PAPER_S0, PAPER_T2STAR_MS, strict=True)):
        curve = s0 * np.exp(-np.array(PAPER_ECHO_TIMES_MS) / t2star_ms)
        label = f"image {k + 1}: T2* {t2star_ms:g} ms"
        place.plot(PAPER_ECHO_TIMES_MS, curve, STYLES[k], color=LINES[k], marker="o", markersize=4, label=label)
    place.set(xlabel="TE in ms", ylabel="signal", ylim=(0, None))
    place.legend(frameon=False)
    return figure


def _times(found: Mapping[str, list[Estimate]]) -> Figure:
    names = list(found)
    seconds = [sum(one.seconds for one in found[name]) for name in names]
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    place = figure.subplots()
    bars = place.barh(names, seconds, color=LINES[0])
    place.bar_label(bars, [f"{value:.2f} s" for value in seconds], padding=3)
    place.set(xscale="log", xlabel="CPU seconds for four slices of 192×256×8")
    place.margins(x=0.25)
    place.invert_yaxis()
    return figure


def _patients(found: Mapping[str, list[Estimate]], subjects: list[Patient]) -> Figure:
    shown = {name: found[name] for name in found if "λ = 10" in name or name.startswith("default")}
    panels = []
    for k, one in enumerate(subjects):
        panels.append(Panel(f"patient {k + 1}: truth", one.truth.t2star_ms[0], T2STAR, "T2* in ms"))
        panels += [Panel(name, np.asarray(maps[k].t2star_ms)[0], T2STAR, "T2* in ms") for name, maps in shown.items()]
    return _row_of(panels, 1 + len(shown), size=4.0)
