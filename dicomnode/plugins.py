"""Organs and methods of other packages, found by their entry points."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ORGANS, METHODS = "dicomnode.organs", "dicomnode.methods"  # groups of entry points
GROUPS = {ORGANS: "organ", METHODS: "method"}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One organ or method that an installed package offers; its code is not loaded yet."""

    group: str
    name: str
    origin: str  # distribution and version
    entry: EntryPoint

    @property
    def title(self) -> str:
        """What it is and where it comes from, for people."""
        return f"{GROUPS[self.group]} {self.name!r} of {self.origin}"

    def load(self) -> object:
        """What the entry point names; raises ConfigError with its name and the reason where that cannot be loaded."""
        try:
            return self.entry.load()
        except Exception as fault:  # its code may fail in any way
            raise broken(self, f"{type(fault).__name__}: {fault}") from fault


def broken(plugin: Plugin, why: str) -> ConfigError:
    """The error of a plug-in that cannot be used."""
    return ConfigError(f"{plugin.title} cannot be used: {why}; repair or uninstall that package")


@functools.cache
def offered(group: str) -> tuple[Plugin, ...]:
    """What installed packages offer in a group, by name; raises ConfigError where two offer the same name."""
    found: dict[str, Plugin] = {}
    for entry in sorted(metadata.entry_points(group=group), key=lambda one: one.name):
        one = Plugin(group, entry.name, _origin(entry), entry)
        first = found.setdefault(entry.name, one)
        if first.entry.value != entry.value or first.origin != one.origin:
            raise broken(one, f"{first.origin} offers that name as well")
    return tuple(found.values())


def names(group: str) -> tuple[str, ...]:
    """The names that are offered in a group; nothing is loaded."""
    return tuple(one.name for one in offered(group))


def origin(group: str, name: str) -> str:
    """Distribution and version of what is offered under a name; empty where nothing is."""
    return next((one.origin for one in offered(group) if one.name == name), "")


def _origin(entry: EntryPoint) -> str:
    return "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
