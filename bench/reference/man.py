"""Manual pages, from the commands and the tables of the configuration (man(7), man-pages(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import dicomnode
from dicomnode import config
from dicomnode.cli import COMMANDS, main

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.reference.keys import Table

_EXIT = {"0": "Done.", "1": "Failed, or something needs a person.", "2": "Wrong usage or configuration."}
_FILES = {
    str(
        config.SYSTEM_FILE
    ): "The configuration of the node on this machine, where neither an option nor the environment "
    "names another. What only looks at files (process, dry-run, compare) reads no file that is not named."
}
_ENVIRONMENT = {
    config.NAMED_BY: "The configuration file, where --config names none.",
    "STATE_DIRECTORY": "Where everything is kept unless [storage] folder says otherwise; systemd sets it.",
    "CACHE_DIRECTORY": "Where compiled kernels and fonts are kept; systemd sets it.",
}
_FILE_PAGE = "dicomnode.toml"


def pages(tables: Iterable[Table]) -> dict[str, str]:
    """Every page by the name of its file."""
    top = click.Context(main, info_name="dicomnode", **main.context_settings)
    made = {"dicomnode.1": _program(top), f"{_FILE_PAGE}.5": _configuration(tables)}
    for name in COMMANDS:
        command = main.get_command(top, name)
        if command is not None:
            context = click.Context(command, info_name=name, parent=top)
            made[f"dicomnode-{name}.1"] = _command(context, COMMANDS[name])
    return made


def _program(top: click.Context) -> str:
    return _page(
        "dicomnode",
        "1",
        "measure liver iron from multi-echo MRI and return the result to the PACS",
        [
            *_usage(top),
            *_description(top.command),
            *_section("Commands", _defined({f"dicomnode-{name}(1)": said for name, said in COMMANDS.items()})),
            *_options(top),
            *_section("Exit status", _defined(_EXIT)),
            *_section("Environment", _defined(_ENVIRONMENT)),
            *_section("Files", _defined(_FILES)),
            *_section("See also", [_text(f"{_FILE_PAGE}(5)")]),
        ],
    )


def _command(context: click.Context, short: str) -> str:
    lines = [*_usage(context), *_description(context.command), *_options(context)]
    lines += _section("Exit status", _defined(_EXIT))
    lines += _section("See also", [_text(f"dicomnode(1), {_FILE_PAGE}(5)")])
    return _page(f"dicomnode-{context.info_name}", "1", _lower(short), lines)


def _configuration(tables: Iterable[Table]) -> str:
    lines = [
        *_section("Description", [_text("One TOML file. Unknown keys are faults. [[name]] may stand several times.")])
    ]
    for table in tables:
        lines += [_request("SH", table.head), _text(table.about)]
        for key in table.keys:
            facts = ", ".join(fact for fact in (key.kind, key.bounds.replace("`", ""), _default(key.default)) if fact)
            lines += [".TP", _request("B", key.name), f"({_text(facts)})", ".br", _text(key.meaning)]
    lines += [*_section("Files", _defined(_FILES)), *_section("See also", [_text("dicomnode-check(1), dicomnode(1)")])]
    return _page(_FILE_PAGE, "5", "configuration of the liver iron node", lines)


def _default(default: str) -> str:
    return default if default in {"needed", "not set"} else f"default {default}"


def _page(name: str, section: str, short: str, lines: Iterable[str]) -> str:
    title = f'.TH "{name.upper()}" "{section}" "" "dicomnode {dicomnode.__version__}" "Liver iron node"'
    return "\n".join([title, *_section("Name", [f"{_text(name)} \\- {_text(short)}"]), *lines]) + "\n"


def _usage(context: click.Context) -> Iterator[str]:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    yield from _section("Synopsis", [_request("B", context.command_path), _text(pieces)])


def _description(command: click.Command) -> Iterator[str]:
    paragraphs = [" ".join(one.split()) for one in (command.help or "").split("\n\n")]
    yield from _section("Description", [line for one in paragraphs for line in (".PP", _text(one))])


def _options(context: click.Context) -> Iterator[str]:
    records = (one.get_help_record(context) for one in context.command.get_params(context))
    yield from _section("Options", _defined(dict(record for record in records if record is not None)))


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [_request("SH", title.upper()), *lines]


def _defined(items: dict[str, str]) -> Iterator[str]:
    """A list of words and what they mean."""
    for word, meaning in items.items():
        yield from (".TP", _request("B", word), _text(meaning or word))


def _request(name: str, text: str) -> str:
    return f'.{name} "{_text(text).replace(chr(34), chr(92) + "(dq")}"'


def _text(text: str) -> str:
    """A line of text: no backslash, hyphen or leading dot that roff would take for its own."""
    quoted = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{quoted}" if quoted.startswith((".", "'")) else quoted


def _lower(sentence: str) -> str:
    """A sentence as what follows a dash."""
    return sentence[0].lower() + sentence[1:].removesuffix(".")
