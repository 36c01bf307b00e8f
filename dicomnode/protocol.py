"""Whether a series is an organ's and can measure its iron: what is not makes no objects, and says why in one sentence.

Three witnesses: what the header names, what the finder sees, what the train of echoes can measure. The words of the
series itself go before those it is filed under, of which Body Part Examined is one: scanners fill it in from whatever
was registered. Nothing of a description is repeated but the word that told.
"""

from __future__ import annotations

import contextlib
import functools
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dicomnode.errors import NotWanted
from dicomnode.measure import quality
from dicomnode.measure.organs import LIVER
from dicomnode.model import Flag, Grade

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dicomnode.measure.organs import Organ
    from dicomnode.measure.regions import Found
    from dicomnode.model import EchoStack, RoiMeasurement

SURE = 0.9  # probability of a scene that is none of the organ's, from which on the images are taken for it
USUAL_RATIO = 50.0  # S0 over sigma of a liver in an array of coils: a train is judged before its images are there
HOW = 'anatomy = "any" in [grouping], or of its [[scanner]], processes it all the same'

# Pieces of words, without accents; what stands between bars is a word, or begins or ends one, by itself.
OTHERS: Mapping[str, tuple[str, ...]] = {
    "a field map": ("field[\\W_]*map", "b0[\\W_]*map"),
    "a phantom": ("phantom", "fantom", "|qa|", "|acr|"),
    "the brain": ("brain", "|neuro", "cerebr", "|hirn", "crani", "enceph", "encef", "|head|", "|kopf|", "schadel"),
    "the neck": ("|neck|", "|hals|", "headneck", "cervical", "cspine"),
    "the heart": ("heart", "cardiac", "cardio", "kardi", "|herz", "coeur", "cuore", "corazon", "coracao", "myocard"),
    "the spine": ("spine", "lumbar", "wirbel", "rachis", "colonna", "columna", "vertebr", "|lws|", "|hws|", "|bws|"),
    "the knee": ("knee", "|knie", "genou", "ginocchio", "rodilla", "joelho"),
    "a joint or limb": (
        *("|hip|", "shoulder", "schulter", "epaule", "spalla", "hombro", "ankle", "sprunggelenk", "cheville", "wrist"),
        *("handgelenk", "poignet", "elbow", "ellbogen", "|foot|", "|fuss|", "|hand|", "finger", "thigh", "femur"),
        *("|tibia", "|calf|", "|leg|", "extremit", "cartilage", "knorpel"),
    ),
    "the pelvis": ("pelvis", "pelvic", "prostat", "uterus", "becken", "rectum", "placenta", "fetal", "foetal"),
    "the breast": ("breast", "mamma"),
}
# What a person may overrule, by the code of the refusal: what speaks against the series. Nothing else: of damaged
# images, of too few echoes or of another decay no order makes a number.
OVERRULED: Mapping[str, str] = {
    "other-anatomy": "its header names another part of the body",
    "late-echoes": "its train of echoes cannot measure iron",
    "other-scene": "its images look like something else",
    "no-organ": "nothing in its images looks like the organ for sure",
    "unknown-sequence": "its header does not say what made the echoes",
    "not-wanted": "a rule of this site leaves it out",
    "scanner-ignores": "a rule of its scanner leaves it out",
    "scanner-takes-others": "it is none of the series that are taken from its scanner",
}
ON_ORDER = "on-order"  # the flag of what was made although it was refused
_PLACES = {
    "series_description": "Series Description",
    "protocol_name": "Protocol Name",
    "body_part": "Body Part Examined",
    "study_description": "Study Description",
}


