"""What is believed where several attributes speak: a table a question, from the strongest witness to the weakest.

The first witness of a table that says anything is believed. Attributes made to answer the question stand before words
that name it in passing; ``docs/dialects.md`` has the tables in prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from dicomnode.header.scope import words_of
from dicomnode.header.vendors import COMPONENT_WORDS, DERIVED_WORDS
from dicomnode.model import Component, Encoding, SequenceKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicomnode.header.elements import Elements, Private
    from dicomnode.header.scope import Scope
    from dicomnode.header.vendors import Vendor

    Answer = TypeVar("Answer")
    Witnesses = tuple[tuple[str, Callable[["Evidence"], Answer | None]], ...]

_EPI_NAME, _EPI_BEGINNING = re.compile(r"epi(?![a-z])|(?<![a-z])ep(2d|3d|fid|se)"), re.compile(r"^ep|mosaic")
_TURBO_NAME = re.compile(r"tse|fse|haste|spc|rare|grase|fast_?spin|propeller|blade|fase")
_SPIN_NAME = re.compile(r"^se\d?d?|spin_?echo")
_GRADIENT_NAME = re.compile(r"^(fl|fm|tfl|fi|fgre|gre|ffe|t1ffe|t2ffe|fe)|gre|ffe|field_?echo|flash|spgr")
_INVERSION_NAME = re.compile(r"^ir(?!on)")
_DIFFUSION_NAME, _DIFFUSION_WORD = re.compile(r"^ep_b\d"), re.compile(r"dwi|dti|diff")


@dataclass(frozen=True)
class Evidence:
    """One frame and who wrote it; ``words`` are those of its Frame Type, or of the object's Image Type."""

    scope: Scope
    vendor: Vendor
    words: tuple[str, ...]
    encoding: Encoding

    @property
    def top(self) -> Elements:
        """The object's own attributes."""
        return self.scope.top

    @cached_property
    def name(self) -> str:
        """What the pulse sequence is called, in the first place that names it."""
        places: tuple[str | Private, ...] = ("SequenceName", "PulseSequenceName", *self.vendor.sequence_name)
        names = (self.top.text(place) for place in places)
        return next((name.strip("*").lower() for name in names if name), "")

    @cached_property
    def scanning(self) -> frozenset[str]:
        """Scanning Sequence."""
        return frozenset(words_of(self.top, "ScanningSequence"))

    @cached_property
    def pulse(self) -> str:
        """Echo Pulse Sequence."""
        return self.top.text("EchoPulseSequence").upper()

    @cached_property
    def plain(self) -> bool:
        """Whether attributes say gradient echo and nothing else: then no name in passing says otherwise."""
        return bool(self.scanning & self.vendor.gradient_words) and not self.scanning & {"EP", "IR", "SE"}


def first(witnesses: Witnesses[Answer], evidence: Evidence) -> Answer | None:
    """The answer of the strongest witness that has one."""
    answers = (asked(evidence) for _, asked in witnesses)
    return next((answer for answer in answers if answer is not None), None)


def component(evidence: Evidence) -> Component:
    """Decide which part of the signal an image holds; a map, a mean or what cannot be said is DERIVED."""
    return first(COMPONENT, evidence) or Component.MAGNITUDE


def sequence_kind(evidence: Evidence) -> SequenceKind:
    """Decide what made the echo."""
    return first(SEQUENCE, evidence) or SequenceKind.UNKNOWN


# ---- which part of the signal


def _named_map(e: Evidence) -> Component | None:
    # Converted from an enhanced object, a classic one keeps its Frame Type as Image Type, and this attribute.
    converted = e.words[:1] == ("ORIGINAL",) and e.words[2:3] == ("T2_STAR",) and e.top.has("ComplexImageComponent")
    as_frame = e.encoding is not Encoding.CLASSIC or converted
    return Component.DERIVED if _is_derived(e.words, as_frame=as_frame) else None


def _is_derived(words: tuple[str, ...], *, as_frame: bool) -> bool:
    if not as_frame:
        return not DERIVED_WORDS.isdisjoint(words)
    # Value 3 of Frame Type is the contrast (T2_STAR there is a weighting), value 4 the derived contrast (there a map).
    named_map = len(words) > 2 and words[2].endswith("MAP") and words[2] not in COMPONENT_WORDS
    derived = DERIVED_WORDS | {"T1", "T2", "ADDITION", "DIVISION", "MULTIPLICATION", "STD_DEVIATION", "MTR", "TRACE"}
    return named_map or not derived.isdisjoint(words[:2] + words[3:])


def _coloured(e: Evidence) -> Component | None:
    return None if e.top.whole("SamplesPerPixel") in (1, None) else Component.DERIVED


def _numbered(e: Evidence) -> Component | None:
    number = e.top.number(e.vendor.component_private) if e.vendor.component_private else None
    return None if number is None else e.vendor.component_numbers.get(int(number), Component.DERIVED)


def _stated(e: Evidence) -> Component | None:
    return COMPONENT_WORDS.get(e.scope.of("ComplexImageComponent").text("ComplexImageComponent").upper())


