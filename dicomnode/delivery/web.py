"""HTTP with a destination: who it is, who calls it, and what its answers mean for the next attempt."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

import dicomnode
from dicomnode import events, logs
from dicomnode.errors import Busy, ConfigError, NoAnswer, NotAllowed, Unreachable
from dicomnode.tls import Certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from dicomnode.config import DestinationSettings, TlsSettings

_NOT_ALLOWED = (401, 403, 407)
_BUSY = (408, 425, 429, 502, 503, 504)  # of the way there or of this moment, and not of what was sent
_LIVES_SECONDS = 300.0  # a token that does not say how long
_MARGIN_SECONDS = 30.0  # before its end a token is renewed
_TOKEN_ERRORS = (  # RFC 6749 5.2
    *("invalid_request", "invalid_client", "invalid_grant"),
    *("unauthorized_client", "unsupported_grant_type", "invalid_scope"),
)
_MOST_BYTES = 1 << 24  # of an answer


class Web:
    """Opens connections to destinations; tokens outlive them."""

    def __init__(
        self, tls: TlsSettings, say: events.Sink = logs.write, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._certificates = Certificates(tls, say)
        self._clock = clock
        self._granted: dict[DestinationSettings, Granted] = {}  # a changed destination asks for a token of its own

    def use(self, tls: TlsSettings) -> None:
        """Speak TLS with other certificates from the next connection on, and ask for every token anew."""
        self._certificates.use(tls)
        self._granted = {}

    @contextlib.contextmanager
    def session(self, destination: DestinationSettings) -> Iterator[Session]:
        """Requests to one destination; raises Unreachable where this node's certificates cannot be used."""
        try:
            context = self._certificates.sending()
        except ConfigError as fault:
            raise Unreachable(str(fault)) from fault
        with httpx.Client(
            auth=self._auth(destination),
            verify=context,
            timeout=destination.timeout_seconds,
            headers={"User-Agent": f"liver-iron-node/{dicomnode.__version__}"},
            trust_env=False,  # no proxy and no .netrc that the configuration does not name
        ) as client:
            yield Session(destination, client)

    def _auth(self, destination: DestinationSettings) -> httpx.Auth | None:
        if destination.token_file is not None:
            return _Token(destination.token_file)
        if destination.password_file is not None:
            return httpx.BasicAuth(destination.user, secret(destination.password_file))
        if destination.client_secret_file is not None:
            return self._granted.setdefault(destination, Granted(destination, self._clock))
        return None


class Session:
    """Requests to one destination."""

    def __init__(self, destination: DestinationSettings, client: httpx.Client) -> None:
        self._destination = destination
        self._client = client

    def ask(self, method: str, path: str, **request: Any) -> Answer:
        """What a destination answers to a request; raises Unreachable, NoAnswer, NotAllowed, Busy."""
        name, url = self._destination.name, self._destination.url
        try:
            with self._client.stream(method, url.rstrip("/") + path, **request) as response:
                content = self._content(response)
        except (httpx.ConnectError, httpx.ConnectTimeout) as fault:
            raise Unreachable(f"{name} ({url}) cannot be reached: {fault}") from fault
        except (httpx.TransportError, httpx.DecodingError) as fault:
            raise NoAnswer(f"{name} ({url}) did not answer: {type(fault).__name__}") from fault
        answer = Answer(response.status_code, content)
        if answer.status in _NOT_ALLOWED:
            raise NotAllowed(f"{name} does not take this node's credentials: {answer}")
        if answer.status in _BUSY:
            raise Busy(f"{name} is busy: {answer}", _retry_after(response))
        return answer

    def _content(self, response: httpx.Response) -> bytes:
        """Read a body; raises NoAnswer for one that has no end."""
        until, content = time.monotonic() + self._destination.timeout_seconds, bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > _MOST_BYTES or time.monotonic() > until:
                raise NoAnswer(f"{self._destination.name} did not come to the end of its answer")
        return bytes(content)


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of an answer, which is said, and its body, which never is: its words may name a patient."""

    status: int
    content: bytes

    def __str__(self) -> str:
        """Return what may be said of it."""
        return f"HTTP {self.status}"

    @property
    def is_success(self) -> bool:
        """Whether it is 2xx."""
        return self.status // 100 == 2

    def json(self) -> Any:
        """The value of its body; None where that is no JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None

    def object(self) -> dict[str, Any]:
        """The JSON object of its body; empty where that is none."""
        found = self.json()
        return found if isinstance(found, dict) else {}


def secret(path: Path) -> str:
    """What a file of one secret holds; raises NotAllowed where there is none."""
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise NotAllowed(f"{path}: the secret in it cannot be read: {type(fault).__name__}") from fault
    if not found or not found.isprintable():
        raise NotAllowed(f"{path}: it must hold one line, the secret")
    return found


class _Token(httpx.Auth):
    """A bearer token (RFC 6750) from a file that may be renewed at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {secret(self._path)}"
        yield request


class Granted(httpx.Auth):
    """A token for the client's own credentials (RFC 6749 4.4), renewed before it ends or where it is not taken."""

    def __init__(self, destination: DestinationSettings, clock: Callable[[], float]) -> None:
        self._destination = destination
        self._clock = clock
        self._token = ""
        self._until = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Ask for a token where there is none that lasts; once more where the one in hand is refused."""
        in_hand = self._clock() < self._until
        if not in_hand:
            self._take((yield self._asking()))
        response = yield self._signed(request)
        if response.status_code == 401 and in_hand:
            self._take((yield self._asking()))
            yield self._signed(request)

    def _signed(self, request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _asking(self) -> httpx.Request:
        one = self._destination
        known = secret(one.client_secret_file) if one.client_secret_file else ""
        fields = {"grant_type": "client_credentials", **({"scope": one.scope} if one.scope else {})}
        client = httpx.BasicAuth(quote(one.client_id, safe=""), quote(known, safe=""))  # RFC 6749 2.3.1
        asking = httpx.Request("POST", one.token_url, data=fields, headers={"Accept": "application/json"})
        return next(client.auth_flow(asking))

    def _take(self, response: httpx.Response) -> None:
        answer = Answer(response.status_code, response.read())
        given = answer.object()
        token, lives = given.get("access_token"), given.get("expires_in", _LIVES_SECONDS)
        if answer.status != 200 or not isinstance(token, str) or not token.isprintable():
            self._until = 0.0
            why = str(given.get("error", ""))
            code = f" ({why})" if why in _TOKEN_ERRORS else ""
            raise NotAllowed(f"{self._destination.token_url} gave no token: {answer}{code}")
        seconds = float(lives) if isinstance(lives, int | float) else _LIVES_SECONDS
        self._token, self._until = token, self._clock() + seconds - min(_MARGIN_SECONDS, seconds / 10.0)


def _retry_after(response: httpx.Response) -> float:
    """Seconds that an answer asks to wait (RFC 9110 10.2.3); 0 where it does not."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