class Named(StrEnum):
    """What a header says a series is of."""

    ORGAN = "organ"  # or what lies about it
    OTHER = "other"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What a header names, and where it does."""

    named: Named
    what: str = ""
    where: str = ""


def anatomy(stack: EchoStack, organ: Organ = LIVER) -> Anatomy:
    """What the header of a stack names."""
    image = stack.images[0][0]
    own = _of_texts({name: getattr(image, name) for name in ("series_description", "protocol_name")}, organ)
    filed = _of_texts({name: getattr(image, name) for name in ("body_part", "study_description")}, organ)
    return filed if own.named is Named.NOTHING else own


def check_header(stack: EchoStack, organ: Organ = LIVER) -> None:
    """Raise NotWanted where the header names something else, or where iron is beyond what the train can measure."""
    found = anatomy(stack, organ)
    if found.named is Named.OTHER:
        raise NotWanted(
            f"not of the {organ.name}: {found.where} names {found.what}, and nothing the {organ.region}; {HOW}",
            "other-anatomy",
        )
    most, least = measurable_up_to(stack, organ), organ.ranges.least if organ.ranges else 0.0
    if most.mg_per_g is not None and most.mg_per_g < least:
        raise NotWanted(
            f"this train cannot measure iron: with {most.echoes} R2* above about {most.per_s:.0f}/s "
            f"({most.mg_per_g:.1f} mg/g) is lost in noise; {HOW}",
            "late-echoes",
        )


def check_images(stack: EchoStack, found: Found, measurements: Sequence[RoiMeasurement], organ: Organ = LIVER) -> None:
    """Raise NotWanted where the images show something else.

    A phantom in a protocol that names the organ is a test of that protocol: it gets maps, and no number. Where no word
    names anything, the images have to look like the organ. Images that are clipped show nothing.
    """
    if found.organ.any() or any(flag.code == "clipped" for one in measurements for flag in one.flags):
        return
    named = anatomy(stack, organ).named
    what, probability = max(found.scene.items(), key=lambda one: one[1])
    if what not in organ.scenes and probability >= SURE and not (what == "phantom" and named is Named.ORGAN):
        like = _SCENES.get(what, what)
        raise NotWanted(
            f"not of the {organ.name}: the images look like {like} ({probability:.0%}); {HOW}", "other-scene"
        )
    shown = sum(found.scene.get(one, 0.0) for one in organ.scenes)
    if named is Named.NOTHING and not (found.seen and shown >= SURE):
        raise NotWanted(
            f"not of the {organ.name}: nothing in the images looks like it for sure, and no description names the "
            f"{organ.region}; {HOW}",
            "no-organ",
        )


def on_order(
    code: str, stack: EchoStack, found: Found | None, measurements: Sequence[RoiMeasurement], organ: Organ = LIVER
) -> Flag:
    """The flag of what a person wants processed: all that speaks against it, not only what was refused first.

    ``found`` is None where a person drew the regions.
    """
    codes = [code]
    with _noted(codes):
        check_header(stack, organ)
    if found is not None:
        with _noted(codes):
            check_images(stack, found, measurements, organ)
    against = " and ".join(OVERRULED[one] for one in dict.fromkeys(codes))
    return Flag(ON_ORDER, Grade.LOW_CONFIDENCE, f"measured on a person's order although {against}")


@contextlib.contextmanager
def _noted(codes: list[str]) -> Iterator[None]:
    """Note the code of a refusal in place of refusing."""
    try:
        yield
    except NotWanted as fault:
        codes.append(fault.code)


_SCENES = {"head": "a head", "limbs": "legs", "phantom": "a phantom"}


@dataclass(frozen=True, slots=True)
class Reach:
    """Up to where a train measures, in a liver of the usual brightness."""

    per_s: float
    mg_per_g: float | None  # None where no calibration is for the field
    echoes: str  # in words


def measurable_up_to(stack: EchoStack, organ: Organ = LIVER) -> Reach:
    """Up to where the train of a stack measures, by its echo times alone."""
    times, field_t = stack.echo_times_ms, stack.field_strength_t
    per_s = quality.reach_per_s(USUAL_RATIO, 1.0, 1.0, times[1]) or 0.0
    line = organ.usual_calibration(field_t)
    at = "" if field_t is None else f" at {field_t:.2g} T"
    return Reach(
        per_s, None if line is None else line.lic_mg_per_g(per_s), f"echoes at {times[0]:.3g} and {times[1]:.3g} ms{at}"
    )


def advice(stack: EchoStack, organ: Organ = LIVER) -> str:
    """What to change at the scanner while the patient is there; nothing where the train reaches severe iron."""
    most = measurable_up_to(stack, organ)
    enough = organ.ranges is None or most.mg_per_g is None or most.mg_per_g >= organ.ranges.severe
    steps = [] if enough else quality.shorter(stack.echo_times_ms, stack.field_strength_t)
    if not steps or anatomy(stack, organ).named is Named.OTHER:
        return ""
    return (
        f"With {most.echoes} R2* above about {most.per_s:.0f}/s ({most.mg_per_g:.1f} mg/g) cannot be measured. "
        f"Where more iron is expected use {', or '.join(steps)}."
    )


def _of_texts(texts: Mapping[str, str], organ: Organ) -> Anatomy:
    """The organ where any text names it, otherwise the first other thing that one names."""
    plain = {name: _plain(text) for name, text in texts.items()}
    for name, text in plain.items():
        if _names(text, organ.words):
            return Anatomy(Named.ORGAN, organ.name, _PLACES[name])
    for name, text in plain.items():
        for what, words in OTHERS.items():
            if _names(text, words):
                return Anatomy(Named.OTHER, what, _PLACES[name])
    return Anatomy(Named.NOTHING)


def _plain(text: str) -> str:
    """Lower case without accents; ligatures and sharp s spelt out."""
    spelt = text.casefold().replace("œ", "oe").replace("æ", "ae")
    return "".join(one for one in unicodedata.normalize("NFKD", spelt) if not unicodedata.combining(one))


def _names(text: str, words: Iterable[str]) -> bool:
    return any(_pattern(word).search(text) for word in words)


@functools.cache
def _pattern(word: str) -> re.Pattern[str]:
    begin, end = ("(?<![a-z])" if word[0] == "|" else "", "(?![a-z])" if word[-1] == "|" else "")
    return re.compile(begin + word.strip("|") + end)
