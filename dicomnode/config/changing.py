"""Settings of which some are set otherwise for once, without the file."""

from __future__ import annotations

import difflib
import tomllib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dicomnode.config import faults
from dicomnode.config.loading import frozen
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomnode.config.settings import Settings
    from dicomnode.config.values import Section


def changed(settings: Settings, changes: Mapping[str, str]) -> Settings:
    """The same with some settings that can change a number set otherwise: ``{"fit.method": "nls"}``, values as in TOML.

    Raises ConfigError that names every fault.
    """
    known = [f"{section}.{key}" for section, table in settings.result_parameters().items() for key in table]
    found = [_no_setting(name, known) for name in changes if name not in known]
    update: dict[str, Section] = {}
    for section in dict.fromkeys(name.partition(".")[0] for name in changes if name in known):
        before: Section = getattr(settings, section)
        own = {name.partition(".")[2]: _typed(text) for name, text in changes.items() if name.startswith(f"{section}.")}
        try:
            update[section] = type(before).model_validate(before.model_dump() | own)
        except ValidationError as error:
            nowhere = faults.Lines("")
            found += [faults.sentence({**fault, "loc": (section, *fault["loc"])}, nowhere) for fault in error.errors()]
    if found:
        raise ConfigError("\n".join(found))
    return settings.model_copy(update=update)


def _no_setting(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"those are {', '.join(known)}"
    return f"{name}: no setting that can change a number; {hint}"


def _typed(text: str) -> Any:
    """A value as the file would hold it; what is no TOML is a text without its quotes."""
    try:
        return frozen(tomllib.loads(f"value = {text}")["value"])
    except tomllib.TOMLDecodeError:
        return text
