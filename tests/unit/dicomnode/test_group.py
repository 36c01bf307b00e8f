"""Grouping: which images make a stack, what is missing, what is refused and why."""

import dataclasses
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.config import GroupingSettings, ScannerSettings
from dicomnode.group import REASONS, Wishes, assemble
from dicomnode.model import Component, EchoImage, Encoding, GroupStatus, Plane, SequenceKind

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.991369, 0.119141, -0.0546986, -0.127701, 0.971973, -0.197384)
M, P, R, I, DERIVED = Component  # noqa: E741
RULES = GroupingSettings()


def plane(location_mm=0.0, orientation=AXIAL, shift=(0.0, 0.0, 0.0), **changes):
    normal = np.cross(orientation[:3], orientation[3:])
    position = tuple(float(x) for x in np.round(np.array((-100.0, -90.0, 20.0)) + location_mm * normal + shift, 4))
    return dataclasses.replace(Plane(64, 48, position, orientation, (1.5, 1.5), "1.2.9"), **changes)


def image(echo_time_ms=2.0, location_mm=0.0, component=M, series="1.2.3.1", orientation=AXIAL, **changes):
    place = (round(1000 * (echo_time_ms or 0)), round(10 * location_mm) + 5000, list(Component).index(component))
    uid = ".".join([series, *map(str, place)])
    base = EchoImage(
        path=Path(f"/spool/{uid}.dcm"),
        frame=None,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        sop_instance_uid=uid,
        series_instance_uid=series,
        study_instance_uid="1.2.3",
        encoding=Encoding.CLASSIC,
        component=component,
        sequence_kind=SequenceKind.GRADIENT_ECHO,
        echo_time_ms=echo_time_ms,
        plane=plane(location_mm, orientation),
        series_number=int(series.rsplit(".", 1)[1]),
        protocol=("liver t2star", "fl2d6", "2D", "120.0", "20.0"),
    )
    return dataclasses.replace(base, **changes)


def grid(echoes=(2.0, 4.0, 6.0, 8.0), slices=(0.0, 5.0, 10.0), **common):
    return [image(te, location, **common) for location in slices for te in echoes]


def only(images, rules=RULES):
    (group,) = assemble(images, rules)
    return group


def refusal(images, rules=RULES):
    group = only(images, rules)
    assert group.status is GroupStatus.REFUSED
    assert group.reason.code in REASONS
    return group.reason.code, group.reason.sentence


# --- full grids -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, OBLIQUE])
def test_a_full_grid_is_a_stack_with_slices_along_the_normal_and_echoes_in_time(orientation):
    images = grid(orientation=orientation)
    random.Random(1).shuffle(images)
    group = only(images)
    assert group.status is GroupStatus.COMPLETE
    assert group.stack.shape == (3, 64, 48, 4)
    assert group.stack.echo_times_ms == (2.0, 4.0, 6.0, 8.0)
    assert [p.location_mm for p in group.stack.planes] == sorted(p.location_mm for p in group.stack.planes)


def test_echo_times_and_positions_are_equal_within_the_digits_writers_round_to():
    images = grid()
    images[0] = dataclasses.replace(images[0], echo_time_ms=2.0000001907349)
    images[1] = dataclasses.replace(images[1], plane=plane(0.0004))
    assert only(images).stack.shape == (3, 64, 48, 4)


def test_slices_that_shift_sideways_from_one_to_the_next_stay_one_stack():
    images = [
        dataclasses.replace(i, plane=plane(z, shift=(0, 0.6 * z, 0))) for z in (0, 5, 10) for i in grid(slices=(z,))
    ]
    assert only(images).stack.shape == (3, 64, 48, 4)


def test_two_slabs_with_a_gap_between_them_are_one_stack():
    assert only(grid(slices=(0.0, 5.0, 60.0, 65.0))).stack.shape == (4, 64, 48, 4)


def test_slabs_side_by_side_are_two_stacks():
    left = grid()
    right = [
        dataclasses.replace(
            i, sop_instance_uid=f"{i.sop_instance_uid}.1", plane=plane(i.plane.location_mm - 20, shift=(80, 0, 0))
        )
        for i in left
    ]
    groups = assemble(left + right, RULES)
    assert [g.status for g in groups] == [GroupStatus.COMPLETE] * 2
    assert groups[0].group_id != groups[1].group_id


def test_orientations_of_one_series_are_separate_groups():
    groups = assemble(grid() + grid(orientation=CORONAL, slices=(100.0, 105.0)), RULES)
    assert sorted(g.stack.shape[0] for g in groups) == [2, 3]


