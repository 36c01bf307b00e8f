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
from dicomnode.measure.organs import LIVER, ORGANS
from dicomnode.model import Drawn, Identity
from dicomnode.report import codes, wording
from tests.unit.dicomnode.report.conftest import STOP

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
    assert numbers["LIC, low confidence", "Median"] == measured.lic_mg_per_g
    assert numbers["LIC (dry weight), amount of iron", "Median"] == pytest.approx(17.9 * measured.lic_mg_per_g)
    assert numbers["Area", None] == measured.area_mm2
    assert numbers["Voxels", None] == measured.n_voxels


def test_the_signal_fat_fraction_has_its_code_its_interval_and_says_what_it_is_not(everything):
    (group, *_) = _groups(everything["structured_report"][0])
    fat = next(m for m in group.get_measurements() if m.name.value == "129100")
    assert (fat.value, fat.unit.value) == (pytest.approx(18.4), "%")
    assert "not PDFF" in fat.method.meaning
    numbers = _numbers(group)
    assert numbers["Signal fat fraction, 95 % interval from", None] == pytest.approx(15.7)
    assert numbers["Signal fat fraction, 95 % interval to", None] == pytest.approx(21.1)
    assert numbers["R2* by one exponential, fat not allowed for", None] == 111.5
    texts = list(_texts(everything["structured_report"][0].ContentSequence))
    assert any("signal fat fraction 18 % (95 % interval 16 to 21 %): of the signal, not PDFF" in text for text in texts)
    assert any("median R2* by one exponential, fat not allowed for: 112 /s" in text for text in texts)


def test_a_viewer_that_prints_five_lines_prints_the_five_that_matter(everything):
    names = list(_numbers(_groups(everything["structured_report"][0])[0]))[:5]
    assert [derivation for _, derivation in names[:3]] == ["Median"] * 3
    assert [name for name, _ in names] == [
        "R2*",
        "LIC, low confidence",
        "T2*",
        "LIC, 95 % interval from",
        "LIC, 95 % interval to",
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
        "LIC, low confidence": "mg/g{DryWeight}",
        "LIC (dry weight), amount of iron": "umol/g{DryWt}",
        "Confidence of the region": "%",
        "R2*, 95 % interval from": "/s",
        "R2*, 95 % interval to": "/s",
        "LIC, 95 % interval from": "mg/g{DryWeight}",
        "LIC, 95 % interval to": "mg/g{DryWeight}",
        "Area": "mm2",
        "Voxels": "{voxels}",
        "R2* of one slice": "/s",
        "LIC of one slice": "mg/g{DryWeight}",
        "Fat fraction": "%",
        "Signal fat fraction, 95 % interval from": "%",
        "Signal fat fraction, 95 % interval to": "%",
        "R2* by one exponential, fat not allowed for": "/s",
        **{f"Probability of LIC {name} (Reeder 2023)": "%" for *_, name in LIVER.ranges.limits},
    }


def test_the_concentration_names_its_calibration_and_field(everything):
    [lic] = [m for m in _groups(everything["structured_report"][0])[0].get_measurements() if m.name.value == "LIC"]
    assert lic.method.value == "HERNANDO-2023"
    assert lic.method.meaning == "hernando-2023: LIC = -0.16 + 0.02603 · R2* at 1.5 T"


def test_what_could_not_be_measured_has_a_qualifier_and_no_number(everything):
    group = _groups(everything["structured_report"][0])[1]
    assert not {"R2*", "T2*", "LIC (dry weight)"} & {name for name, _ in _numbers(group)}
    said = {e[0].name.meaning: e[0].value.value for e in group.get_qualitative_evaluations()}
    assert said["T2*"] == said["R2*"] == "114006"


def test_a_region_of_many_slices_is_reported_once(everything):
    d = everything["structured_report"][0]
    assert len(_groups(d)) == 2


def test_flags_calibration_range_and_limits_of_use_are_in_words(everything):
    words = list(_texts(everything["structured_report"][0].ContentSequence))
    assert "Liver circle: low confidence: 2 echoes above the noise" in words
    assert "Whole liver: not measurable: 1 of 4 echoes above the noise: the decay is too fast" in words
    [iron] = [w for w in words if "liver iron concentration" in w]
    for part in ("3.1 mg/g dry weight", "2.9 to 3.3 mg/g", "55 µmol/g", "between borderline and mild (Reeder 2023)"):
        assert part in iron
    assert "from the median R2* by hernando-2023" in iron
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
    assert [g.tracking_identifier for g in _groups(d)] == ["Whole liver (not measurable)"]
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
    assert not {"LIC", "LIC-UMOL"} & {m.name.value for m in _groups(d)[0].get_measurements()}
    assert any("< 0.5 mg/g" in words for words in _texts(d.ContentSequence))


