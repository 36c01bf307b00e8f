"""What a key may hold, and what every table has in common."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dicomnode import plugins

if TYPE_CHECKING:
    from collections.abc import Iterable


def _ae_title(text: str) -> str:
    """PS3.5 6.2: at most 16 characters, no backslash or control character, not only spaces."""
    title = text.strip(" ")
    if not 0 < len(title) <= 16 or "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as fault:
        raise ValueError(f"not a regular expression: {fault}") from fault
    return text


def matching(patterns: Iterable[str], names: Iterable[str]) -> str | None:
    """The first pattern that is found in any of the names, in capitals or not; None where none is."""
    names = tuple(names)
    return next((one for one in patterns if any(re.search(one, name, re.IGNORECASE) for name in names)), None)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and nobody else can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(text: str) -> str:
    """Not repeated in a message: it may hold a password."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or " " in text:
        raise ValueError("https://HOST/PATH or http://HOST/PATH, without a query")
    if parts.username is not None:
        raise ValueError("no user and no password in it; give them by user and password_file")
    return text


def _organ(name: str) -> str:
    known = (*ORGANS, *plugins.names(plugins.ORGANS))
    if name not in known:
        raise ValueError(f"should be {' or '.join(known)}")
    return name


ORGANS = ("liver", "heart")  # ours: measure.organs knows what is to know of them
AeTitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0)]
Days = Annotated[int, Field(ge=0, le=36500)]
Url = Annotated[str, AfterValidator(_url)]
Pattern = Annotated[str, AfterValidator(_pattern)]
OrganName = Annotated[str, AfterValidator(_organ)]
Organs = Annotated[tuple[OrganName, ...], Field(min_length=1)]


class Section(BaseModel):
    """A table of the file: unknown keys are faults, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
