from pathlib import Path

from dicomnode import config
from dicomnode.intake.offered import STORED
from dicomnode.measure.rois import READERS
from dicomnode.operate.conformance import statement
from dicomnode.report.instance import KINDS

EXAMPLE = Path(__file__).parents[4] / "deploy" / "config.example.toml"


def test_the_statement_says_what_this_configuration_does():
    text = statement(config.load(EXAMPLE))
    assert "`LIVERIRON`, port 11112" in text
    assert "`MR1` at 192.0.2.10" in text
    assert "### pacs" in text
    for uid in [*STORED, *(kind.sop_class_uid for kind in KINDS.values())]:
        assert uid in text


def test_every_kind_of_drawing_that_can_be_read_is_accepted():
    assert READERS.keys() <= STORED.keys()


def test_the_statement_says_what_is_asked_of_a_destination_and_where_a_scanner_is_answered():
    settings = config.load(EXAMPLE)
    assert "Study Root" not in statement(settings)
    assert "for `MR1`: on the association of the request" in statement(settings)
    asked = {"storage_commitment": "separate", "read_back": True, "rejection_notes": True}
    pacs = settings.destination[0].model_copy(update=asked)
    scanner = settings.scanner[0].model_copy(update={"port": 104})
    text = statement(settings.model_copy(update={"destination": (pacs,), "scanner": (scanner,)}))
    assert "1.2.840.10008.1.20.1) as SCU" in text
    assert "1.2.840.10008.5.1.4.1.2.2.1) as SCU" in text
    assert "1.2.840.10008.5.1.4.1.1.88.59" in text
    assert "to 192.0.2.10:104" in text
