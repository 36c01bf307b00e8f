"""dcmtk's dsr2html shows the report with its units."""

import html
import re
import subprocess

import pytest

from tests.acceptance.viewers.conftest import SHOTS

pytestmark = pytest.mark.peer


def numbers(item):
    """Every number of a report with the code of its unit."""
    for child in item.get("ContentSequence", []):
        if child.ValueType == "NUM" and child.get("MeasuredValueSequence"):
            (measured,) = child.MeasuredValueSequence
            yield str(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue
        yield from numbers(child)


def test_every_number_is_printed_with_its_unit(simulated, peer):
    (report,) = simulated.objects("structured_report")
    (path,) = [one["path"] for one in simulated.series["outputs"] if one["kind"] == "structured_report"]
    command = [peer("dsr2html"), str(simulated.output / path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    SHOTS.mkdir(parents=True, exist_ok=True)
    (SHOTS / "dsr2html.html").write_text(done.stdout)
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", done.stdout)))
    said = set(numbers(report))
    assert {"ms", "/s", "mm2", "mg/g{DryWeight}"} <= {unit for _, unit in said}
    for number, unit in said:
        assert f"{number} {unit}" in text
