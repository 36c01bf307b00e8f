"""The scanner's own T2* or R2* map, read only as far as its header says what it holds."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dicomnode import pixels
from dicomnode.errors import NodeError
from dicomnode.header.dataset import parse
from dicomnode.header.scope import Scope, words_of
from dicomnode.model import Component, EchoStack, Encoding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from dicomnode.header.elements import Elements
    from dicomnode.model import EchoImage, Maps, Plane

T2STAR, R2STAR = "T2*", "R2*"
_NAMED = re.compile(r"([RT]2)[ _-]?(?:\*|STAR)")
_CODES = {"113064": T2STAR, "126395": R2STAR}  # Quantity Definition, DCM
# Unit as the header writes it: what it measures, and the factor to ms or 1/s.
_UNITS = {
    "ms": (T2STAR, 1.0),
    "msec": (T2STAR, 1.0),
    "s": (T2STAR, 1000.0),
    "1/s": (R2STAR, 1.0),
    "/s": (R2STAR, 1.0),
    "s-1": (R2STAR, 1.0),
    "Hz": (R2STAR, 1.0),
    "1/ms": (R2STAR, 1000.0),
    "/ms": (R2STAR, 1000.0),
}
_SAME_MM, _SAME_DIRECTION = 0.1, 1e-3
# An assumed unit is believed where the map runs with ours: in size within this factor, and voxel by voxel.
_MOST_APART, _LEAST_CORRELATION = 3.0, 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """What the numbers of an image mean: the unit is stated, or assumed from the name of the quantity."""

    quantity: str
    unit: str
    factor: float  # to ms or 1/s
    stated: bool
    mapping: tuple[float, float] | None = None  # slope and intercept from stored values (PS3.3 C.7.6.16.2.11)


@dataclass(frozen=True, slots=True)
class ScannerMap:
    """The map in both quantities, (slices, K, L) float32, NaN where the scanner gives none."""

    t2star_ms: NDArray[np.float32]
    r2star_per_s: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """A sentence that says what was found; where that can be compared with, the map and how it was read."""

    sentence: str
    map: ScannerMap | None = None
    reading: Reading | None = None
    series_instance_uid: str | None = None


def find(stack: EchoStack, images: Iterable[EchoImage], own: Maps) -> Found:
    """Find the map of the scanner that made a stack, on the same planes, among the images of the study.

    ``own`` are maps of the same stack, by which an assumed unit is judged.
    """
    here = [image for image in images if _is_map_of(stack, image)]
    candidates: dict[tuple[str, str], list[tuple[EchoImage, Reading]]] = defaultdict(list)
    for image in here:
        reading = _read(image, stack.images[0][0].series_description)
        if reading is not None:
            candidates[image.series_instance_uid, f"{reading.quantity} {reading.unit}"].append((image, reading))
    if not candidates:
        unread = f"; {len(here)} derived images on its planes are not clearly T2* or R2*" if here else ""
        return Found(f"no map of the scanner was found{unread}")
    # A stated unit before an assumed one, T2* before R2*, then the first series.
    order = sorted(
        candidates.values(), key=lambda c: (not c[0][1].stated, c[0][1].quantity == R2STAR, _series(c[0][0]))
    )
    judged = [_judged(stack, one, own) for one in order]
    best = next((one for one in judged if one.map is not None), judged[0])
    others = f"; {len(judged) - 1} further maps were not used" if len(judged) > 1 else ""
    return replace(best, sentence=best.sentence + others)


def _series(image: EchoImage) -> tuple[int, str]:
    return image.series_number or 0, image.series_instance_uid


def _is_map_of(stack: EchoStack, image: EchoImage) -> bool:
    """Tell whether an image is derived, by the same scanner, on one of the stack's planes."""
    first = stack.images[0][0]
    same = (image.manufacturer, image.model_name) == (first.manufacturer, first.model_name)
    return same and image.component is Component.DERIVED and any(_coincide(image.plane, p) for p in stack.planes)


def _coincide(one: Plane, other: Plane) -> bool:
    facts = [(p.rows, p.columns, p.frame_of_reference_uid) for p in (one, other)]
    return (
        facts[0] == facts[1]
        and np.allclose(one.orientation, other.orientation, atol=_SAME_DIRECTION)
        and np.allclose(one.pixel_spacing_mm, other.pixel_spacing_mm, rtol=_SAME_DIRECTION)
        and np.allclose(one.position, other.position, atol=_SAME_MM)
    )


