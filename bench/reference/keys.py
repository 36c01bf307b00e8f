"""Every table and key of the configuration: type, default and bounds from the schema, meaning from the example."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.reference.example import Said, sentences
from dicomnode.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dicomnode.config import Section

_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "over {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matches `{}`",
}
_KINDS = {"integer": "integer", "number": "number", "boolean": "true or false", "string": "text", "object": "table"}


@dataclass(frozen=True)
class Key:
    """One key of a table, in words."""

    name: str
    kind: str
    default: str  # as TOML; "needed" or "not set" where there is none
    bounds: str  # empty where everything of its kind is allowed
    meaning: str


@dataclass(frozen=True)
class Table:
    """One table of the file."""

    name: str
    repeats: bool
    about: str
    keys: tuple[Key, ...]

    @property
    def head(self) -> str:
        """Its name as it stands in the file."""
        return f"[[{self.name}]]" if self.repeats else f"[{self.name}]"


def tables(example: str) -> list[Table]:
    """Every table in the order of the schema; raises ValueError where the example says nothing of a key."""
    said = sentences(example)
    found = list[Table]()
    for name, field in Settings.model_fields.items():
        repeats = not isinstance(field.annotation, type)
        model: type[Section] = field.annotation.__args__[0] if repeats else field.annotation  # type: ignore[union-attr, assignment]
        found += _of_schema(name, model.model_json_schema(), said, repeats=repeats)
    return found


def _of_schema(name: str, schema: Mapping[str, Any], said: Mapping[str, Said], *, repeats: bool) -> Iterator[Table]:
    """A table, then the tables within it."""
    own = said.get(name, Said())
    about = " ".join(own.about) or schema["description"]
    needed = {*schema.get("required", ()), *schema.get("needed", ())}
    keys, inner = list[Key](), dict[str, Any]()
    for key, rule in schema["properties"].items():
        within = rule.get("items", {}).get("$ref")
        if within:
            inner[f"{name}.{key}"] = schema["$defs"][within.rpartition("/")[2]]
        elif not own.keys.get(key):
            raise ValueError(f"the example says nothing of [{name}] {key}")
        else:
            default = "needed" if key in needed else as_toml(rule["default"])
            meaning = " ".join(own.keys[key]).removeprefix("needed: ").removesuffix(":")
            keys.append(Key(key, _kind(rule), default, _bounds(rule), meaning))
    yield Table(name, repeats, about, tuple(keys))
    for full_name, rule in inner.items():
        yield from _of_schema(full_name, rule, said, repeats=True)


def as_toml(value: Any) -> str:
    """A value as it stands in the file."""
    return "not set" if value is None else json.dumps(value)


def _kind(rule: Mapping[str, Any]) -> str:
    if "anyOf" in rule:
        return " or ".join(_kind(one) for one in rule["anyOf"] if one.get("type") != "null")
    if "enum" in rule or "const" in rule:
        return ", ".join(json.dumps(one) for one in rule.get("enum", [rule.get("const")]))
    if "prefixItems" in rule:
        return f"[{', '.join(_kind(one) for one in rule['prefixItems'])}]"
    if rule["type"] == "array":
        return f"list of {_kind(rule['items'])}"
    return "path" if rule.get("format") == "path" else _KINDS[rule["type"]]


def _bounds(rule: Mapping[str, Any]) -> str:
    if "prefixItems" in rule:
        each = _bounds(rule["prefixItems"][0])
        return f"each {each}" if each else ""
    if "minimum" in rule and "maximum" in rule:
        return f"{rule['minimum']} to {rule['maximum']}"
    return ", ".join(words.format(rule[name]) for name, words in _BOUNDS.items() if name in rule)
