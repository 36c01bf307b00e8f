"""A small part of `make faults`: every scenario, with few studies."""

import pytest

from bench.faults.scenarios import SCENARIOS
from bench.faults.world import Node, Pacs, Scanner, Study, all_reported, template, wait_for
from dicomnode.jobs import tidy

pytestmark = [
    pytest.mark.timeout(400),
    # pynetdicom, which is the scanner here, leaves the socket of a connection that broke to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("title", SCENARIOS)
def test_no_study_is_lost_and_none_reported_twice(title, tmp_path):
    scenario, _, studies = SCENARIOS[title]
    found = scenario(tmp_path / "world", studies)
    if found.remarks.startswith("not run"):
        pytest.skip(found.remarks)
    assert found.good, found
    assert "too early" not in found.remarks, found


@pytest.mark.parametrize("plan", [{}, {"rows": 160, "columns": 192, "slices": 3}], ids=["tiny", "small"])
def test_what_is_kept_of_a_study_that_is_done_is_little_more_than_what_came(tmp_path, plan):
    study = Study(template(**plan))
    received = sum(map(len, study.images.values()))
    with Pacs() as pacs, Node(tmp_path / "node", pacs=pacs.port, more='[grouping]\nanatomy = "any"\n') as node:
        Scanner(node.port).send(study)
        wait_for(all_reported([study], pacs), 60.0, "the report")

        def settled():
            return any(one["status"] in ("done", "no_number") for one in node.status())

        wait_for(settled, 30.0, "done")
        made_again = [f"jobs/*/{name}" for name in tidy.MADE_AGAIN]
        wait_for(lambda: not any(list(node.data.glob(pattern)) for pattern in made_again), 30.0, "tidied")
        kept = sum(path.stat().st_size for path in node.data.rglob("*") if path.is_file() and "engine" not in path.name)
    assert kept <= 1.5 * received + 1_000_000
