"""Which organ a series is of, and whether it can measure its iron: what is of none makes no objects, and says why.

A phantom is of none, and the images say that it is one, whatever its protocol is named after.

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
from dicomnode.measure.organs import LIVER, ORGANS, PHANTOM, Answered
from dicomnode.measure.phantom import FEWEST
from dicomnode.model import Flag, Grade, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dicomnode.measure.organs import Organ
    from dicomnode.measure.regions import Found
    from dicomnode.model import EchoStack, RoiMeasurement

SURE = 0.9  # probability of a scene that is none of the organ's, from which on the images are taken for it
LIKELY = 0.5  # of a phantom from which on round vials are believed, of an organ's scene up to which they are looked for
USUAL_RATIO = 50.0  # S0 over sigma of an organ in an array of coils: a train is judged before its images are there
HOW = 'anatomy = "any" in [grouping], or of its [[scanner]], processes it all the same'

# What no organ of ours is. Pieces of words, without accents; what stands between bars is a word, or begins or ends
# one, by itself.
OTHERS: Mapping[str, tuple[str, ...]] = {
    "a field map": ("field[\\W_]*map", "b0[\\W_]*map"),
    "a phantom": PHANTOM.words,
    "the brain": ("brain", "|neuro", "cerebr", "|hirn", "crani", "enceph", "encef", "|head|", "|kopf|", "schadel"),
    "the neck": ("|neck|", "|hals|", "headneck", "cervical", "cspine"),
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
    "other-plane": "its slices lie in another plane than the organ is measured in",
    "organ-unclear": "its header fits several organs",
    "late-echoes": "its train of echoes cannot measure iron",
    "other-scene": "its images look like something else",
    "phantom": "its header names a phantom",
    "no-organ": "nothing in its images looks like the organ for sure",
    "unknown-sequence": "its header does not say what made the echoes",
    "not-wanted": "a rule of this site leaves it out",
    "scanner-ignores": "a rule of its scanner leaves it out",
    "scanner-takes-others": "it is none of the series that are taken from its scanner",
}
_OF_PLANE = frozenset({"other-plane", "organ-unclear"})  # what says nothing against a phantom: it lies as it was laid
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
    PHANTOM = "phantom"
    OTHER = "other"
    NOTHING = "nothing"


_NO_ORGAN = frozenset({Named.PHANTOM, Named.OTHER})


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What a header names, and where it does."""

    named: Named
    what: str = ""
    where: str = ""


def anatomy(stack: EchoStack, organ: Organ = LIVER) -> Anatomy:
    """What the header of a stack names."""
    own, filed = (_of_texts(texts, organ) for texts in _witnesses(stack))
    return filed if own.named is Named.NOTHING else own


def _witnesses(stack: EchoStack) -> tuple[dict[str, str], dict[str, str]]:
    """The words of the series itself, and those it is filed under."""
    image = stack.images[0][0]
    own, filed = ("series_description", "protocol_name"), ("body_part", "study_description")
    return {name: getattr(image, name) for name in own}, {name: getattr(image, name) for name in filed}


@dataclass(frozen=True, slots=True)
class Choice:
    """The organ that a series is taken for, and what speaks against it."""

    organ: Organ
    against: Reason | None = None


def choose(stack: EchoStack, among: Sequence[str] = (LIVER.name,)) -> Choice:
    """The organ that a series is of; ``among`` names those that are measured, the likeliest first.

    The header has to name it, or nothing at all, and its slices have to lie as that organ is scanned. Where words and
    plane leave several, or contradict each other, the series is of none.
    """
    asked = [ORGANS[name] for name in among]
    named = _organs_named(stack)
    normal = stack.planes[0].normal
    lying = [organ for organ in named or asked if organ.lies_in(normal)]
    likely = next(organ for organ in (*lying, *named, *asked) if organ in asked)
    if not named and (reason := _other(stack, asked)):
        return Choice(likely, reason)
    if named and not any(organ in asked for organ in named):
        return Choice(likely, _not_asked(stack, named[0], asked))
    if not lying:
        return Choice(likely, _other_plane(named or asked))
    if len(lying) > 1:
        called = " and ".join(f"the {organ.name}" for organ in lying)
        what = "its header names" if named else "nothing in its header tells"
        return Choice(likely, Reason("organ-unclear", f"{what} {called}, and its plane fits both; {HOW}"))
    if lying[0] not in asked:
        return Choice(likely, _not_asked(stack, lying[0], asked))
    return Choice(lying[0])


