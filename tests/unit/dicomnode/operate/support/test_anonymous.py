"""What a support bundle may say is what the software itself says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.operate.support.anonymous import REMOVED, Anonymous
from dicomnode.operate.support.words import vocabulary

WORDS = vocabulary()
PEERS = frozenset({"MR1", "ris.example", "pacs"})


@pytest.fixture
def anonymous():
    return Anonymous(WORDS, frozenset({"wood", "4711"}), PEERS)


@pytest.mark.parametrize(
    "said",
    [
        "2 echoes, minimum is 3",
        "pacs cannot be reached: Connection refused",
        "acknowledged with AE, error 207",
        "[[destination]] pacs port",
        "0x0122 at 10.0.0.7:104",
        "line 9: [grouping] minimum_echos: unknown key; did you mean 'minimum_echoes'?".replace("minimum_echos", "fit"),
        "17.4 GB free; below 1.0 GB ([storage] minimum_free_mb) images are refused",
    ],
)
def test_what_the_software_says_is_kept(anonymous, said):
    assert anonymous.text(said) == said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("cannot decode QUELLENHOFER^ANNA", f"cannot decode {REMOVED}"),
        ("born 19610203, 03.02.1961, 1961-02-03 or 3.2.61", f"born {REMOVED}, {REMOVED}, {REMOVED} or {REMOVED}"),
        ("the images of PID-778899 are damaged", f"the images of {REMOVED} are damaged"),
        ("Series Description 'liver' holds 'liver of Wood'", f"Series Description 'liver' holds {REMOVED}"),
        ("/data/drop/Quellenhofer.dcm cannot be read", f"/data/drop/{REMOVED} cannot be read"),
        ("the line of Wood 2005", f"the line of {REMOVED}"),
    ],
)
def test_what_it_does_not_know_is_removed(anonymous, said, told):
    assert anonymous.text(said) == told


def test_the_same_name_is_told_alike_in_one_bundle_and_otherwise_in_another(anonymous):
    uid = "1.2.840.113619.2.55.3"
    first, again = anonymous.text(f"of {uid}"), anonymous.digest("uid", uid)
    assert first == f"of {again}"
    assert uid not in first
    assert Anonymous(WORDS).digest("uid", uid) != again


def test_the_network_is_told_unless_it_is_not_wanted(anonymous):
    assert anonymous.peer("MR1") == "MR1"
    assert anonymous.peer("WOOD_WS").startswith("peer-")
    hidden = Anonymous(WORDS, peers=PEERS, network=False)
    assert hidden.text("MR1 at 10.0.0.7 and ris.example:2575") == (
        f"{hidden.peer('MR1')} at {hidden.peer('10.0.0.7')} and {hidden.peer('ris.example')}:2575"
    )
    assert hidden.peer("MR1").startswith("peer-")


def test_a_traceback_keeps_where_it_was_and_no_line_of_code(anonymous):
    raised = (
        "Traceback (most recent call last):\n"
        '  File "/home/quellenhofer/venv/lib/python3.11/site-packages/dicomnode/pixels.py", line 7, in decode\n'
        '    name = "QUELLENHOFER"\n'
        "    ^^^^^^^^^^^^^^^^^^^^^\n"
        "dicomnode.errors.StepError: QUELLENHOFER cannot be read\n"
    )
    assert anonymous.trace(raised).splitlines() == [
        "Traceback (most recent call last):",
        '  File "site-packages/dicomnode/pixels.py", line 7, in decode',
        f"dicomnode.errors.StepError: {REMOVED} cannot be read",
    ]


SURNAMES = st.text(st.characters(categories=("Lu", "Ll", "Lo")), min_size=3).filter(lambda name: name not in WORDS)


@given(SURNAMES, st.sampled_from(["{}", "the {} is", "/data/{}/x", "'{}'", "a^{}", "{}=x", '"a {}"', "{}."]))
def test_no_word_from_outside_is_told_however_it_is_said(name, said):
    assert name not in re.findall(r"[^\W_]+", Anonymous(WORDS).text(said.format(name)).replace(REMOVED, ""))


@given(st.integers(1000, 10**12), st.sampled_from(["{}", "ID {}", "{}.dcm", "x-{}", "{}/1", "{}:104", "v{}", "0x{}"]))
def test_no_long_number_is_told_however_it_is_said(number, said):
    told = Anonymous(WORDS).text(said.format(number))
    assert str(number) not in told or (said == "0x{}" and number < 10_000)
