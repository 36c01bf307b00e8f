"""What the two sides of storage commitment say to each other, as data sets and as bytes."""

import pytest
from pydicom import DataElement, Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode.commitment import ALL_COMMITTED, SOME_FAILED, Report, Request, decoded, encoded, reason
from dicomnode.errors import InputError

MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_is_said_is_heard(syntax):
    request = Request("2.25.1", {"2.25.2": MR, "2.25.3": MR})
    assert Request.read(decoded(encoded(request.as_data_set(), syntax), syntax)) == request
    report = Report("2.25.1", {"2.25.2": MR}, {"2.25.3": (MR, 0x0112)})
    assert Report.read(decoded(encoded(report.as_data_set(), syntax), syntax)) == report


def test_the_event_type_says_whether_all_is_well():
    assert Report("2.25.1", {"2.25.2": MR}).event_type == ALL_COMMITTED
    assert Report("2.25.1", {}, {"2.25.2": (MR, 0x0110)}).event_type == SOME_FAILED


def test_what_stands_in_both_lists_has_failed():
    both = Report("2.25.1", {"2.25.2": MR}, {"2.25.2": (MR, 0x0110)})
    assert Report.read(both.as_data_set()).committed == {}


def test_a_failure_without_a_reason_is_a_failure():
    data_set = Report("2.25.1", {}, {"2.25.2": (MR, 0x0110)}).as_data_set()
    del data_set.FailedSOPSequence[0].FailureReason
    assert Report.read(data_set).failed == {"2.25.2": (MR, 0)}


@pytest.mark.parametrize("keyword", ["TransactionUID", "ReferencedSOPSequence"])
def test_a_request_that_lacks_something_says_what(keyword):
    data_set = Request("2.25.1", {"2.25.2": MR}).as_data_set()
    del data_set[keyword]
    with pytest.raises(InputError, match=keyword):
        Request.read(data_set)


def test_a_list_that_is_no_sequence_is_said():
    lie = Dataset()
    lie.TransactionUID = "2.25.1"
    lie.add(DataElement(0x00081199, "LO", "no items"))
    with pytest.raises(InputError, match="ReferencedSOPSequence is no sequence"):
        Request.read(lie)


def test_a_report_without_a_transaction_is_none():
    with pytest.raises(InputError, match="TransactionUID"):
        Report.read(Dataset())


@pytest.mark.parametrize("content", [b"\x08\x00", b"\xff" * 40, b"\x08\x00\x99\x11SQ\x00\x00\xff\xff\xff\xffxx"])
def test_bytes_that_are_no_data_set_are_an_input_error(content):
    with pytest.raises(InputError):
        Report.read(decoded(content, ExplicitVRLittleEndian))


def test_a_reason_is_said_in_words_where_it_is_known():
    assert reason(0x0112) == "0x0112 no such object"
    assert reason(0xC001) == "0xC001"
