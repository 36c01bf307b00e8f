"""The float maps: exact values in the right place, and what viewers need to show them."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest


def _read(bench, result, kind):
    outputs = [output for output in bench.outputs(result, ("parametric_maps",)) if output.kind == kind]
    return hd.pm.ParametricMap.from_file(outputs[0].path)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("enhanced", [False, True])
def test_every_value_comes_back_exactly_at_its_position(bench, scan, descending, enhanced):
    result = bench.result(scan(descending=descending, enhanced=enhanced))
    image = _read(bench, result, "parametric_map_r2star")
    frames = image.get_frames(apply_real_world_transform=True)
    positions = [f.PlanePositionSequence[0].ImagePositionPatient for f in image.PerFrameFunctionalGroupsSequence]
    for k, plane in enumerate(result.stack.planes):
        [place] = [i for i, p in enumerate(positions) if np.allclose(p, plane.position, atol=1e-5)]
        np.testing.assert_array_equal(frames[place], result.maps.r2star_per_s[k])


def test_frames_and_header_describe_the_same_oblique_volume(bench):
    image = _read(bench, bench.result(), "parametric_map_t2star")
    volume = image.get_volume(apply_real_world_transform=True)
    assert volume.spacing == pytest.approx((6.5, 1.75, 1.5))
    index = volume.map_reference_to_indices(np.array([bench.result().stack.planes[2].position]))[0]
    values = volume.array[tuple(np.rint(index).astype(int))]
    assert values == bench.result().maps.t2star_ms[2, 0, 0]


def test_invalid_voxels_are_zero_declared_and_inside_the_mapping(everything):
    d = everything["parametric_map_t2star"][0]
    values = np.frombuffer(d.FloatPixelData, "<f4")
    mapping = d.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert np.isfinite(values).all()
    assert (d.FloatPixelPaddingValue, d.FloatPixelPaddingRangeLimit) == (0.0, 0.0)
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped <= values.min()
    assert mapping.DoubleFloatRealWorldValueLastValueMapped >= values.max()


def test_a_map_without_any_valid_voxel_is_still_an_object(bench):
    result = bench.result()
    nothing = replace(result.maps, valid=np.zeros_like(result.maps.valid))
    written = bench.write(replace(result, maps=nothing, rois=(), measurements=(), decays=()))
    assert not np.frombuffer(written["parametric_map_r2star"][0].FloatPixelData, "<f4").any()
    assert not written["mr_map_t2star"][0].pixel_array.any()


def test_viewers_lay_it_over_its_own_mr_map(everything):
    for quantity in ("t2star", "r2star"):
        d, maps = everything[f"parametric_map_{quantity}"][0], everything[f"mr_map_{quantity}"]
        assert d.ReferencedSeriesSequence[0].SeriesInstanceUID == maps[0].SeriesInstanceUID
        assert [r.ReferencedSOPInstanceUID for r in d.ReferencedImageSequence] == [m.SOPInstanceUID for m in maps]


def test_without_mr_maps_the_echoes_are_the_only_reference(bench):
    d = bench.write(products=("parametric_maps",))["parametric_map_t2star"][0]
    assert [item.SeriesInstanceUID for item in d.ReferencedSeriesSequence] == ["1.2.826.0.1.3680043.8.498.3"]
    assert "ReferencedImageSequence" not in d


def test_unit_quantity_and_method_are_coded(everything):
    shared = everything["parametric_map_r2star"][0].SharedFunctionalGroupsSequence[0]
    mapping = shared.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "/s"
    quantity, method = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodeValue == "126395"
    assert method.ConceptCodeSequence[0].CodingSchemeDesignator == "99LIVERIRON"


def test_it_is_an_mr_image_of_the_liver_for_research(everything):
    d = everything["parametric_map_t2star"][0]
    assert (d.Modality, d.BodyPartExamined, d.ContentQualification) == ("MR", "LIVER", "RESEARCH")
