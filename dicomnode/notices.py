"""Tells people by e-mail or a webhook what needs them; never who the patient is."""

from __future__ import annotations

import json
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

from dicomnode import events, logs
from dicomnode.errors import NodeError
from dicomnode.store.outbox import NotTaken, Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dicomnode.config import NotifySettings, Settings

_TRY_AGAIN_SECONDS = 60.0
_ANSWER_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Notice:
    """What needs a person, and what that person can do."""

    kind: str
    sentence: str
    advice: str
    about: str = ""  # the key of a result


def notice_of(event: events.Event) -> Notice | None:
    """What of an event people have to be told; None of most."""
    make = _MAKERS.get(type(event))
    return None if make is None else make(event)


def _ended(event: events.JobEnded) -> Notice | None:
    if event.status != "failed":
        return None
    return Notice("failed", f"a result failed, or is not everywhere: {event.reason}", _retry(event.key), event.key)


def _full(event: events.DiskFull) -> Notice:
    advice = "make room, or let [retention] do it; what waits goes on by itself"
    return Notice("disk-full", f"the disk is full: {event.reason}", advice)


def _queue_away(event: events.QueueUnreachable) -> Notice:
    advice = "look at the database server; images are taken in all the same"
    return Notice("queue-away", f"the queue's database does not answer: {event.reason}", advice)


def _set_aside(event: events.DatabaseSetAside) -> Notice:
    said = f"the queue's database was damaged and has been made anew: {event.reason}"
    return Notice("database", said, f"nothing was lost; {event.kept_as} may be deleted")


def _certificate(event: events.CertificateEnds) -> Notice:
    when = f"ends in {event.days} days" if event.days >= 0 else f"ended {-event.days} days ago"
    advice = "put the new one there; no restart is needed"
    return Notice("certificate", f"the certificate {event.path} {when}", advice)


def _changed(event: events.ScannerChanged) -> Notice:
    said = f"a scanner's control chart: {event.chart} {_CHANGED[event.code]} ({event.change:+.1f} % from its baseline)"
    advice = "dicomnode quality, or the page Quality, shows the chart; scan the phantom again before you call service"
    return Notice("scanner", said, advice, f"{event.scanner} {event.chart}")


_CHANGED = {"outside": "lies beyond its limits", "step": "has taken a step", "drift": "drifts"}
_MAKERS: Mapping[type[events.Event], Callable[[Any], Notice | None]] = {
    events.JobEnded: _ended,
    events.DiskFull: _full,
    events.QueueUnreachable: _queue_away,
    events.DatabaseSetAside: _set_aside,
    events.CertificateEnds: _certificate,
    events.ScannerChanged: _changed,
}


class Notices:
    """A sink of events. The same kind of notice about the same result goes once in ``repeat_hours``."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        say: events.Sink = logs.write,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings.notify
        self._node = settings.node.ae_title
        self._folder = folder
        self._say = say
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}
        # One a way, so that a dead mail server holds up no webhook.
        self._outboxes = {name: self._outbox(name) for name in _ways(settings.notify)}

    def use(self, settings: Settings) -> None:
        """Tell others, by other ways, from the next notice on; what is not sent yet goes to them, too."""
        if settings.notify == self._settings:
            return
        self._settings = settings.notify
        wanted = _ways(settings.notify)
        gone = [name for name in self._outboxes if name not in wanted]
        for outbox in [self._outboxes.pop(name) for name in gone]:
            outbox.abandon()
        for outbox in self._outboxes.values():
            outbox.hurry()
        for name in wanted:
            if name not in self._outboxes:
                self._outboxes[name] = outbox = self._outbox(name)
                outbox.start()

    def __call__(self, event: events.Event) -> None:
        """Tell people, where they have to know."""
        notice = notice_of(event) if self._outboxes else None
        if notice is None or self._is_told(notice):
            return
        when = datetime.now(UTC).isoformat(timespec="seconds")
        message = json.dumps({"node": self._node, "when": when, **asdict(notice)}, ensure_ascii=False).encode()
        for outbox in tuple(self._outboxes.values()):
            try:
                outbox.put(message)
            except (OSError, NodeError) as fault:
                self._say(events.NoticeLost(notice.kind, str(fault)))

    def start(self) -> None:
        """Begin to send, first what an earlier run has left."""
        for outbox in self._outboxes.values():
            outbox.start()

    def stop(self) -> None:
        """Send what there is, if it is taken."""
        for outbox in self._outboxes.values():
            outbox.stop()

    def _outbox(self, name: str) -> Outbox:
        return Outbox(
            self._folder / name,
            lambda message: _WAYS[name](self._settings, message),
            lambda why: self._say(events.NoticeDelayed(why)),
            pause_seconds=_TRY_AGAIN_SECONDS,
        )

    def _is_told(self, notice: Notice) -> bool:
        now, name = self._clock(), (notice.kind, notice.about)
        if now - self._told.get(name, -float("inf")) < self._settings.repeat_hours * 3600.0:
            return True
        self._told = {known: then for known, then in self._told.items() if now - then < 7 * 86400.0}
        self._told[name] = now
        return False


def _retry(key: str) -> str:
    return f"dicomnode show {key} says more; when the cause is gone: dicomnode retry {key}"


def _ways(settings: NotifySettings) -> tuple[str, ...]:
    """By which ways people are told."""
    wanted = {"webhook": settings.webhook is not None, "email": bool(settings.email_to)}
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def _post(settings: NotifySettings, message: bytes) -> None:
    request = urllib.request.Request(  # noqa: S310  its scheme is checked with the configuration
        str(settings.webhook), data=message, headers={"Content-Type": "application/json"}, method="POST"
    )
    if settings.webhook_token_file is not None:
        request.add_header("Authorization", f"Bearer {_secret(settings.webhook_token_file, 'webhook_token_file')}")
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):  # noqa: S310
            pass
    except (OSError, ValueError) as fault:  # an answer that is no success is one, too
        raise NotTaken(f"[notify] webhook: {getattr(fault, 'reason', None) or fault}") from fault


def _mail(settings: NotifySettings, message: bytes) -> None:
    notice = json.loads(message)
    mail = EmailMessage()
    mail["From"] = settings.email_from
    mail["To"] = ", ".join(settings.email_to)
    mail["Subject"] = f"[{notice['node']}] {notice['kind']}"
    mail.set_content(f"{notice['sentence']}\n\n{notice['advice']}\n\n{notice['when']}\n")
    try:
        with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=_ANSWER_SECONDS) as server:
            if settings.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if settings.smtp_user and settings.smtp_password_file:
                server.login(settings.smtp_user, _secret(settings.smtp_password_file, "smtp_password_file"))
            server.send_message(mail)
    except (OSError, smtplib.SMTPException) as fault:
        raise NotTaken(f"[notify] smtp_host {settings.smtp_host}: {fault}") from fault


def _secret(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as fault:
        raise NotTaken(f"[notify] {key}: {path} cannot be read: {fault.strerror}") from fault


_WAYS: Mapping[str, Callable[[NotifySettings, bytes], None]] = {"webhook": _post, "email": _mail}
