"""Every real series in the shared data is grouped, or refused for its own reason, as its table says."""

import json
from functools import cache

import numpy as np
import pytest

from dicomnode import analyse, phase, pixels, plausible
from dicomnode.config import FitSettings, GroupingSettings
from dicomnode.group import assemble
from dicomnode.header import read
from dicomnode.measure.organs import LIVER
from dicomnode.model import Component, EchoStack, Encoding, GroupStatus

pytestmark = pytest.mark.shared_data

LETTERS = {"M": Component.MAGNITUDE, "P": Component.PHASE, "R": Component.REAL, "I": Component.IMAGINARY}
COMPLETE, REFUSED = GroupStatus.COMPLETE, GroupStatus.REFUSED

# Folder; what minimum_echoes = 3 and = 2 say of its groups: (status, code, echoes, slices).
TABLE = [
    ("ge_mr750_12echo_abdomen", [(COMPLETE, None, 12, 5)], None),
    ("siemens_prisma_6echo_phantom", [(COMPLETE, None, 6, 10)], None),
    ("siemens_prisma_3d_3echo", [(COMPLETE, None, 3, 1)], None),
    ("siemens_prisma_2echo_fieldmap", [(REFUSED, "too-few-echoes", 2, 36)], [(COMPLETE, None, 2, 36)]),
    ("siemens_xa30_enhanced_2echo", [(REFUSED, "too-few-echoes", 2, 33)], [(COMPLETE, None, 2, 33)]),
    ("siemens_xa30_series_per_echo", [(REFUSED, "too-few-echoes", 2, 33)], [(COMPLETE, None, 2, 33)]),
    ("philips_elition_classic_and_enhanced_2echo", [(REFUSED, "too-few-echoes", 2, 53)], [(COMPLETE, None, 2, 53)]),
    ("philips_enhanced_b0map", [(REFUSED, "too-few-echoes", 1, 9), (REFUSED, "too-few-echoes", 1, 32)], None),
    (
        "ge_b0map_ambiguous_keys",
        [(REFUSED, "ambiguous", 1, 16), (REFUSED, "ambiguous", 1, 80), (REFUSED, "ambiguous", 1, 80)],
        None,
    ),
    ("refuse_siemens_me_epi_mosaic", [(REFUSED, "echo-planar", 0, 0)], None),
    ("refuse_siemens_tse_2echo", [(REFUSED, "turbo-spin-echo", 0, 0)], None),
    ("refuse_siemens_spin_echo_incomplete", [(REFUSED, "spin-echo", 0, 0)], None),
    ("transfer_syntaxes_siemens", [(REFUSED, "echo-planar", 0, 0)], None),
    ("not_images", [], None),
]


