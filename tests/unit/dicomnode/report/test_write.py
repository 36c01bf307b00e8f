"""The set of objects as a whole: names, determinism, references, supersession."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest

from dicomnode import report
from dicomnode.config import PRODUCTS, ReportSettings
from dicomnode.report.identity import uid
from dicomnode.report.instance import KINDS


def test_everything_that_was_asked_for_is_written(full):
    counts = Counter(output.kind for output in full)
    assert counts == {
        "mr_map_r2star": 3,
        "mr_map_t2star": 3,
        "mr_map_fat_fraction": 3,
        "parametric_map_t2star": 1,
        "parametric_map_r2star": 1,
        "parametric_map_fat_fraction": 1,
        "segmentation": 1,
        "structured_report": 1,
        "picture": 3,
        "pdf": 1,
    }


def test_where_fat_was_not_looked_for_there_is_no_map_of_it(bench):
    result = bench.result()
    known = {name: values for name, values in result.maps.values.items() if "fat" not in name and "plain" not in name}
    written = bench.write(replace(result, maps=replace(result.maps, values=known)))
    assert not any("fat" in kind for kind in written)
    assert len(written["mr_map_r2star"]) == 3


@pytest.mark.parametrize("product", PRODUCTS)
def test_each_product_can_be_asked_for_alone(bench, product):
    written = bench.write(products=(product,))
    assert {KINDS[kind].product for kind in written} == {product}


def test_every_kind_belongs_to_a_product_that_can_be_configured():
    assert {kind.product for kind in KINDS.values()} == set(PRODUCTS)


def test_the_same_result_gives_the_same_bytes(bench):
    first = {output.path.name: output.path.read_bytes() for output in bench.outputs()}
    again = {output.path.name: output.path.read_bytes() for output in bench.outputs()}
    assert again == first


def test_outputs_name_the_objects_they_point_at(bench, full):
    for output, [d] in ((output, bench.read((output,))[output.kind]) for output in full):
        assert (output.sop_class_uid, output.sop_instance_uid) == (d.SOPClassUID, d.SOPInstanceUID)
        assert d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID


def test_file_names_say_nothing_of_the_patient(full):
    assert not any("Iron" in output.path.name or "LIC-1" in output.path.name for output in full)


def test_no_two_objects_share_a_uid_and_each_kind_is_a_series(everything):
    objects = [d for instances in everything.values() for d in instances]
    assert len({d.SOPInstanceUID for d in objects}) == len(objects)
    assert len({d.SeriesInstanceUID for d in objects}) == len(everything)


def test_series_numbers_follow_the_source_and_never_collide_with_another(bench, scan, everything):
    five = {d[0].SeriesNumber for d in everything.values()}
    six = {d[0].SeriesNumber for d in bench.write(bench.result(scan(series_number=6))).values()}
    assert five == {1410, 1411, 1414, 1430, 1431, 1434, 1450, 1460, 1470, 1480}
    assert not five & six


def test_a_source_without_series_number_gives_numbers_all_the_same(bench, scan):
    assert bench.write(bench.result(scan(series_number=None)))["structured_report"][0].SeriesNumber == 960


def test_descriptions_say_unit_and_version(everything):
    descriptions = {kind: d[0].SeriesDescription for kind, d in everything.items()}
    assert descriptions["mr_map_r2star"] == "R2* map [1/s] | Liver Iron Node 0.1.0"
    assert all("0.1.0" in text and len(text) <= 64 for text in descriptions.values())


def test_scanner_and_node_contributed(everything):
    for instances in everything.values():
        scanner, node = instances[0].ContributingEquipmentSequence
        assert (scanner.Manufacturer, scanner.ManufacturerModelName) == ("SIEMENS", "Prisma")
        assert (node.ManufacturerModelName, node.SoftwareVersions) == ("Liver Iron Node", "0.1.0")


def test_nothing_of_the_library_s_own_identity_is_left(everything):
    for d in (d for instances in everything.values() for d in instances):
        assert "ighdicom" not in str(d)
        assert d.InstanceCreationDate == "20260304"


def test_a_time_without_zone_is_refused(bench, tmp_path):
    with pytest.raises(ValueError, match="time zone"):
        report.write(bench.result(), tmp_path, created=datetime(2026, 1, 1), settings=ReportSettings())  # noqa: DTZ001


def test_a_superseding_result_names_what_it_replaces(bench):
    result = bench.result()
    earlier = "0" * 40
    identity = replace(result.identity, supersedes=earlier)
    written = bench.write(replace(result, identity=identity), PRODUCTS)
    [study] = written["structured_report"][0].PredecessorDocumentsSequence
    replaced = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert replaced.ReferencedSOPInstanceUID == uid(earlier, "structured_report/1")
    for kind in ("mr_map_r2star", "parametric_map_t2star", "picture"):
        assert earlier in written[kind][0].DerivationDescription
    assert "replaces 000000000000" in written["segmentation"][0].ContentDescription


@pytest.mark.parametrize("enhanced", [False, True])
def test_every_echo_is_a_source_of_the_maps(bench, scan, enhanced):
    result = bench.result(scan(enhanced=enhanced))
    written = bench.write(result)
    for k, d in enumerate(written["mr_map_t2star"]):
        assert _named(d.SourceImageSequence) == _expected(result.stack.images[k])
    frames = written["parametric_map_r2star"][0].PerFrameFunctionalGroupsSequence
    named = {item for frame in frames for item in _named(frame.DerivationImageSequence[0].SourceImageSequence)}
    assert named == {item for echoes in result.stack.images for item in _expected(echoes)}


def _named(items):
    found = set()
    for item in items:
        frames = item.get("ReferencedFrameNumber")
        numbers = [None] if frames is None else [int(n) for n in (frames if hasattr(frames, "__iter__") else [frames])]
        found |= {(item.ReferencedSOPInstanceUID, number) for number in numbers}
    return found


def _expected(echoes):
    return {(image.sop_instance_uid, None if image.frame is None else image.frame + 1) for image in echoes}
