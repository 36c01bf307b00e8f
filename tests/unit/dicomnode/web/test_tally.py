"""What is counted of events: nothing that names a person or an object, nothing that a stranger chooses."""

import dataclasses

import pytest

from dicomnode import events
from dicomnode.web import tally
from dicomnode.web.metrics import COUNTERS
from dicomnode.web.tally import Tally

KINDS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
VALUES = {"int": 3, "float": 1.5, "BaseException": ValueError("why"), "tuple[str, ...]": ("1.2.840.1",)}
NAMES = {"code", "status", "step", "destination", "part"}  # ours, so there are only so many


def example(kind):
    said = {
        one.name: one.name if one.name in NAMES else VALUES.get(str(one.type), "DOE^JANE")
        for one in dataclasses.fields(kind)
    }
    return kind(**said)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_an_event_counts_as_is_a_metric_with_its_labels_and_names_nobody(kind):
    counted = tally.of(example(kind), {"MR1"})
    if counted is None:
        return
    labels = COUNTERS[counted.metric][1] if counted.metric != "step_seconds" else ("step",)
    assert len(counted.labels) == len(labels)
    assert not {"DOE^JANE", "1.2.840.1"} & set(counted.labels)


def test_images_count_for_the_scanner_that_is_known():
    event = events.AssociationReleased("1.2", 12, "MR1")
    assert tally.of(event, {"MR1"}) == Tally("images_received", ("MR1",), 12)


@pytest.mark.parametrize("calling", ["STRANGER", "", "MR1 "])
def test_a_strangers_name_makes_no_label(calling):
    event = events.AssociationLost("1.2", 3, calling, "gone")
    assert tally.of(event, {"MR1"}) == Tally("images_received", ("other",), 3)


def test_an_association_without_images_counts_nothing():
    assert tally.of(events.AssociationLost("", 0, "MR1", "gone"), {"MR1"}) is None


def test_what_goes_wrong_and_has_no_metric_of_its_own_is_an_error_of_its_part():
    assert tally.of(events.DiskFull("full"), ()) == Tally("errors", ("node",))
    assert tally.of(events.Stopped(), ()) is None
