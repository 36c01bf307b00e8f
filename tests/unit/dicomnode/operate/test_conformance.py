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
