"""The PDF: complete, deterministic, whole as an object."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from dicomnode.report import pdf


@pytest.fixture
def text(peer, tmp_path):
    """What a reader of the PDF reads."""

    def read(content: bytes) -> str:
        path = tmp_path / "report.pdf"
        path.write_bytes(content)
        found = subprocess.run([peer("pdftotext"), "-layout", path, "-"], capture_output=True, text=True, check=True)
        return found.stdout

    return read


def test_the_object_holds_exactly_the_document(bench, everything):
    [d] = everything["pdf"]
    document = bytes(d.EncapsulatedDocument)[: d.EncapsulatedDocumentLength]
    assert document.startswith(b"%PDF-")
    assert document.rstrip().endswith(b"%%EOF")
    assert d.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_the_same_draft_gives_the_same_document(bench):
    draft = bench.draft()
    assert pdf.document(draft) == pdf.document(draft)


def test_every_echo_is_its_source(bench, everything):
    named = {item.ReferencedSOPInstanceUID for item in everything["pdf"][0].SourceInstanceSequence}
    assert named == set(bench.result().stack.sop_instance_uids)


def test_two_regions_fit_on_two_pages(bench):
    assert pdf.document(bench.draft()).count(b"/Type /Page ") == 2


@pytest.mark.peer
def test_numbers_flags_provenance_and_limits_of_use_are_in_it(bench, text):
    words = text(pdf.document(bench.draft()))
    for expected in ("8.1 ± 1.2 (8.0)", "123.5 ± 19.5 (125.0)", "3.1 mg/g dry weight", "not measurable: R2* > 812/s"):
        assert expected in words
    for expected in ('fit.method="admm"', "noise_sigma_per_slice=[3.25, 3.25, 3.25]", "Not a cleared medical device"):
        assert expected in words


@pytest.mark.peer
def test_the_patient_is_not_in_it(bench, text):
    words = text(pdf.document(bench.draft()))
    assert "Iron^" not in words
    assert "Ida" not in words
    assert "LIC-1" not in words


@pytest.mark.peer
def test_what_finds_no_room_on_the_first_page_is_on_the_next_ones(bench, text):
    result = bench.result()
    rois = tuple(replace(result.rois[0], name=f"region number {i}") for i in range(30))
    many = replace(result, rois=rois, measurements=result.measurements[:1] * 30, decays=())
    words = text(pdf.document(bench.draft(many)))
    assert "further regions: next page" in words
    assert all(f"region number {i}" in words for i in range(30))
