"""Which organ a series is of, and which are of none: by its header, by its images, by what its train can measure."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dicomnode import protocol
from dicomnode.errors import NotWanted
from dicomnode.measure.organs import ORGANS
from dicomnode.model import Component, EchoImage, EchoStack, Encoding, Flag, Grade, Plane, RoiMeasurement, SequenceKind
from dicomnode.protocol import Named
from dicomnode.simulate import ORIENTATIONS

TIMES = (1.0, 2.1, 3.2, 4.3)
TRUNK, HEAD, PHANTOM = {"trunk": 0.99}, {"head": 0.97, "trunk": 0.02}, {"phantom": 0.95, "trunk": 0.03}


# Slices 35 degrees off a coronal plane, across a heart that lies flat.
PLANES = {**ORIENTATIONS, "between": (0.819152, 0.573576, 0.0, 0.0, 0.0, -1.0)}


def stack(times=TIMES, field_t=1.5, orientation="axial", **words):
    plane = Plane(8, 8, (0.0, 0.0, 0.0), PLANES[orientation], (2.0, 2.0), "1.2")
    images = tuple(
        EchoImage(
            Path("x"), None, "1", "1", "1", "1", Encoding.CLASSIC, Component.MAGNITUDE, SequenceKind.GRADIENT_ECHO,
            echo_time_ms=time, plane=plane, field_strength_t=field_t, **words,
        )
        for time in times
    )  # fmt: skip
    return EchoStack("1", ("1",), times, (images,))


def vials(count=8, *, smooth=False):
    return SimpleNamespace(rois=(None,) * count, seen=count > 0, scene={"phantom": float(smooth)})


def found(scene=TRUNK, *, trusted=False, seen=False):
    return SimpleNamespace(organ=np.full((1, 8, 8), trusted), scene=scene, seen=seen or trusted)


def code_of(check, *arguments):
    with pytest.raises(NotWanted) as caught:
        check(*arguments)
    assert 'anatomy = "any"' in str(caught.value), "the sentence says how to have it processed"
    return caught.value.code


@pytest.mark.parametrize(
    "words",
    [
        {"series_description": "T2* LEBER ATEMSTOPP"},
        {"series_description": "foie T2etoile"},
        {"series_description": "Fegato_multieco"},
        {"series_description": "T2STAR HÍGADO"},
        {"protocol_name": "R2star_Liver_8e"},
        {"body_part": "ABDOMENPELVIS"},
        {"body_part": "KIDNEY"},
        {"study_description": "MR ABD W/O"},
        {"series_description": "T2* heart and liver"},
        {"study_description": "Oberbauch"},
    ],
    ids=str,
)
def test_words_for_the_abdomen_are_known_in_the_languages_of_scanners(words):
    assert protocol.anatomy(stack(**words)).named is Named.ORGAN
    protocol.check_header(stack(**words))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"body_part": "BRAIN"}, "the brain"),
        ({"body_part": "HEAD"}, "the brain"),
        ({"series_description": "SWI_Schädel"}, "the brain"),
        ({"series_description": "T2* Cœur"}, "the heart"),
        ({"series_description": "MEDIC Knie re"}, "the knee"),
        ({"protocol_name": "gre_field_mapping"}, "a field map"),
        ({"series_description": "B0map"}, "a field map"),
        ({"series_description": "QA weekly"}, "a phantom"),
        ({"study_description": "Cardiac MRI"}, "the heart"),
        ({"body_part": "PROSTATE"}, "the pelvis"),
        ({"body_part": "LSPINE"}, "the spine"),
        ({"study_description": "MR ABDOMEN", "series_description": "T2* heart"}, "the heart"),
    ],
    ids=str,
)
def test_what_names_something_else_is_refused_with_the_place_that_named_it(words, what):
    with pytest.raises(NotWanted) as caught:
        protocol.check_header(stack(**words))
    assert caught.value.code == "other-anatomy"
    assert f"names {what}," in str(caught.value)
    assert not any(text in str(caught.value) for text in words.values()), "nothing is repeated: it may hold a name"


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"series_description": "t2star_8echo"},
        {"series_description": "HANDLE_ME", "protocol_name": "overhead"},
        {"body_part": "WHOLEBODY"},
        {"body_part": "CHEST", "study_description": "MR thorax"},
    ],
    ids=str,
)
def test_words_that_only_hold_others_name_nothing(words):
    assert protocol.anatomy(stack(**words)).named is Named.NOTHING
    protocol.check_header(stack(**words))


def test_the_series_own_words_go_before_a_body_part_that_was_registered_for_another():
    protocol.check_header(stack(series_description="T2* liver", body_part="BRAIN", study_description="NEURO"))
    protocol.check_header(stack(series_description="gre_6e", body_part="BRAIN", study_description="ABDOMEN"))


def test_a_train_that_begins_too_late_for_any_iron_is_refused_with_what_it_could_measure():
    protocol.check_header(stack((4.6, 9.2, 13.8), 3.0))
    with pytest.raises(NotWanted) as caught:
        protocol.check_header(stack((25.0, 50.0, 75.0), 1.5))
    assert caught.value.code == "late-echoes"
    assert "25 and 50 ms at 1.5 T" in str(caught.value)


@pytest.mark.parametrize("words", [{}, {"body_part": "ABDOMEN"}], ids=str)
def test_what_looks_like_a_head_is_refused_whatever_the_header_says(words):
    assert code_of(protocol.check_images, stack(**words), found(HEAD), ()) == "other-scene"


def test_a_phantom_in_a_protocol_of_the_liver_is_a_test_of_it():
    protocol.check_images(stack(body_part="ABDOMEN"), found(PHANTOM), ())
    assert code_of(protocol.check_images, stack(), found(PHANTOM), ()) == "other-scene"


def test_where_no_word_tells_the_images_have_to():
    assert code_of(protocol.check_images, stack(), found(seen=False), ()) == "no-organ"
    assert code_of(protocol.check_images, stack(), found({"trunk": 0.6, "limbs": 0.4}, seen=True), ()) == "no-organ"
    protocol.check_images(stack(), found(seen=True), ())
    protocol.check_images(stack(body_part="LIVER"), found(seen=False), ())
    protocol.check_images(stack(), found(HEAD, trusted=True), ())


def test_what_is_clipped_shows_nothing_and_is_not_taken_for_something_else():
    flags = (Flag("clipped", Grade.NOT_MEASURABLE, "100% of the body is clipped"),)
    protocol.check_images(stack(), found(PHANTOM), (RoiMeasurement("liver", 0, 0.0, None, None, None, None, flags),))


def test_the_technologist_hears_what_the_train_cannot_measure_and_what_can():
    said = protocol.advice(stack((4.6, 9.2, 13.8), 3.0))
    assert said.startswith("With echoes at 4.6 and 9.2 ms at 3 T R2* above about 306/s (4.")
    assert "0.9 ms" in said
    assert "1.5 T" in said
    assert protocol.advice(stack()) == "", "this train reaches severe iron"
    assert protocol.advice(stack((4.6, 9.2), 3.0, body_part="BRAIN")) == ""
    assert protocol.advice(stack((4.6, 9.2), None)) == "", "no calibration is for an unknown field"


LIVER_RECORD, HEART_RECORD = ORGANS["liver"], ORGANS["heart"]
LIVER, HEART, BOTH = ("liver",), ("heart",), ("liver", "heart")
NAMES_LIVER, NAMES_HEART = {"series_description": "T2* LIVER"}, {"series_description": "T2* Herz Kurzachse"}
NAMES_BOTH = {"study_description": "MR iron of heart and liver"}
FILED_HEART = {"body_part": "HEART", "series_description": "gre 8 echoes"}


@pytest.mark.parametrize(
    ("words", "orientation", "among", "organ"),
    [
        (NAMES_LIVER, "axial", BOTH, "liver"),
        (NAMES_LIVER, "coronal", BOTH, "liver"),
        (NAMES_LIVER, "oblique", LIVER, "liver"),
        (NAMES_HEART, "short-axis", BOTH, "heart"),
        (NAMES_HEART, "short-axis", HEART, "heart"),
        (FILED_HEART, "short-axis", BOTH, "heart"),
        (NAMES_BOTH, "axial", BOTH, "liver"),
        (NAMES_BOTH, "short-axis", BOTH, "heart"),
        (NAMES_BOTH, "axial", LIVER, "liver"),
        ({}, "axial", BOTH, "liver"),
        ({}, "short-axis", BOTH, "heart"),
        ({"body_part": "HEART", "series_description": "T2* liver"}, "axial", BOTH, "liver"),
    ],
)
def test_words_and_plane_together_say_of_which_organ_a_series_is(words, orientation, among, organ):
    choice = protocol.choose(stack(orientation=orientation, **words), among)
    assert (choice.organ.name, choice.against) == (organ, None)


@pytest.mark.parametrize(
    ("words", "orientation", "among", "code"),
    [
        (NAMES_LIVER, "short-axis", BOTH, "other-plane"),
        (NAMES_LIVER, "short-axis", LIVER, "other-plane"),
        (NAMES_HEART, "axial", BOTH, "other-plane"),
        (NAMES_HEART, "coronal", HEART, "other-plane"),
        (FILED_HEART, "axial", BOTH, "other-plane"),
        (NAMES_HEART, "short-axis", LIVER, "other-anatomy"),
        (NAMES_HEART, "axial", LIVER, "other-anatomy"),
        (NAMES_LIVER, "axial", HEART, "other-anatomy"),
        (NAMES_BOTH, "short-axis", LIVER, "other-anatomy"),
        ({}, "short-axis", LIVER, "other-plane"),
        ({}, "axial", HEART, "other-plane"),
        ({"series_description": "knee"}, "short-axis", BOTH, "other-anatomy"),
        ({"series_description": "phantom"}, "axial", HEART, "other-anatomy"),
    ],
)
def test_what_words_and_plane_contradict_each_other_about_is_refused(words, orientation, among, code):
    one = stack(orientation=orientation, **words)
    assert code_of(protocol.check_header, one, protocol.choose(one, among).organ, among) == code


def test_a_plane_that_fits_both_leaves_it_to_words_and_without_any_is_refused():
    one = stack(orientation="between")
    assert LIVER_RECORD.lies_in(one.planes[0].normal)
    assert HEART_RECORD.lies_in(one.planes[0].normal)
    assert protocol.choose(stack(orientation="between", **NAMES_HEART), BOTH).organ is HEART_RECORD
    assert protocol.choose(stack(orientation="between", **NAMES_LIVER), BOTH).organ is LIVER_RECORD
    for words in ({}, NAMES_BOTH):
        assert protocol.choose(stack(orientation="between", **words), BOTH).against.code == "organ-unclear"


def test_a_heart_that_is_not_measured_here_is_refused_with_how_to_have_it_measured():
    with pytest.raises(NotWanted, match=r'Series Description names the heart.*organs = \["heart"\]'):
        protocol.check_header(stack(orientation="short-axis", **NAMES_HEART))


@pytest.mark.parametrize("tilt_deg", [0, 10, 20, 30])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_no_slab_of_the_trunk_is_a_short_axis_until_it_is_tilted_about_two_axes(axis, tilt_deg):
    tilt = np.radians(tilt_deg)
    other = np.roll(axis, 1)
    normal = tuple(np.cos(tilt) * np.array(axis) + np.sin(tilt) * other)
    assert LIVER_RECORD.lies_in(normal)
    assert not HEART_RECORD.lies_in(normal)


def test_the_direction_in_which_slices_are_counted_does_not_matter():
    normal = np.array(stack(orientation="short-axis").planes[0].normal)
    assert HEART_RECORD.lies_in(tuple(normal))
    assert HEART_RECORD.lies_in(tuple(-normal))
    assert not LIVER_RECORD.lies_in(tuple(normal))


def test_a_train_is_judged_by_the_limits_of_its_organ():
    long = stack(times=(12.0, 40.0, 60.0), orientation="short-axis", **NAMES_HEART)
    assert protocol.advice(long, HEART_RECORD).startswith("With echoes at 12 and 40 ms at 1.5 T R2* above about")
    assert "mg/g" not in protocol.advice(long, HEART_RECORD)
    late = stack(times=(60.0, 90.0, 120.0), orientation="short-axis", **NAMES_HEART)
    assert code_of(protocol.check_header, late, HEART_RECORD, HEART) == "late-echoes"


def test_what_is_named_a_phantom_is_looked_at_where_phantoms_are_measured():
    named = stack((25.0, 50.0, 75.0), series_description="QA weekly")
    protocol.check_header(named, phantoms=True)
    assert protocol.may_be_phantom(named, found())
    assert code_of(protocol.check_header, named) == "other-anatomy"


@pytest.mark.parametrize(
    ("words", "orientation", "among", "code"),
    [
        ({}, "short-axis", LIVER, "other-plane"),
        (NAMES_LIVER, "short-axis", LIVER, "other-plane"),
        (NAMES_HEART, "axial", BOTH, "other-plane"),
        ({}, "axial", HEART, "other-plane"),
        ({}, "between", BOTH, "organ-unclear"),
        ({"series_description": "QA weekly"}, "axial", HEART, "phantom"),
    ],
)
def test_what_a_phantom_may_have_against_it_waits_for_the_images_and_is_said_where_they_show_none(
    words, orientation, among, code
):
    one = stack(orientation=orientation, **words)
    organ = protocol.choose(one, among).organ
    protocol.check_header(one, organ, among, phantoms=True)
    assert code_of(protocol.check_images, one, found(trusted=True), (), organ, among) == code


def test_a_knee_is_refused_by_its_header_also_where_phantoms_are_measured():
    with pytest.raises(NotWanted, match="the knee"):
        protocol.check_header(stack(series_description="knee"), phantoms=True)


def test_a_finder_that_tells_no_phantoms_is_no_witness_against_one_however_sure_it_is_of_its_organ():
    assert protocol.may_be_phantom(stack(**NAMES_HEART), found({"heart": 0.98}), HEART_RECORD)
    assert not protocol.may_be_phantom(stack(**NAMES_LIVER), found({"trunk": 0.98, "phantom": 0.01}), LIVER_RECORD)


def test_what_is_named_a_phantom_and_holds_none_is_refused_even_if_a_liver_is_seen_in_it():
    assert code_of(protocol.check_images, stack(series_description="QA weekly"), found(trusted=True), ()) == "phantom"


@pytest.mark.parametrize(
    ("scene", "count", "words", "is_one"),
    [
        (PHANTOM, 1, {}, True),
        (PHANTOM, 8, {"body_part": "LIVER"}, True),
        ({"phantom": 0.6}, 8, {}, True),
        ({"phantom": 0.6}, 1, {}, False),
        ({"phantom": 0.2}, 8, {}, False),
        ({"phantom": 0.2}, 1, {"series_description": "phantom 12 tubes"}, True),
        (PHANTOM, 0, {}, False),
    ],
    ids=str,
)
def test_a_phantom_is_what_looks_like_one_and_has_vials_whatever_its_protocol_is_named_after(
    scene, count, words, is_one
):
    assert protocol.is_phantom(stack(**words), found(scene), vials(count)) is is_one


def test_images_that_are_clipped_show_no_phantom_that_no_word_names():
    assert not protocol.is_phantom(stack(body_part="LIVER"), found(PHANTOM), vials(1, smooth=True), clipped=True)
    assert protocol.is_phantom(stack(series_description="QA"), found(PHANTOM), vials(1, smooth=True), clipped=True)


def test_a_smooth_ellipse_is_a_phantom_where_nothing_else_is_sure():
    named, unsure = stack(study_description="liver"), found({"phantom": 0.3, "limbs": 0.4, "head": 0.3})
    assert protocol.is_phantom(named, unsure, vials(1, smooth=True))
    assert not protocol.is_phantom(named, unsure, vials(1))
    assert not protocol.may_be_phantom(named, found({**TRUNK, "phantom": 0.01}))
