"""What differs between two R2* maps of the same images, as a picture: before, after, and the one less the other."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dicomnode.report import colours, figures, raster
from dicomnode.report.regions import beyond
from dicomnode.report.sheet import SCREEN, Box, Sheet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.model import Result

WIDTH, MOST_HEIGHT = 1320.0, 444.0  # of the sheet, of an image
PANEL, TOP, LEFT, STEP = 400.0, 56.0, 20.0, 410.0
PLAIN, SMALL = 20.0, 17.0
BAR = Box(LEFT + 3 * STEP, TOP + 20, 22, 240)
LEAST = 5.0  # 1/s: what is at the end of the colours at the least
MOST_OF = 99.0  # per cent of the voxels lie within the colours
_MIDDLE, _LESS, _MORE = (60, 60, 60), (90, 160, 255), (255, 130, 60)


def picture(result: Result, before: NDArray[np.float32]) -> bytes:
    """A PNG of the slice with most of the first region; ``before`` (slices, K, L) is 0 where there was no rate.

    It names nobody.
    """
    k = _most_telling(result)
    after, valid = result.maps.r2star_per_s, result.maps.valid
    both = valid & (before > 0)
    differing = np.where(both, after - before, 0.0)
    ends = max(LEAST, float(np.percentile(np.abs(differing[both]), MOST_OF))) if both.any() else LEAST
    plane, view = result.stack.planes[k], figures.View.of(result)
    lines = figures.traced(result, k)
    rooms = [Box(LEFT + number * STEP, TOP, PANEL, MOST_HEIGHT) for number in range(3)]
    panels = [figures.Panel.within(room, view, plane) for room in rooms]
    sheet = Sheet(WIDTH, max(panels[0].box.bottom, BAR.bottom) + LEFT, SCREEN)
    titles = ("R2* before", "R2* after", f"after less before, ±{ends:.0f} /s")
    for number, (title, panel) in enumerate(zip(titles, panels, strict=True)):
        if number == 0:
            sheet.picture(panel.box, panel.sampled(_coloured(before[k])))
        elif number == 1:
            figures.rate_map(sheet, panel, result.maps, beyond(result), k)
        else:
            sheet.picture(panel.box, panel.sampled(_two_sided(differing[k], both[k], ends)))
        figures.sides(sheet, panel, SMALL)
        figures.regions(sheet, panel, lines, 1.6, SMALL)
        sheet.write(LEFT + number * STEP, 34, title, PLAIN)
    _bar(sheet, BAR, ends)
    target = io.BytesIO()
    Image.fromarray(raster.pixels(sheet)).save(target, "PNG")
    return target.getvalue()


def _most_telling(result: Result) -> int:
    if result.rois and result.rois[0].mask.any():
        return int(np.argmax(result.rois[0].mask.sum(axis=(1, 2))))
    return result.stack.shape[0] // 2


def _coloured(rates: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map in the colours of all maps, black where nothing is."""
    index = np.rint(255 * np.clip(colours.position(np.maximum(rates, 1e-3)), 0, 1)).astype(int)
    image = colours.table()[index]
    image[rates <= 0] = 0
    return np.asarray(image, np.uint8)


def _two_sided(values: NDArray[np.float64], known: NDArray[np.bool_], ends: float) -> NDArray[np.uint8]:
    """Blue where it is less, orange where it is more, grey where it is the same, black where either is not known."""
    share = np.clip(values / ends, -1, 1)[..., None]
    towards = np.where(share < 0, np.array(_LESS), np.array(_MORE))
    image = np.array(_MIDDLE) + np.abs(share) * (towards - np.array(_MIDDLE))
    return np.where(known[..., None], image, 0).astype(np.uint8)


def _bar(sheet: Sheet, box: Box, ends: float) -> None:
    steps = np.linspace(ends, -ends, int(box.height))[:, None].repeat(int(box.width), axis=1)
    sheet.picture(box, _two_sided(steps, np.ones(steps.shape, bool), ends))
    for value in (ends, 0.0, -ends):
        y = box.y + (ends - value) / (2 * ends) * box.height
        sheet.write(box.right + 6, y + 6, f"{value:+.0f}" if value else "0", SMALL)
