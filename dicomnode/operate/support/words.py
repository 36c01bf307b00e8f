"""The words that the software itself says: what else stands in one of its sentences came from outside."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import dicomnode

if TYPE_CHECKING:
    from collections.abc import Iterator

# A word is letters and digits; what is numbers alone is none.
_WORD = re.compile(r"(?=\w*[^\W\d_])[^\W_]+")
# Of folders that a system has anyway.
_FOLDERS = ("var", "lib", "etc", "opt", "srv", "mnt", "usr", "run", "tmp", "bin", "home", "local", "log", "cache")


def vocabulary() -> frozenset[str]:
    """Every word of the program's own texts and names, and of what an operating system says; case matters."""
    own = (word for text in _texts() for word in _WORD.findall(text))
    said = {*own, *_FOLDERS, *(word for number in range(1, 134) for word in _WORD.findall(os.strerror(number)))}
    return frozenset(said | {word.capitalize() for word in said if word.islower()})


def _texts() -> Iterator[str]:
    packages = Path(dicomnode.__file__).parents[1]
    for package in ("dicomnode", "solver"):
        for path in sorted((packages / package).rglob("*.py")):
            yield path.stem
            for node in ast.walk(ast.parse(path.read_bytes())):
                yield from _of(node)


def _of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name) | ast.Attribute(attr=name):
            yield name
