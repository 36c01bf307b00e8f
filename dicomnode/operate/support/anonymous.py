"""Takes out of texts what may name a person: only words stay that the software itself says.

A name that is removed because it is known would stay where it is not known; so it is the other way round.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

REMOVED = "[removed]"
_UID = re.compile(r"[0-2](\.\d+){4,}")
_DIGEST = re.compile(r"(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{12,64}")
_QUOTED = re.compile(r"""(?<!\w)(?:'([^'\n]*)'|"([^"\n]*)"|“([^”\n]*)”)(?!\w)""")
_SEVERAL = re.compile(rf"{re.escape(REMOVED)}(\s+{re.escape(REMOVED)})+")
_EDGES = re.compile(r"^([\W_]*)(.*?)([\W_]*)$", re.DOTALL)
_STATUS = re.compile(r"0x[0-9A-F]{4}")
_DECIMAL = re.compile(r"\d{1,3}\.\d{1,6}")
_ERROR = re.compile(r"[A-Za-z]+(Error|Exception|Warning)")
_FRAME = re.compile(r'\s*File "(?P<path>.*)", line (?P<line>\d+), in (?P<name>\S+)')
_HEADS = ("Traceback (most recent call last):", "During handling of", "The above exception was")
_MOST_DIGITS = 3  # of a number that is told: a year, an identifier or a date has more


@dataclass(frozen=True)
class Anonymous:
    """What is told in place of names, the same for the same name within one bundle and in no other.

    ``words`` may stand, ``identities`` (in lower case) never; ``peers`` are names of the network, which are told unless
    ``network`` is False.
    """

    words: frozenset[str]
    identities: frozenset[str] = frozenset()
    peers: frozenset[str] = frozenset()
    network: bool = True
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def digest(self, kind: str, text: str) -> str:
        """A name for something, from which nobody finds what it was."""
        return f"{kind}-{hmac.digest(self._key, text.encode(), 'sha256').hex()[:10]}" if text else ""

    def peer(self, name: str) -> str:
        """A system of the network: an AE title, a host, an address, a destination's name."""
        words = re.findall(r"[^\W_]+", name.lower())
        return self.digest("peer", name) if not self.network or self._named(words) else name

    def text(self, text: str) -> str:
        """A sentence or a path without what the software does not know."""
        unquoted = _QUOTED.sub(self._quoted, text)
        told = "".join(piece if piece.isspace() else self._piece(piece) for piece in re.split(r"(\s+)", unquoted))
        return _SEVERAL.sub(REMOVED, told)

    def trace(self, text: str) -> str:
        """A traceback: where it was in the code and what was raised, without the lines of code."""
        return "\n".join(self._trace(text))

    def values(self, value: Any) -> Any:
        """JSON values of which every text is told as ``text`` tells it, those that are keys, too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.values(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.values(one) for one in value]
        return value

    def _named(self, words: list[str]) -> bool:
        return any(word in self.identities for word in words)

    def _quoted(self, match: re.Match[str]) -> str:
        """What is quoted came from outside, unless it is one word of our own, as a key is."""
        inner = next(group for group in match.groups() if group is not None)
        own = inner == inner.lower() and not re.search(r"\s", inner) and self._run(inner) == inner
        return match[0] if own else REMOVED

    def _piece(self, piece: str) -> str:
        """What stands between two spaces."""
        if REMOVED in piece:
            return piece
        if "/" in piece:
            return "/".join(map(self._piece, piece.split("/")))
        before, run, after = _EDGES.fullmatch(piece).groups()  # type: ignore[union-attr]
        return f"{before}{self._run(run)}{after}"

    def _run(self, run: str) -> str:
        host, colon, port = run.rpartition(":")
        if colon and port.isdigit() and self._is_peer(host):
            return f"{self.peer(host)}:{port}"
        if self._is_peer(run):
            return self.peer(run)
        if _UID.fullmatch(run):
            return self.digest("uid", run)
        if _DIGEST.fullmatch(run):
            return self.digest("id", run)
        return run if self._is_harmless(run) else REMOVED

    def _is_peer(self, run: str) -> bool:
        if run in self.peers:
            return True
        try:
            ipaddress.ip_address(run)
        except ValueError:
            return False
        return True

    def _is_harmless(self, run: str) -> bool:
        parts = re.findall(r"[^\W_]+", run)
        if self._named([part.lower() for part in parts]):
            return False
        if _STATUS.fullmatch(run) or _DECIMAL.fullmatch(run) or _ERROR.fullmatch(run):
            return True
        digits = sum(len(part) for part in parts if part.isdigit())
        return digits <= _MOST_DIGITS and all(part.isdigit() or part in self.words for part in parts)

    def _trace(self, text: str) -> Iterator[str]:
        for line in text.splitlines():
            if frame := _FRAME.match(line):
                yield f'  File "{_place(frame["path"])}", line {frame["line"]}, in {frame["name"]}'
            elif line.startswith(_HEADS):
                yield line
            elif not line.startswith("    "):
                yield self.text(line)


def _place(path: str) -> str:
    """Where a file of code is, without the folders above its package."""
    parts = path.replace("\\", "/").split("/")
    for root in ("site-packages", "dicomnode", "solver"):
        if root in parts:
            return "/".join(parts[len(parts) - 1 - parts[::-1].index(root) :])
    return parts[-1] if parts[-1].endswith(".py") else REMOVED
