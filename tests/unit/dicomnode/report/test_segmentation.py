"""The segmentation: the very voxels, on the very images."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest


def _read(bench, result, products):
    [output] = [output for output in bench.outputs(result, products) if output.kind == "segmentation"]
    return hd.seg.segread(output.path)


@pytest.mark.parametrize("descending", [False, True])
def test_every_voxel_comes_back_on_its_own_slice(bench, scan, descending):
    result = bench.result(scan(descending=descending))
    image = _read(bench, result, ("mr_maps", "segmentation"))
    maps = bench.write(result, ("mr_maps",))["mr_map_t2star"]
    uids = [d.SOPInstanceUID for d in maps]
    pixels = image.get_pixels_by_source_instance(uids, ignore_spatial_locations=False)
    for segment, roi in enumerate(result.rois):
        np.testing.assert_array_equal(pixels[..., segment].astype(bool), roi.mask)


def test_it_refers_to_the_t2star_map_alone(everything):
    [series] = everything["segmentation"][0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == everything["mr_map_t2star"][0].SeriesInstanceUID


def test_without_mr_maps_it_refers_to_the_first_echo_of_each_slice(bench, scan):
    result = bench.result(scan())
    image = _read(bench, result, ("segmentation",))
    [series] = image.ReferencedSeriesSequence
    named = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
    assert named == [echoes[0].sop_instance_uid for echoes in result.stack.images]


def test_on_an_enhanced_source_each_frame_names_the_frame_it_lies_on(bench, scan):
    result = bench.result(scan(enhanced=True))
    for frame in _read(bench, result, ("segmentation",)).PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        [k] = [k for k, p in enumerate(result.stack.planes) if np.allclose(p.position, position, atol=1e-5)]
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert int(source.ReferencedFrameNumber) == result.stack.images[k][0].frame + 1


def test_segments_have_exactly_the_names_of_the_regions(everything):
    labels = [segment.SegmentLabel for segment in everything["segmentation"][0].SegmentSequence]
    assert labels == ["Liver circle", "Whole liver"]


def test_regions_within_another_are_kept_whole(bench):
    result = bench.result()
    inside = replace(result.rois[0], name="liver left", mask=result.rois[1].mask & (np.arange(32) < 20))
    changed = replace(result, rois=(result.rois[1], inside))
    image = _read(bench, changed, ("mr_maps", "segmentation"))
    uids = [d.SOPInstanceUID for d in bench.write(changed, ("mr_maps",))["mr_map_t2star"]]
    stored = image.get_pixels_by_source_instance(uids, ignore_spatial_locations=False).astype(bool)
    np.testing.assert_array_equal(stored[..., 0], result.rois[1].mask)
    np.testing.assert_array_equal(stored[..., 1], inside.mask)


def test_a_region_without_voxels_makes_no_segment(bench):
    result = bench.result()
    first, second = result.rois
    rois = (replace(first, mask=np.zeros_like(first.mask)), second)
    [d] = bench.write(replace(result, rois=rois))["segmentation"]
    assert [segment.SegmentLabel for segment in d.SegmentSequence] == ["Whole liver"]


def test_no_region_at_all_makes_no_segmentation(bench):
    assert "segmentation" not in bench.write(replace(bench.result(), rois=(), measurements=(), decays=()))


def test_segment_and_report_name_the_same_region_by_the_same_uid(everything):
    segments = {segment.TrackingUID for segment in everything["segmentation"][0].SegmentSequence}
    assert segments == set(_uids(everything["structured_report"][0].ContentSequence))


def _uids(items):
    for item in items:
        if item.ValueType == "UIDREF" and item.ConceptNameCodeSequence[0].CodeValue == "112040":
            yield item.UID
        yield from _uids(item.get("ContentSequence", []))


def test_every_frame_names_its_segment_and_every_segment_its_colour(everything):
    [image] = everything["segmentation"]
    assert "SegmentIdentificationSequence" not in image.SharedFunctionalGroupsSequence[0]
    for frame in image.PerFrameFunctionalGroupsSequence:
        assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber >= 1
    assert all(len(segment.RecommendedDisplayCIELabValue) == 3 for segment in image.SegmentSequence)
