"""Why a found liver may not be one, in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.measure.liver.border import RIM_MM
from dicomnode.measure.liver.features import GRID_MM
from dicomnode.measure.liver.finding import Doubt
from dicomnode.measure.liver.network import INSIDE, LIVER, MISPLACED, SCENES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dicomnode.measure.liver.looking import Look
    from dicomnode.measure.liver.views import View

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]

IN_DOUBT = 0.9  # confidence below which orientations are tried, and what is not an abdomen is named
SMALL_MM2 = 1500.0  # of all slices together: a few voxels of liver at the edge of others
CUT_MM = 40.0  # of the outline along the image's edge
MOSTLY = 0.5  # share from which on a thing is called by its name
MISPLACED_SHARE = 0.1  # of what looks like liver, from which on other orientations are tried
BETTER = 1.6  # times the liver that the header's orientation shows
SIMPLER = 0.8  # a mirrored image is named where another orientation shows hardly more
ENOUGH_MM2 = 3000.0  # of liver in another orientation before that is named

NO_LIVER, DISAGREES, DOUBTFUL = "no-liver", "slices-disagree", "slices-doubtful"
APART = "slices-apart"  # so many disagree that none of them is believed
_WORDS = {
    "head": ("not-an-abdomen", "The images look like a head, not like an abdomen."),
    "limbs": ("not-an-abdomen", "The images look like legs, not like an abdomen."),
    "phantom": ("phantom", "The images look like a physical phantom, not like a patient."),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one slice when doubts are put in words."""

    view: View
    look: Look
    mask: Mask
    rim_mm: float


def of_series(slices: Sequence[Seen], notes: Sequence[Doubt | None]) -> tuple[Doubt, ...]:
    """Doubts that need no second look; ``notes`` say why slices do not count."""
    counting = [s for s, note in zip(slices, notes, strict=True) if note is None]
    doubts = list(_scene(slices))
    if not counting:
        doubts.append(Doubt(NO_LIVER, "No liver was found in any slice."))
        return (*doubts, *_left_out(notes))
    area = sum(float(s.mask.sum()) * s.view.spacing_mm[0] * s.view.spacing_mm[1] for s in counting)
    if area < SMALL_MM2:
        doubts.append(Doubt("small", f"Only {area / 100:.0f} cm² of liver was found."))
    if max(_along_the_edge_mm(s.mask, s.view.spacing_mm) for s in counting) > CUT_MM:
        doubts.append(Doubt("cut-off", "The field of view cuts the liver off."))
    rim = min(s.rim_mm for s in counting)
    if rim < RIM_MM:
        doubts.append(Doubt("thin", f"The liver is thin: in places only {rim:.0f} mm of its rim are left out."))
    return (*doubts, *_left_out(notes))


def _scene(slices: Sequence[Seen]) -> tuple[Doubt, ...]:
    mean = np.mean([s.look.scene for s in slices], axis=0)
    name = SCENES[int(np.argmax(mean))]
    return (Doubt(*_WORDS[name]),) if name in _WORDS and mean.max() > MOSTLY else ()


def _along_the_edge_mm(mask: Mask, spacing_mm: tuple[float, float]) -> float:
    row, column = spacing_mm
    along = (mask[0].sum() * column, mask[-1].sum() * column, mask[:, 0].sum() * row, mask[:, -1].sum() * row)
    return float(max(along))


def _left_out(notes: Sequence[Doubt | None]) -> tuple[Doubt, ...]:
    doubts = []
    for code in (DISAGREES, DOUBTFUL):
        said = [
            f"slice {k + 1}, {note.sentence}" for k, note in enumerate(notes) if note is not None and note.code == code
        ]
        if said:
            doubts.append(Doubt(code, f"Left out: {'; '.join(said)}."))
    return tuple(doubts)


def liver_like(seen: Look) -> float:
    """Amount of liver, well placed or not, on the grid."""
    return float(seen.classes[[LIVER, INSIDE, MISPLACED]].sum())


def looks_misplaced(seen: Sequence[Look]) -> bool:
    """Whether so much looks like a liver that lies where none can be that other orientations are to be tried."""
    misplaced = sum(float(look.classes[MISPLACED].sum()) for look in seen)
    return misplaced > MISPLACED_SHARE * max(sum(liver_like(look) for look in seen), 1.0)


def of_orientation(turned: Array, view: View, seen: Look, again: Callable[[Array, View], Look]) -> tuple[Doubt, ...]:
    """Name the orientation in which a slice shows a liver, where that is not the header's."""
    if float(seen.scene[0]) < MOSTLY:
        return ()
    present, misplaced = _liver_mm2(seen), _misplaced_mm2(seen)
    mirrored = _in_place_mm2(again(turned[:, ::-1], view))
    others = max(_in_place_mm2(again(image, as_view)) for image, as_view in _others(turned, view))
    if max(mirrored, others) > max(BETTER * present, ENOUGH_MM2):
        if mirrored >= SIMPLER * others and view.kind != "sagittal":
            return (Doubt("mirrored", "The image looks mirrored: the liver lies on the patient's left by the header."),)
        return (Doubt("orientation", "The image does not look like the orientation its header states."),)
    if misplaced > max(present, ENOUGH_MM2):
        return (Doubt("orientation", "What looks like a liver lies where, by the header, none can be."),)
    return ()


def _liver_mm2(seen: Look) -> float:
    return float((seen.classes[LIVER] + seen.classes[INSIDE] > 0.5).sum()) * GRID_MM**2


def _misplaced_mm2(seen: Look) -> float:
    return float(seen.classes[MISPLACED].sum()) * GRID_MM**2


def _in_place_mm2(seen: Look) -> float:
    """Liver that lies where it can, less what lies where it cannot: high only in the right orientation."""
    return _liver_mm2(seen) - _misplaced_mm2(seen)


def _others(turned: Array, view: View) -> list[tuple[Array, View]]:
    """A slice upside down, turned by quarters, and as if of another plane."""
    row, column = view.spacing_mm
    quarter = replace(view, spacing_mm=(column, row))
    found = [(turned[::-1], view), (turned[::-1, ::-1], view)]
    found += [(np.rot90(turned, k), quarter) for k in (1, 3)]
    found += [(turned, replace(view, kind=kind)) for kind in ("axial", "coronal", "sagittal") if kind != view.kind]
    return found
