"""By how much a number moved, and what of it moved it."""

import pytest

from dicomnode.jobs import comparison

HERNANDO, WOOD = "hernando-2023: …", "wood-2005: …"


def told(lic, rate, voxels=1000, calibration=HERNANDO, finder="a"):
    region = {
        "name": "liver",
        "lic_mg_per_g": lic,
        "r2star_per_s": None if rate is None else {"median": rate},
        "n_voxels": voxels,
        "calibration": calibration,
    }
    return {"rois": [region], "finder": {"sha256": finder}}


def test_a_rate_that_moved_in_the_same_region_is_the_fits():
    said = comparison.why(told(4.0, 160.0), told(5.0, 200.0), moved=38.0)
    assert (said["change"], said["cause"]) == (1.0, "fit")
    assert said["parts"] == {"fit": 1.0, "region": 0.0, "calibration": 0.0}


def test_what_the_map_does_not_explain_is_the_other_regions():
    said = comparison.why(told(4.0, 160.0), told(5.0, 200.0, voxels=700), moved=4.0)
    assert said["cause"] == "region"
    assert said["parts"]["fit"] + said["parts"]["region"] == pytest.approx(1.0)
    assert said["parts"]["fit"] == pytest.approx(0.1)


def test_the_same_rate_by_another_line_is_the_calibrations():
    said = comparison.why(told(4.0, 160.0), told(4.4, 160.0, calibration=WOOD), moved=0.0)
    assert (said["cause"], said["parts"]["calibration"]) == ("calibration", 0.4)


@pytest.mark.parametrize(("old", "new", "cause"), [(None, 4.0, "flags"), (4.0, None, "flags"), (None, None, None)])
def test_a_number_that_came_or_went_did_so_by_its_flags(old, new, cause):
    rates = (None if one is None else 160.0 for one in (old, new))
    said = comparison.why(told(old, next(rates)), told(new, next(rates)), moved=None)
    assert (said["change"], said["cause"]) == (None, cause)


@pytest.mark.parametrize("before", [{}, {"organ": "liver"}])
def test_a_number_of_a_liver_that_turns_out_to_be_a_phantom_went_by_that(before):
    said = comparison.why(told(4.0, 160.0) | before, told(None, 160.0) | {"organ": "phantom"}, moved=0.0)
    assert (said["change"], said["cause"]) == (None, "organ")


def test_what_is_the_same_has_no_cause():
    assert comparison.why(told(4.0, 160.0), told(4.0, 160.0), moved=0.0)["cause"] is None
