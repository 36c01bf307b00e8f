"""The PDF: complete, deterministic, whole as an object."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from dicomnode.config import ReportSettings
from dicomnode.model import Drawn
from dicomnode.report import pdf
from dicomnode.report.fonts import font
from dicomnode.report.sheet import Box
from tests.unit.dicomnode.report.conftest import DOUBT, STOP
from tests.unit.dicomnode.report.test_pictures import assert_tidy, cases


@pytest.fixture
def text(peer, tmp_path):
    """What a reader of the PDF reads."""

    def read(content: bytes) -> str:
        path = tmp_path / "report.pdf"
        path.write_bytes(content)
        found = subprocess.run([peer("pdftotext"), "-layout", path, "-"], capture_output=True, text=True, check=True)
        assert not found.stderr
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


@pytest.mark.parametrize("case", ["number", "beyond", "nothing", "no region", "many", "drawn"])
def test_no_word_leaves_a_page_or_lies_on_another(bench, case):
    for sheet in pdf.sheets(bench.draft(cases(bench)[case])):
        assert_tidy(sheet, Box(0, 0, pdf.WIDTH - 30, pdf.HEIGHT))


@pytest.mark.peer
def test_answer_numbers_flags_provenance_and_limits_of_use_are_in_it(bench, text):
    words = text(pdf.document(bench.draft()))
    for expected in ("Liver iron 3.1 mg/g dry weight", "2.9 to 3.3", "between borderline and mild", "55 µmol/g"):
        assert expected in words
    for expected in ("125 /s", "95 % 118 to 132", "8.00 ms", "97 %", DOUBT.sentence, STOP.sentence, "> 812"):
        assert expected in words
    for expected in ('fit.method="admm"', "noise_sigma_per_slice=[3.25, 3.25, 3.25]", "Not a cleared medical device"):
        assert expected in words
    for expected in ("liver-finder", 'finder.sha256="ab12"', "hernando-2023: LIC = -0.16 + 0.02603"):
        assert expected in words


@pytest.mark.peer
def test_identity_accession_and_study_date_are_in_it_unless_the_site_forbids(bench, text):
    class Silent(ReportSettings):
        identity_on_pages: bool = False

    words = text(pdf.document(bench.draft()))
    for fact in ("Iron, Ida", "LIC-1", "1970-01-02, F", "2026-03-04", "A-77"):
        assert fact in words
    assert words.count("Iron, Ida") == words.count("Page ")  # sheets of paper part
    silent = text(pdf.document(replace(bench.draft(), settings=Silent())))
    assert not any(fact in silent for fact in ("Iron, Ida", "LIC-1", "1970-01-02", "A-77"))


@pytest.mark.peer
def test_a_drawn_region_s_title_says_who_drew_it(bench, text):
    drawn = Drawn("1.2.840.10008.5.1.4.1.1.66.4", "1.2.3", "Reader^Rita", "A viewer")
    words = text(pdf.document(bench.draft(replace(bench.result(), drawn=drawn))))
    assert "Liver iron report: region drawn by Reader, Rita" in words
    assert "Region drawn by Reader, Rita." in words


@pytest.mark.peer
def test_what_finds_no_room_on_the_first_page_is_on_the_next_ones(bench, text):
    words = text(pdf.document(bench.draft(cases(bench)["many"])))
    assert "more on the next page" in words
    assert all(f"region number {i} of" in words for i in range(12))


@pytest.mark.peer
def test_letters_of_many_languages_are_read_back(bench, scan, text):
    named = bench.result(scan(header={"PatientName": "Łukaszewiczówna^Żaneta", "SpecificCharacterSet": "ISO_IR 192"}))
    assert "Łukaszewiczówna, Żaneta" in text(pdf.document(bench.draft(named)))


def test_a_font_keeps_the_glyphs_that_are_used_and_their_parts():
    face = font()
    [composite] = face.numbers("Å")
    whole, part = face.embedded(range(len(face.advances))), face.embedded([composite])
    assert len(part) < len(whole) / 8
    assert face.width("mm", 10) == pytest.approx(2 * face.width("m", 10))