def test_studies_and_series_that_interleave_do_not_mix():
    other = [
        dataclasses.replace(i, study_instance_uid="1.2.4", sop_instance_uid=f"{i.sop_instance_uid}.9") for i in grid()
    ]
    mixed = [i for pair in zip(grid(), other, grid(series="1.2.3.2"), strict=True) for i in pair]
    groups = assemble(mixed, RULES)
    assert len(groups) == len({g.group_id for g in groups}) == 3
    assert all(g.status is GroupStatus.COMPLETE for g in groups)


# --- components -------------------------------------------------------------------------------------------------------


def test_phase_in_its_own_series_is_kept_with_the_magnitude_though_only_that_is_normalised():
    magnitude = grid(series="1.2.3.6", twin=("normalised",))
    phase = grid(series="1.2.3.7", component=P)
    group = only(magnitude + phase)
    assert set(group.stack.companions) == {P}
    assert group.stack.companions[P][1][2].echo_time_ms == 6.0


def test_each_repeated_scan_gets_the_phase_series_that_follows_it():
    scans = [grid(series=f"1.2.3.{n}", component=c) for n, c in ((6, M), (7, P), (8, M), (9, P))]
    groups = assemble([i for scan in scans for i in scan], RULES)
    assert [{i.series_number for i in g.images} for g in groups] == [{6, 7}, {8, 9}]


def test_magnitude_is_computed_where_only_real_and_imaginary_came():
    group = only(grid(component=R) + grid(component=I))
    assert group.status is GroupStatus.COMPLETE
    assert group.stack.magnitude_from is R
    assert group.stack.images == group.stack.companions[R]
    assert len(group.stack.sop_instance_uids) == 24


def test_real_and_imaginary_as_two_series_are_joined():
    group = only(grid(component=R, series="1.2.3.4") + grid(component=I, series="1.2.3.5"))
    assert group.stack.magnitude_from is R


def test_a_hole_in_the_magnitude_waits_although_real_and_imaginary_are_whole():
    magnitude = grid()
    group = only(magnitude[:-1] + grid(component=R) + grid(component=I))
    assert group.status is GroupStatus.INCOMPLETE
    assert group.missing == ("echo 4, slice 3",)


def test_a_phase_that_does_not_fill_the_grid_is_left_out_and_said():
    group = only(grid() + grid(echoes=(8.0,), component=P))
    assert group.stack.companions == {}
    assert group.left_out == ("3 images: phase that does not fill the grid",)


def test_a_map_beside_the_echoes_never_becomes_an_echo_and_is_said():
    maps = grid(echoes=(2.0,), component=DERIVED)
    group = only(grid() + maps)
    assert group.stack.shape == (3, 64, 48, 4)
    assert group.left_out == ("3 images: derived: a map, a mean or not a magnitude",)


def test_a_series_of_maps_alone_is_refused():
    assert refusal(grid(component=DERIVED))[0] == "derived-only"


def test_phase_alone_is_refused():
    assert refusal(grid(component=P)) == ("no-magnitude", "only phase images, and no magnitude")


# --- copies and twins -------------------------------------------------------------------------------------------------


def enhanced(images):
    return [
        dataclasses.replace(
            i, encoding=Encoding.ENHANCED, sop_instance_uid="1.2.3.99", frame=n, path=Path("/spool/e.dcm")
        )
        for n, i in enumerate(images)
    ]


def test_the_same_images_as_classic_and_enhanced_count_once_from_one_encoding():
    group = only(grid() + enhanced(grid()))
    assert {i.encoding for row in group.stack.images for i in row} == {Encoding.CLASSIC}
    assert group.left_out == ("12 images: magnitude that is there in another encoding too",)


def test_copies_whose_first_pixel_lies_half_a_pixel_aside_are_copies_all_the_same():
    # Philips writes the corner of the pixel in one encoding and its centre in the other.
    aside = [
        dataclasses.replace(i, plane=plane(i.plane.location_mm - 20, shift=(1.5, 1.5, 0))) for i in enhanced(grid())
    ]
    assert only(grid() + aside).stack.shape == (3, 64, 48, 4)


def test_the_encoding_that_is_whole_is_taken_where_the_other_has_a_hole():
    group = only(grid()[:-1] + enhanced(grid()))
    assert {i.encoding for row in group.stack.images for i in row} == {Encoding.ENHANCED}


def test_an_image_that_arrived_twice_counts_once():
    again = [dataclasses.replace(i, path=Path("/elsewhere") / i.path.name) for i in grid()]
    assert only(grid() + again) == only(grid() + again[::-1])
    assert len(only(grid() + again).images) == 12


@pytest.mark.parametrize("same_series", [True, False])
def test_twins_with_equal_echoes_and_positions_are_two_stacks(same_series):
    twin = grid(series="1.2.3.1" if same_series else "1.2.3.2", twin=("normalised",))
    twin = [dataclasses.replace(i, sop_instance_uid=f"{i.sop_instance_uid}.8") for i in twin]
    groups = assemble(grid() + twin, RULES)
    assert [g.stack.shape for g in groups] == [(3, 64, 48, 4)] * 2
    assert groups[0].group_id != groups[1].group_id


