"""The note that rejects a replaced result: IHE IOCM, RAD TF-3 4.66."""

import io

import pytest

from dicomnode.report import rejection_note
from dicomnode.report.references import to

KEY = "b" * 40


@pytest.fixture(scope="module")
def old(everything):
    return {kind: instances[0] for kind, instances in everything.items()}


@pytest.fixture(scope="module")
def note(old):
    return rejection_note.build(old["structured_report"], "structured_report", KEY, [to(one) for one in old.values()])


def test_it_says_that_every_object_is_rejected_for_quality_reasons(note, old):
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113001", "DCM")
    [study] = note.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == note.StudyInstanceUID == old["pdf"].StudyInstanceUID
    evidence = {
        (series.SeriesInstanceUID, one.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert evidence == {(one.SeriesInstanceUID, one.SOPInstanceUID) for one in old.values()}
    named = [one for one in note.ContentSequence if one.ValueType in ("IMAGE", "COMPOSITE")]
    assert {one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in named} == {uid for _, uid in evidence}
    assert {one.ValueType for one in named} == {"IMAGE", "COMPOSITE"}


def test_it_belongs_to_the_patient_and_study_in_a_series_of_its_own(note, old):
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDate", "StudyID"):
        assert note[keyword].value == old["pdf"][keyword].value
    assert note.Modality == "KO"
    assert note.SeriesInstanceUID not in {one.SeriesInstanceUID for one in old.values()}
    assert int(note.SeriesNumber) == int(old["pdf"].SeriesNumber) + 10
    assert note.Manufacturer == old["pdf"].Manufacturer


def test_the_same_rejection_is_the_same_note_byte_for_byte(note, old):
    again = rejection_note.build(
        old["structured_report"], "structured_report", KEY, [to(one) for one in reversed(old.values())]
    )
    assert again.SOPInstanceUID == note.SOPInstanceUID
    same = rejection_note.build(old["structured_report"], "structured_report", KEY, [to(one) for one in old.values()])
    assert written(same) == written(note)


def test_another_rejection_is_another_note(note, old):
    fewer = [to(old["pdf"])]
    assert rejection_note.sop_instance_uid(KEY, fewer) != note.SOPInstanceUID
    assert rejection_note.sop_instance_uid("c" * 40, fewer) != rejection_note.sop_instance_uid(KEY, fewer)


def written(note):
    buffer = io.BytesIO()
    note.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
