"""Reads the graphics of structured reports, whatever their template (PS3.3 C.17.3, C.18.6, C.18.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.measure.rois import shapes
from dicomnode.measure.rois.canvas import WHERE_TO_DRAW, drawn_on_source
from dicomnode.measure.rois.naming import code_value, drawn, finding
from dicomnode.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicomnode.measure.rois.canvas import Canvas
    from dicomnode.model import Roi

TRACKING_IDENTIFIER, COMMENT, FINDING, PERSON_OBSERVER = "112039", "121106", "121071", "121008"
FINDING_SITES = ("363698007", "G-C0E3")
NOT_REGIONS = ("TextPosition", "ControlPoints")  # where OHIF put a label, and the handles of an outline
FREE_TEXT = "CORNERSTONEFREETEXT"  # the code value under which OHIF wrote the user's own words; now a comment


@dataclass(frozen=True, slots=True)
class _Group:
    """What a measurement group says of the graphics in it."""

    label: str = ""
    codes: tuple[Dataset, ...] = ()


@dataclass(frozen=True, slots=True)
class _Graphic:
    """One graphic with what it was drawn on."""

    item: Dataset
    group: _Group
    image: Dataset | None


def regions(dataset: Dataset, canvas: Canvas) -> Iterator[Roi | Reason]:
    """Give each graphic as a region, or why it has no place on the maps or no inside."""
    for number, graphic in enumerate(_distinct(_graphics(dataset, dataset, _Group())), start=1):
        placed = _placed(graphic, canvas, f"region {number}")
        if isinstance(placed, Reason):
            yield placed
        else:
            yield drawn(graphic.group.label, number, finding(graphic.group.label, graphic.group.codes), placed)


def observers(dataset: Dataset) -> list[Any]:
    """Return the names of the persons who observed, in the order of the report."""
    items = dataset.get("ContentSequence", [])
    names = [item.get("PersonName") for item in items if _concept(item) == PERSON_OBSERVER]
    return names + [name for item in items for name in observers(item)]


def _graphics(root: Dataset, parent: Dataset, group: _Group) -> Iterator[_Graphic]:
    children = parent.get("ContentSequence", [])
    inner = _described(children, group)
    for child in children:
        if child.get("ValueType") in ("SCOORD", "SCOORD3D") and _concept(child) not in NOT_REGIONS:
            yield _Graphic(child, inner, _image(root, child))
        yield from _graphics(root, child, inner)


def _described(children: Any, outer: _Group) -> _Group:
    """Add what these content items say to what the items around them said; the user's words are the best label."""
    identifiers = [_without_tool(str(c.get("TextValue", ""))) for c in children if _concept(c) == TRACKING_IDENTIFIER]
    coded = (c for c in children if _concept(c) in (FINDING, *FINDING_SITES) and c.get("ConceptCodeSequence"))
    codes = [child.ConceptCodeSequence[0] for child in coded]
    free = [str(code.get("CodeMeaning", "")) for code in codes if code_value(code) == FREE_TEXT]
    comments = [str(child.get("TextValue", "")) for child in children if _concept(child) == COMMENT]
    label = next((words for words in (*comments, *free, *identifiers) if words), outer.label)
    return _Group(label, (*outer.codes, *codes))


def _without_tool(identifier: str) -> str:
    """OHIF tracks by the program before the colon, its version, and the tool after it."""
    return identifier.rpartition(":")[2] if identifier.lower().startswith("cornerstone") else identifier


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return code_value(names[0]) if names else ""


def _image(root: Dataset, graphic: Dataset) -> Dataset | None:
    """Return the reference to the image that a graphic was selected from, given in place or by an identifier."""
    for child in graphic.get("ContentSequence", []):
        item = _by_identifier(root, child) if "ReferencedContentItemIdentifier" in child else child
        if item.get("ReferencedSOPSequence"):
            reference: Dataset = item.ReferencedSOPSequence[0]
            return reference
    return None


def _by_identifier(root: Dataset, child: Dataset) -> Dataset:
    """Follow an identifier: positions from 1 on each level, the root being the first 1 (PS3.3 C.17.3.2.5)."""
    item = root
    for position in np.atleast_1d(child.ReferencedContentItemIdentifier)[1:]:
        item = item.ContentSequence[int(position) - 1]
    return item


def _distinct(graphics: Iterator[_Graphic]) -> Iterator[_Graphic]:
    """Leave out repetitions: OHIF writes a region's graphic under each of its numbers."""
    seen = set()
    for graphic in graphics:
        reference = None if graphic.image is None else str(graphic.image.get("ReferencedSOPInstanceUID"))
        data = tuple(np.atleast_1d(graphic.item.GraphicData).tolist())
        frame = None if graphic.image is None else str(graphic.image.get("ReferencedFrameNumber"))
        key = (graphic.item.GraphicType, data, reference, frame)
        if key not in seen:
            seen.add(key)
            yield graphic


def _placed(graphic: _Graphic, canvas: Canvas, region: str) -> NDArray[np.bool_] | Reason:
    """Return the voxels (slices, K, L) of a graphic."""
    if graphic.image is not None and str(graphic.image.get("ReferencedSOPInstanceUID")) in canvas.sources:
        return drawn_on_source(region)
    if graphic.item.ValueType == "SCOORD3D":
        return _in_the_patient(graphic.item, canvas, region)
    if graphic.image is None:
        return Reason("no-image", f"{region} does not say on which image it was drawn; {WHERE_TO_DRAW}")
    if graphic.item.get("PixelOriginInterpretation", "FRAME") != "FRAME":
        return Reason("other-geometry", f"{region} counts pixels over several frames; {WHERE_TO_DRAW}")
    index = canvas.slice_of(graphic.image, region)
    if isinstance(index, Reason):
        return index
    return _on(canvas, index, graphic.item.GraphicType, shapes.from_corner(graphic.item.GraphicData), region)


def _in_the_patient(item: Dataset, canvas: Canvas, region: str) -> NDArray[np.bool_] | Reason:
    if str(item.get("ReferencedFrameOfReferenceUID", "")) != canvas.planes[0].frame_of_reference_uid:
        return Reason("other-geometry", f"{region} is in another frame of reference; {WHERE_TO_DRAW}")
    placed = canvas.on_a_slice(np.asarray(item.GraphicData, dtype=float).reshape(-1, 3))
    if placed is None:
        return Reason("other-geometry", f"{region} does not lie on a slice of the map; {WHERE_TO_DRAW}")
    index, points = placed
    return _on(canvas, index, item.GraphicType, points, region)


def _on(
    canvas: Canvas, index: int, graphic_type: str, points: NDArray[np.float64], region: str
) -> NDArray[np.bool_] | Reason:
    covered = shapes.cover(graphic_type, points, canvas.shape[1:], region)
    if isinstance(covered, Reason):
        return covered
    mask = canvas.empty()
    mask[index] = covered
    return mask
