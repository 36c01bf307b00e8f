"""Every UID of a result follows from what the result was made from."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Drawn once; changing it would give every result ever made a second identity.
NAMESPACE = uuid.UUID("6d0c8f0e-52f4-5c7b-9a1d-2f1f3a0a7c55")


def result_key(sop_instance_uids: Iterable[str], settings: Mapping[str, Any], software_version: str) -> str:
    """Digest the source instances, the settings and the software version into 40 hexadecimal characters.

    The order and repetition of ``sop_instance_uids`` and the order of the keys in ``settings`` do not matter.
    Raises TypeError or ValueError where ``settings`` holds something JSON cannot say exactly.
    """
    content = {"instances": sorted(set(sop_instance_uids)), "settings": settings, "software": software_version}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:40]


def uid(key: str, role: str) -> str:
    """Return the UID of what plays ``role`` in the result ``key``: UUID-derived (PS3.5 B.2), at most 44 characters."""
    return f"2.25.{uuid.uuid5(NAMESPACE, f'{key}/{role}').int}"