# --- one series per echo ----------------------------------------------------------------------------------------------


def series_per_echo(first=1, echoes=(2.0, 4.0, 6.0), **common):
    return [i for n, te in enumerate(echoes) for i in grid((te,), series=f"1.2.3.{first + n}", **common)]


def test_one_series_per_echo_is_joined_to_one_stack():
    group = only(series_per_echo())
    assert group.stack.shape == (3, 64, 48, 3)
    assert group.stack.series_instance_uids == ("1.2.3.1", "1.2.3.2", "1.2.3.3")


def test_repeated_scans_of_one_series_per_echo_are_cut_where_an_echo_comes_again():
    groups = assemble(series_per_echo(1) + series_per_echo(4), RULES)
    assert [g.stack.series_instance_uids[0] for g in groups] == ["1.2.3.1", "1.2.3.4"]


def test_series_whose_order_does_not_tell_them_apart_are_not_joined():
    twins = series_per_echo(1, (2.0, 2.0, 4.0, 4.0))
    twins = [dataclasses.replace(i, sop_instance_uid=f"{i.sop_instance_uid}.{i.series_number}") for i in twins]
    assert {g.reason.code for g in assemble(twins, RULES)} == {"too-few-echoes"}


def test_scans_that_the_scanner_split_are_told_apart_by_its_scan_number():
    first, second = series_per_echo(9001, scan="9"), series_per_echo(11001, scan="11")
    assert [g.stack.shape[3] for g in assemble(first + second, RULES)] == [3, 3]


def test_series_of_other_protocols_are_not_joined():
    other = series_per_echo(5, (3.0,), protocol=("in phase", "fl2d1", "2D", "120.0", "20.0"))
    groups = assemble(series_per_echo() + other, RULES)
    assert sorted(len(g.echo_times_ms) for g in groups) == [1, 3]


def test_single_echo_scans_that_were_acquired_apart_are_not_joined():
    apart = [dataclasses.replace(i, acquired_s=100.0 + 20 * i.series_number) for i in series_per_echo()]
    assert {g.reason.code for g in assemble(apart, RULES)} == {"too-few-echoes"}
    together = [dataclasses.replace(i, acquired_s=100.0 + 0.6 * i.series_number) for i in series_per_echo()]
    assert only(together).status is GroupStatus.COMPLETE


@pytest.mark.parametrize("scan", ["", "9"])
def test_the_second_series_of_a_scan_does_not_change_the_name_of_its_group(scan):
    images = series_per_echo(9001, scan=scan)
    names = {only(images[:n]).group_id for n in range(1, len(images) + 1)}
    assert len(names) == 1


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_hole_is_named_by_echo_and_slice():
    group = only([i for i in grid() if (i.echo_time_ms, i.plane.position[2]) != (6.0, 25.0)])
    assert group.status is GroupStatus.INCOMPLETE
    assert str(group.reason) == "1 image missing: echo 3, slice 2"
    assert group.missing == ("echo 3, slice 2",)
    assert group.holes == ((1, 2),)  # slice and echo, counted from 0


def test_the_slices_that_are_whole_are_offered_as_a_partial_stack():
    group = only(grid()[:-1])
    assert group.stack is None
    assert group.partial.shape == (2, 64, 48, 4)


def test_echoes_that_the_scanner_announced_are_waited_for_and_named():
    images = [dataclasses.replace(i, promised_echoes=12, echo_number=round(i.echo_time_ms / 2)) for i in grid()]
    group = only(images)
    assert group.status is GroupStatus.INCOMPLETE
    assert str(group.reason) == "echoes 5–12 missing: 4 of 12 announced"
    assert group.missing[0] == "echo 5"
    assert group.partial.shape == (3, 64, 48, 4)


def test_the_scanners_own_count_names_an_echo_that_is_missing_in_the_middle():
    images = [i for i in grid((2.0, 4.0, 8.0)) for i in [dataclasses.replace(i, echo_number=round(i.echo_time_ms / 2))]]
    assert (
        str(only([dataclasses.replace(i, promised_echoes=4) for i in images]).reason)
        == "echo 3 missing: 3 of 4 announced"
    )


def test_the_first_image_of_an_announced_series_is_not_refused_for_too_few_echoes():
    group = only([image(promised_echoes=12, echo_number=1)])
    assert group.status is GroupStatus.INCOMPLETE
    assert group.partial is None


@pytest.mark.parametrize("components", [(M,), (M, R, I), (M, P)])
@pytest.mark.parametrize("slices", [1, 2, 3, 4])
def test_whole_slices_that_the_announced_number_of_images_shows_missing_are_waited_for(components, slices):
    locations = [5.0 * n for n in range(slices)]
    echoes = [4.6 * n for n in range(1, 13)]
    images = [i for c in components for i in grid(echoes, locations, component=c, promised_images=180)]
    group = only(images)
    assert group.reason.code == "fewer-images-than-announced"
    assert group.stack.shape[0] == slices
    assert group.partial == group.stack
    assert group.missing == ()


