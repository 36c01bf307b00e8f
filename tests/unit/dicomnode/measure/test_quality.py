import math
from dataclasses import replace

import numpy as np
import pytest

from dicomnode.measure import quality
from dicomnode.model import DecayCurve, Dephasing, Estimate, Grade, HiddenFat, RicherModel

TIMES = (2.0, 4.0, 6.0, 8.0)
SIGMA = 10.0
FLOOR = math.sqrt(math.pi / 2) * SIGMA


def decay(r2star, s0=300.0):
    signal = tuple(math.hypot(s0 * math.exp(-r2star * t * 1e-3), FLOOR) for t in TIMES)
    return DecayCurve(TIMES, signal, FLOOR, s0, r2star)


def hidden(little, much):
    return (HiddenFat(0.03, little), HiddenFat(0.2, much))


def fat(shift, echoes, evidence):
    return RicherModel(True, False, shift, echoes, evidence)


def alternation(shift, echoes, evidence):
    return RicherModel(False, True, shift, echoes, evidence)


GOOD = quality.Evidence(
    dephasing=None,
    decay=decay(100.0),
    sigma=SIGMA,
    plain_r2star_per_s=99.0,
    invalid=0.0,
    beyond=0.0,
    clipped=0.0,
    unexplained=1.0,
    moved_by_noise=0.001,
    moved_by_echoes=0.001,
    richer=(fat(0.001, 0.001, 0.1), alternation(0.001, 0.001, 0.1)),
    hidden_fat=hidden(0.0, 0.0),
    mostly_fat=-50.0,
    fat_judged=False,
    unsure_fat=0.0,
    freed=0.0,
    fat_fraction=None,
    fat_fraction_sd=0.0,
    fat_fraction_by_echoes=0.0,
    mixed=0.05,
    classes=0.64,
    disagreeing=0.0,
    coils_source="air",
    noise_confidence="high",
    converged=True,
    verdict="converged",
)


def flags(**changes):
    return {flag.code: flag.grade for flag in quality.judge(replace(GOOD, **changes))}


def test_a_good_decay_has_no_flag():
    assert quality.judge(GOOD) == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"decay": decay(1500.0)}, "beyond-range"),
        ({"decay": replace(decay(100.0), r2star_per_s=None)}, "no-decay"),
        ({"beyond": 0.6, "invalid": 0.6}, "beyond-range"),
        ({"invalid": 0.6}, "invalid-voxels"),
        ({"clipped": 0.3}, "clipped"),
        ({"unexplained": 187.0, "moved_by_echoes": 0.4}, "residuals"),
        ({"unexplained": 50.0, "moved_by_echoes": None, "richer": ()}, "residuals"),
        ({"moved_by_echoes": 0.6, "richer": (fat(0.3, 0.5, 1e4),)}, "residuals"),
        ({"moved_by_echoes": 0.1, "richer": (fat(0.3, None, 1e4),)}, "fat"),
        ({"mostly_fat": 2e3}, "fat-tissue"),
        ({"mixed": 0.6, "classes": 0.9}, "mixed"),
        ({"mixed": 1.2}, "mixed"),
        ({"disagreeing": 0.5}, "slices-disagree"),
        ({"moved_by_noise": 0.4}, "noise"),
    ],
)
def test_what_makes_a_number_wrong_forbids_it(changes, code):
    assert flags(**changes)[code] is Grade.NOT_MEASURABLE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"decay": decay(550.0), "plain_r2star_per_s": None}, "few-echoes"),
        ({"invalid": 0.2}, "invalid-voxels"),
        ({"decay": decay(20.0, s0=48.0), "plain_r2star_per_s": None}, "first-echo-weak"),
        ({"moved_by_echoes": 0.1}, "residuals"),
        ({"mixed": 0.8, "classes": 0.66}, "mixed"),
        ({"moved_by_noise": 0.1}, "noise"),
        ({"coils_source": "unclear"}, "coils"),
        ({"coils_source": "unknown"}, "coils"),
        ({"coils_source": "decays"}, "coils"),
        ({"converged": False}, "not-converged"),
        ({"hidden_fat": hidden(0.03, 0.2)}, "fat-untold"),
    ],
)
def test_what_makes_a_number_doubtful_stands_beside_it(changes, code):
    assert flags(**changes)[code] is Grade.LOW_CONFIDENCE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"unexplained": 3.0}, "residuals"),
        ({"moved_by_echoes": 0.2, "richer": (fat(0.15, 0.01, 1e4),)}, "fat-corrected"),
        ({"unexplained": 0.3}, "residuals"),
        ({"plain_r2star_per_s": 85.0}, "noise-correction"),
        ({"plain_r2star_per_s": 115.0}, "noise-correction"),
        ({"noise_confidence": "low"}, "noise-uncertain"),
        ({"hidden_fat": hidden(0.01, 0.1)}, "fat-untold"),
    ],
)
def test_what_takes_nothing_away_is_told(changes, code):
    assert flags(**changes)[code] is Grade.INFO


