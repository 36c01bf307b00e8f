"""Maps, decays, differences and times of the compared methods as pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from dicomnode.report.pictures import T2STAR
from dicomnode.report.regions import outlines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from dicomnode.compare.tables import Means
    from dicomnode.model import Roi

INCH, DPI = 3.4, 110
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True, slots=True)
class Panel:
    """One slice of a map, (K, L), NaN where it has no value, and the sizes of its pixels between rows and columns."""

    title: str
    image: NDArray[Any]
    spacing_mm: tuple[float, float]


def t2star_maps(panels: Sequence[Panel]) -> Figure:
    """Draw T2* maps side by side in the range of every report (figures 9, 14, 21 and 25 of the paper)."""
    return _maps(panels, {"cmap": "viridis", "norm": T2STAR.norm()}, T2STAR.label)


def s0_maps(panels: Sequence[Panel], largest: float) -> Figure:
    """Draw maps of a, the signal at TE 0, in one range (figures 10 and 15 of the paper)."""
    return _maps(panels, {"cmap": "gray", "vmin": 0.0, "vmax": largest}, "signal at TE 0")


def regions(panel: Panel, rois: Sequence[tuple[Roi, NDArray[np.bool_]]]) -> Figure:
    """Draw the outlines of regions on the first echo (figures 11 and 24); a mask is that of the slice shown."""
    figure = Figure(figsize=(2 * INCH, 1.5 * INCH), layout="constrained")
    place = figure.subplots()
    _show(place, panel, {"cmap": "gray"})
    for index, (roi, mask) in enumerate(rois):
        look = _look(index)
        for points in outlines(mask):
            place.plot(*(points - 0.5).T, **look)
        place.plot([], [], label=roi.name, **look)
    if rois:
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _look(index: int) -> dict[str, Any]:
    """Tell lines apart by colour and by dashes."""
    return {"color": LINES[index % len(LINES)], "linestyle": STYLES[index % len(STYLES)]}


def decays(echo_times_ms: Sequence[float], means: Mapping[str, Sequence[float]], floor: float) -> Figure:
    """Draw the mean signal of each region over the echoes (figure 12), with what noise alone gives."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    place = figure.subplots()
    for index, (name, signal) in enumerate(means.items()):
        place.plot(echo_times_ms, signal, marker="o", markersize=4, label=name, **_look(index))
    place.axhline(floor, color="#808080", linewidth=1, label="mean of the noise")
    place.set(xlabel="TE in ms", ylabel="mean signal", ylim=(0, None))
    place.legend(frameon=False, fontsize=8)
    return figure


def differences(means: Means) -> Figure:
    """Colour each mean by its distance from the reference, a panel a method (tables 2, 4, 6); bold is the nearest."""
    errors = {name: _errors(means, name) for name in means.methods}
    largest = float(np.nanmax([np.nanmax(one, initial=0.0) for one in errors.values()])) or 1.0
    width, height = 2.6 + 2.2 * len(means.subjects), 0.9 + 0.32 * len(means.reference)
    figure = Figure(figsize=(width, height * len(errors)), layout="constrained")
    for place, (name, error) in zip(figure.subplots(len(errors), squeeze=False)[:, 0], errors.items(), strict=True):
        drawn = place.imshow(error, cmap="Reds", vmin=0.0, vmax=largest, aspect="auto")
        place.set_title(f"{name}: {means.quantity}", fontsize=9)
        place.set_xticks(range(len(means.subjects)), means.subjects, fontsize=8)
        place.set_yticks(range(len(means.reference)), list(means.reference), fontsize=8)
        for i, region in enumerate(means.reference):
            for j, text in enumerate(means.cells(name, region)):
                dark = math.isfinite(error[i, j]) and error[i, j] > 0.6 * largest
                weight = "bold" if name in means.nearest(region, j) else "normal"
                colour = "white" if dark else "black"
                place.text(j, i, text, ha="center", va="center", fontsize=8, color=colour, fontweight=weight)
        figure.colorbar(drawn, ax=place).set_label("absolute difference", fontsize=8)
    return figure


def sweep(means: Means, methods: Mapping[float, str]) -> Figure:
    """Draw the mean of each region over the weight of TV, a panel a subject; dashed is the reference."""
    figure = Figure(figsize=(INCH * len(means.subjects) + 1.6, INCH), layout="constrained")
    places = figure.subplots(1, len(means.subjects), squeeze=False)[0]
    for subject, place in enumerate(places):
        for index, (region, reference) in enumerate(means.reference.items()):
            values = [means.methods[name][region][subject] for name in methods.values()]
            colour = LINES[index % len(LINES)]
            place.plot(list(methods), values, marker="o", markersize=4, color=colour, label=region)
            if math.isfinite(reference[subject]):
                place.axhline(reference[subject], color=colour, linestyle="--", linewidth=1)
        place.set(xscale="log", xlabel="λ1 = λ2", title=means.subjects[subject])
    places[0].set_ylabel(means.quantity)
    figure.legend(*places[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return figure


def times(seconds: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw the total CPU seconds of each method (figure 16 of the paper)."""
    figure = Figure(figsize=(7, 0.8 + 0.35 * len(seconds)), layout="constrained")
    place = figure.subplots()
    bars = place.barh(list(seconds), [cpu for _, cpu in seconds.values()], color=LINES[0])
    place.bar_label(bars, [f"{cpu:.2f} s" for _, cpu in seconds.values()], padding=3)
    place.set(xlabel="CPU seconds for all series")
    place.margins(x=0.15)
    place.invert_yaxis()
    return figure


def _errors(means: Means, method: str) -> NDArray[np.float64]:
    rows = [(means.methods[method][region], means.reference[region]) for region in means.reference]
    return np.abs([np.subtract(estimate, reference) for estimate, reference in rows])


def _maps(panels: Sequence[Panel], look: Mapping[str, Any], unit: str) -> Figure:
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    shape = panels[0].image.shape
    high = shape[0] * panels[0].spacing_mm[0] / (shape[1] * panels[0].spacing_mm[1])
    figure = Figure(figsize=(INCH * columns + 0.8, (INCH * high + 0.3) * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False)
    for place in places.flat[len(panels) :]:
        place.set_axis_off()
    drawn = [_show(place, panel, look) for place, panel in zip(places.flat, panels, strict=False)]
    figure.colorbar(drawn[0], ax=places, shrink=0.85, extend="max").set_label(f"{unit}; black: no value", fontsize=8)
    return figure


def _show(place: Axes, panel: Panel, look: Mapping[str, Any]) -> Any:
    place.set_facecolor("black")
    place.set_title(panel.title, fontsize=9)
    place.set_xticks([])
    place.set_yticks([])
    height, width = panel.spacing_mm
    shown = np.ma.masked_invalid(panel.image)
    return place.imshow(shown, interpolation="nearest", aspect=height / width, **look)