@pytest.mark.parametrize("components", [(M,), (M, P), (M, R, I)])
def test_announced_images_of_components_that_are_not_sent_are_not_waited_for(components):
    echoes, locations = [4.6 * n for n in range(1, 13)], [0.0, 5.0, 10.0, 15.0, 20.0]
    images = [i for c in components for i in grid(echoes, locations, component=c, promised_images=180)]
    assert only(images).status is GroupStatus.COMPLETE


@pytest.mark.parametrize("promised", [1, 12, 5])
def test_an_announcement_that_is_too_small_does_not_hold_a_full_grid_back(promised):
    assert only(grid(promised_images=promised)).status is GroupStatus.COMPLETE
    assert only(grid(promised_echoes=1)).status is GroupStatus.COMPLETE


def test_the_parts_of_an_enhanced_object_that_was_sent_in_several_are_waited_for():
    parts = [
        [
            dataclasses.replace(i, sop_instance_uid=f"1.2.3.9{n}", concatenation=("1.2.7", 2))
            for i in enhanced(grid(slices=z))
        ]
        for n, z in enumerate([(0.0, 5.0), (10.0, 15.0)])
    ]
    assert str(only(parts[0]).reason) == "1 of 2 parts of an enhanced object"
    assert only(parts[0] + parts[1]).stack.shape[0] == 4


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        (SequenceKind.ECHO_PLANAR, "echo-planar", "echo-planar read-out"),
        (SequenceKind.SPIN_ECHO, "spin-echo", "spin echo"),
        (SequenceKind.TURBO_SPIN_ECHO, "turbo-spin-echo", "turbo spin echo"),
        (SequenceKind.DIFFUSION, "diffusion", "diffusion"),
        (SequenceKind.INVERSION_RECOVERY, "inversion-recovery", "inversion recovery"),
        (SequenceKind.UNKNOWN, "unknown-sequence", "does not say"),
    ],
)
def test_a_sequence_that_does_not_decay_with_t2star_is_refused_by_its_name(kind, code, words):
    found, sentence = refusal(grid(sequence_kind=kind))
    assert found == code
    assert words in sentence


def test_two_echoes_are_refused_unless_two_are_enough():
    images = grid((2.3, 4.6))
    assert refusal(images) == ("too-few-echoes", "2 echoes, minimum is 3")
    assert only(images, GroupingSettings(minimum_echoes=2)).status is GroupStatus.COMPLETE


def test_one_echo_is_refused():
    assert refusal(grid((2.0,))) == ("too-few-echoes", "1 echo, minimum is 3")


def again(images, n, **changes):
    return [
        dataclasses.replace(i, sop_instance_uid=f"{i.sop_instance_uid}.7{n}", **{k: v(n) for k, v in changes.items()})
        for i in images
    ]


def test_two_different_images_of_one_echo_and_slice_are_refused_with_their_place():
    images = grid((4.94,), [2.0 * n for n in range(14)])
    twelfth = [i for i in images if i.plane.position[2] == 42.0]
    assert refusal(images + again(twelfth, 1)) == ("ambiguous", "two different images at echo 4.94 ms, slice 12")


def test_images_that_all_carry_the_first_echo_time_are_refused_as_ambiguous():
    images = [i for n in range(12) for i in again(grid((2.0,), promised_echoes=12), n)]
    sentence = "12 different images at echo 2 ms, slice 1 (and at 2 more places); 12 echoes were announced"
    assert refusal(images) == ("ambiguous", sentence)


@pytest.mark.parametrize("number", ["repetition", "acquisition_number"])
def test_repetitions_are_refused_with_their_count(number):
    images = [i for n in range(60) for i in again(grid(slices=(0.0,)), n, **{number: lambda n: n + 1})]
    assert refusal(images) == ("repetitions", "60 repetitions at one position, where one is expected")


def test_more_echo_times_than_announced_are_refused_because_one_may_be_a_mean():
    assert refusal(grid((2.0, 4.0, 5.0, 6.0, 8.0), promised_echoes=4))[0] == "too-many-echoes"


def test_images_without_an_echo_time_are_refused_or_said():
    assert refusal(grid((None,)))[0] == "no-echo-time"
    assert only([*grid(), image(None)]).left_out == (
        "1 image: magnitude without an echo time or outside the magnitude's grid",
    )