def test_fat_is_allowed_for_only_where_it_explains_what_single_echoes_do():
    fatty = replace(GOOD, moved_by_echoes=0.2, richer=(fat(0.15, 0.01, 1e4),))
    assert fatty.correction == 1.15
    assert fatty.moved_by_model == 0.01
    for doubtful in ((0.15, 0.01, 1.0), (0.15, 0.19, 1e4), (0.15, None, 1e4)):
        other = replace(fatty, richer=(fat(*doubtful),))
        assert other.correction == 1.0
        assert other.moved_by_model == 0.2


def test_of_two_models_the_simpler_is_taken_unless_the_other_is_far_likelier():
    both = RicherModel(True, True, -0.05, 0.005, 1010.0)
    evidence = replace(GOOD, moved_by_echoes=0.1, richer=(alternation(-0.04, 0.01, 1000.0), both))
    assert not evidence.seen.fat
    assert replace(evidence, richer=(evidence.richer[0], replace(both, evidence=1100.0))).seen is not evidence.richer[0]


def test_what_two_models_explain_alike_is_not_known_better_than_they_differ():
    one = replace(GOOD, moved_by_echoes=0.2, richer=(fat(0.1, 0.01, 1000.0), alternation(-0.1, 0.01, 1005.0)))
    assert one.moved_by_model == pytest.approx(0.2 / 1.1, rel=0.01)
    assert quality.Grade.NOT_MEASURABLE in {f.grade for f in quality.judge(one) if f.code == "residuals"}


def test_fat_is_not_feared_where_an_alternating_readout_explains_as_much():
    raised = flags(moved_by_echoes=0.1, richer=(fat(0.3, None, 1e4), alternation(0.02, 0.01, 1e4)))
    assert "alternation-corrected" in raised
    assert "fat" not in raised


def test_fat_that_noise_explains_is_no_fat():
    assert flags(richer=(fat(0.5, 0.001, 1.0),)) == {}


def certain(**changes):
    known = {
        "covers": 0.5,
        "n_voxels": 10_000,
        "voxel_sd": 2.0,
        "joined": 1.0,
        "moved_by_noise": 0.0,
        "moved_by_model": 0.0,
        "moved_by_fat": 0.0,
        "field_t": 1.5,
    }
    return quality.estimate(100.0, correction=1.0, **{**known, "blocks": (), "slices": (), **changes})


def test_the_interval_of_many_equal_voxels_is_that_of_their_median():
    found = certain()
    half = 1.96 * math.hypot(1.2533 * 2.0 / 100, 100 * quality.UNSEEN, 1.5 * quality.FIELD_PER_S_PER_T)
    assert found.ci95 == pytest.approx((100 - half, 100 + half), rel=1e-3)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("fit", {"joined": 50.0}),
        ("noise", {"moved_by_noise": 0.05}),
        ("model", {"moved_by_model": 0.05}),
        ("model", {"moved_by_fat": 0.05}),
        ("field", {"field_t": 3.0}),
        ("region", {"blocks": (90.0, 95.0, 100.0, 105.0, 110.0)}),
        ("slices", {"slices": (95.0, 100.0, 105.0)}),
    ],
)
def test_every_cause_widens_the_interval(part, changes):
    wider = certain(**changes)
    assert wider.parts[part] > certain().parts[part]
    assert wider.ci95[1] - wider.ci95[0] > certain().ci95[1] - certain().ci95[0]


def test_a_region_that_is_all_there_is_is_no_sample():
    blocks = (90.0, 95.0, 100.0, 105.0, 110.0)
    assert certain(blocks=blocks, covers=1.0).parts["region"] == 0.0
    assert certain(blocks=blocks, covers=0.5).parts["region"] > certain(blocks=blocks, covers=0.9).parts["region"]


def test_an_interval_that_says_nothing_forbids_the_number():
    assert quality.too_wide(Estimate(100.0, (90.0, 110.0))) == ()
    (flag,) = quality.too_wide(Estimate(100.0, (20.0, 180.0)))
    assert flag.grade is Grade.NOT_MEASURABLE


