"""Secrets that stand in no configuration file: what systemd's LoadCredential= hands to the service."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dicomnode.errors import ConfigError

DATABASE = re.compile(r"sqlite:///.|postgresql(\+\w+)?://[^/]*/.|credential:[\w.-]+$")
_CREDENTIAL = "credential:"  # before the name of one that systemd's LoadCredential= hands to the service


def file(path: Path, base: Path) -> Path:
    """A file that is named by its path, or as a credential."""
    name = str(path)
    return _credentials() / name.removeprefix(_CREDENTIAL) if name.startswith(_CREDENTIAL) else base / path


def secret(text: str, key: str) -> str:
    """A database's URL that stands in the file, or in a credential; raises ConfigError, for the key."""
    if not text.startswith(_CREDENTIAL):
        return text
    path = _credentials() / text.removeprefix(_CREDENTIAL)
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        why = f"{getattr(fault, 'strerror', None) or fault}; see LoadCredential= in the unit"
        raise ConfigError(f"{key}: the credential {path} cannot be read: {why}") from fault
    if found.startswith(_CREDENTIAL) or not DATABASE.match(found):
        raise ConfigError(
            f"{key}: the credential {path} holds neither sqlite:///FILE nor postgresql://USER@HOST/DATABASE"
        )
    return found


def _credentials() -> Path:
    """Where systemd puts credentials; who is not the service finds them there while that runs, if allowed."""
    return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials/dicomnode.service"))