@cache
def headers(folder):
    return [read(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def groups(folder, minimum_echoes=3):
    images = [image for found in headers(folder) for image in found.images]
    return assemble(images, GroupingSettings(minimum_echoes=minimum_echoes))


def seen(found):
    rows = [(g.status, g.reason.code if g.reason else None, len(g.echo_times_ms), g.n_slices) for g in found]
    return sorted(rows, key=str)


def test_the_table_covers_every_shared_folder(shared_data):
    folders = {folder.name for folder in (shared_data / "dicom").iterdir()}
    assert folders == {row[0] for row in TABLE} | {"transcoded_multiecho"}


@pytest.mark.parametrize(("folder", "by_default", "with_two"), TABLE, ids=[row[0] for row in TABLE])
def test_a_shared_series_gets_its_verdict(shared_data, folder, by_default, with_two):
    path = shared_data / "dicom" / folder
    assert seen(groups(path)) == sorted(by_default, key=str)
    assert seen(groups(path, 2)) == sorted(with_two or by_default, key=str)


@pytest.mark.parametrize("folder", [row[0] for row in TABLE])
def test_every_image_of_a_shared_series_is_in_one_group_and_everything_else_has_its_reason(shared_data, folder):
    found = headers(shared_data / "dicom" / folder)
    assert all((header.reason is None) == bool(header.images) for header in found)
    given = {image.sop_instance_uid + str(image.frame) for header in found for image in header.images}
    kept = [image for group in groups(shared_data / "dicom" / folder) for image in group.images]
    assert len(kept) == len(given)


@pytest.mark.parametrize("folder", [*(row[0] for row in TABLE), "transcoded_multiecho"])
def test_no_check_of_values_fires_on_a_real_series(shared_data, folder):
    for group in groups(shared_data / "dicom" / folder, 2):
        if group.stack is not None:
            plausible.check(pixels.load(group.stack), group.stack.echo_times_ms)


def test_no_check_of_values_fires_on_the_real_array(shared_data):
    with np.load(next((shared_data / "arrays").glob("axial_liver*.npz"))) as stored:
        array = next(stored[name] for name in stored.files if stored[name].ndim == 3)
    plausible.check(array[None].astype(np.float32), tuple(1.1 * k for k in range(1, array.shape[-1] + 1)))


def test_components_echoes_and_frames_agree_with_the_expectation_that_came_with_the_data(shared_data):
    expected = json.loads((shared_data / "expected_series.json").read_text())
    for folder, series in expected.items():
        wanted = {
            (int(one["series_number"]), one["kind"], LETTERS[one["component"]], te)
            for one in series
            if one["component"] in LETTERS
            for te in one["echo_times_ms"]
        }
        images = [image for header in headers(shared_data / "dicom" / folder) for image in header.images]
        signal = [image for image in images if image.component is not Component.DERIVED]
        found = {(i.series_number, str(i.encoding), i.component, round(i.echo_time_ms, 3)) for i in signal}
        assert found == wanted, folder
        frames = sum(one["frames"] for one in series if one["component"] in LETTERS)
        assert len(signal) == frames, folder


def test_what_is_no_image_says_what_it_is(shared_data):
    reasons = {str(header.reason) for header in headers(shared_data / "dicom" / "not_images")}
    assert reasons == {
        "Grayscale Softcopy Presentation State Storage holds no echo images",
        "Raw Data Storage holds no echo images",
        "private SOP class 1.3.46.670589.11.0.0.12.4: only its vendor can read it",
    }


def test_the_ambiguous_field_map_names_its_place(shared_data):
    sentences = {str(group.reason) for group in groups(shared_data / "dicom" / "ge_b0map_ambiguous_keys")}
    assert "two different images at echo 4.94 ms, slice 1 (and at 79 more places)" in sentences


def test_the_same_images_as_classic_and_enhanced_count_once(shared_data):
    (group,) = groups(shared_data / "dicom" / "philips_elition_classic_and_enhanced_2echo", 2)
    assert {image.encoding for row in group.stack.images for image in row} == {Encoding.CLASSIC}
    assert len(group.stack.sop_instance_uids) == 106


def test_classic_and_enhanced_copies_load_to_the_same_values(shared_data):
    found = headers(shared_data / "dicom" / "philips_elition_classic_and_enhanced_2echo")
    values = []
    for encoding in Encoding:
        images = [i for header in found for i in header.images if i.encoding is encoding]
        (group,) = assemble(images, GroupingSettings(minimum_echoes=2))
        values.append(pixels.load(group.stack))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-6)


def rate_per_s(stack, values, region):
    """Median over a region of the voxelwise log-linear decay rate."""
    signal = values[region].reshape(-1, values.shape[-1])
    signal = signal[(signal > 0).all(axis=1)]
    return float(np.median(-1000 * np.polyfit(stack.echo_times_ms, np.log(signal).T, 1)[0]))


def test_the_liver_of_the_abdomen_decays_at_fifty_per_second(shared_data):
    # "First slice" of the data's table is the first along the normal: the most posterior, SliceLocation -19.1.
    (group,) = groups(shared_data / "dicom" / "ge_mr750_12echo_abdomen")
    box = np.s_[0, 75:95, 60:90]
    values = pixels.load(group.stack)
    assert rate_per_s(group.stack, values, box) == pytest.approx(50, abs=1)
    assert set(group.stack.companions) == {Component.REAL, Component.IMAGINARY}


def test_the_phantom_decays_at_twenty_two_per_second(shared_data):
    (group,) = groups(shared_data / "dicom" / "siemens_prisma_6echo_phantom")
    values = pixels.load(group.stack)
    inside = values[..., 0] > 0.3 * values[..., 0].max()
    assert rate_per_s(group.stack, values, inside) == pytest.approx(22, abs=2)
    assert set(group.stack.companions) == {Component.PHASE}


@pytest.mark.parametrize("folder", ["GE_sn16_1slice_12echo_MRI", "Siemens_1slice_6echo_MP"])
def test_transcoded_copies_load_bit_for_bit_like_the_original(shared_data, folder):
    original = "ge_mr750_12echo_abdomen" if folder.startswith("GE") else "siemens_prisma_6echo_phantom"
    (whole,) = groups(shared_data / "dicom" / original)
    values = pixels.load(whole.stack)
    for syntax in ("RLE", "JPEGLS", "J2K"):
        (group,) = groups(shared_data / "dicom" / "transcoded_multiecho" / f"{folder}_{syntax}")
        stack = group.stack or group.partial
        place = [plane.position for plane in whole.stack.planes].index(stack.planes[0].position)
        np.testing.assert_array_equal(pixels.load(stack)[0], values[place], err_msg=syntax)


def test_one_slice_of_an_announced_hundred_and_eighty_images_waits_but_offers_itself(shared_data):
    (group,) = groups(shared_data / "dicom" / "transcoded_multiecho" / "GE_sn16_1slice_12echo_MRI_J2K")
    assert (group.status, group.reason.code) == (GroupStatus.INCOMPLETE, "fewer-images-than-announced")
    assert group.missing == ()
    assert group.stack == group.partial
    assert group.stack.shape == (1, 256, 256, 12)


def test_all_transfer_syntaxes_decode_alike(shared_data):
    found = headers(shared_data / "dicom" / "transfer_syntaxes_siemens")
    values = []
    for image in (image for header in found for image in header.images):
        stack = EchoStack("1.2.3", (image.series_instance_uid,), (30.0,), ((image,),))
        values.append(pixels.load(stack))
    assert len(values) == 9
    assert all(np.array_equal(one, values[0]) for one in values[1:])


@pytest.mark.parametrize(
    ("folder", "code"),
    [("ge_mr750_12echo_abdomen", "whole-turns"), ("siemens_prisma_6echo_phantom", "misfit")],
)
def test_no_real_phase_passes_and_each_is_refused_for_what_it_is(shared_data, folder, code):
    (stack,) = [one.stack for one in groups(shared_data / "dicom" / folder) if one.stack]
    _, maps = analyse.fit_stack(stack, FitSettings(method="nls", model="mono-exponential"))
    assert phase.judged(stack, maps, LIVER)["code"] == code
