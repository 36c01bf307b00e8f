"""What came beside the magnitudes of a stack, judged by a complex fit as their companion: no number follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dicomnode import fit as fitting
from dicomnode import pixels
from dicomnode.errors import Implausible, UndecodablePixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from dicomnode.measure.organ import Organ
    from dicomnode.model import EchoStack, Maps

PASSED = "agrees"
LEAST_SPAN, MOST_SPAN = 0.9, 1.02  # turns from the lowest phase to the highest: noise around a body has every phase
_WHY: Mapping[str, str] = {
    "no-field": "the header does not say in which field fat would turn",
    "few-echoes": "fat and field need six echoes",
    "whole-turns": "fat makes whole turns against water between the echoes, so that nothing tells them apart",
    "phase-range": "its values span {:.2f} turns, where noise alone spans one",
    "one-channel": "the noise of its real and imaginary part is in a ratio of {:.2f}: no receiver has made that",
    "incoherent": "the echoes turn together by {:.2f} only, where above 0.90 is asked for",
    "sign-untold": "it does not tell which way fat turns",
    "misfit": "water, fat and one rate leave {:.1f} times what noise would, where below 3.0 is asked for",
    "no-adipose": "there is too little adipose tissue to confirm it by ({:.0f} voxels, 50 are asked for)",
    "fat-frequency": "fat turns {:.2f} times as fast as it does in this field",
    "adipose": "adipose tissue reads {:.0%} fat, where 85% is asked for",
    "rates-differ": "in a fifth of the body its R2* lies {:.1%} from that of the magnitudes, where 3% is allowed",
    PASSED: "in four fifths of the body the R2* of its fit is within {:.1%}; the numbers are those of the magnitudes",
}


def judged(stack: EchoStack, maps: Maps, organ: Organ) -> dict[str, Any] | None:
    """What became of the complex signal of a stack, as JSON values; None where nothing came beside the magnitudes.

    ``code`` names the first gate that was not passed, "agrees" where all were; ``measured`` is what each saw. An
    organ that the gates were not measured on is not fitted.
    """
    if not stack.companions:
        return None
    if not organ.fits_phase:
        return {"code": "organ", "reason": f"no complex fit is made of the {organ.name}", "measured": {}}
    unused = pixels.no_complex_signal(stack)
    if unused is not None:
        return {"code": unused.code, "reason": unused.sentence, "measured": {}}
    spans: list[float] = []
    try:
        found = fitting.companion(_in_order(stack, spans), stack.echo_times_ms, stack.field_strength_t, maps)
    except (UndecodablePixels, Implausible) as fault:
        return {"code": "unreadable", "reason": str(fault), "measured": {}}
    measured = dict(found.measured)
    code = found.refused or PASSED
    if spans and measured:
        measured["phase-range"] = max(spans)
        code = code if LEAST_SPAN <= max(spans) <= MOST_SPAN else "phase-range"
    value = measured.get("rates-differ" if code == PASSED else code, 0.0)
    rounded = {name: round(number, 4) for name, number in measured.items()}
    across = found.across_hz(stack.echo_times_ms)
    field = {} if across is None else {"field_from_slice_to_slice_hz": round(across, 1)}
    return {"code": code, "reason": _WHY[code].format(value), "measured": rounded, **field}


def with_word(maps: Maps, said: Mapping[str, Any] | None) -> Maps:
    """The same maps, whose record says what became of the complex signal."""
    if said is None:
        return maps
    return replace(maps, record=replace(maps.record, phase=dict(said)))


def _in_order(stack: EchoStack, spans: list[float]) -> Iterator[NDArray[Any]]:
    """The slices, one after the other, wherever their files put them; notes how many turns the phase of each spans."""
    waiting: dict[int, NDArray[Any]] = {}
    wanted = 0
    for slab in pixels.complex_slabs(stack):
        waiting[slab.slice] = slab.values
        if slab.span_turns is not None:
            spans.append(slab.span_turns)
        while wanted in waiting:
            yield waiting.pop(wanted)
            wanted += 1
