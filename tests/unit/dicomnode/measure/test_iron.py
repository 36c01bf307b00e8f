from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode import config
from dicomnode.measure import iron
from dicomnode.model import Estimate


@pytest.mark.parametrize(
    ("name", "field_t", "r2star", "lic"),
    [
        ("hernando-2023", 1.494, 200.0, 5.0),
        ("hernando-2023", 2.893, 400.0, 5.6),
        ("hernando-2023", 3.0, 400.0, 5.4),
        ("wood-2005", 1.5, 200.0, 5.3),
        ("hankins-2009", 1.5, 200.0, 5.1),
        ("garbowski-2014", 1.5, 200.0, 6.2),
    ],
)
def test_each_calibration_gives_its_published_line(name, field_t, r2star, lic):
    line = iron.calibration(name, "liver", field_t)
    assert line.lic_mg_per_g(r2star) == pytest.approx(lic, abs=0.051)


@pytest.mark.parametrize(
    ("name", "field_t"), [("wood-2005", 3.0), ("hernando-2023", 0.55), ("hernando-2023", 7.0), ("hernando-2023", None)]
)
def test_no_lic_at_a_field_without_calibration(name, field_t):
    assert iron.calibration(name, "liver", field_t) is None


@pytest.mark.parametrize("organ", ["spleen", "liver", "heart", "kidney", "tissue", "body"])
@pytest.mark.parametrize("line", iron.CALIBRATIONS, ids=lambda line: f"{line.name} {line.field_t[0]:g}")
def test_no_organ_has_the_calibration_of_another(line, organ):
    assert (iron.calibration(line.name, organ, line.field_t[0]) is None) == (organ not in line.organs)


def test_the_calibration_of_the_heart_gives_what_its_paper_does():
    """Carpenter 2011: 45.0 · T2*^-1.22, which is 1.16 and 2.71 mg/g at the limits of 20 and 10 ms."""
    (line,) = iron.of("heart")
    assert [round(line.lic_mg_per_g(1000 / t2star_ms), 2) for t2star_ms in (20, 10)] == [1.16, 2.71]
    assert line.formula == "MIC = 45.0 · T2*^-1.22"


def test_other_lines_are_those_of_the_same_organ():
    liver, heart = iron.of("liver")[0], iron.of("heart")[0]
    assert iron.others(heart, 100.0, 1.5) is None
    least, most = iron.others(liver, 100.0, 1.5)
    assert 2.0 < least <= most < 4.0


def test_a_sites_own_line_is_found_by_its_name_only():
    own = replace(iron.CALIBRATIONS[0], name="ours", slope=0.03)
    assert iron.calibration("ours", "liver", 1.5, [own]) is own
    assert iron.calibration("ours", "spleen", 1.5, [own]) is None
    assert iron.calibration("hernando-2023", "liver", 1.5, [own]) is iron.CALIBRATIONS[0]


def test_a_lic_near_nothing_is_no_number():
    assert iron.printed(0.49) is None
    assert iron.printed(0.91) == 0.9


def test_the_interval_of_a_lic_holds_that_of_the_rate_and_the_lines_own_error():
    line = iron.calibration("hernando-2023", "liver", 1.5)
    found = iron.estimate(Estimate(400.0, (380.0, 420.0), {"fit": 10.2}), line)
    assert found.value == pytest.approx(10.25, abs=0.01)
    assert found.ci95[0] < line.lic_mg_per_g(380.0) < line.lic_mg_per_g(420.0) < found.ci95[1]
    assert found.parts["calibration"] == pytest.approx(line.relative_sd * found.value)
    assert found.parts["fit"] == pytest.approx(10.2 * line.slope)


def test_no_bound_goes_beyond_what_a_line_was_made_for():
    line = iron.calibration("wood-2005", "liver", 1.5)
    assert iron.limit(5000.0, line).lic_mg_per_g == line.most_mg_per_g
    assert iron.limit(400.0, None).lic_mg_per_g is None


def test_other_published_lines_of_the_field_are_told():
    line = iron.calibration("hernando-2023", "liver", 1.5)
    low, high = iron.others(line, 400.0, 1.5)
    assert (low, high) == pytest.approx((10.36, 12.61), abs=0.02)
    assert iron.others(iron.calibration("hernando-2023", "liver", 3.0), 400.0, 3.0) is None


def test_the_configuration_knows_every_published_name():
    assert config.PUBLISHED_CALIBRATIONS == iron.NAMES


def test_the_documents_show_every_calibration():
    document = (Path(__file__).parents[4] / "docs" / "validation.md").read_text(encoding="utf-8")
    table = document.partition("<!-- calibrations:")[2].partition("<!-- /calibrations")[0]
    rows = [line for line in table.splitlines() if " T` | `" in line]
    said = (
        (one.name, "{:g} to {:g} T".format(*one.field_t), one.formula, f"{one.most_mg_per_g:g} mg/g", one)
        for one in iron.CALIBRATIONS
    )
    assert rows == [
        f"| {name} | `{field}` | `{formula}` | `{most}` | `{100 * one.relative_sd:.1f} %` | {one.source} |"
        for name, field, formula, most, one in said
    ]
