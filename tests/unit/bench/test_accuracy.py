"""Scores say how far an estimate is from the truth and from the bound."""

from dataclasses import replace

import numpy as np
import pytest

from bench import accuracy
from solver.phantom import Receiver

SMALL = replace(accuracy.ABDOMEN, shape=(48, 64), spacing_mm=(5.0, 5.0), liver_t2star_ms=8.0, lesion_diameter_mm=12.0)


def case(sigma):
    return accuracy.Case(SMALL, "1.1–13.2 ×12", Receiver(sigma), seed=5)


def test_without_much_noise_every_score_is_good():
    score = accuracy.run(case(0.01), {})
    assert score.valid == 100
    assert score.rmse < 0.1
    assert abs(score.lesion) < 0.1


def test_least_squares_reaches_the_bound_and_regularisation_beats_it():
    plain, default = (accuracy.run(case(6.0), options) for options in (accuracy.METHODS["LS"], {}))
    assert plain.rmse == pytest.approx(plain.bound, rel=0.2)
    assert default.rmse < 0.5 * default.bound


def test_names_say_what_is_particular():
    special = replace(case(6.0), receiver=Receiver(6.0, coils=8, zeroed_air=True))
    assert special.name == "8 ms, 1.1–13.2 ×12, S0/σ 50, N=8, zeroed air, 48×64 at 5 mm"


def test_held_out_cases_differ_in_their_seeds_or_conditions():
    cases = accuracy.held_out_cases() + accuracy.standard_cases()
    assert len({(c.name, c.coils_told) for c in cases}) == len(cases)
    assert np.isfinite([c.seed for c in cases]).all()


def test_nothing_sure_is_said_where_nothing_can_be_measured():
    severe = replace(SMALL, liver_t2star_ms=0.5)
    table = accuracy.safety_table([accuracy.Case(severe, "4.6–55.3 ×12", Receiver(15.0), seed=6)])
    assert float(table.rows[0][2]) < 2
    assert table.rows[0][6] == "0"