def test_noise_is_no_mixture_and_two_tissues_are_one():
    rng = np.random.default_rng(1)
    noisy = rng.normal(100.0, 20.0, 5000)
    assert quality.spread(noisy, np.full(5000, 20.0)) < 0.1
    two = np.concatenate([rng.normal(40.0, 2.0, 2000), rng.normal(160.0, 2.0, 3000)])
    assert quality.spread(two, np.full(5000, 2.0)) > quality.MUCH_MIXED
    assert quality.two_classes(two) > quality.TWO_TISSUES


@pytest.mark.parametrize(
    "rates",
    [
        np.exp(np.random.default_rng(2).normal(4.2, 0.4, 5000)),  # uneven iron
        np.linspace(40.0, 100.0, 5000),  # a field that grows from side to side
        np.concatenate([np.full(500, 20.0), np.random.default_rng(3).normal(100.0, 5.0, 4500)]),  # a few vessels
        np.full(100, 50.0),
    ],
)
def test_one_tissue_is_not_two_however_uneven(rates):
    assert quality.two_classes(rates) < quality.TWO_TISSUES


def test_only_slices_far_from_the_median_disagree():
    assert quality.disagreeing([(100.0, 500), (110.0, 400), (150.0, 100)], 100.0) == 0.1
    assert quality.disagreeing([], 100.0) == 0.0


def test_the_reach_grows_with_the_signal_and_the_advice_names_shorter_echoes():
    near, far = (quality.reach_per_s(s0, SIGMA, 1.0, 4.0) for s0 in (100.0, 1000.0))
    assert near == pytest.approx(math.log(10 / 3) / 4e-3)
    assert far > near
    assert quality.reach_per_s(20.0, SIGMA, 1.0, 4.0) is None
    said = quality.advice(TIMES, 3.0, near)
    assert "0.9 ms" in said
    assert "1.5 T" in said
    assert quality.advice((0.9, 1.7), 1.5, near) == ""


def test_fat_that_cannot_be_told_forbids_a_number_where_it_would_matter_and_the_evidence_decides():
    untold = {"hidden_fat": hidden(0.05, 0.3)}
    assert flags(**untold) == {"fat-untold": Grade.LOW_CONFIDENCE}
    assert flags(**untold, fat_judged=True) == {"fat-not-excluded": Grade.NOT_MEASURABLE}


def test_echoes_that_hardly_mind_fat_are_said_to():
    assert flags(fat_judged=True) == {"fat-harmless": Grade.INFO}
    assert flags(fat_judged=True, fat_fraction=0.0) == {}


def test_a_fraction_of_fat_stands_where_its_interval_is_narrow():
    told = quality.fat_fraction(replace(GOOD, fat_fraction=0.2, fat_fraction_sd=0.01))
    assert told.ci95[0] < 0.2 < told.ci95[1]
    assert told.ci95[1] - told.ci95[0] < 0.1
    assert quality.fat_fraction(replace(GOOD, fat_fraction=0.2, fat_fraction_sd=0.03)) is None
    assert quality.fat_fraction(replace(GOOD, fat_fraction=0.2, fat_fraction_by_echoes=0.03)) is None
    assert quality.fat_fraction(GOOD) is None


def test_what_is_not_known_of_fat_is_part_of_the_interval():
    assert replace(GOOD, fat_fraction=0.1, unsure_fat=0.04).moved_by_fat == 0.04


def test_fat_that_the_maps_are_freed_of_is_said_with_the_other_value():
    (said,) = quality.judge(replace(GOOD, freed=0.2, fat_fraction=0.3))
    assert said.code == "fat-corrected"
    assert "one exponential gives 100/s" in said.sentence


@pytest.mark.parametrize(
    ("bent", "changes", "said"),
    [
        (Dephasing(60.0, 1.1, 300.0), {}, True),
        (Dephasing(60.0, 0.05, 300.0), {}, False),  # moves little
        (Dephasing(60.0, 1.1, 5.0), {}, False),  # no likelier than the rest
        (Dephasing(60.0, 1.1, 300.0), {"moved_by_noise": 0.1}, False),  # a floor that is wrong bends as well
        (None, {}, False),
    ],
)
def test_a_field_across_the_slice_is_doubt_where_it_moves_the_rate(bent, changes, said):
    flags = quality.judge(replace(GOOD, dephasing=bent, **changes))
    assert (Grade.LOW_CONFIDENCE in {flag.grade for flag in flags if flag.code == "field"}) is said