@pytest.mark.parametrize(
    ("rule", "pattern"),
    [
        ("manufacturer", "^siemens"),
        ("series_description", "T2\\*"),
        ("station_name", "MR1"),
        ("exclude_series_description", "brain"),
    ],
)
def test_a_rule_leaves_a_series_out_and_is_named(rule, pattern):
    images = grid(manufacturer="GE MEDICAL SYSTEMS", series_description="Brain R2", station_name="MR2")
    code, sentence = refusal(images, GroupingSettings(**{rule: pattern}))
    assert code == "not-wanted"
    assert rule in sentence


def of_scanner(images, rules=RULES, ordered=(), **scanner):
    chooser = ScannerSettings(ae_title="MR1", **scanner)
    (group,) = assemble(images, rules, wishes=Wishes({"MR1": chooser} if scanner else {}, frozenset(ordered)))
    return group.reason.code if group.reason else None


IRON = grid(sender="MR1", series_description="T2Star LIVER", protocol_name="iron")


@pytest.mark.parametrize(
    ("scanner", "code"),
    [
        ({"ignore_series": ("knee", "liver")}, "scanner-ignores"),
        ({"ignore_series": ("knee",)}, None),
        ({"only_series": ("^iron$",)}, None),
        ({"only_series": ("knee",)}, "scanner-takes-others"),
        ({"only_series": ("knee",), "accept_series": ("t2star",)}, None),
        ({"ignore_series": ("iron",), "accept_series": ("t2star",)}, "scanner-ignores"),
    ],
)
def test_each_scanner_may_say_which_series_are_taken(scanner, code):
    assert of_scanner(IRON, **scanner) == code
    assert of_scanner([dataclasses.replace(one, sender="MR2") for one in IRON], **scanner) is None


def test_what_a_scanner_accepts_no_rule_of_grouping_leaves_out():
    rules = GroupingSettings(series_description="fibrosis")
    assert of_scanner(IRON, rules) == "not-wanted"
    assert of_scanner(IRON, rules, accept_series=("iron",)) is None


def of_kind(kind):
    """Images that something else may have made, and the name of their group."""
    images = [dataclasses.replace(one, sequence_kind=kind) for one in IRON]
    return images, only(images).group_id


@pytest.mark.parametrize("kind", [SequenceKind.GRADIENT_ECHO, SequenceKind.UNKNOWN])
def test_what_a_person_orders_passes_the_rules(kind):
    images, group_id = of_kind(kind)
    rules = GroupingSettings(series_description="fibrosis")
    assert of_scanner(images, rules) == "not-wanted"
    assert of_scanner(images, rules, ordered=("other",)) == "not-wanted"
    assert of_scanner(images, rules, ordered=(group_id,)) is None
    assert of_scanner(images, ordered=(group_id,), ignore_series=("iron",)) is None


def test_no_order_makes_a_number_of_what_is_none():
    images, group_id = of_kind(SequenceKind.GRADIENT_ECHO)
    assert of_scanner(images, GroupingSettings(minimum_echoes=9), ordered=(group_id,)) == "too-few-echoes"
    spin, group_id = of_kind(SequenceKind.SPIN_ECHO)
    assert of_scanner(spin, ordered=(group_id,)) == "spin-echo"


def test_a_rule_that_matches_lets_a_series_through():
    rules = GroupingSettings(manufacturer="ge", exclude_series_description="brain")
    assert only(grid(manufacturer="GE MEDICAL SYSTEMS"), rules).status is GroupStatus.COMPLETE


# --- whatever the order -----------------------------------------------------------------------------------------------

MIXTURE = (
    grid(component=M, promised_echoes=4)
    + grid(component=R)
    + grid(component=I)
    + enhanced(grid())
    + series_per_echo(20)
    + grid(series="1.2.3.30", component=P)
    + grid(series="1.2.3.31", component=DERIVED)
    + grid(series="1.2.3.32", sequence_kind=SequenceKind.ECHO_PLANAR)
    + grid(series="1.2.3.33")[:-1]
    + grid(series="1.2.3.34", twin=("fat saturated",))
)


@given(st.permutations(MIXTURE), st.lists(st.sampled_from(MIXTURE), max_size=20))
@settings(max_examples=60, deadline=None)
def test_order_and_copies_do_not_matter(images, copies):
    assert assemble([*images, *copies], RULES) == assemble(MIXTURE, RULES)


@given(st.permutations(MIXTURE), st.integers(0, len(MIXTURE)))
@settings(max_examples=60, deadline=None)
def test_every_image_is_in_exactly_one_group_and_no_two_groups_share_a_name(images, n):
    groups = assemble(images[:n], RULES)
    kept = [i for group in groups for i in group.images]
    assert len(kept) == len(set(kept)) == n
    assert len({g.group_id for g in groups}) == len(groups)


