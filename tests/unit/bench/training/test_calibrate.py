"""The rules of confidence learn from exams whose region was right or wrong, and from no lucky one."""

from dataclasses import replace

import numpy as np
import pytest

from bench.training import calibrate
from tests.unit.bench.training.test_validate import judged


def exams(count=60):
    rng = np.random.default_rng(1)
    for _ in range(count):
        good = rng.uniform() < 0.5
        numbers = rng.normal(2.0 if good else -2.0, 1.0, (2, 3))
        one = judged(inside=0.99 if good else 0.1)
        yield replace(one, slice_numbers=numbers, slice_good=np.array([good, good]), series_numbers=numbers[0])


@pytest.mark.parametrize("rule", [calibrate.series_rule, calibrate.slice_rule])
def test_a_header_that_lies_over_a_liver_that_was_found_teaches_nothing(rule):
    some = list(exams())
    lucky = [replace(one, lies=True) for one in exams(30) if one.good]
    unlucky = [replace(one, lies=True) for one in exams(30) if not one.good]
    assert all(np.array_equal(rule(some)[part], rule(some + lucky)[part]) for part in ("mean", "scale", "weights"))
    assert not np.array_equal(rule(some)["weights"], rule(some + unlucky)["weights"])
