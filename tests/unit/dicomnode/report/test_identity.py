"""The same input has the same UIDs, any other input has others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from dicomnode.report.identity import result_key, uid

SETTINGS = {"fit": {"method": "admm", "weights": [10.0, 1e4]}, "measure": {"calibration": "none"}}


@given(st.lists(st.text("0123456789.", min_size=1), min_size=1), st.randoms())
def test_order_and_repetition_of_the_images_do_not_matter(uids, random):
    shuffled = [*uids, *uids]
    random.shuffle(shuffled)
    assert result_key(shuffled, SETTINGS, "1.0") == result_key(uids, SETTINGS, "1.0")


def test_order_of_the_settings_does_not_matter():
    turned = {"measure": {"calibration": "none"}, "fit": {"weights": [10.0, 1e4], "method": "admm"}}
    assert result_key(["1.2"], turned, "1.0") == result_key(["1.2"], SETTINGS, "1.0")


@pytest.mark.parametrize(
    "other",
    [
        (["1.2", "1.3"], SETTINGS, "1.0"),
        (["1.2"], {**SETTINGS, "measure": {"calibration": "wood-2005"}}, "1.0"),
        (["1.2"], SETTINGS, "1.1"),
    ],
)
def test_any_other_input_is_another_result(other):
    assert result_key(*other) != result_key(["1.2"], SETTINGS, "1.0")


def test_a_key_is_forty_hexadecimal_characters():
    key = result_key(["1.2"], SETTINGS, "1.0")
    assert len(key) == 40
    assert int(key, 16) >= 0


def test_settings_that_json_cannot_say_exactly_are_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        result_key(["1.2"], {"weight": float("nan")}, "1.0")


@given(st.text(), st.text())
def test_a_uid_is_valid_and_the_same_each_time(key, role):
    assert UID(uid(key, role)).is_valid
    assert uid(key, role) == uid(key, role)


def test_roles_of_one_result_have_different_uids():
    roles = [f"mr_map_t2star/{k}" for k in range(200)]
    assert len({uid("key", role) for role in roles}) == len(roles)