def _read(image: EchoImage, echoes_are_called: str) -> Reading | None:
    """Say what an image holds; None where it is not called a map of T2* or R2*, or its header contradicts itself."""
    with image.path.open("rb") as file:
        top = parse(file).top
        layers = _layers(top, image)
        mapping = next(_mappings((*layers, top)), None)
        scope = Scope(top, layers)
        words = words_of(scope.of("FrameType"), "FrameType") or words_of(top, "ImageType")
        rescale = scope.of("RescaleSlope").text("RescaleType")
    # Value 3 of an enhanced Frame Type is a contrast: T2_STAR there is a weighting (PS3.3 C.8.16.1.3).
    named = words[3:] if image.encoding is Encoding.ENHANCED else words[2:]
    # What the echoes are called too is the name of the protocol, not of the map.
    own_name = (
        image.series_description.replace(echoes_are_called, "") if echoes_are_called else image.series_description
    )
    coded = {mapping.quantity} if mapping and mapping.quantity else set()
    said = coded or _quantities(own_name, *named)
    if len(said) != 1:
        return None
    (quantity,) = said
    line = (mapping.slope, mapping.intercept) if mapping and mapping.unit in _UNITS else None
    unit = mapping.unit if mapping and line else rescale
    if unit not in _UNITS:
        return Reading(quantity, "ms" if quantity == T2STAR else "1/s", 1.0, False)
    measures, factor = _UNITS[unit]
    return Reading(quantity, unit, factor, True, line) if measures == quantity else None


def _quantities(*texts: str) -> set[str]:
    return {f"{found}*" for text in texts for found in _NAMED.findall(text.upper())}


def _layers(top: Elements, image: EchoImage) -> tuple[Elements, ...]:
    if image.frame is None:
        return ()
    frames = top.items("PerFrameFunctionalGroupsSequence")
    return (frames[image.frame], *top.items("SharedFunctionalGroupsSequence")[:1])


@dataclass(frozen=True, slots=True)
class _Mapping:
    """One Real World Value Mapping that is a line (PS3.3 C.7.6.16.2.11)."""

    quantity: str | None
    unit: str
    slope: float
    intercept: float


def _mappings(places: Iterable[Elements]) -> Iterator[_Mapping]:
    for item in (item for place in places for item in place.items("RealWorldValueMappingSequence")):
        slope, intercept = (item.lenient(f"RealWorldValue{name}") for name in ("Slope", "Intercept"))
        units = [unit.text("CodeValue") for unit in item.items("MeasurementUnitsCodeSequence")]
        if slope is not None and intercept is not None and units:
            yield _Mapping(_coded(item), units[0], slope, intercept)


def _coded(item: Elements) -> str | None:
    """Return the quantity that a mapping's definition names."""
    definitions = (d for d in item.items("QuantityDefinitionSequence"))
    values = (c.text("CodeValue") for d in definitions for c in d.items("ConceptCodeSequence"))
    return next((_CODES[value] for value in values if value in _CODES), None)


def _judged(stack: EchoStack, found: list[tuple[EchoImage, Reading]], own: Maps) -> Found:
    """Load a candidate where it covers each slice once, and say whether it can be compared with."""
    reading = found[0][1]
    name = f"the scanner's {reading.quantity} map"
    placed = [[pair for pair in found if _coincide(pair[0].plane, plane)] for plane in stack.planes]
    covered = sum(len(pairs) == 1 for pairs in placed)
    if covered < len(placed):
        return Found(f"{name} covers {covered} of {len(placed)} slices once: not compared")
    try:
        loaded = _load(stack, [pairs[0] for pairs in placed])
    except NodeError as fault:
        return Found(f"{name} cannot be read: {fault}")
    doubt = "" if reading.stated else _doubt(loaded, own)
    if doubt:
        return Found(f"scanner map found, unit unknown: {reading.unit} for {name} {doubt}")
    stated = f"in {reading.unit} as its header states"
    assumed = f"its header states no unit, {reading.unit} is assumed and fits"
    return Found(f"{name}: {stated if reading.stated else assumed}", loaded, reading, found[0][0].series_instance_uid)


def _load(stack: EchoStack, found: list[tuple[EchoImage, Reading]]) -> ScannerMap:
    images = tuple((image,) for image, _ in found)
    first, reading = found[0]
    single = EchoStack(stack.study_instance_uid, (first.series_instance_uid,), (0.0,), images)
    values = pixels.load(single)[..., 0].astype(np.float64)
    for k, (image, one) in enumerate(found):
        if one.mapping is not None:
            stored = (values[k] - image.rescale_intercept) / image.rescale_slope
            values[k] = stored * one.mapping[0] + one.mapping[1]
        values[k] *= one.factor
    values[~(np.isfinite(values) & (values > 0))] = np.nan
    inverse = (1000.0 / values).astype(np.float32)
    t2star, r2star = (
        (values.astype(np.float32), inverse) if reading.quantity == T2STAR else (inverse, values.astype(np.float32))
    )
    return ScannerMap(t2star, r2star)


def _doubt(scanner: ScannerMap, own: Maps) -> str:
    """Say why an assumed unit cannot be right; nothing where it can."""
    both = own.valid & np.isfinite(scanner.r2star_per_s)
    if both.sum() < 100:
        return "cannot be judged: too few voxels have a value in both"
    theirs, ours = np.log(scanner.r2star_per_s[both]), np.log(own.r2star_per_s[both])
    apart = float(np.exp(np.median(theirs - ours)))
    if not 1 / _MOST_APART < apart < _MOST_APART:
        return f"would make R2* {apart:.3g} times ours"
    correlation = float(np.corrcoef(theirs, ours)[0, 1]) if np.ptp(theirs) > 0 else 0.0
    return "" if correlation > _LEAST_CORRELATION else f"would make it run against ours (correlation {correlation:.2f})"