ANYTHING = st.builds(
    image,
    echo_time_ms=st.sampled_from([None, 2.0, 2.01, 4.0, 6.0, 6.5, 8.0]),
    location_mm=st.sampled_from([0.0, 0.05, 5.0, 10.0, -300.0]),
    component=st.sampled_from(Component),
    series=st.sampled_from(["1.2.3.1", "1.2.3.2", "1.2.3.3"]),
    orientation=st.sampled_from([AXIAL, OBLIQUE]),
    sop_instance_uid=st.integers(0, 10**6).map(lambda n: f"1.2.5.{n}"),
    encoding=st.sampled_from(Encoding),
    frame=st.sampled_from([None, 0, 1]),
    sequence_kind=st.sampled_from([SequenceKind.GRADIENT_ECHO] * 4 + [SequenceKind.ECHO_PLANAR]),
    twin=st.sampled_from([(), (), ("normalised",)]),
    scan=st.sampled_from(["", "", "9"]),
    series_number=st.sampled_from([None, 1, 2, 9001]),
    repetition=st.sampled_from([None, 1, 2]),
    echo_number=st.sampled_from([None, 0, 1, 2, 3]),
    promised_echoes=st.sampled_from([None, None, 1, 4]),
    promised_images=st.sampled_from([None, None, 1, 30]),
    acquired_s=st.sampled_from([None, 1.0, 90.0]),
    concatenation=st.sampled_from([None, None, ("1.2.7", 2)]),
)


@given(st.lists(ANYTHING, max_size=40, unique_by=lambda i: i.sop_instance_uid), st.randoms())
@settings(max_examples=150, deadline=None)
def test_any_images_at_all_are_sorted_into_groups_whatever_their_order(images, chance):
    groups = assemble(images, GroupingSettings(minimum_echoes=2))
    shuffled = chance.sample(images, len(images))
    assert assemble(shuffled, GroupingSettings(minimum_echoes=2)) == groups
    kept = [i for group in groups for i in group.images]
    assert len(kept) == len(set(kept)) == len(images)
    assert len({g.group_id for g in groups}) == len(groups)
    for group in groups:
        assert (group.reason is None) == (group.status is GroupStatus.COMPLETE)
        assert group.reason is None or group.reason.code in REASONS
        assert group.stack is not None or group.status is not GroupStatus.COMPLETE


def test_the_images_of_a_group_alone_give_the_same_group():
    for group in assemble(MIXTURE, RULES):
        assert assemble(group.images, RULES) == (group,)


@given(st.permutations(grid() + grid(component=P)), st.integers(1, 24))
@settings(max_examples=60, deadline=None)
def test_a_group_keeps_its_name_while_its_images_arrive_in_any_order(images, n):
    assert only(images[:n]).group_id == only(images).group_id


@given(st.sets(st.integers(0, 11), max_size=11))
@settings(max_examples=60, deadline=None)
def test_a_grid_with_any_holes_is_never_complete_unless_whole_rows_or_columns_are_gone(gone):
    images = grid()
    kept = [i for n, i in enumerate(images) if n not in gone]
    group = only(kept, GroupingSettings(minimum_echoes=2))
    cells = {(i.echo_time_ms, i.plane.position) for i in kept}
    full = len(cells) == len({te for te, _ in cells}) * len({p for _, p in cells})
    if group.status is not GroupStatus.REFUSED:
        assert (group.status is GroupStatus.COMPLETE) == full
        assert len(group.missing) == len(group.echo_times_ms) * group.n_slices - len(kept)


def test_four_thousand_images_are_grouped_within_a_second_of_processor_time():
    images = [
        i
        for n in range(10)
        for i in grid([1.2 * e for e in range(1, 17)], [3.0 * s for s in range(25)], series=f"1.2.3.{n}")
    ]
    random.Random(2).shuffle(images)
    began = time.process_time()
    groups = assemble(images, RULES)
    assert len(images) == 4000
    assert [g.status for g in groups] == [GroupStatus.COMPLETE] * 10
    assert time.process_time() - began < 1.0


def numbered(numbers):
    return [image(2.0 * n, location_mm=at, echo_number=n) for n in numbers for at in (0.0, 5.0)]


def test_a_gap_in_the_scanners_own_count_of_echoes_is_waited_for_and_named():
    group = only(numbered([1, 2, 3, 5, 6]))
    assert group.status is GroupStatus.INCOMPLETE
    assert group.reason.sentence == "echo 4 missing by the scanner's own count up to 6"
    assert group.stack is not None
    assert group.partial == group.stack, "it goes in the end"


@pytest.mark.parametrize("numbers", [[1, 2, 3], [1, 3, 5, 7], [2, 4, 6]])
def test_a_scanner_may_count_its_echoes_in_even_steps(numbers):
    assert only(numbered(numbers)).status is GroupStatus.COMPLETE