def _organs_named(stack: EchoStack) -> list[Organ]:
    """The organs that the words of a series name, or else those it is filed under; none where those name another."""
    for texts in _witnesses(stack):
        named = [organ for organ in ORGANS.values() if _of_texts(texts, organ).named is Named.ORGAN]
        if named or _of_texts(texts, LIVER).named in _NO_ORGAN:
            return named
    return []


def _other(stack: EchoStack, asked: Sequence[Organ]) -> Reason | None:
    """Why a series that names none of our organs is none of theirs; None where it names nothing."""
    found = anatomy(stack, asked[0])
    if found.named not in _NO_ORGAN:
        return None
    where = f"{found.where} names {found.what}, and nothing the {' or the '.join(one.region for one in asked)}"
    return Reason("other-anatomy", f"not of the {_or(asked)}: {where}; {HOW}")


def _not_asked(stack: EchoStack, organ: Organ, asked: Sequence[Organ]) -> Reason:
    found = anatomy(stack, organ)
    how = f'organs = ["{organ.name}"] in [grouping], or of its [[scanner]], has it measured'
    where = f"{found.where} names the {organ.region}"
    return Reason("other-anatomy", f"not of the {_or(asked)}: {where}, which is not measured here; {how}; {HOW}")


def _other_plane(organs: Sequence[Organ]) -> Reason:
    usual = " or ".join(f"{organ.planes} for the {organ.name}" for organ in organs)
    sentence = f"not of the {_or(organs)}: its slices are not cut as usual, which is {usual}; {HOW}"
    return Reason("other-plane", sentence)


def _or(organs: Sequence[Organ]) -> str:
    return " or the ".join(organ.name for organ in organs)


def check_header(
    stack: EchoStack, organ: Organ = LIVER, among: Sequence[str] = (LIVER.name,), *, phantoms: bool = False
) -> None:
    """Raise NotWanted where the header names something else, or where iron is beyond what the train can measure.

    With ``phantoms`` the images are waited for where they may show one: where the header names it, for then no iron is
    asked of the train, and where no more than the plane speaks against the organ.
    """
    if phantoms and anatomy(stack, organ).named is Named.PHANTOM:
        return
    against = choose(stack, among).against
    if against is not None and not (phantoms and against.code in _OF_PLANE):
        raise NotWanted(against.sentence, against.code)
    most = measurable_up_to(stack, organ)
    if most.on_scale is not None and organ.ranges is not None and most.on_scale < organ.ranges.least:
        raise NotWanted(
            f"this train cannot measure iron: with {most.echoes} R2* above about {most.in_words} is lost in "
            f"noise; {HOW}",
            "late-echoes",
        )


def check_images(
    stack: EchoStack,
    found: Found,
    measurements: Sequence[RoiMeasurement],
    organ: Organ = LIVER,
    among: Sequence[str] = (LIVER.name,),
) -> None:
    """Raise NotWanted where the images show something else, or no phantom for which the header was let pass.

    A phantom in a protocol that names the organ is a test of that protocol: it gets maps, and no number. Where no word
    names anything, the images have to look like the organ. Images that are clipped show nothing.
    """
    if anatomy(stack, organ).named is Named.PHANTOM:
        raise NotWanted(
            f"its header names a phantom, and neither {FEWEST} round vials nor an even body was found in it; {HOW}",
            "phantom",
        )
    against = choose(stack, among).against
    if against is not None:
        raise NotWanted(against.sentence, against.code)
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


def tells_phantoms(found: Found) -> bool:
    """Whether the finder of an organ says if it looks at a phantom. That of the heart sees a septum among vials."""
    return any(one in found.scene for one in PHANTOM.scenes)


def may_be_phantom(stack: EchoStack, found: Found, organ: Organ = LIVER) -> bool:
    """Whether what the finder of an organ saw, or the header, is reason enough to look for a phantom's vials."""
    shown = sum(found.scene.get(one, 0.0) for one in organ.scenes)
    return not tells_phantoms(found) or anatomy(stack, organ).named is Named.PHANTOM or shown < LIKELY


