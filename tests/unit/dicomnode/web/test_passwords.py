"""Passwords: only their hashes are kept, and a wrong one tells nothing."""

import pytest

from dicomnode.config import UserSettings
from dicomnode.web.passwords import find, hashed

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def users():
    return (UserSettings(name="anna", password=hashed(PASSWORD), role="act"),)


def test_the_right_password_finds_its_user(users):
    assert find(users, "anna", PASSWORD) is users[0]


@pytest.mark.parametrize(("name", "password"), [("anna", "wrong"), ("bert", PASSWORD), ("anna", ""), ("", "")])
def test_any_other_finds_nobody(users, name, password):
    assert find(users, name, password) is None


def test_a_hash_that_is_damaged_lets_nobody_in():
    assert find((UserSettings(name="anna", password="$argon2id$broken"),), "anna", PASSWORD) is None


def test_a_hash_is_shown_nowhere(users):
    assert users[0].password not in repr(users[0])
    assert PASSWORD not in users[0].password