# --- series cut or joined without comparing their members -------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        ("liver t2star", "fl2d6", "2D", "20.0", "20.0"),
        ("liver t2star", "fl2d6", "2D", "120.0", "60.0"),
        ("liver t2star", "fl2d2", "2D", "120.0", "20.0"),
    ],
    ids=["repetition time", "flip angle", "sequence"],
)
def test_two_protocols_of_one_series_make_two_stacks(other):
    whole, pair = grid(slices=(0.0,)), grid((1.0, 3.0), (0.0,), protocol=other)
    full, short = sorted(assemble(whole + pair, RULES), key=lambda group: group.status)
    assert (full.status, full.stack.echo_times_ms) == (GroupStatus.COMPLETE, (2.0, 4.0, 6.0, 8.0))
    assert (short.status, short.reason.code) == (GroupStatus.REFUSED, "too-few-echoes")
    assert full.group_id == only(whole).group_id, "the name of a scan must not hang on what else its series holds"


def test_a_protocol_that_some_images_do_not_tell_contradicts_nothing():
    images = grid(slices=(0.0,))
    images[1] = dataclasses.replace(images[1], protocol=("", "", "", "", ""))
    images[2] = dataclasses.replace(images[2], protocol=("liver t2star", "", "2D", "120.4", ""))
    assert only(images).status is GroupStatus.COMPLETE


@pytest.mark.parametrize("lost", [(0,), (1, 2), (2, 3)])
def test_a_frame_of_reference_that_some_images_lost_contradicts_nothing(lost):
    images = grid(slices=(0.0,))
    for k in lost:
        nameless = dataclasses.replace(images[k].plane, frame_of_reference_uid="")
        images[k] = dataclasses.replace(images[k], plane=nameless)
    assert only(images).status is GroupStatus.COMPLETE


def test_echoes_of_two_breath_holds_are_no_decay():
    images = [image(te, acquired_s=36_000.0 + (40.0 if te > 5 else 0.0)) for te in (2.0, 4.0, 6.0, 8.0)]
    code, sentence = refusal(images)
    assert code == "two-acquisitions"
    assert "40 s apart (Acquisition Time)" in sentence


def test_slices_of_several_breath_holds_are_one_stack():
    images = [image(te, 5.0 * s, acquired_s=36_000.0 + 20 * s) for s in range(3) for te in (2.0, 4.0, 6.0)]
    assert only(images).status is GroupStatus.COMPLETE


@pytest.mark.parametrize("shift", [(2.0, 0.0, 0.0), (0.0, 3.0, 0.0)])
def test_echoes_that_lie_beside_the_others_are_not_one_image(shift):
    images = grid(slices=(0.0, 5.0))
    moved = [
        dataclasses.replace(one, plane=plane(0.0 if k < 4 else 5.0, shift=shift)) if one.echo_time_ms > 5 else one
        for k, one in enumerate(images)
    ]
    code, sentence = refusal(moved)
    assert code == "positions-disagree"
    assert f"{max(shift):.1f} mm apart" in sentence


def test_late_echoes_that_lie_above_the_others_are_not_another_slice():
    images = [image(te, 0.0 if te < 5 else 1.0) for te in (2.0, 4.0, 6.0, 8.0)]
    group = only(images)
    assert group.stack is None
    assert group.reason.code == "positions-disagree"
    assert "1.0 mm apart" in group.reason.sentence


def test_a_series_per_echo_goes_on_over_midnight():
    images = [
        image(te, 5.0 * s, series=f"1.2.3.{k + 1}", acquired_s=(86_399.0 + 0.4 * k) % 86_400)
        for k, te in enumerate((2.0, 4.0, 6.0, 8.0))
        for s in range(2)
    ]
    assert only(images).stack.shape == (2, 64, 48, 4)


# --- what is known of what is missing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("numbers", "said"), [((3, 4, 5, 6), "echoes 1–2"), ((2, 3, 4, 5), "echo 1")])
def test_echoes_before_the_first_are_missing_by_the_scanners_own_count(numbers, said):
    images = [image(2.0 * n, echo_number=n) for n in numbers]
    group = only(images)
    assert (group.status, group.reason.code) == (GroupStatus.INCOMPLETE, "echo-numbers-skip")
    assert f"{said} missing by the scanner's own count" in group.reason.sentence
    assert group.stack is None, "an incomplete train must not be measured unasked"
    assert said in group.partial.incomplete, "what is missing must go with what is measured all the same"


def test_a_scanner_that_counts_in_twos_misses_nothing():
    assert only([image(2.0 * n, echo_number=2 * n) for n in (1, 2, 3, 4)]).status is GroupStatus.COMPLETE


def test_a_damaged_image_of_the_series_is_not_forgotten():
    images = grid(slices=(0.0,))
    (group,) = assemble(images, RULES, {"1.2.3.1": ["damaged: (0018,0081) EchoTime is empty"]})
    assert (group.status, group.reason.code) == (GroupStatus.INCOMPLETE, "damaged-images")
    assert "1 image of this series cannot be used; damaged: (0018,0081) EchoTime is empty" in group.reason.sentence
    assert group.stack is None


