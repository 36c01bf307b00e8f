"""One TOML file to frozen settings, with every fault reported at once."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dicomnode.config import credentials, faults
from dicomnode.config.destination import SECRETS
from dicomnode.config.serving import faults_of_serving
from dicomnode.config.settings import Settings
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.config.values import Section


def load(path: Path | None, *, for_serving: bool = False) -> Settings:
    """Read the file, or the defaults without one.

    Relative paths in it are relative to the file. Raises ConfigError that names every fault with its line.
    """
    text, raw = _read(path)
    lines = faults.Lines(text)
    found = faults_of_serving(raw, lines) if for_serving else []
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        found += [faults.sentence(fault, lines) for fault in error.errors()]
    if found:
        raise ConfigError(faults.report(path, found))
    return _with_folder(settings, path)


def _read(path: Path | None) -> tuple[str, dict[str, Any]]:
    if path is None:
        return "", {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: cannot be read: {fault}") from fault
    try:
        return text, frozen(tomllib.loads(text))
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{path}: not TOML: {fault}") from fault


def frozen(value: Any) -> Any:
    """Arrays become tuples, as the settings hold them."""
    if isinstance(value, list):
        return tuple(frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return value


# By section: the keys that name a file, or a credential that holds what would be in it.
_FILES = {
    "trend": ("table",),
    "tls": ("certificate", "key", "authority"),
    "audit": ("file",),
    "web": ("certificate", "key"),
    "destination": SECRETS,
    "notify": ("webhook_token_file", "smtp_password_file"),
}


def _with_folder(settings: Settings, path: Path | None) -> Settings:
    """Settle the storage folder: the file's, systemd's StateDirectory, or one beside the file."""
    base = path.parent.resolve() if path else Path.cwd()
    folder = settings.storage.folder
    if folder is None:
        state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
        folder = Path(state) if state else base / "dicomnode-data"
    storage = settings.storage.model_copy(update={"folder": base / folder})
    placed: dict[str, Section | tuple[Section, ...]] = {"storage": storage}
    for section, names in _FILES.items():
        table = getattr(settings, section)
        several = isinstance(table, tuple)
        placed[section] = (
            tuple(_with_files(one, names, base) for one in table) if several else _with_files(table, names, base)
        )
    return settings.model_copy(update=placed)


def _with_files(table: Section, names: tuple[str, ...], base: Path) -> Section:
    found = {name: credentials.file(value, base) for name in names if (value := getattr(table, name))}
    return table.model_copy(update=found)
