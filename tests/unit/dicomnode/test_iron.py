import pytest

from dicomnode.measure import iron


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
    line = iron.calibration(name, field_t)
    assert iron.lic_mg_per_g(r2star, line) == pytest.approx(lic, abs=0.051)


@pytest.mark.parametrize(
    ("name", "field_t"), [("wood-2005", 3.0), ("hernando-2023", 0.55), ("hernando-2023", 7.0), ("hernando-2023", None)]
)
def test_no_lic_at_a_field_without_calibration(name, field_t):
    assert iron.calibration(name, field_t) is None


def test_a_lic_near_nothing_is_no_number():
    line = iron.calibration("hernando-2023", 1.5)
    assert iron.lic_mg_per_g(5.0, line) is None
    assert iron.lic_mg_per_g(40.0, line) == 0.9