def _placed(e: Evidence) -> Component | None:
    at = e.vendor.component_at
    word = "" if at is None or len(e.words) <= at else e.words[at]
    return COMPONENT_WORDS.get(word, Component.DERIVED) if word else None  # an empty place says nothing


def _worded(e: Evidence) -> Component | None:
    found = {COMPONENT_WORDS[word] for word in e.words[2:] if word in COMPONENT_WORDS}
    return Component.DERIVED if len(found) > 1 else next(iter(found), None)


COMPONENT: Witnesses[Component] = (
    ("words of Image Type that name a map", _named_map),
    ("several samples a pixel", _coloured),
    ("the vendor's private number", _numbered),
    ("Complex Image Component", _stated),
    ("the vendor's place in Image Type", _placed),
    ("component words in Image Type", _worded),
)


# ---- what made the echo


def _diffusion(e: Evidence) -> SequenceKind | None:
    b_value = e.scope.of("DiffusionBValue").lenient("DiffusionBValue") or 0.0
    private = e.top.lenient(e.vendor.diffusion_b) if e.vendor.diffusion_b else None
    stated = e.top.text("AcquisitionContrast").upper() == "DIFFUSION" or "DIFFUSION" in e.words
    said = b_value > 0 or (private or 0.0) > 0 or stated or bool(_DIFFUSION_NAME.search(e.name))
    return SequenceKind.DIFFUSION if said else None


def _diffusion_in_passing(e: Evidence) -> SequenceKind | None:
    return SequenceKind.DIFFUSION if not e.plain and _DIFFUSION_WORD.search(e.name) else None


def _echo_planar(e: Evidence) -> SequenceKind | None:
    factor = e.top.lenient(e.vendor.epi_factor) if e.vendor.epi_factor else None
    options = any(option.startswith("EPI") for option in words_of(e.top, "ScanOptions"))
    mosaic = "MOSAIC" in e.words or "VFRAME" in e.words
    said = "EP" in e.scanning or _planar(e) == "YES" or options or mosaic or (factor or 1) > 1
    return SequenceKind.ECHO_PLANAR if said else None


def _echo_planar_by_name(e: Evidence) -> SequenceKind | None:
    named = _EPI_NAME.search(e.name) or (not e.plain and _EPI_BEGINNING.search(e.name))
    return SequenceKind.ECHO_PLANAR if _planar(e) != "NO" and named else None


def _planar(e: Evidence) -> str:
    return e.top.text("EchoPlanarPulseSequence").upper()


def _inversion(e: Evidence) -> SequenceKind | None:
    said = "IR" in e.scanning or e.scope.of("InversionRecovery").text("InversionRecovery").upper() == "YES"
    by_name = not e.scanning and _INVERSION_NAME.search(e.name)
    return SequenceKind.INVERSION_RECOVERY if said or by_name else None


def _spin_echo(e: Evidence) -> SequenceKind | None:
    if "SE" not in e.scanning and e.pulse not in ("SPIN", "BOTH"):
        return None
    segmented = "SK" in words_of(e.top, "SequenceVariant") and (e.top.whole("EchoTrainLength") or 0) > 1
    train = (e.scope.of("RFEchoTrainLength").whole("RFEchoTrainLength") or 0) > 1
    turbo = bool(_TURBO_NAME.search(e.name)) or segmented or train
    return SequenceKind.TURBO_SPIN_ECHO if turbo else SequenceKind.SPIN_ECHO


def _gradient_echo(e: Evidence) -> SequenceKind | None:
    said = bool(e.scanning & e.vendor.gradient_words) or e.pulse == "GRADIENT"
    return SequenceKind.GRADIENT_ECHO if said else None


def _by_name(e: Evidence) -> SequenceKind | None:
    if _TURBO_NAME.search(e.name):
        return SequenceKind.TURBO_SPIN_ECHO
    if _GRADIENT_NAME.search(e.name):
        return SequenceKind.GRADIENT_ECHO
    return SequenceKind.SPIN_ECHO if _SPIN_NAME.search(e.name) else None


SEQUENCE: Witnesses[SequenceKind] = (
    ("b-values, Acquisition Contrast, Image Type: diffusion", _diffusion),
    (
        "a name that holds dwi, dti or diff, where attributes do not say gradient echo and nothing else",
        _diffusion_in_passing,
    ),
    (
        "Scanning Sequence, Echo Planar Pulse Sequence, Scan Options, Image Type, private EPI factor: echo planar",
        _echo_planar,
    ),
    ("a name of an echo-planar sequence, where Echo Planar Pulse Sequence is not NO", _echo_planar_by_name),
    ("Scanning Sequence, Inversion Recovery: inversion; its name, where Scanning Sequence is empty", _inversion),
    ("Scanning Sequence, Echo Pulse Sequence: spin echo", _spin_echo),
    ("Scanning Sequence, Echo Pulse Sequence: gradient echo", _gradient_echo),
    ("the name of the sequence", _by_name),
)
