"""Real scans from outside the repository: what the finder draws on them, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode import fit, pixels
from dicomnode.config import FitSettings, GroupingSettings
from dicomnode.group import assemble
from dicomnode.header import read
from dicomnode.measure.liver.series import find
from dicomnode.model import Plane

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dicomnode.measure.liver.finding import LiverFinding
    from dicomnode.measure.liver.network import Network

    Array = NDArray[Any]

AXIAL_ARRAY, CORONAL_SERIES = "arrays/axial_liver_2.895T_12echo.npz", "dicom/ge_mr750_12echo_abdomen"
ARRAY_PIXEL_MM = 1.7  # the array says none; a body of that width is about 400 mm
ACROSS = 4  # pictures in a row


@dataclass(frozen=True, slots=True)
class Scan:
    """A series without its truth."""

    name: str
    signal: NDArray[np.float32]
    echo_times_ms: tuple[float, ...]
    planes: tuple[Plane, ...]


def axial_array(folder: Path) -> Scan:
    """One axial slice of an anonymous volunteer."""
    stored = np.load(folder / AXIAL_ARRAY)
    signal = np.asarray(stored["magnitude"], np.float32)[None]
    rows, columns = signal.shape[1:3]
    plane = Plane(rows, columns, (-200.0, -180.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (ARRAY_PIXEL_MM,) * 2, "1.2.3")
    return Scan("axial array", signal, tuple(float(t) for t in stored["echo_times_ms"]), (plane,))


def series(folder: Path, name: str) -> Scan:
    """The first complete stack of a folder of DICOM files, read as the node reads it."""
    headers = [read(path) for path in sorted((folder / name).rglob("*")) if path.is_file()]
    groups = assemble([image for header in headers for image in header.images], GroupingSettings())
    stack = next(group.stack for group in groups if group.stack is not None)
    return Scan(name, pixels.load(stack), stack.echo_times_ms, stack.planes)


def found_in(scan: Scan, net: Network | None = None) -> LiverFinding:
    """Fit and find, with the noise that the fit estimates."""
    maps = fit.fit(scan.signal, scan.echo_times_ms, scan.planes[0].pixel_spacing_mm, FitSettings())
    n_coils = float(maps.record.parameters.get("n_coils", 1.0))
    return find(scan.signal, scan.echo_times_ms, scan.planes, maps.sigma, n_coils, maps=maps, network=net)


def picture(scan: Scan, found: LiverFinding, path: Path) -> None:
    """Outlines of liver (thin) and region (thick) on the first echo of every slice."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that measuring does not need

    count = len(scan.signal)
    rows = -(-count // ACROSS)
    figure = Figure(figsize=(4 * min(count, ACROSS), 3.6 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, min(count, ACROSS))).ravel()
    for ax in axes:
        ax.axis("off")
    for k, ax in zip(range(count), axes, strict=False):
        row, column = scan.planes[k].pixel_spacing_mm
        image = scan.signal[k, ..., 0]
        ax.imshow(image, cmap="gray", vmax=np.percentile(image, 99.5), aspect=row / column)
        for mask, colour, width in ((found.mask[k], "yellow", 0.7), (found.region[k], "red", 1.2)):
            if mask.any():
                ax.contour(mask, [0.5], colors=colour, linewidths=width)
        ax.set_title(f"slice {k + 1}: {found.slice_confidence[k]:.2f} {found.notes[k]}", fontsize=8)
    figure.suptitle(f"{scan.name}: confidence {found.confidence:.2f} {[d.code for d in found.doubts]}", fontsize=9)
    figure.savefig(path, dpi=80)
