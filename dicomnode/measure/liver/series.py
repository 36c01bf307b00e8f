"""The liver of a series: every slice looked at by itself, then all of them weighed together."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.measure.liver import border, doubting, evidence
from dicomnode.measure.liver.confidence import chance, log_odds
from dicomnode.measure.liver.doubting import APART, DISAGREES, DOUBTFUL, NO_LIVER
from dicomnode.measure.liver.features import Noise
from dicomnode.measure.liver.finding import Doubt, LiverFinding
from dicomnode.measure.liver.looking import Look, look
from dicomnode.measure.liver.network import SCENES, shipped
from dicomnode.measure.liver.views import View, view_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from dicomnode.measure.liver.evidence import SliceEvidence
    from dicomnode.measure.liver.network import Network
    from dicomnode.model import Maps, Plane

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]

SLICE_HOLDS = 0.7  # chance from which on a slice counts where another one is better
RATES_AGREE = 0.25  # difference of logarithms: beyond, a slice shows other tissue than the rest
OVERLAP_HOLDS = 0.25  # with the better of its neighbours
LEFT_MM = 10.0  # to the patient's left, from where on the spleen of a sagittal slice looks like a liver
SURE_ALONE = 0.95  # under that chance one region in twenty is no liver (docs/liver.md)
MANY = 3  # slices, from which on one that disagrees is outvoted


@dataclass(frozen=True, slots=True)
class Given:
    """One slice as it came."""

    signal: Array
    plane: Plane
    noise: Noise
    rates: border.Rates | None


@dataclass(frozen=True, slots=True)
class Looked:
    """One slice on its way: turned masks, evidence, log odds of being right."""

    view: View
    look: Look
    evidence: SliceEvidence | None
    odds: float
    mask: Mask
    parenchyma: Mask
    region: Mask
    rim_mm: float


@dataclass(frozen=True, slots=True)
class Gathered:
    """Every slice looked at, before they are weighed together; ``overlaps`` of neighbours that both have a liver."""

    given: Sequence[Given]
    echo_times_ms: Array
    slices: Sequence[Looked]
    overlaps: dict[tuple[int, int], float]


def find(
    signal: NDArray[np.float32],
    echo_times_ms: Sequence[float],
    planes: Sequence[Plane],
    sigma: ArrayLike,
    n_coils: float,
    *,
    maps: Maps | None = None,
    network: Network | None = None,
) -> LiverFinding:
    """Find the liver in ``signal`` (slices, K, L, M), whose slices may come in any order.

    ``sigma`` is the noise of each coil's real and imaginary part: one number, one per slice, or a map (K, L) or
    (slices, K, L). ``maps`` move the border and show vessels; without them, or where they are not valid, the network's
    own border stands. ``network`` is the shipped one unless given.
    """
    net = network or shipped()
    gathered = gather(net, given_slices(signal, planes, sigma, n_coils, maps), echo_times_ms)
    found = conclude(net, gathered)
    in_doubt = found.confidence < doubting.IN_DOUBT or doubting.looks_misplaced([s.look for s in gathered.slices])
    return explained(net, gathered, found) if in_doubt else found


def given_slices(
    signal: NDArray[np.float32], planes: Sequence[Plane], sigma: ArrayLike, n_coils: float, maps: Maps | None
) -> list[Given]:
    """Take a series apart into its slices; arguments as of ``find``."""
    noises = _noises(sigma, n_coils, signal.shape)
    return [Given(signal[k], plane, noises[k], _rates(maps, k)) for k, plane in enumerate(planes)]


def gather(net: Network, given: Sequence[Given], echo_times_ms: Sequence[float]) -> Gathered:
    """Look at every slice by itself."""
    times = np.asarray(echo_times_ms, float)
    planes = [each.plane for each in given]
    with ThreadPoolExecutor(min(len(given), os.cpu_count() or 1)) as pool:  # what is slow here lets others run
        looked = list(pool.map(lambda each: _one(net, each, times), given))
    slices = _far_from_gas(looked, planes)
    return Gathered(given, times, slices, _overlaps(slices, planes))


def conclude(net: Network, gathered: Gathered) -> LiverFinding:
    """Weigh the slices together."""
    slices = gathered.slices
    notes = _notes(slices, [each.plane for each in gathered.given], gathered.overlaps)
    numbers = series_numbers(gathered)
    confidence = 0.0 if numbers is None else chance(log_odds(net.arrays, "series", numbers))
    doubts = doubting.of_series([doubting.Seen(s.view, s.look, s.mask, s.rim_mm) for s in slices], notes)
    doubts += _two_disagree(slices, notes) + _no_majority(slices, notes) + _alone(notes, confidence)
    return _finding(net, slices, notes, confidence, doubts)


def _noises(sigma: ArrayLike, n_coils: float, shape: tuple[int, ...]) -> list[Noise]:
    """The noise of each slice."""
    values = np.asarray(sigma, np.float32)
    if values.ndim == 1:
        values = values[:, None, None]
    if values.ndim == 0:
        return [Noise(float(values), n_coils)] * shape[0]
    return [Noise(each, n_coils) for each in np.broadcast_to(values, shape[:3])]


def _rates(maps: Maps | None, k: int) -> border.Rates | None:
    return None if maps is None else border.Rates(maps.r2star_per_s[k], maps.s0[k], maps.valid[k])


def _turned(noise: Noise, view: View) -> Noise:
    return Noise(view.turn(noise.sigma), noise.n_coils) if isinstance(noise.sigma, np.ndarray) else noise


def _one(net: Network, given: Given, echo_times_ms: Array) -> Looked:
    view, rates = view_of(given.plane), given.rates
    turned = np.nan_to_num(np.asarray(view.turn(given.signal), np.float32), posinf=0.0)
    seen = look(net, turned, echo_times_ms, _turned(given.noise, view), view)
    if rates is not None:
        rates = border.Rates(*(view.turn(v) for v in (rates.r2star, rates.s0, rates.valid)))
    mask, kept, region, rim = _masks(seen, rates, view)
    found = evidence.of_slice(seen)
    odds = float(log_odds(net.arrays, "slice", found.numbers)) if found is not None else -np.inf
    return Looked(view, seen, found, odds, mask, kept, region, rim)


def _masks(seen: Look, rates: border.Rates | None, view: View) -> tuple[Mask, Mask, Mask, float]:
    """The whole liver, its parenchyma, the region to measure and the rim left out (mm); worked out where a liver is."""
    box = border.box_around(seen.liver, view.spacing_mm)
    if rates is not None:
        rates = border.Rates(rates.r2star[box], rates.s0[box], rates.valid[box])
    mask = border.outline(seen.liver[box], rates, view.spacing_mm)
    kept = border.parenchyma(mask, seen.inside[box], rates, view.spacing_mm)
    region, rim = border.within_the_rim(mask, kept, view.spacing_mm)
    whole = np.zeros((3, *seen.liver.shape), bool)
    whole[:, *box] = mask, kept, region
    return whole[0], whole[1], whole[2], rim


def _far_from_gas(slices: Sequence[Looked], planes: Sequence[Plane]) -> list[Looked]:
    """Take off the regions what lies near gas, in the slice itself or in the ones beside it."""
    within = [border.from_gas_mm(s.look.gas, s.view.spacing_mm) for s in slices]
    beside: dict[int, list[int]] = defaultdict(list)
    for a, b in evidence.neighbours(planes):
        if evidence.stacked(planes[a], planes[b]):
            beside[a].append(b)
            beside[b].append(a)

    def away_mm(k: int) -> Array:
        """Distance to the nearest gas of the slice or of those beside it."""
        apart = {other: planes[other].location_mm - planes[k].location_mm for other in beside[k]}
        return functools.reduce(np.minimum, (np.hypot(within[i], mm) for i, mm in apart.items()), within[k])

    return [
        replace(s, region=border.far_from_gas(s.region, away_mm(k), s.view.spacing_mm)) for k, s in enumerate(slices)
    ]


def _overlaps(slices: Sequence[Looked], planes: Sequence[Plane]) -> dict[tuple[int, int], float]:
    """How far livers of neighbouring slices lie over each other; only where both have one."""
    stored = [s.view.turn_back(s.mask) for s in slices]
    return {
        (a, b): evidence.overlap(stored[a], planes[a], stored[b], planes[b])
        for a, b in evidence.neighbours(planes)
        if slices[a].evidence is not None and slices[b].evidence is not None
    }


def _notes(
    slices: Sequence[Looked], planes: Sequence[Plane], overlaps: dict[tuple[int, int], float]
) -> list[Doubt | None]:
    """Why each slice does not count; None where it does."""
    best = max((s.odds for s in slices), default=-np.inf)
    notes = [_note(s, best) for s in slices]
    for k in _on_the_left(slices, planes, notes, overlaps):
        notes[k] = Doubt(DOUBTFUL, "it lies on the patient's left, where a spleen looks like a liver")
    counting = [k for k, note in enumerate(notes) if note is None]
    rates = {k: e.rate for k in counting if (e := slices[k].evidence) is not None and np.isfinite(e.rate)}
    usual = float(np.median(list(rates.values()))) if rates else 1.0
    for k in counting if len(counting) >= MANY else ():
        beside = [value for pair, value in overlaps.items() if k in pair]
        if beside and max(beside) < OVERLAP_HOLDS:
            notes[k] = Doubt(DISAGREES, "its outline does not continue those of the slices beside it")
        if k in rates and abs(np.log(rates[k] / usual)) > RATES_AGREE:
            said = f"its R2* of about {rates[k]:.0f}/s is not that of the other slices, about {usual:.0f}/s"
            notes[k] = Doubt(DISAGREES, said)
    return notes


def _on_the_left(
    slices: Sequence[Looked],
    planes: Sequence[Plane],
    notes: Sequence[Doubt | None],
    overlaps: dict[tuple[int, int], float],
) -> list[int]:
    """Sagittal slices whose liver lies on the left and does not continue one on the right.

    A slice across the body shows on which side its liver lies; of a sagittal one only the header tells.
    """
    here = [k for k, note in enumerate(notes) if note is None and slices[k].view.kind == "sagittal"]
    held = {k for k in here if _centre_mm(slices[k], planes[k]) <= LEFT_MM}
    joined = [pair for pair, value in overlaps.items() if value >= OVERLAP_HOLDS and set(pair) <= set(here)]
    for _ in here:  # from slice to slice, as far as it goes
        held |= {k for pair in joined if held & set(pair) for k in pair}
    return [k for k in here if k not in held]


def _centre_mm(piece: Looked, plane: Plane) -> float:
    """How far to the patient's left the middle of an outline lies."""
    rows, columns = np.nonzero(piece.view.turn_back(piece.mask))
    height, width = plane.pixel_spacing_mm
    along_row, along_column = plane.orientation[0], plane.orientation[3]
    return float(plane.position[0] + along_row * width * columns.mean() + along_column * height * rows.mean())


