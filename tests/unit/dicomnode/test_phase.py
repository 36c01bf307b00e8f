"""What is said of a phase that came beside magnitudes."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from dicomnode import analyse, group, header, phase, simulate
from dicomnode.config import FitSettings, GroupingSettings
from dicomnode.measure.organs import HEART, LIVER
from solver.companion import GATES

SHORT = tuple(1.1 + 1.1 * k for k in range(12))
ONE = FitSettings(method="nls", model="mono-exponential")


@pytest.fixture
def stack(tmp_path):
    def make(dialect="siemens-ve", times=SHORT, *, with_phase=True):
        plan = simulate.SeriesPlan(
            dialect=dialect, rows=48, columns=64, slices=1, echo_times_ms=times, with_phase=with_phase
        )
        made = simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC))
        images = [image for path in simulate.write(made, tmp_path) for image in header.read(path).images]
        (found,) = [one.stack for one in group.assemble(images, GroupingSettings()) if one.stack]
        return found

    return make


def judged(stack):
    _, maps = analyse.fit_stack(stack, ONE)
    return phase.judged(stack, maps, LIVER)


def test_of_magnitudes_alone_nothing_is_said(stack):
    assert judged(stack(with_phase=False)) is None


@pytest.mark.parametrize("dialect", ["siemens-ve", "ge", "philips-enhanced"])
def test_a_body_without_fat_of_its_own_confirms_no_phase(stack, dialect):
    said = judged(stack(dialect))
    assert said["code"] in {"sign-untold", "no-adipose"}  # its fat is one peak, which is like water elsewhere
    assert said["measured"].keys() >= GATES.keys()


def test_too_few_echoes_are_said_without_reading_a_phase(stack):
    made = stack(times=SHORT[:5])
    _, maps = analyse.fit_stack(made, ONE)
    lost = {part: tuple(tuple(replace(i, path=i.path / "gone") for i in e) for e in one) for part, one in
            made.companions.items()}  # fmt: skip
    assert phase.judged(replace(made, companions=lost), maps, LIVER)["code"] == "few-echoes"


def test_a_phase_that_cannot_be_read_fails_nothing(stack):
    made = stack()
    _, maps = analyse.fit_stack(made, ONE)
    for echoes in made.companions.values():
        for image in echoes[0]:
            image.path.write_bytes(b"")
    assert phase.judged(made, maps, LIVER)["code"] == "unreadable"


def test_of_an_organ_whose_gates_nobody_measured_nothing_is_fitted(stack):
    made = stack()
    _, maps = analyse.fit_stack(made, ONE)
    lost = dict.fromkeys(made.companions, ())
    said = phase.judged(replace(made, companions=lost), maps, HEART)
    assert (said["code"], said["reason"]) == ("organ", "no complex fit is made of the heart")


def test_a_phase_of_half_a_turn_is_refused_by_its_span(stack):
    made = stack()
    halved = {
        part: tuple(tuple(replace(image, turn=2 * image.turn) for image in echoes) for echoes in slices)
        for part, slices in made.companions.items()
    }
    said = judged(replace(made, companions=halved))
    assert said["code"] == "phase-range"
    assert said["measured"]["phase-range"] == pytest.approx(0.5, abs=0.01)


def test_every_gate_has_its_words():
    codes = {*GATES, "no-field", "few-echoes", "whole-turns", "phase-range", phase.PASSED}
    assert codes == set(phase._WHY)


def test_the_word_of_a_phase_stands_in_the_record_and_changes_no_map(stack):
    _, maps = analyse.fit_stack(stack(), ONE)
    said = {"code": "misfit", "reason": "x", "measured": {}}
    with_it = phase.with_word(maps, said)
    assert with_it.record.phase == said
    assert np.array_equal(with_it.r2star_per_s, maps.r2star_per_s)
    assert phase.with_word(maps, None) is maps
