"""From images of the short axis to the regions that are measured: the septum, and the ring it is part of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.measure.heart import flow, ring, septum
from dicomnode.measure.regions import TRUSTED, Found
from dicomnode.model import Flag, Grade, Roi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.measure.heart.ring import Ring
    from dicomnode.measure.heart.septum import Septum
    from dicomnode.model import Maps, Plane

SEPTUM, RING = "septum", "left ventricle"
ORGAN = "heart"
NAME, VERSION = "short-axis ring", "1"
LATER = 0.45  # of the way through the train: by then blood stands out that was as bright as the muscle
APART_MM = 12.0  # between the middles of two slices: hearts lean by less
FEWEST_VOXELS = 25
BRIGHT_BLOOD = Flag(
    "bright-blood",
    Grade.INFO,
    "the blood is bright: faint ghosts may lengthen T2*, for which the interval leaves room; black blood makes none",
)
# Where evidence is as good as the middle of its slope, half of the rings are right; the study of ``bench.cardiac`` has
# what that makes of the chance that is stated.
_SLOPES = {
    "score": (2.2, 0.35),
    "complete": (0.72, 0.05),
    "beside": (0.55, 0.06),
    "round": (0.80, 0.02),
    "thin": (5.0, 0.5),
    "thick": (-17.0, 0.7),
}


@dataclass(frozen=True, slots=True)
class _Slice:
    """What was found in one slice, and the chance that it is right."""

    ring: Ring
    septum: Septum
    confidence: float


def find(
    signal: NDArray[np.float32],
    echo_times_ms: tuple[float, ...],
    maps: Maps,
    planes: tuple[Plane, ...],
    n_coils: float,
) -> Found:
    """Find the septum; ``signal`` is (slices, K, L, M).

    Where no slice shows it for sure the septum is there with an empty mask and says why.
    """
    slices = [_of_slice(signal[k], maps.sigma[k], planes[k]) for k in range(len(signal))]
    sure = _agreeing(slices, planes)
    shape = signal.shape[:3]
    confidences = tuple(0.0 if one is None else one.confidence for one in slices)
    best = max((confidences[k] for k in sure), default=max(confidences, default=0.0))
    finder = {"name": NAME, "version": VERSION, "confidence": round(best, 3)}
    scene = {ORGAN: best}
    if not sure:
        nothing = np.zeros(shape, bool)
        seen = any(one is not None and one.confidence > 1 - TRUSTED for one in slices)
        doubt = Flag("no-septum", Grade.NOT_MEASURABLE, _why(slices, best))
        return Found(
            (Roi(SEPTUM, nothing, finding=ORGAN, doubts=(doubt,), confidence=best),), finder, nothing, scene, seen=seen
        )
    masks, rings, pools = (np.zeros(shape, bool) for _ in range(3))
    for k in sure:
        if (one := slices[k]) is not None:
            masks[k] = one.septum.mask
            rings[k] = septum.ring_mask(shape[1:], one.ring, planes[k].pixel_spacing_mm)
            pools[k] = septum.pool_mask(shape[1:], one.ring, planes[k].pixel_spacing_mm)
    bright = any(one.ring.bright for k in sure if (one := slices[k]) is not None)
    ghosts = flow.ghosts(signal, echo_times_ms, maps, masks, pools) if bright else flow.Ghosts()
    doubts = flow.flags(signal, echo_times_ms, maps, masks, n_coils) + ghosts.flags + _left_out(slices, sure)
    doubts += (BRIGHT_BLOOD,) if bright else ()
    regions = (
        Roi(
            SEPTUM,
            masks,
            finding=ORGAN,
            doubts=doubts,
            confidence=best,
            slice_confidence=confidences,
            moved=ghosts.moved,
        ),
        Roi(RING, rings, finding=ORGAN, confidence=best, slice_confidence=confidences),
    )
    return Found(regions, finder, rings, scene, seen=True)


def _of_slice(signal: NDArray[np.float32], sigma: float, plane: Plane) -> _Slice | None:
    """The likelier of what the first echo and a later one show."""
    echoes = sorted({0, round(LATER * (signal.shape[-1] - 1))})
    found = [_of_echo(signal[..., echo], sigma, plane) for echo in echoes]
    return max((one for one in found if one is not None), key=lambda one: one.confidence, default=None)


def _of_echo(image: NDArray[np.float32], sigma: float, plane: Plane) -> _Slice | None:
    found = ring.find(image, sigma, plane.pixel_spacing_mm)
    if found is None:
        return None
    part = septum.find(image, found, plane)
    return _Slice(found, part, _confidence(found, part))


def _confidence(found: Ring, part: Septum) -> float:
    """The chance that a septum is one: each kind of evidence may take it away."""
    if part.mask.sum() < FEWEST_VOXELS:
        return 0.0
    evidence = {
        "score": found.score,
        "complete": found.complete,
        "beside": part.beside_blood,
        "round": found.round,
        "thin": part.thickness_mm,
        "thick": -part.thickness_mm,
    }
    chances = (_chance(value, *_SLOPES[name]) for name, value in evidence.items())
    return math.prod(chances)


def _chance(value: float, middle: float, width: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(min((value - middle) / width, 50.0), -50.0)))


def _agreeing(slices: list[_Slice | None], planes: tuple[Plane, ...]) -> list[int]:
    """The trusted slices whose middles lie on one line with those of most others."""
    trusted = [k for k, one in enumerate(slices) if one is not None and one.confidence >= TRUSTED]
    places = {k: _place(one, planes[k]) for k in trusted if (one := slices[k]) is not None}
    near = {
        k: [other for other in trusted if np.linalg.norm(places[k] - places[other]) <= APART_MM + 0.5 * abs(k - other)]
        for k in trusted
    }
    return max(near.values(), key=len, default=[])


def _place(one: _Slice, plane: Plane) -> NDArray[np.float64]:
    """The middle of a ring in the plane, mm along its rows and columns from the patient's origin."""
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    height, width = plane.pixel_spacing_mm
    at = np.array(plane.position) + row * width * one.ring.middle[1] + column * height * one.ring.middle[0]
    return np.array([at @ row, at @ column])


def _left_out(slices: list[Any], sure: list[int]) -> tuple[Flag, ...]:
    missing = len(slices) - len(sure)
    if not missing:
        return ()
    sentence = f"{missing} of {len(slices)} slices show no septum for sure and are left out"
    return (Flag("slices-left-out", Grade.INFO, sentence),)


def _why(slices: list[_Slice | None], best: float) -> str:
    if not any(slices):
        return "no reliable septum: nothing in these images looks like the ring of a left ventricle"
    return f"no reliable septum: what looks like one is right with a chance of {best:.0%} only"
