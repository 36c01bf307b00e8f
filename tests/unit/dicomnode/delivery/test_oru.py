"""HL7 v2 messages, read by a parser that others made."""

import hl7
import pytest

from dicomnode.config import DestinationSettings
from dicomnode.delivery import oru
from tests.told import BEYOND, WHY, WITHHELD, Issuer, findings


def ris(**more):
    return DestinationSettings(name="ris", kind="hl7", host="h", port=1, **more)


def read(told=None, **more):
    return hl7.parse(oru.message(told or findings(), ris(**more)))


def observed(message, code):
    """OBX-2, OBX-5, OBX-6 and OBX-11 of an observation."""
    found = [one for one in message.segments("OBX") if str(one[3]).split("^")[0] == code]
    return [tuple(str(one[k]) if len(one) > k else "" for k in (2, 5, 6, 11)) for one in found]


def test_the_head_says_what_it_is_and_in_which_letters():
    head = read(sending_facility="MRI", receiving_application="RIS")["MSH"][0]
    assert [str(head[k]) for k in (3, 4, 5, 9, 10, 11, 12, 18)] == [
        *("LIVERIRON", "MRI", "RIS", "ORU^R01^ORU_R01", "0123456789abcdef0123", "P", "2.5.1", "UNICODE UTF-8")
    ]
    assert str(head[7]) == "20260304050607+0000"


def test_the_patient_is_who_the_images_say_with_who_gave_the_number():
    patient = read()["PID"][0]
    assert [str(patient[k]) for k in (3, 5, 7, 8)] == [
        "4711^^^HOSP&1.2.3&ISO",
        "Müller^Ida^M^jun.^Dr.",
        "19700102",
        "F",
    ]
    unnamed = findings(patient={"issuer": Issuer(), "sex": "?"})
    patient = read(unnamed, patient_id_issuer="SITE")["PID"][0]
    assert [str(patient[k]) for k in (3, 8)] == ["4711^^^SITE", "U"]


def test_a_name_or_a_date_that_is_none_is_left_out():
    patient = read(findings(patient={"name": "", "birth_date": "19709999"}))["PID"][0]
    assert (str(patient[5]), str(patient[7])) == ("^^^^^^U", "")


def test_the_order_is_told_by_accession_number_and_study():
    message = read()
    order = message["OBR"][0]
    assert [str(order[k]) for k in (3, 7, 18, 25)] == ["0123456789abcdef0123^LIVERIRON", "20260304040506", "A-77", "P"]
    assert str(order[4]).startswith("25056-3^")
    assert observed(message, "113014") == [("ST", "1.2.840.99", "", "O")]


def test_values_have_units_codes_and_intervals():
    message = read()
    assert observed(message, "LIC") == [("NM", "11.7", "mg/g^mg/g dry weight^UCUM", "P")]
    assert observed(message, "126395") == [("NM", "456", "/s^/s^UCUM", "P")]
    assert observed(message, "113064") == [("NM", "2.19", "ms^ms^UCUM", "P")]
    assert [observed(message, f"LIC-CI95-{end}")[0][1] for end in ("LOW", "HIGH")] == ["10.9", "12.5"]
    assert observed(message, "ANSWER")[0][:2] == ("TX", "Liver iron 11.7 mg/g dry weight: moderate")
    assert observed(message, "363698007")[0][1] == "10200004^Liver^SCT^^^^^^liver"


def test_a_bound_is_structured_and_what_is_not_measured_has_no_value_but_a_reason():
    message = read(findings(BEYOND))
    assert observed(message, "LIC") == [("SN", ">^21.0", "mg/g^mg/g dry weight^UCUM", "P")]
    assert observed(message, "113064") == [("", "", "ms^ms^UCUM", "X")]
    withheld = read(findings(WITHHELD))
    assert [observed(withheld, code)[0][3] for code in ("LIC", "126395", "113064")] == ["X"] * 3
    assert sum(str(note[3]) == WHY for note in withheld.segments("NTE")) == 3


def test_a_reason_stands_right_behind_what_it_is_of():
    kinds = [str(one[0]) for one in read(findings(WITHHELD, notes=("a flag",)))]
    assert kinds[-8:] == ["OBX", "NTE", "OBX", "NTE", "OBX", "NTE", "OBX", "NTE"]


def test_a_result_that_replaces_another_is_a_correction_of_the_same_order():
    message = read(findings(corrects=True, key="f" * 40))
    order = message["OBR"][0]
    assert (str(order[25]), str(order[3])) == ("P", "0123456789abcdef0123^LIVERIRON")
    assert str(message["MSH"][0][10]) == "f" * 20
    assert observed(message, "LIC")[0][3] == "P"


def test_the_same_findings_give_the_same_bytes():
    assert oru.message(findings(), ris()) == oru.message(findings(), ris())


@pytest.mark.parametrize("text", ["a|b^c&d~e\\f", "line\rline\nOBX|9", "100 % · σ ≥ 3", "Ω" * 300])
def test_no_text_can_end_a_field_or_a_segment(text):
    told = findings(notes=(text,), answer=text, patient={"name": text[:60], "id": text[:60]})
    message = read(told)
    assert len(message.segments("OBX")) == len(read().segments("OBX"))
    assert len(message.segments("PID")) == 1
    fields = str(message.segments("NTE")[-1]).split("|")
    assert len(fields) == 4
    unescaped = fields[3]
    for sequence, char in (("\\F\\", "|"), ("\\S\\", "^"), ("\\T\\", "&"), ("\\R\\", "~"), ("\\E\\", "\\")):
        unescaped = unescaped.replace(sequence, char)
    assert unescaped == " ".join(text.split())
