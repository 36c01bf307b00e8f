"""The configuration as it stands in its file, without secrets, comments and what may name a person."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from dicomnode.config import Section, Settings
from dicomnode.operate.support.anonymous import REMOVED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dicomnode.operate.support.anonymous import Anonymous

# Names of systems; every other text is told as any text is.
_PEERS = {"ae_title", "name", "host", "address", "names", "smtp_host"}
_URLS = {"url", "token_url", "webhook"}  # of those no more than who is asked: the rest may be a secret
_SECRETS = {"password", "client_id", "user", "smtp_user", "email_to", "email_from"}
_CREDENTIAL = re.compile(r"credential:[\w.-]+")


def raw(path: Path) -> dict[str, Any]:
    """The tables of a file, whatever is in them; raises OSError, ValueError where it is no TOML."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def peers(tables: Mapping[str, Any]) -> Iterator[str]:
    """Every name of a system of the network in it."""
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from (name for name in peers(value) if key != "users")
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and key not in {"users", "calibrations"}:
                yield from peers(one)
            elif isinstance(one, str) and key in _PEERS:
                yield one
            elif isinstance(one, str) and key in _URLS:
                yield urlsplit(one).hostname or ""


def masked(tables: Mapping[str, Any], anonymous: Anonymous) -> dict[str, Any]:
    """The same, to be told."""
    return {anonymous.text(key): _value(key, value, Settings, anonymous) for key, value in tables.items()}


def _value(key: str, value: Any, model: Any, anonymous: Anonymous) -> Any:
    """Numbers and choices as they are; of texts what their key lets be told."""
    if isinstance(value, dict):
        inner = _model_of(model, key)
        return {anonymous.text(name): _value(name, one, inner, anonymous) for name, one in value.items()}
    if isinstance(value, list):
        return [_value(key, one, model, anonymous) for one in value]
    if not isinstance(value, str):
        return value if isinstance(value, bool | int | float) else REMOVED  # a date
    return _text(key, value, model, anonymous)


def _text(key: str, value: str, model: Any, anonymous: Anonymous) -> str:
    if value == "" or _CREDENTIAL.fullmatch(value) or value in _choices(model, key):
        return value
    if key in _SECRETS or model is None:
        return REMOVED
    if key in _URLS:
        parts = urlsplit(value)
        return f"{anonymous.text(parts.scheme)}://{anonymous.peer(parts.hostname or '')}/{REMOVED}"
    return anonymous.peer(value) if key in _PEERS and _is_of_network(model) else anonymous.text(value)


def _is_of_network(model: Any) -> bool:
    """Whether what is named in a table is a system, and no person or publication."""
    return model.__name__ not in {"UserSettings", "CalibrationSettings"}


def _model_of(model: Any, key: str) -> type[Section] | None:
    """The section that a key of another holds, one or several; None where there is none."""
    known = getattr(model, "model_fields", {}).get(key)
    found = [] if known is None else [known.annotation, *get_args(known.annotation)]
    return next((one for one in found if isinstance(one, type) and issubclass(one, Section)), None)


def _choices(model: Any, key: str) -> set[Any]:
    """What may stand at a key of which every value is known."""
    known = getattr(model, "model_fields", {}).get(key)
    return set() if known is None else set(_literals(known.annotation))


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
        return
    for one in get_args(annotation):
        yield from _literals(one)
