"""Small series that went wrong once: each gives its right value, or is withheld with a reason that names the cause."""

from datetime import UTC, datetime

import pytest

from dicomnode.config import Settings
from dicomnode.operate import offline

pytestmark = pytest.mark.shared_data

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
# Folder: what each of its series must give, a rate in 1/s or words of the reason.
RIGHT = {
    "clipped_at_full_scale": ({"near": 246.7, "or": ("of the body is clipped at full scale",)},),
    "combined_image_in_series": ({"near": 164.5, "or": ("it is no echo",)},),
    "contrast_word_in_image_type": ({"near": 164.5},),
    "each_image_stretched_8bit": ({"or": ("each image was scaled on its own",)},),
    "excess_pixel_padding": ({"near": 164.5},),
    "fat_out_of_phase": ({"or": ("fat", "not one exponential", "orientation")},),
    "first_echoes_missing": ({"or": ("echoes 1–2 missing by the scanner's own count",)},),
    "frame_of_reference_on_some": ({"near": 394.7},),
    "middle_echo_missing": ({"near": 164.5, "or": ("echo 4 missing by the scanner's own count",)},),
    "no_dicm_prefix": ({"near": 164.5},),
    "philips_display_slope_per_echo": ({"near": 164.5},),
    "philips_scale_slope_on_some": ({"near": 164.5},),
    "pixel_padding_value": ({"near": 164.5},),
    "real_part_taken_for_magnitude": ({"or": ("below zero",)},),
    "te_in_microseconds": (),
    "two_protocols_one_series": ({"near": 164.5}, {"or": ("2 echoes, minimum is 3",)}),
}


@pytest.fixture(scope="module")
def cases(shared_data):
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"the cases are not at {folder}")
    return folder


def test_every_case_has_its_right_answer(cases):
    assert {folder.name for folder in cases.iterdir() if folder.is_dir()} == set(RIGHT)


@pytest.mark.parametrize("name", RIGHT)
def test_a_case_gives_its_value_or_says_what_is_wrong(cases, tmp_path, name):
    found = offline.process([cases / name], tmp_path, Settings(), created=CREATED, progress=lambda _: None)
    series = sorted(found["series"], key=lambda one: -len(one["echo_times_ms"]))
    assert len(series) == len(RIGHT[name]), [one["reason"] for one in series]
    for one, right in zip(series, RIGHT[name], strict=True):
        rates = [roi["r2star_per_s"]["median"] for roi in one["rois"] if roi["r2star_per_s"]]
        if rates:
            assert "near" in right, f"a number of {rates[0]:.1f}/s was given"
            assert rates[0] == pytest.approx(right["near"], rel=0.03)
        else:
            said = " ".join([one["reason"] or "", *(flag["sentence"] for roi in one["rois"] for flag in roi["flags"])])
            assert any(words in said for words in right.get("or", ())), said


def test_what_is_missing_stands_in_what_is_made_all_the_same(cases, tmp_path):
    found = offline.process(
        [cases / "middle_echo_missing"], tmp_path, Settings(), created=CREATED, progress=lambda _: None
    )
    (one,) = found["series"]
    sentences = [flag["sentence"] for roi in one["rois"][:1] for flag in roi["flags"]]
    assert any("echo 4 missing by the scanner's own count" in sentence for sentence in sentences), sentences


def test_echo_times_in_microseconds_are_named(cases, tmp_path):
    found = offline.process(
        [cases / "te_in_microseconds"], tmp_path, Settings(), created=CREATED, progress=lambda _: None
    )
    assert found["series"] == []
    assert all("EchoTime" in other["reason"] for other in found["others"])
