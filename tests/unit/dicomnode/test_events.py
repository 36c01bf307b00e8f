"""What happens is a value, and a log is one of those that are told."""

import dataclasses
import json
import subprocess
import sys

import pytest

from dicomnode import events

KINDS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
STAND_INS = {"int": 1, "float": 1.0, "BaseException": ValueError("why"), "tuple[str, ...]": ("1.2",)}


def example(kind):
    return kind(*(STAND_INS.get(str(one.type), "x") for one in dataclasses.fields(kind)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_can_be_logged(kind):
    event = example(kind)
    assert event.level in {"debug", "info", "warning", "error"}
    json.dumps(event.said())
    for one in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, one.name, "changed")


def test_no_two_events_have_one_name():
    names = [example(kind).name for kind in KINDS]
    assert len(set(names)) == len(names)
    assert "association_released" in names


def test_every_sink_is_told():
    one, other = [], []
    event = events.AssociationReleased("1.2", 3)
    events.to_all(one.append, other.append)(event)
    assert one == other == [event]


def logged(*statements):
    """The log of a process of its own: logging belongs to a whole process."""
    program = "\n".join(["from dicomnode import events, logs", "logs.configure(json=True, level='debug')", *statements])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_log_line_has_the_name_of_the_event_and_its_fields():
    (line,) = logged("logs.write(events.DeliveryDelayed('k', 'pacs', 2, 'away', 5.0))")
    assert (line["event"], line["level"], line["destination"]) == ("delivery_delayed", "warning", "pacs")


def test_a_fault_is_logged_with_its_traceback():
    (line,) = logged("try: {}['a bug']", "except KeyError as fault: logs.write(events.TurnFailed(fault))")
    assert line["event"] == "turn_failed"
    assert "KeyError: 'a bug'" in line["exception"]
    assert "Traceback" in line["exception"]