def _note(piece: Looked, best: float) -> Doubt | None:
    if piece.evidence is None or not piece.mask.any():
        return Doubt(NO_LIVER, "no liver found")
    if chance(piece.odds) < SLICE_HOLDS <= chance(best):
        return Doubt(DOUBTFUL, "the outline is doubtful")
    return None


def _two_disagree(slices: Sequence[Looked], notes: Sequence[Doubt | None]) -> tuple[Doubt, ...]:
    """Of two slices neither outvotes the other: both stay, with a doubt."""
    found = [s.evidence for s, note in zip(slices, notes, strict=True) if note is None and s.evidence is not None]
    rates = [e.rate for e in found if np.isfinite(e.rate)]
    if len(found) >= MANY or len(rates) < 2 or abs(np.log(rates[0] / rates[1])) <= RATES_AGREE:
        return ()
    said = f"The two slices with liver differ: R2* is about {rates[0]:.0f}/s in one and {rates[1]:.0f}/s in the other."
    return (Doubt(DISAGREES, said),)


def _alone(notes: Sequence[Doubt | None], confidence: float) -> tuple[Doubt, ...]:
    """A single slice that is not quite sure: there is none beside it to bear it out."""
    if sum(note is None for note in notes) != 1 or confidence >= SURE_ALONE:
        return ()
    said = f"One slice alone shows the liver, with a chance of {confidence:.0%}: no other bears it out."
    return (Doubt("one-slice", said),)


