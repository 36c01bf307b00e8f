"""Pictures of the study, numbered as the paper's figures they stand beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from dicomnode.report.regions import outlines
from solver.phantom import PAPER_ECHO_TIMES_MS, PAPER_S0, PAPER_T2STAR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from bench.study import Estimate, Patient

    Array = NDArray[np.floating[Any]]

# Perceptually uniform and safe for the colour-blind; ranges are fixed so that pictures can be compared.
SIGNAL = {"cmap": "gray", "vmin": 0.0, "vmax": 480.0}
S0 = {"cmap": "viridis", "vmin": 100.0, "vmax": 500.0}
T2STAR = {"cmap": "cividis", "vmin": 0.0, "vmax": 25.0}
BODY_S0 = {"cmap": "gray", "vmin": 0.0, "vmax": 420.0}
BODY_T2STAR = {"cmap": "cividis", "vmin": 0.0, "vmax": 40.0}
ERROR = {"cmap": "PuOr", "vmin": -20.0, "vmax": 20.0}
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito
STYLES = ("-", "--", "-.", ":")
INCH, DPI = 3.2, 110  # width of a panel


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


# Number in the paper, noise, method, quantity.
RESULTS = (
    (4, "no noise", "Algorithm 1, λ = 1e−5", "s0"),
    (5, "noise of variance 10", "Algorithm 1, λ = 1e−5", "s0"),
    (6, "no noise", "Algorithm 1, λ = 1e−5", "t2star_ms"),
    (7, "noise of variance 10", "Algorithm 1, λ = 1e−5", "t2star_ms"),
    (18, "noise of variance 100", "Algorithm 1, λ = 1e−5", "s0"),
    (19, "noise of variance 100", "Algorithm 1, λ = 1e−5", "t2star_ms"),
    (20, "noise of variance 100", "Algorithm 1, λ = 100", "t2star_ms"),
    (22, "noise of variance 10", "LM from [100, 0.2]", "s0"),
    (23, "noise of variance 10", "LM from [100, 0.2]", "t2star_ms"),
)


# Number in the paper, method, quantity.
PATIENT_MAPS = (
    (9, "Algorithm 1, λ = 1e−5", "t2star_ms"),
    (10, "Algorithm 1, λ = 1e−5", "s0"),
    (14, "LM from [100, 0.2]", "t2star_ms"),
    (15, "LM from [100, 0.2]", "s0"),
    (21, "Algorithm 1, λ = 10", "t2star_ms"),
    (25, "LM from [50, 0.05]", "t2star_ms"),
)


def draw(
    folder: Path,
    runs: Mapping[str, Mapping[str, Estimate]],
    signals: Mapping[str, Array],
    found: Mapping[str, list[Estimate]],
    subjects: list[Patient],
) -> list[Picture]:
    """Write every figure to ``folder`` and return them in the order of their numbers."""
    made = {
        3: ("Signal at each echo time, no noise", _echoes(signals["no noise"])),
        13: ("T2* with noise of variance 100", _robustness(runs["noise of variance 100"])),
        16: ("CPU time for the four patients", _times(found)),
        17: ("Decay of the signal in the four images", _decay()),
        8: ("Stand-ins for the patients: signal at each echo time, a row each", _patient_echoes(subjects)),
        11: ('Region "Right" of patient 1', _outlined(subjects[:1], ("Right ROI",))),
        12: ('Mean signal in the region "Right"', _patient_decays(subjects)),
        24: ("Regions of a liver with little and one with much iron", _outlined((subjects[2], subjects[1]))),
    }
    for number, method, quantity in PATIENT_MAPS:
        name = "a" if quantity == "s0" else "T2*"
        made[number] = f"Stand-ins for the patients: {name}, {method}", _patients(found[method], subjects, quantity)
    for number, noise, method, quantity in RESULTS:
        caption = f"{'a' if quantity == 's0' else 'T2*'}, {method}, {noise}"
        made[number] = caption, _results(runs[noise][method], signals[noise], quantity)
    return [_save(folder, number, *made[number]) for number in sorted(made)]


def _save(folder: Path, number: int, caption: str, figure: Figure) -> Picture:
    name = f"figure_{number:02d}.png"
    figure.savefig(folder / name, dpi=DPI)
    return Picture(name, f"Figure {number}. {caption}")


def _square(images: Array) -> Array:
    """Put four images in a 2×2 square, in reading order."""
    return np.block([[images[0], images[1]], [images[2], images[3]]])


def _grid(panels: Sequence[Panel], columns: int, height: float = 0.85) -> Figure:
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(INCH * columns, height * INCH * rows), layout="constrained")
    places = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for place, panel in zip(places, panels, strict=False):
        _show(figure, place, panel)
    for place in places[len(panels) :]:
        place.set_axis_off()
    return figure


def _show(figure: Figure, place: Axes, panel: Panel) -> None:
    drawn = place.imshow(panel.image, interpolation="nearest", **panel.look)
    place.set_title(panel.title, fontsize=9)
    place.set_xticks([])
    place.set_yticks([])
    figure.colorbar(drawn, ax=place, shrink=0.85, pad=0.02).set_label(panel.unit, fontsize=8)


def _echoes(clean: Array) -> Figure:
    times = enumerate(PAPER_ECHO_TIMES_MS)
    return _grid([Panel(f"TE {te:g} ms", _square(clean[..., k]), SIGNAL, "signal") for k, te in times], 4)


def _results(found: Estimate, measured: Array, quantity: str) -> Figure:
    """Truth, first echo, estimate, its mean per image, its error."""
    truth, look, unit = (PAPER_S0, S0, "signal") if quantity == "s0" else (PAPER_T2STAR_MS, T2STAR, "ms")
    estimate = np.asarray(getattr(found, quantity))
    true = np.broadcast_to(np.reshape(truth, (4, 1, 1)), estimate.shape)
    mean = np.broadcast_to(np.nanmean(estimate, axis=(1, 2), keepdims=True), estimate.shape)
    panels = [
        Panel("truth", _square(true), look, unit),
        Panel(f"signal at TE {PAPER_ECHO_TIMES_MS[0]} ms", _square(measured[..., 0]), SIGNAL, "signal"),
        Panel("estimate", _square(estimate), look, unit),
        Panel("mean of the estimate", _square(mean), look, unit),
        Panel("error of the estimate", _square(100 * (estimate / true - 1)), ERROR, "%"),
    ]
    return _grid(panels, len(panels))


def _robustness(estimates: Mapping[str, Estimate]) -> Figure:
    names = [name for name in estimates if name != "LM from [50, 0.05]"]
    panels = [Panel(name, _square(np.asarray(estimates[name].t2star_ms)), T2STAR, "T2* in ms") for name in names]
    return _grid(panels, 3)


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
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    place = figure.subplots()
    bars = place.barh(names, seconds, color=LINES[0])
    place.bar_label(bars, [f"{value:.2f} s" for value in seconds], padding=3)
    place.set(xlabel="CPU seconds for four slices of 192×256×8")
    place.margins(x=0.15)
    place.invert_yaxis()
    return figure


def _patients(estimates: list[Estimate], subjects: list[Patient], quantity: str) -> Figure:
    """The truth above, what was found below; white has no answer."""
    look, unit = (BODY_S0, "signal") if quantity == "s0" else (BODY_T2STAR, "ms")
    numbers = range(1, len(subjects) + 1)
    truth = [
        Panel(f"patient {k}, truth", getattr(one.truth, quantity)[0], look, unit)
        for k, one in zip(numbers, subjects, strict=True)
    ]
    found = [
        Panel(f"patient {k}", np.asarray(getattr(one, quantity))[0], look, unit)
        for k, one in zip(numbers, estimates, strict=True)
    ]
    return _grid([*truth, *found], len(subjects), 0.62)


def _patient_echoes(subjects: list[Patient]) -> Figure:
    panels = [
        Panel(f"patient {k}, TE {te:g} ms", one.signal[0, ..., m], BODY_S0, "signal")
        for k, one in enumerate(subjects, 1)
        for m, te in enumerate(PAPER_ECHO_TIMES_MS)
    ]
    return _grid(panels, len(PAPER_ECHO_TIMES_MS), 0.62)


def _outlined(subjects: Sequence[Patient], names: Sequence[str] = ()) -> Figure:
    """Outlines of regions, all where none is named, on the first echo."""
    figure = Figure(figsize=(2 * INCH * len(subjects), 1.4 * INCH), layout="constrained")
    for place, one in zip(figure.subplots(1, len(subjects), squeeze=False)[0], subjects, strict=True):
        _show(figure, place, Panel(f"TE {PAPER_ECHO_TIMES_MS[0]:g} ms", one.signal[0, ..., 0], BODY_S0, "signal"))
        for k, name in enumerate(names or one.rois):
            for points in outlines(one.rois[name][0]):
                place.plot(*(points - 0.5).T, STYLES[k], color=LINES[k])
            place.plot([], [], STYLES[k], color=LINES[k], label=name)
        place.legend(loc="lower right", fontsize=7)
    return figure


def _patient_decays(subjects: list[Patient]) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    place = figure.subplots()
    for k, one in enumerate(subjects):
        mean = one.signal[one.rois["Right ROI"]].mean(axis=0)
        place.plot(PAPER_ECHO_TIMES_MS, mean, STYLES[k], color=LINES[k], marker="o", label=f"patient {k + 1}")
    place.set(xlabel="TE in ms", ylabel="mean signal", ylim=(0, None))
    place.legend(frameon=False)
    return figure


def draw_sweep(folder: Path, errors: Mapping[str, Mapping[float, float]]) -> Picture:
    """Write the error of T2* over λ by method and noise."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    place = figure.subplots()
    for k, (name, by_weight) in enumerate(errors.items()):
        place.plot(list(by_weight), list(by_weight.values()), STYLES[k], color=LINES[k], marker="o", label=name)
    place.set(xscale="log", yscale="log", xlabel="λ1 = λ2", ylabel="error of T2* in % (root mean square)")
    place.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "lambda.png", dpi=DPI)
    return Picture("lambda.png", "Error of T2* over the λ of eq. 2")
