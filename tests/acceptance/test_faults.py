"""A small part of `make faults`: every scenario, with few studies."""

import pytest

from bench.faults.scenarios import SCENARIOS

pytestmark = [pytest.mark.timeout(400)]


@pytest.mark.parametrize("title", SCENARIOS)
def test_no_study_is_lost_and_none_reported_twice(title, tmp_path):
    scenario, _, studies = SCENARIOS[title]
    found = scenario(tmp_path / "world", studies)
    if found.remarks.startswith("not run"):
        pytest.skip(found.remarks)
    assert found.good, found
    assert "too early" not in found.remarks, found