def _no_majority(slices: Sequence[Looked], notes: Sequence[Doubt | None]) -> tuple[Doubt, ...]:
    """Where as many slices are outvoted as are left, what is left is no liver's by that."""
    outvoted = [k for k, note in enumerate(notes) if note is not None and note.code == DISAGREES]
    left = [k for k, note in enumerate(notes) if note is None]
    if not outvoted or len(left) > len(outvoted):
        return ()
    both = sorted(outvoted + left)
    rates = ", ".join(f"{e.rate:.0f}" for k in both if (e := slices[k].evidence) is not None and np.isfinite(e.rate))
    return (Doubt(APART, f"The slices with liver do not agree: R2* is about {rates}/s in them."),)


def series_numbers(gathered: Gathered) -> Array | None:
    """Evidence of the series; None where no slice has a liver."""
    slices = gathered.slices
    odds = np.array([s.odds for s in slices if s.evidence is not None])
    if not odds.size:
        return None
    overlaps = list(gathered.overlaps.values())
    return evidence.of_series([s.evidence for s in slices], odds, overlaps, [s.look for s in slices])


def explained(net: Network, gathered: Gathered, found: LiverFinding) -> LiverFinding:
    """Look at the most telling slice in other orientations: the image may be mirrored, or the header wrong."""
    slices, given = gathered.slices, gathered.given
    k = max(range(len(slices)), key=lambda k: doubting.liver_like(slices[k].look))
    view, noise = slices[k].view, Noise(given[k].noise.typical, given[k].noise.n_coils)
    turned = np.asarray(view.turn(given[k].signal), np.float32)

    def again(image: Array, as_view: View) -> Look:
        return look(net, np.ascontiguousarray(image), gathered.echo_times_ms, noise, as_view)

    more = doubting.of_orientation(turned, view, slices[k].look, again)
    return replace(found, doubts=(*found.doubts, *more))


def _finding(
    net: Network, slices: Sequence[Looked], notes: Sequence[Doubt | None], confidence: float, doubts: tuple[Doubt, ...]
) -> LiverFinding:
    counts = [note is None for note in notes]

    def stored(name: str) -> Mask:
        return np.stack([s.view.turn_back(getattr(s, name)) & c for s, c in zip(slices, counts, strict=True)])

    return LiverFinding(
        mask=stored("mask"),
        parenchyma=stored("parenchyma"),
        region=stored("region"),
        probability=np.stack([s.view.turn_back(s.look.liver) for s in slices]),
        slice_confidence=tuple(chance(s.odds) for s in slices),
        notes=tuple("" if note is None else note.sentence for note in notes),
        rim_mm=tuple(s.rim_mm for s in slices),
        confidence=confidence,
        doubts=doubts,
        finder={"name": net.name, "version": net.version, "sha256": net.sha256, "training": dict(net.record)},
        scene=dict(zip(SCENES, np.mean([s.look.scene for s in slices], axis=0).tolist(), strict=True)),
    )
