"""The report: the numbers as they were measured, and nothing that was not."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime

import highdicom as hd
import numpy as np
import pytest
from skimage.draw import polygon2mask

from dicomnode import report
from dicomnode.config import ReportSettings
from dicomnode.model import Drawn, Identity

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def _groups(d):
    content = hd.sr.ComprehensiveSR.from_dataset(d).content
    return content.get_planar_roi_measurement_groups() + content.get_volumetric_roi_measurement_groups()


def _numbers(group):
    """(name, derivation) -> value of every measurement of a group, in their order."""
    return {(m.name.meaning, m.derivation.meaning if m.derivation else None): m.value for m in group.get_measurements()}


def _texts(items):
    for item in items:
        if item.ValueType == "TEXT":
            yield str(item.TextValue)
        yield from _texts(item.get("ContentSequence", []))


def test_every_number_is_the_measured_one_exactly(bench, everything):
    measured = bench.result().measurements[0]
    numbers = _numbers(_groups(everything["structured_report"][0])[0])
    for name, statistics in (("T2*", measured.t2star_ms), ("R2*", measured.r2star_per_s)):
        assert numbers[name, "Mean"] == statistics.mean
        assert numbers[name, "Standard Deviation"] == statistics.sd
        assert numbers[name, "Median"] == statistics.median
        assert numbers[name, "Interquartile range"] == statistics.iqr
    assert numbers["LIC (dry weight)", None] == measured.lic_mg_per_g
    assert numbers["Area", None] == measured.area_mm2
    assert numbers["Voxels", None] == measured.n_voxels


def test_a_viewer_that_prints_five_lines_prints_the_five_that_matter(everything):
    names = list(_numbers(_groups(everything["structured_report"][0])[0]))[:5]
    assert [name for name, _ in names] == [
        "T2*",
        "R2*",
        "LIC (dry weight)",
        "Area",
        "Voxels",
    ]


def test_printed_decimals_are_few_and_agree_with_the_exact_value(everything):
    values = list(_measured(everything["structured_report"][0].ContentSequence))
    assert {(str(v.NumericValue), v.FloatingPointValue) for v in values} >= {
        ("8.12346", 8.123456789),
        ("123.457", 123.456789),
    }


def _measured(items):
    for item in items:
        if item.ValueType == "NUM" and "FloatingPointValue" in item.MeasuredValueSequence[0]:
            yield item.MeasuredValueSequence[0]
        yield from _measured(item.get("ContentSequence", []))


def test_units_are_coded(everything):
    units = {m.name.meaning: m.unit.value for m in _groups(everything["structured_report"][0])[0].get_measurements()}
    assert units == {
        "T2*": "ms",
        "R2*": "/s",
        "LIC (dry weight)": "mg/g{DryWeight}",
        "Area": "mm2",
        "Voxels": "{voxels}",
    }


def test_the_concentration_names_its_calibration_and_field(everything):
    [lic] = [m for m in _groups(everything["structured_report"][0])[0].get_measurements() if "LIC" in m.name.meaning]
    assert lic.method.value == "HERNANDO-2023"
    assert lic.method.meaning == "hernando-2023: LIC = -0.16 + 0.02603 · R2* at 1.5 T"


def test_what_could_not_be_measured_has_a_qualifier_and_no_number(everything):
    group = _groups(everything["structured_report"][0])[1]
    assert {name for name, _ in _numbers(group)} == {"Area", "Voxels"}
    said = {e[0].name.meaning: e[0].value.value for e in group.get_qualitative_evaluations()}
    assert said["T2*"] == said["R2*"] == "114006"


def test_a_region_of_many_slices_is_reported_once(everything):
    d = everything["structured_report"][0]
    assert len(_groups(d)) == 2


def test_flags_calibration_range_and_limits_of_use_are_in_words(everything):
    words = list(_texts(everything["structured_report"][0].ContentSequence))
    assert "Liver circle: low confidence: 2 echoes above the noise" in words
    assert "Whole liver (provisional): not measurable: R2* > 812/s" in words
    assert any("3.1 mg/g dry weight; Reeder 2023 range 1.8 to 3.2 mg/g: borderline; hernando" in w for w in words)
    assert any("Not a cleared medical device" in w for w in words)


def test_every_parameter_is_named(everything):
    words = set(_texts(everything["structured_report"][0].ContentSequence))
    assert {'fit.method="admm"', 'fit.noise="rician"', "echo_times_ms=[2.5, 5.0, 7.5, 10.0]"} <= words
    assert 'settings.measure.calibration="hernando-2023"' in words


def test_outlines_filled_by_pixel_centre_are_the_region_with_its_holes_closed(bench, everything):
    rois = bench.result().rois
    [region] = [g.roi for g in _groups(everything["structured_report"][0]) if hasattr(g.roi, "value")]
    filled = _filled(region.value, rois[0].mask.shape[1:])
    expected = rois[0].mask[0].copy()
    expected[9, 8] = True
    np.testing.assert_array_equal(filled, expected)


def test_several_outlines_name_the_slice_each_lies_on(everything):
    [volumetric] = [g for g in _groups(everything["structured_report"][0]) if not hasattr(g.roi, "value")]
    maps = [d.SOPInstanceUID for d in everything["mr_map_t2star"]]
    named = [r.ContentSequence[0].referenced_sop_instance_uid for r in volumetric.roi]
    assert sorted(named) == sorted([maps[0], maps[0], maps[1], maps[2]])


def _filled(graphic, shape):
    corners = np.asarray(graphic, float) - 0.5
    return polygon2mask(shape, corners[:, ::-1])


def test_without_mr_maps_regions_are_drawn_on_the_first_echo(bench, scan):
    result = bench.result(scan(enhanced=True))
    [d] = bench.write(result, ("structured_report",))["structured_report"]
    [planar] = [g.roi for g in _groups(d) if hasattr(g.roi, "value")]
    image = planar.ContentSequence[0]
    assert image.referenced_sop_instance_uid == result.stack.images[0][0].sop_instance_uid
    assert list(image.referenced_frame_numbers) == [1]


def test_a_report_of_no_region_says_so(bench):
    [d] = bench.write(replace(bench.result(), rois=(), measurements=(), decays=()))["structured_report"]
    assert any("No region was found" in words for words in _texts(d.ContentSequence))


def test_every_group_has_an_outline_and_a_region_without_voxels_has_words(bench):
    result = bench.result()
    empty = replace(result.rois[0], mask=np.zeros_like(result.rois[0].mask))
    [d] = bench.write(replace(result, rois=(empty, result.rois[1])))["structured_report"]
    content = hd.sr.ComprehensiveSR.from_dataset(d).content
    assert content.get_image_measurement_groups() == []
    assert [g.tracking_identifier for g in _groups(d)] == ["Whole liver (provisional)"]
    assert "Liver circle: no voxel, no numbers" in list(_texts(d.ContentSequence))


def test_an_outline_that_encloses_a_vessel_says_so(everything):
    words = list(_texts(everything["structured_report"][0].ContentSequence))
    [said] = [w for w in words if "encloses voxels that were left out" in w]
    assert said.startswith("Liver circle:")


@pytest.mark.parametrize("lic", [None, -0.3])
def test_a_concentration_under_the_calibration_s_reach_is_words_and_no_number(bench, lic):
    result = bench.result()
    low = replace(result.measurements[0], lic_mg_per_g=lic)
    [d] = bench.write(replace(result, measurements=(low, result.measurements[1])))["structured_report"]
    assert not any("LIC" in name for name, _ in _numbers(_groups(d)[0]))
    assert any("< 0.5 mg/g" in words for words in _texts(d.ContentSequence))


def test_a_fit_that_did_not_converge_is_named(bench):
    result = bench.result()
    record = replace(result.maps.record, converged=False, verdict="500 iterations were not enough")
    maps = replace(result.maps, record=record)
    [d] = bench.write(replace(result, maps=maps), ("structured_report",))["structured_report"]
    assert "The fit did not converge: 500 iterations were not enough" in set(_texts(d.ContentSequence))


def test_all_results_and_all_echoes_are_evidence(bench, everything):
    d = everything["structured_report"][0]
    named = {uid for _, _, uid, _ in hd.sr.ComprehensiveSR.from_dataset(d).get_evidence()}
    kinds = ("mr_map_r2star", "mr_map_t2star", "parametric_map_t2star", "parametric_map_r2star", "segmentation")
    assert {e.SOPInstanceUID for kind in kinds for e in everything[kind]} <= named
    assert set(bench.result().stack.sop_instance_uids) <= named


def test_a_region_of_dust_keeps_its_largest_outlines_and_says_so(bench):
    result = bench.result()
    dust = np.zeros_like(result.rois[1].mask)
    dust[:, ::3, ::3] = True
    dust[1, 6:12, 6:12] = True
    rois = (result.rois[0], replace(result.rois[1], mask=dust))
    [d] = bench.write(replace(result, rois=rois), ("structured_report",))["structured_report"]
    [volumetric] = [g for g in _groups(d) if not hasattr(g.roi, "value")]
    assert len(volumetric.roi) == 50
    assert len(volumetric.roi[0].value) > 5
    assert any("the 50 largest outlines are drawn" in words for words in _texts(d.ContentSequence))


def test_the_body_has_numbers_but_no_segment_that_would_cover_the_rest(bench):
    result = bench.result()
    rois = (result.rois[0], replace(result.rois[1], finding="body"))
    written = bench.write(replace(result, rois=rois))
    assert len(_groups(written["structured_report"][0])) == 2
    assert [s.SegmentLabel for s in written["segmentation"][0].SegmentSequence] == ["Liver circle"]


SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.mark.parametrize(("author", "written_as"), [("Reader^Rita", "Reader^Rita"), ("rita", "rita^"), (None, None)])
def test_whoever_drew_the_regions_is_named_beside_the_device(bench, author, written_as):
    drawn = Drawn(SEGMENTATION, "1.2.3.4", author, "A viewer 1", ("region 2 lies outside the map",))
    written = bench.write(replace(bench.result(), drawn=drawn))
    d = written["structured_report"][0]
    persons = [item.PersonName for item in d.ContentSequence if item.ValueType == "PNAME"]
    assert persons == ([written_as] if written_as else [])
    assert written["segmentation"][0].ContentCreatorName == (written_as or "Liver Iron Node^")
    words = list(_texts(d.ContentSequence))
    assert any("with A viewer 1, object 1.2.3.4" in w for w in words)
    assert "Not measured: region 2 lies outside the map" in words


def test_a_drawn_region_is_shown_on_the_maps_of_the_result_it_was_drawn_on(bench, tmp_path):
    earlier = bench.write()
    key = Identity("f" * 40, "0.1.0")
    drawn = replace(bench.result(), identity=key, drawn=Drawn(SEGMENTATION, "1.2.3.4", "Reader^Rita", "A viewer"))
    settings = ReportSettings(products=("segmentation", "structured_report"))
    outputs = report.write(drawn, tmp_path, created=CREATED, settings=settings, shown_on=earlier)
    again = bench.read(outputs)
    [series] = again["segmentation"][0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == earlier["mr_map_t2star"][0].SeriesInstanceUID
    assert again["structured_report"][0].SeriesDescription.startswith("Liver iron report, drawn")
    named = {uid for _, _, uid, _ in hd.sr.ComprehensiveSR.from_dataset(again["structured_report"][0]).get_evidence()}
    assert {d.SOPInstanceUID for d in earlier["mr_map_t2star"]} <= named


def test_writing_warns_of_nothing(bench):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bench.write()