def is_phantom(stack: EchoStack, found: Found, vials: Found, organ: Organ = LIVER, *, clipped: bool = False) -> bool:
    """Whether a series is a phantom's: ``vials`` is what was found of one, ``found`` by a finder that tells phantoms.

    The images go first, also before an organ that the protocol is named after: so are most phantoms scanned. Images
    that are ``clipped`` show nothing: a patient in them is as smooth as a bottle.
    """
    named = anatomy(stack, organ).named is Named.PHANTOM
    if not vials.seen or (clipped and not named):
        return False
    likely = max(one.scene.get(scene, 0.0) for one in (found, vials) for scene in PHANTOM.scenes)
    least = LIKELY if len(vials.rois) >= FEWEST else SURE
    return named or likely >= least


def on_order(
    code: str,
    stack: EchoStack,
    found: Found | None,
    measurements: Sequence[RoiMeasurement],
    *,
    organ: Organ = LIVER,
    among: Sequence[str] = (LIVER.name,),
    phantoms: bool = False,
) -> Flag:
    """The flag of what a person wants processed: all that speaks against it, not only what was refused first.

    ``found`` is None where a person drew the regions, and where they are a phantom's.
    """
    codes = [code]
    with _noted(codes):
        check_header(stack, organ, among, phantoms=phantoms)
    if found is not None:
        with _noted(codes):
            check_images(stack, found, measurements, organ, among)
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
    """Up to where a train measures, in an organ of the usual brightness."""

    per_s: float
    mg_per_g: float | None  # None where no calibration is for the field
    echoes: str  # in words
    on_scale: float | None  # in the unit of the organ's ranges; None where they say nothing

    @property
    def in_words(self) -> str:
        """The rate, and what it is on the organ's scale."""
        return f"{self.per_s:.0f}/s" + ("" if self.mg_per_g is None else f" ({self.mg_per_g:.1f} mg/g)")


def measurable_up_to(stack: EchoStack, organ: Organ = LIVER) -> Reach:
    """Up to where the train of a stack measures, by its echo times alone."""
    times, field_t = stack.echo_times_ms, stack.field_strength_t
    per_s = quality.reach_per_s(USUAL_RATIO, 1.0, 1.0, times[1]) or 0.0
    line = organ.usual_calibration(field_t)
    at = "" if field_t is None else f" at {field_t:.2g} T"
    iron = None if line is None or organ.answers is not Answered.IRON else line.lic_mg_per_g(per_s)
    of_rate = organ.ranges is not None and organ.ranges.of_rate and organ.ranges.hold_at(field_t)
    return Reach(per_s, iron, f"echoes at {times[0]:.3g} and {times[1]:.3g} ms{at}", per_s if of_rate else iron)


def advice(stack: EchoStack, organ: Organ = LIVER) -> str:
    """What to change at the scanner while the patient is there; nothing where the train reaches severe iron."""
    most = measurable_up_to(stack, organ)
    enough = organ.ranges is None or most.on_scale is None or most.on_scale >= organ.ranges.severe
    steps = [] if enough else quality.shorter(stack.echo_times_ms, stack.field_strength_t)
    if not steps or anatomy(stack, organ).named in _NO_ORGAN:
        return ""
    return (
        f"With {most.echoes} R2* above about {most.in_words} cannot be measured. "
        f"Where more iron is expected use {', or '.join(steps)}."
    )


def _of_texts(texts: Mapping[str, str], organ: Organ) -> Anatomy:
    """The organ where any text names it, otherwise the first other thing that one names."""
    plain = {name: _plain(text) for name, text in texts.items()}
    for name, text in plain.items():
        if _names(text, organ.words):
            return Anatomy(Named.ORGAN, organ.name, _PLACES[name])
    for name, text in plain.items():
        others = {f"the {one.region}": one.words for one in ORGANS.values() if one is not organ}
        for what, words in (*OTHERS.items(), *others.items()):
            if _names(text, words):
                named = Named.PHANTOM if words is PHANTOM.words else Named.OTHER
                return Anatomy(named, what, _PLACES[name])
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
