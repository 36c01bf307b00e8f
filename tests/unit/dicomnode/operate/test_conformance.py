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


def test_destinations_that_are_not_called_by_dimse_are_said_with_what_they_get():
    kinds = [
        config.DestinationSettings(name="cloud", kind="dicomweb", url="https://a.example/dw", products=("pdf",)),
        config.DestinationSettings(name="ris", kind="hl7", host="b.example", port=2575),
        config.DestinationSettings(name="record", kind="fhir", url="https://c.example/fhir"),
    ]
    text = statement(config.load(EXAMPLE).model_copy(update={"destination": tuple(kinds)}))
    assert "No destination of this kind" in text
    assert "## cloud: Studies Store Transaction" in text
    assert "At b.example:2575, unencrypted" in text
    assert "At https://c.example/fhir, TLS" in text
    assert "as user agent | yes | no |" in text
    sent = text.partition("as SCU")[2].partition("Association policies")[0]
    assert sent.count(KINDS["pdf"].sop_class_uid) == 1
    assert KINDS["structured_report"].sop_class_uid not in sent
    assert "`[[destination]] ris port` | 2575" in text
    assert "[[destination]] ris url" not in text
    assert "[[destination]] cloud ae_title" not in text
    assert "cloud: TLS" in text
    assert "ris: unencrypted" in text