def test_a_fit_that_did_not_converge_is_named(bench):
    result = bench.result()
    record = replace(result.maps.record, converged=False, verdict="500 iterations were not enough")
    maps = replace(result.maps, record=record)
    [d] = bench.write(replace(result, maps=maps), ("structured_report",))["structured_report"]
    assert "The fit did not converge: 500 iterations were not enough." in set(_texts(d.ContentSequence))


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


def test_the_interval_stands_with_the_number_in_its_unit(everything):
    found = {
        m.name.value: (m.value, m.unit.value) for m in _groups(everything["structured_report"][0])[0].get_measurements()
    }
    assert (found["R2S-CI95-LOW"], found["R2S-CI95-HIGH"]) == ((118.5, "/s"), (132.25, "/s"))
    assert (found["LIC-CI95-LOW"], found["LIC-CI95-HIGH"]) == ((2.9, "mg/g{DryWeight}"), (3.3, "mg/g{DryWeight}"))


def test_the_doubt_stands_beside_the_number_and_beside_the_region(everything):
    group = _groups(everything["structured_report"][0])[0]
    assert group.tracking_identifier == "Liver circle (low confidence)"
    assert "LIC, low confidence" in {m.name.meaning for m in group.get_measurements()}


def test_a_number_without_doubt_is_named_without(bench):
    result = bench.result()
    sure = replace(result.measurements[0], flags=())
    [d] = bench.write(replace(result, measurements=(sure, result.measurements[1])))["structured_report"]
    group = _groups(d)[0]
    assert group.tracking_identifier == "Liver circle"
    assert "LIC (dry weight)" in {m.name.meaning for m in group.get_measurements()}


def test_a_bound_has_a_concept_of_its_own(everything):
    first, second = _groups(everything["structured_report"][0])[1].get_measurements()[:2]
    assert [(m.name.value, m.value) for m in (first, second)] == [("R2S-MIN", 812.0), ("LIC-MIN", 21.0)]
    assert {first.name.scheme_designator, second.name.scheme_designator} == {"99LIVERIRON"}


def test_each_flag_is_a_code_with_its_grade(everything):
    for group, name, value in zip(
        _groups(everything["structured_report"][0]),
        ("Low confidence", "Not measurable"),
        ("FEW-ECHOES", "BEYOND-RANGE"),
        strict=True,
    ):
        said = {e[0].name.meaning: e[0].value for e in group.get_qualitative_evaluations()}
        assert said[name].value == value
        assert len(said[name].meaning) <= 64


def test_a_slice_s_median_is_inferred_from_the_map_of_that_slice(everything):
    group = _groups(everything["structured_report"][0])[1]
    [one] = [m for m in group.get_measurements() if m.name.value == "R2S-SLICE"]
    assert one.value == 300.5
    [image] = one.referenced_images
    assert image.referenced_sop_instance_uid == everything["mr_map_r2star"][1].SOPInstanceUID


def test_a_withheld_number_is_nowhere_though_it_was_computed(bench):
    result = bench.result()
    stopped = replace(result.measurements[0], flags=(STOP,))
    [d] = bench.write(replace(result, measurements=(stopped, result.measurements[1])))["structured_report"]
    assert not any(name.startswith("LIC,") or name == "LIC (dry weight)" for name, _ in _numbers(_groups(d)[0]))


def test_without_a_liver_the_report_says_how_to_draw_one(bench):
    result = bench.result()
    empty = replace(result.rois[0], name="liver", mask=np.zeros_like(result.rois[0].mask))
    nothing = replace(result.measurements[1], name="liver", at_least=None, flags=(STOP,))
    [d] = bench.write(replace(result, rois=(empty,), measurements=(nothing,), decays=()))["structured_report"]
    words = list(_texts(d.ContentSequence))
    assert "No liver iron value: no reliable liver region" in words
    assert wording.how_to_draw(LIVER) in words


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


def test_each_range_has_a_code_and_its_probability(everything):
    number, bound = _groups(everything["structured_report"][0])
    found = {m.name.value: (m.value, m.unit.value) for m in number.get_measurements() if m.unit.value == "%"}
    stated = [found[f"P-{name}"][0] for name in ("NORMAL", "BORDERLINE", "MILD", "MODERATE", "SEVERE")]
    assert stated == pytest.approx([0, 85.6, 14.4, 0, 0])
    assert not [m for m in bound.get_measurements() if m.name.value.startswith("P-")]  # nothing is split


@pytest.mark.parametrize("organ", ORGANS.values(), ids=lambda organ: organ.name)
def test_every_range_of_every_organ_has_a_code_of_its_own(organ):
    names = [name for *_, name in organ.ranges.limits]
    found = [codes.in_range(name, organ.symbol, organ.ranges.scheme) for name in names]
    assert len({code.value for code in found}) == len(names)
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in found)
