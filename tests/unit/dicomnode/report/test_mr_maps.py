"""The plain MR maps: stored values, unit, place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.report import quantities


def test_stored_r2star_is_the_rate_in_whole_numbers_per_second(bench, everything):
    maps = bench.result().maps
    for k, d in enumerate(everything["mr_map_r2star"]):
        expected = np.where(maps.valid[k], np.maximum(1, np.rint(maps.r2star_per_s[k])), 0)
        expected[maps.beyond[k]] = 65535
        np.testing.assert_array_equal(d.pixel_array, expected)


def test_stored_t2star_is_microseconds_and_real_world_values_are_milliseconds(bench, everything):
    maps, d = bench.result().maps, everything["mr_map_t2star"][2]
    mapping = d.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "ms"
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "113064"
    shown = d.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    np.testing.assert_allclose(shown, maps.t2star_ms[2], atol=0.0005)


def test_viewers_that_apply_rescale_show_milliseconds_too(bench, everything):
    d = everything["mr_map_t2star"][2]
    assert (d.RescaleSlope, d.RescaleIntercept, d.RescaleType) == (0.001, 0, "ms")
    shown = d.pixel_array * float(d.RescaleSlope)
    np.testing.assert_allclose(shown, bench.result().maps.t2star_ms[2], atol=0.0005)
    assert "RescaleSlope" not in everything["mr_map_r2star"][0]  # stored is the rate itself


def test_stored_fat_is_tenths_of_per_cent_where_it_is_told_and_zero_is_not_told(bench, everything):
    maps = bench.result().maps
    told = maps.valid & (np.nan_to_num(maps.values["fat_fraction_sd"], nan=1) < 0.02)
    assert 0 < told.sum() < maps.valid.sum()
    for k, d in enumerate(everything["mr_map_fat_fraction"]):
        expected = np.where(told[k], np.maximum(1, np.rint(1000 * maps.values["fat_fraction"][k])), 0)
        np.testing.assert_allclose(d.pixel_array, expected, atol=1)
        np.testing.assert_array_equal(d.pixel_array == 0, ~told[k])
        mapping = d.RealWorldValueMappingSequence[0]
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "%"
        assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "129100"
        assert "not PDFF" in d.ImageComments
        assert "beyond" not in d.ImageComments


def test_the_float_map_of_fat_holds_per_cent(bench, everything):
    maps, (d,) = bench.result().maps, everything["parametric_map_fat_fraction"]
    values = np.frombuffer(d.FloatPixelData, "<f4").reshape(maps.valid.shape)
    told = values > 0
    np.testing.assert_allclose(values[told], np.maximum(100 * maps.values["fat_fraction"][told], 0.1), rtol=1e-5)


def test_invalid_is_zero_and_declared(bench, everything):
    for kind in ("mr_map_r2star", "mr_map_t2star"):
        d = everything[kind][0]
        maps = bench.result().maps
        np.testing.assert_array_equal(d.pixel_array == 0, ~(maps.valid[0] | maps.beyond[0]))
        assert d.PixelPaddingValue == 0


def test_beyond_the_range_the_maps_are_at_their_severe_end_and_say_so(bench, everything):
    beyond = bench.result().maps.beyond[1]
    for kind, stored in (("mr_map_r2star", 65535), ("mr_map_t2star", 1)):
        d = everything[kind][1]
        assert (d.pixel_array[beyond] == stored).all()
        assert f"stored {stored} = decay beyond the measurable range" in d.ImageComments
        assert f"stored {stored} = decay beyond" in d.DerivationDescription


def test_a_region_that_is_lost_in_the_noise_as_a_whole_is_severe_and_not_black(bench):
    result = bench.result()
    lost = replace(result.maps, valid=result.maps.valid & ~result.rois[1].mask)
    written = bench.write(replace(result, maps=lost), ("mr_maps",))
    for k, d in enumerate(written["mr_map_r2star"]):
        assert (d.pixel_array[result.rois[1].mask[k]] == 65535).all()


def test_more_than_sixteen_bits_saturates_and_never_wraps(everything):
    assert everything["mr_map_t2star"][0].pixel_array[5, 6] == 65535


def test_a_valid_voxel_is_never_stored_as_invalid():
    low = np.full((1, 1), 0.2, np.float32)
    assert quantities.stored(quantities.R2STAR, low, np.ones((1, 1), bool))[0, 0] == 1


def test_nan_in_an_invalid_voxel_becomes_zero(bench):
    result = bench.result()
    t2star = result.maps.t2star_ms.copy()
    t2star[~result.maps.valid] = np.nan
    maps = replace(result.maps, values={**result.maps.values, "t2star_ms": t2star})
    written = bench.write(replace(result, maps=maps), ("mr_maps", "parametric_maps"))
    assert written["mr_map_t2star"][0].pixel_array[3, 4] == 0
    assert np.frombuffer(written["parametric_map_t2star"][0].FloatPixelData, "<f4").min() == 0


@pytest.mark.parametrize("descending", [False, True])
def test_each_slice_lies_where_its_source_lay(bench, scan, descending):
    result = bench.result(scan(descending=descending))
    for d, plane in zip(bench.write(result, ("mr_maps",))["mr_map_r2star"], result.stack.planes, strict=True):
        np.testing.assert_allclose(d.ImagePositionPatient, plane.position, atol=1e-6)
        np.testing.assert_allclose(d.ImageOrientationPatient, plane.orientation, atol=1e-9)
        assert tuple(d.PixelSpacing) == plane.pixel_spacing_mm
        assert d.SpacingBetweenSlices == pytest.approx(6.5)


def test_what_was_scanned_is_carried_but_no_echo_time_is_claimed(everything):
    d = everything["mr_map_t2star"][0]
    assert (d.RepetitionTime, d.FlipAngle, d.MagneticFieldStrength, d.ScanningSequence) == (200, 20, 1.5, "GR")
    assert d.EchoTime is None
    assert d.ImageType == ["DERIVED", "PRIMARY", "OTHER"]


def test_a_source_without_frame_of_reference_gets_one_of_its_own(bench, scan):
    written = bench.write(bench.result(scan(frame_of_reference="")))
    found = {d.FrameOfReferenceUID for kind in written if kind != "structured_report" for d in written[kind]}
    assert len(found) == 1
    assert found.pop().startswith("2.25.")


def test_the_first_window_shows_a_normal_liver_and_the_second_a_severe_one(everything):
    d = everything["mr_map_r2star"][0]
    assert (list(d.WindowCenter), list(d.WindowWidth)) == ([150, 500], [300, 1000])
    assert list(d.WindowCenterWidthExplanation) == ["R2* 0-300 1/s", "R2* 0-1000 1/s"]
    assert list(everything["mr_map_t2star"][0].WindowWidth) == [30, 60]
