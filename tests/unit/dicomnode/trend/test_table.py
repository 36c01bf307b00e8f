"""A site's own table of earlier results: as spreadsheets write it, and every fault by its line."""

from __future__ import annotations

import pytest

from dicomnode.errors import InputError
from dicomnode.trend import table
from dicomnode.trend.values import Origin

HEAD = "patient_id,date,lic_mg_per_g,r2star_per_s,field_t,scanner,method,note\n"


@pytest.fixture
def written(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "priors.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_a_line_is_a_measurement_of_a_patient(written):
    known = table.read(written(HEAD + "P1,2023-06-14,9.8,,1.5,Avanto,FerriScan,moved here\nP2,2023-06-15,,120,,,,\n"))
    assert known.faults == ()
    (point,) = known.of("P1", "any issuer")
    assert (point.date, point.lic_mg_per_g, point.field_t, point.scanner) == ("20230614", 9.8, 1.5, "Avanto")
    assert (point.method, point.origin, point.conditions) == ("FerriScan", Origin.TABLE, None)
    assert [one.r2star_per_s for one in known.of("P2", "")] == [120.0]
    assert list(known.of("P", "")) == []


def test_as_spreadsheets_write_it(written):
    text = "Patient_ID;Date;LIC_mg_per_g\r\nP1;20230614;9,8\r\n;;\r\n"
    (point,) = table.read(written(text, "utf-8-sig")).of("P1", "")
    assert (point.date, point.lic_mg_per_g) == ("20230614", 9.8)


def test_a_line_with_an_issuer_is_of_that_issuer_alone(written):
    known = table.read(written("patient_id,issuer,date,lic_mg_per_g\nP1,HOSPITAL A,2023-06-14,9.8\n"))
    assert list(known.of("P1", "HOSPITAL B")) == []
    assert len(list(known.of("P1", "HOSPITAL A"))) == 1


@pytest.mark.parametrize(
    ("line", "column"),
    [
        (",2023-06-14,9.8,,,,,", "patient_id"),
        ("P1,14.06.2023,9.8,,,,,", "date"),
        ("P1,2023-02-30,9.8,,,,,", "date"),
        ("P1,2023-06-14,,,,,,", "lic_mg_per_g or r2star_per_s"),
        ("P1,2023-06-14,much,,,,,", "lic_mg_per_g"),
        ("P1,2023-06-14,-1,,,,,", "lic_mg_per_g"),
        ("P1,2023-06-14,nan,,,,,", "lic_mg_per_g"),
        ("P1,2023-06-14,9.8,,inf,,,", "field_t"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_holds_back_no_other(written, line, column):
    known = table.read(written(HEAD + line + "\nP2,2023-06-14,2.0,,,,,\n"))
    assert len(list(known.of("P2", ""))) == 1
    (fault,) = known.faults
    assert fault.startswith("line 2: ")
    assert column in fault
    for word in ("P1", "much"):
        assert word not in fault


@pytest.mark.parametrize("text", ["", "patient_id,lic_mg_per_g\n", HEAD.replace("note", "name")])
def test_a_head_that_is_not_understood_is_a_fault_of_the_table(written, text):
    with pytest.raises(InputError, match="column"):
        table.read(written(text))


def test_what_is_no_text_is_a_fault_of_the_table(written, tmp_path):
    with pytest.raises(InputError, match="UTF-8"):
        table.read(written(HEAD + "P1,2023-06-14,9.8,,,Größe,,\n", "latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        table.read(tmp_path / "nothing.csv")


def test_a_line_is_of_the_liver_unless_it_names_another_organ(written):
    head = "patient_id,date,organ,lic_mg_per_g,t2star_ms,r2star_per_s\n"
    lines = "P1,2023-06-14,,9.8,,\nP1,2023-06-14,Heart,3,12.5,\nP1,2023-06-15,heart,,,50\nP1,2023-06-15,lung,1,2,3\n"
    known = table.read(written(head + lines))
    liver, *hearts = known.of("P1", "")
    assert (liver.organ, liver.lic_mg_per_g, liver.t2star_ms) == ("liver", 9.8, None)
    assert {(one.organ, one.lic_mg_per_g) for one in hearts} == {("heart", None)}
    assert [one.t2star_ms for one in hearts] == [12.5, 20.0]
    (fault,) = known.faults
    assert fault == "line 5: organ is none of liver, heart"
