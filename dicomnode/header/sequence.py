"""What made the echo: the pulse sequence behind an image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dicomnode.header.scope import words_of
from dicomnode.model import SequenceKind

if TYPE_CHECKING:
    from dicomnode.header.elements import Elements, Private
    from dicomnode.header.scope import Scope
    from dicomnode.header.vendors import Vendor

_EPI_NAME = re.compile(r"^ep|epi|mosaic")
_TURBO_NAME = re.compile(r"tse|fse|haste|spc|rare|grase|fast_?spin|propeller|blade|fase")
_SPIN_NAME = re.compile(r"^se\d?d?|spin_?echo")
_GRADIENT_NAME = re.compile(r"^(fl|fm|tfl|fi|fgre|gre|ffe|t1ffe|t2ffe|fe)|gre|ffe|field_?echo|flash|spgr")
_INVERSION_NAME = re.compile(r"^ir(?!on)")
_DIFFUSION_NAME, _DIFFUSION_WORD = re.compile(r"^ep_b\d"), re.compile(r"dwi|dti|diff")


def sequence_kind(scope: Scope, vendor: Vendor, words: tuple[str, ...]) -> SequenceKind:
    """Decide what made the echo, from the strongest evidence to the weakest."""
    top = scope.top
    name = _sequence_name(top, vendor)
    scanning = set(words_of(top, "ScanningSequence"))
    pulse = top.text("EchoPulseSequence").upper()
    # A name is a weak witness: "iron_gre" is no inversion recovery, "diff_te" no diffusion, where attributes speak.
    plain = bool(scanning & vendor.gradient_words) and not scanning & {"EP", "IR", "SE"}
    if _is_diffusion(scope, vendor, words, name) or (not plain and _DIFFUSION_WORD.search(name)):
        return SequenceKind.DIFFUSION
    if _is_echo_planar(top, vendor, words, name, scanning):
        return SequenceKind.ECHO_PLANAR
    inversion = scope.of("InversionRecovery").text("InversionRecovery").upper()
    if "IR" in scanning or inversion == "YES" or (not scanning and _INVERSION_NAME.search(name)):
        return SequenceKind.INVERSION_RECOVERY
    if "SE" in scanning or pulse in ("SPIN", "BOTH"):
        return _spin_echo_kind(scope, name)
    if scanning & vendor.gradient_words or pulse == "GRADIENT":
        return SequenceKind.GRADIENT_ECHO
    return _kind_by_name(name)


def _kind_by_name(name: str) -> SequenceKind:
    if _TURBO_NAME.search(name):
        return SequenceKind.TURBO_SPIN_ECHO
    if _GRADIENT_NAME.search(name):
        return SequenceKind.GRADIENT_ECHO
    return SequenceKind.SPIN_ECHO if _SPIN_NAME.search(name) else SequenceKind.UNKNOWN


def _sequence_name(top: Elements, vendor: Vendor) -> str:
    places: tuple[str | Private, ...] = ("SequenceName", "PulseSequenceName", *vendor.sequence_name)
    names = (top.text(place) for place in places)
    return next((name.strip("*").lower() for name in names if name), "")


def _is_diffusion(scope: Scope, vendor: Vendor, words: tuple[str, ...], name: str) -> bool:
    b_value = scope.of("DiffusionBValue").lenient("DiffusionBValue") or 0.0
    private = scope.top.lenient(vendor.diffusion_b) if vendor.diffusion_b else None
    stated = scope.top.text("AcquisitionContrast").upper() == "DIFFUSION"
    return b_value > 0 or (private or 0.0) > 0 or stated or "DIFFUSION" in words or bool(_DIFFUSION_NAME.search(name))


def _is_echo_planar(top: Elements, vendor: Vendor, words: tuple[str, ...], name: str, scanning: set[str]) -> bool:
    factor = top.lenient(vendor.epi_factor) if vendor.epi_factor else None
    said = top.text("EchoPlanarPulseSequence").upper()
    planar, named = said == "YES", said != "NO" and bool(_EPI_NAME.search(name))
    options = any(option.startswith("EPI") for option in words_of(top, "ScanOptions"))
    mosaic = "MOSAIC" in words or "VFRAME" in words
    return "EP" in scanning or planar or options or mosaic or (factor or 1) > 1 or named


def _spin_echo_kind(scope: Scope, name: str) -> SequenceKind:
    segmented = "SK" in words_of(scope.top, "SequenceVariant") and (scope.top.whole("EchoTrainLength") or 0) > 1
    train = (scope.of("RFEchoTrainLength").whole("RFEchoTrainLength") or 0) > 1
    turbo = bool(_TURBO_NAME.search(name)) or segmented or train
    return SequenceKind.TURBO_SPIN_ECHO if turbo else SequenceKind.SPIN_ECHO
