"""What a scanner wrote about patient and study arrives in every result, whatever state it was in."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomnode.model import Component
from dicomnode.report import source


def test_patient_study_and_accession_are_carried_into_every_object(everything):
    for instances in everything.values():
        for d in instances:
            assert (d.PatientName, d.PatientID, d.AccessionNumber) == ("Iron^Ida", "LIC-1", "A-77")
            assert (d.StudyInstanceUID, d.StudyDate) == ("1.2.826.0.1.3680043.8.498.2", "20260304")
            assert d.ReferringPhysicianName == "Ref^Doc"


@pytest.mark.parametrize(
    ("character_set", "patient"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Ñandú^Ωmega"),
    ],
)
def test_names_of_any_character_set_survive(bench, scan, character_set, patient):
    result = bench.result(scan(header={"SpecificCharacterSet": character_set, "PatientName": patient}))
    for instances in bench.write(result).values():
        for d in instances:
            assert d.SpecificCharacterSet == "ISO_IR 192"
            assert str(d.PatientName) == patient


def test_a_text_of_a_private_character_set_survives_next_to_the_name(bench, scan):
    header = {"SpecificCharacterSet": "ISO_IR 100", "StudyDescription": "Leber – Größe".replace("–", "-")}
    [sr] = bench.write(bench.result(scan(header=header)), ("structured_report",))["structured_report"]
    assert sr.StudyDescription == "Leber - Größe"


@pytest.mark.parametrize(
    "missing",
    [
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
        ("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "RepetitionTime"),
        ("SliceThickness", "PatientPosition", "PositionReferenceIndicator", "FrameOfReferenceUID"),
        ("Manufacturer", "ManufacturerModelName"),
    ],
)
def test_missing_attributes_stop_nothing(bench, scan, missing):
    written = bench.write(bench.result(scan(without=missing)))
    assert len(written) == 8
    assert "PatientName" in written["structured_report"][0]


@pytest.mark.filterwarnings("ignore:The value length")  # of reading the result back
@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientSex", "female", None),
        ("PatientBirthDate", "1970.01.02", "19700102"),
        ("StudyDate", "yesterday", None),
        ("StudyTime", "04:05:06", "040506"),
        ("PatientAge", "old", None),
        ("PatientID", "X" * 70, "X" * 70),
        ("StudyDescription", "two\nlines", "twolines"),
    ],
)
def test_invalid_values_are_repaired_kept_or_left_empty(bench, keyword, value, expected):
    result = bench.result()
    path = result.stack.images[0][0].path
    d = pydicom.dcmread(path)
    d.add(DataElement(Tag(keyword), dictionary_VR(keyword), value, validation_mode=pydicom.config.IGNORE))
    d.save_as(path)
    [sr] = bench.write(result, ("structured_report",))["structured_report"]
    assert (sr.get(keyword) or None) == expected


def test_unusual_bytes_in_a_number_do_not_reach_the_result(bench, scan):
    stack = bench.stack(scan())
    data = stack.images[0][0].path.read_bytes().replace(b"DS\x04\x0020", b"DS\x04\x00\xff\xfe")
    stack.images[0][0].path.write_bytes(data)
    assert source.read(stack).slices[0].protocol.get("FlipAngle") in (None, 20)


def test_dates_are_written_in_the_time_zone_of_the_source(bench, scan):
    written = bench.write(bench.result(scan(header={"TimezoneOffsetFromUTC": "-0530"})), ("structured_report",))
    [sr] = written["structured_report"]
    assert (sr.ContentDate, sr.ContentTime, sr.TimezoneOffsetFromUTC) == ("20260303", "233607", "-0530")


def test_enhanced_sources_give_protocol_from_their_functional_groups(bench, scan):
    protocol = source.read(bench.stack(scan(enhanced=True))).slices[2].protocol
    assert (protocol.RepetitionTime, protocol.FlipAngle, protocol.SliceThickness) == (200, 20, 6)


def test_real_and_imaginary_images_are_both_sources_where_magnitude_was_computed(bench, scan):
    stack = bench.stack(scan())
    other = bench.stack(scan())
    computed = replace(stack, companions={Component.IMAGINARY: other.images}, magnitude_from=Component.REAL)
    assert len(source.read(computed).slices[0].echoes) == 8


def test_a_stack_of_unequal_gaps_has_no_slice_spacing(bench, scan):
    read = source.read(bench.stack(scan(slices=3)))
    uneven = replace(read, slices=(read.slices[0], read.slices[1], read.slices[1]))
    assert read.spacing_mm == pytest.approx(6.5)
    assert uneven.spacing_mm is None


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("InPlanePhaseEncodingDirection", "COLUMN", "COL"),
        ("ScanningSequence", ["GR", "XX"], "GR"),
        ("MRAcquisitionType", "4D", None),
    ],
)
def test_words_the_classic_object_does_not_know_are_translated_or_left_out(bench, scan, keyword, value, expected):
    protocol = source.read(bench.stack(scan(header={keyword: value}))).slices[0].protocol
    assert protocol.get(keyword) == expected


def test_what_was_compressed_with_loss_stays_marked_so(bench, scan):
    header = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "9.5"}
    written = bench.write(bench.result(scan(header=header)))
    for kind in ("mr_map_t2star", "parametric_map_t2star", "segmentation"):
        d = written[kind][0]
        assert (d.LossyImageCompression, d.LossyImageCompressionRatio) == ("01", 9.5)


def test_a_lone_slice_has_a_thickness_and_no_made_up_spacing(bench, scan):
    measures = _pixel_measures(bench.write(bench.result(scan(slices=1))))
    assert "SpacingBetweenSlices" not in measures
    assert measures.SliceThickness == 6


def test_an_unknown_thickness_is_taken_from_the_spacing(bench, scan):
    assert _pixel_measures(bench.write(bench.result(scan(without=("SliceThickness",))))).SliceThickness == 6.5


def _pixel_measures(written):
    return written["parametric_map_t2star"][0].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]


def test_no_damaged_byte_of_a_header_stops_the_report(bench):
    result = bench.result()
    path = result.stack.images[0][0].path
    whole, random = path.read_bytes(), np.random.default_rng(11)
    for _ in range(150):
        path.write_bytes(_damaged(whole, random))
        if _parses(path):
            source.read(result.stack)


@pytest.mark.filterwarnings("ignore")  # of reading the damage back
def test_a_report_on_a_damaged_header_is_still_one(bench):
    result = bench.result()
    path = result.stack.images[0][0].path
    whole, random = path.read_bytes(), np.random.default_rng(12)
    for _ in range(15):
        path.write_bytes(_damaged(whole, random))
        if _parses(path):
            [d] = bench.write(result, ("structured_report",))["structured_report"]
            assert d.StudyInstanceUID == result.stack.study_instance_uid


def _damaged(whole, random):
    damaged = bytearray(whole)
    for _ in range(random.choice([1, 3, 9])):
        place = random.integers(400, len(whole) - 4)
        damaged[place : place + 2] = random.bytes(2)
    return bytes(damaged)


def _parses(path):
    """Reception and grouping refuse what cannot be parsed at all."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except Exception:  # noqa: BLE001  whatever a parser stumbles over
        return False
    return True


def test_an_attribute_that_is_no_sequence_where_one_belongs_is_left_out(bench):
    result = bench.result()
    path = result.stack.images[0][0].path
    d = pydicom.dcmread(path)
    d.add(DataElement("OtherPatientIDsSequence", "LO", "no sequence"))
    d.save_as(path)
    assert "OtherPatientIDsSequence" not in source.read(result.stack).identity


def test_sequences_are_carried_with_their_text(bench, scan):
    item = Dataset()
    item.PatientID, item.TypeOfPatientID = "Größe-7", "TEXT"
    stack = bench.stack(scan(header={"SpecificCharacterSet": "ISO_IR 100", "OtherPatientIDsSequence": [item]}))
    [other] = source.read(stack).identity.OtherPatientIDsSequence
    assert other.PatientID == "Größe-7"
