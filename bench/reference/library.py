"""The interface in docs/library.md, from signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import TYPE_CHECKING, Any

from dicomnode import analyse, pixels
from dicomnode.operate import offline
from solver import T2StarFit, fit_t2star, learned, phantom

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN, END = "<!-- interface: made by `make reference` -->", "<!-- /interface -->"
PUBLIC: tuple[Any, ...] = (
    *(fit_t2star, T2StarFit, learned.posterior, learned.Posterior),
    *(phantom.paper_images, phantom.Abdomen, phantom.abdomen, phantom.Phantom, phantom.Receiver, phantom.acquire),
    *(offline.find, offline.stack_of, pixels.load, analyse.fit_stack, offline.process),
)


def filled(document: str) -> str:
    """The document with its interface made anew."""
    made = "\n\n".join("\n".join(_lines(one)) for one in PUBLIC)
    between = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    return re.sub(between, lambda _: f"{BEGIN}\n{made}\n{END}", document, flags=re.DOTALL)


def _lines(public: Any) -> Iterator[str]:
    """A heading, the signature, the docstring, and of a class what it holds."""
    yield f"### `{public.__module__}.{public.__name__}`"
    yield ""
    if not isinstance(public, type):
        yield from ("```python", *_signature(public), "```", "")
    yield inspect.cleandoc(public.__doc__)
    if isinstance(public, type):
        yield from ("", "| field | type | |", "|---|---|---|", *_fields(public))


def _signature(function: Any) -> Iterator[str]:
    signature = inspect.signature(function)
    yield f"{function.__name__}("
    keywords = False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not keywords:
            keywords = True
            yield "    *,"
        stars = "**" if one.kind is one.VAR_KEYWORD else ""
        default = "" if one.default is one.empty else f" = {one.default!r}"
        yield f"    {stars}{one.name}: {one.annotation}{default},"
    yield f") -> {signature.return_annotation}"


def _fields(public: Any) -> Iterator[str]:
    """A row for each field of a dataclass, with the words that stand beside it in the source."""
    source = inspect.getsource(public)
    for field in dataclasses.fields(public):
        beside = re.search(rf"^    {field.name}: [^#\n]*(?:# (.*))?$", source, re.MULTILINE)
        meaning = beside[1] if beside and beside[1] else ""
        yield f"| `{field.name}` | `{field.type}` | {meaning} |".replace("R2*", "R2\\*").replace(
            " | None`", " or None`"
        )
