"""Passwords as Argon2 hashes (RFC 9106)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicomnode.config import UserSettings

LEAST = 12  # characters

_HASHER = PasswordHasher()  # the second recommendation of RFC 9106, section 4: 64 MiB
_NOBODY = _HASHER.hash("nobody has this password")
_one_at_a_time = threading.Lock()  # each takes its memory


def hashed(password: str) -> str:
    """Return what may stand in a configuration file."""
    return _HASHER.hash(password)


def find(users: Sequence[UserSettings], name: str, password: str) -> UserSettings | None:
    """The user of a name and a password; takes as long where there is none of that name."""
    user = next((one for one in users if one.name == name), None)
    with _one_at_a_time:
        try:
            _HASHER.verify(user.password if user else _NOBODY, password)
        except (VerificationError, InvalidHashError):
            return None
    return user