def test_a_damaged_image_is_no_echo_where_all_that_were_announced_are_there():
    images = grid(slices=(0.0,), promised_echoes=4)
    (group,) = assemble(images, RULES, {"1.2.3.1": ["damaged: (0028,0010) Rows is missing"]})
    assert group.status is GroupStatus.COMPLETE


# --- one scan, one result ---------------------------------------------------------------------------------------------


def verdicts(images):
    return [(g.status.value, g.reason.code if g.reason else None) for g in assemble(images, RULES)]


def test_a_copy_of_a_series_is_no_second_scan():
    one = grid(acquired_s=36_000.0)
    again = grid(series="1.2.3.2", acquired_s=36_000.0)
    assert verdicts([*one, *again]) == [("complete", None), ("refused", "copy")]
    later = grid(series="1.2.3.2", acquired_s=36_400.0)
    assert verdicts([*one, *later]) == [("complete", None)] * 2, "another acquisition is another scan"
    unsaid = grid(series="1.2.3.2")
    assert verdicts([*one, *unsaid]) == [("complete", None)] * 2, "where no time is said nothing proves a copy"
    normalised = grid(series="1.2.3.2", acquired_s=36_000.0, twin=("normalised",))
    assert verdicts([*one, *normalised]) == [("complete", None)] * 2, "another reconstruction is not a copy"


def test_of_a_train_in_two_series_one_part_is_measured_and_the_other_says_what_parts_them():
    first = grid((2.0, 4.0, 6.0), acquired_s=36_000.0)
    rest = [
        dataclasses.replace(i, plane=dataclasses.replace(i.plane, frame_of_reference_uid="1.2.8"))
        for i in grid((8.0, 10.0, 12.0), series="1.2.3.2", acquired_s=36_000.0)
    ]
    one, two = assemble([*first, *rest], RULES)
    assert one.status is GroupStatus.COMPLETE
    assert (two.reason.code, two.stack) == ("part-of-a-train", None)
    assert "Frame of Reference UID" in two.reason.sentence
    apart = [dataclasses.replace(i, echo_time_ms=i.echo_time_ms + 9.0) for i in rest]
    assert verdicts([*first, *apart]) == [("complete", None)] * 2, "a train that does not go on is another"


def test_lone_echoes_say_what_keeps_them_apart():
    images = [
        image(te, series=f"1.2.3.{k}", protocol=("liver t2star", f"fl2d{k}", "2D", "120.0", "20.0"))
        for k, te in enumerate((2.0, 4.0, 6.0), 1)
    ]
    reasons = {g.reason.sentence for g in assemble(images, RULES)}
    assert reasons == {"1 echo, minimum is 3; 2 more of one echo each lie at its place and differ in Sequence Name"}


def test_a_repetition_time_of_its_own_on_every_slice_is_one_scan():
    images = [
        dataclasses.replace(i, protocol=(*i.protocol[:3], f"{120 + 10 * round(i.plane.location_mm)}", "20.0"))
        for i in grid()
    ]
    assert only(images).stack.shape == (3, 64, 48, 4)


@pytest.mark.parametrize("by", ["slice", "image"])
def test_a_frame_of_reference_of_its_own_says_nothing(by):
    images = [
        dataclasses.replace(
            i,
            plane=dataclasses.replace(
                i.plane, frame_of_reference_uid=f"1.2.9.{round(i.plane.location_mm) if by == 'slice' else k}"
            ),
        )
        for k, i in enumerate(grid())
    ]
    assert only(images).stack.shape == (3, 64, 48, 4)


@pytest.mark.parametrize("by", ["slice", "image"])
def test_a_series_uid_for_every_slice_or_image_is_one_scan(by):
    images = [
        dataclasses.replace(
            i, series_instance_uid=f"1.2.3.4.{round(i.plane.location_mm) if by == 'slice' else k}", series_number=7
        )
        for k, i in enumerate(grid())
    ]
    assert only(images).stack.shape == (3, 64, 48, 4)


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (("x", "", ""), ("y", "", ""), "Patient ID differs"),
        (("x", "1", ""), ("x", "2", ""), "Patient's Birth Date differs"),
        (("", "", "m"), ("", "", "n"), "Patient's Name differs"),
        (("x", "1", "m"), ("", "", ""), None),
        (("x", "1", "m"), ("x", "1", "n"), None),
    ],
)
def test_images_of_two_patients_make_no_stack(a, b, told):
    images = [dataclasses.replace(i, patient=a if i.echo_time_ms < 5 else b) for i in grid()]
    if told is None:
        assert only(images).status is GroupStatus.COMPLETE
    else:
        code, sentence = refusal(images)
        assert code == "two-patients"
        assert told in sentence


def test_images_compressed_with_loss_make_no_stack():
    assert refusal(grid(lossy=True))[0] == "lossy"
