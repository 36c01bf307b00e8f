"""Who may look at a node, whom it tells what happens, and how it proves who it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dicomnode.config.values import Port, Section, is_loopback


class UserSettings(Section):
    """Who may log in on the web page."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")]
    password: Annotated[str, Field(pattern=r"^\$argon2id\$")] = Field(repr=False)  # its hash: `dicomnode password`
    role: Literal["view", "act"] = "view"


class WebSettings(Section):
    """The web page, and health and metrics for programs."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8080
    names: tuple[str, ...] = ()  # by which browsers call it, beside host
    show_patient: bool = False
    users: tuple[UserSettings, ...] = ()
    session_minutes: Annotated[float, Field(gt=0, le=1440)] = 30.0  # without a click, until the next log-in
    certificate: Path | None = Field(default=None, strict=False)  # None: as in [tls]
    key: Path | None = Field(default=None, strict=False)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


class TlsSettings(Section):
    """Certificates of this node."""

    certificate: Path | None = Field(default=None, strict=False)
    key: Path | None = Field(default=None, strict=False)
    authority: Path | None = Field(default=None, strict=False)
    receive: bool = False


class AuditSettings(Section):
    """Where audit messages (PS3.15 A.5) go; nowhere without a host or a file."""

    host: str | None = None
    port: Port = 6514
    transport: Literal["tls", "tcp", "udp"] = "tls"
    file: Path | None = Field(default=None, strict=False)
    patient_id: bool = False  # the patient's number in the messages

    @model_validator(mode="after")
    def _one(self) -> AuditSettings:
        if self.host is not None and self.file is not None:
            raise ValueError("host or file, not both")
        return self


class NotifySettings(Section):
    """Whom to tell what needs a person; nobody without a webhook or an address."""

    webhook: Annotated[str, Field(pattern=r"^https?://")] | None = None
    webhook_token_file: Path | None = Field(default=None, strict=False)
    email_to: tuple[str, ...] = ()
    email_from: str = "dicomnode@localhost"
    smtp_host: str = "localhost"
    smtp_port: Port = 25
    smtp_starttls: bool = True
    smtp_user: str = ""
    smtp_password_file: Path | None = Field(default=None, strict=False)
    repeat_hours: Annotated[float, Field(ge=0)] = 24.0  # between notices of one kind about one result
