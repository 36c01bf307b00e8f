"""The notebooks of docs/library.md run, and show what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """What a notebook prints, run as a program without a screen."""
    monkeypatch.setenv("MPLBACKEND", "agg")

    def run(name):
        command = [sys.executable, str(NOTEBOOKS / name)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_every_notebook_is_tested_here():
    assert {path.name for path in NOTEBOOKS.iterdir()} == {"peers.py", "phantom.py", "series.py"}


def test_the_phantom_is_read_right_and_best_by_the_default(shown):
    rows = {line.split()[0]: line for line in shown("phantom.py").splitlines() if " ± " in line and "T2*" not in line}
    means, spreads = (
        {name: [float(one) for one in re.findall(pattern, line)] for name, line in rows.items()}
        for pattern in (r"([\d.]+) ±", r"± ([\d.]+)")
    )
    assert means["admm"] == pytest.approx([5, 10, 15, 20], rel=0.03)
    assert all(ours < other / 3 for ours, other in zip(spreads["admm"], spreads["nls"], strict=True))


def test_a_series_of_files_becomes_the_iron_that_it_was_made_with(shown):
    printed = shown("series.py")
    assert re.search(r"^liver: R2\* (19[5-9]|20[0-5])\.\d /s, LIC [56]\.\d mg/g", printed, re.MULTILINE), printed


@pytest.mark.shared_data
def test_a_real_series_is_read_by_the_same_steps(shown, shared_data, monkeypatch):
    monkeypatch.setenv("SERIES", str(shared_data / "dicom" / "ge_mr750_12echo_abdomen"))
    printed = shown("series.py")
    assert "slices, rows, columns, echoes: 5 256 256 12" in printed
    (rate,) = re.findall(r"^liver: R2\* ([\d.]+) /s", printed, re.MULTILINE)
    assert 40 < float(rate) < 60


def test_least_squares_of_others_is_ours_and_a_likelihood_that_knows_the_floor_is_less_biased(shown):
    rows = [line for line in shown("peers.py").splitlines() if " ± " in line]
    bias = {line[:22].strip(): [float(one) for one in re.findall(r"([+-][\d.]+) ±", line)] for line in rows}
    ours, rician, *others = bias.values()
    assert "scipy curve_fit" in bias
    for one in others:
        assert one[1:] == pytest.approx(ours[1:], abs=0.11)  # of 2.5 ms some have no rate in the measurable range
    assert abs(rician[0]) < abs(ours[0]) / 3
    assert abs(rician[1]) < abs(ours[1]) / 3
