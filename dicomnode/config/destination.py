"""Where results go: one table for all kinds of destinations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, model_validator

from dicomnode.config.measuring import PRODUCTS, Product
from dicomnode.config.values import AeTitle, Port, Section, Url, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

DestinationKind = Literal["dicom", "dicomweb", "hl7", "fhir"]
OBJECT_KINDS = ("dicom", "dicomweb")  # they get DICOM objects, the others what is measured
_OBJECTS = ("products",)
_SOCKET = ("host", "port", "tls")
_WEB = ("url", "token_file", "token_url", "client_id", "client_secret_file", "scope", "user", "password_file")
_COMMITMENT = ("storage_commitment", "commitment_seconds", "read_back", "rejection_notes")
_HL7 = ("sending_application", "sending_facility", "receiving_application", "receiving_facility")
# By kind: the keys of [[destination]] that belong to it; those in no row belong to all.
_KEYS_OF: dict[str, tuple[str, ...]] = {
    "dicom": ("ae_title", *_SOCKET, *_OBJECTS, "compress_pages", *_COMMITMENT),
    "dicomweb": (*_WEB, *_OBJECTS, "request_mb"),
    "hl7": (*_SOCKET, *_HL7, "patient_id_issuer"),
    "fhir": (*_WEB, "patient_id_system"),
}
_NEEDED_BY = {"dicom": ("ae_title", "host", "port"), "dicomweb": ("url",), "hl7": ("host", "port"), "fhir": ("url",)}
SECRETS = ("token_file", "client_secret_file", "password_file")


class DestinationSettings(Section):
    """A system that gets results: a PACS their objects, a record of patients what is measured."""

    # For the reference: each is needed by some kind.
    model_config = ConfigDict(json_schema_extra={"needed": [key for keys in _NEEDED_BY.values() for key in keys]})

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    kind: DestinationKind = "dicom"
    ae_title: AeTitle = ""
    host: str = ""
    port: Port = 0
    tls: bool = False
    products: tuple[Product, ...] = PRODUCTS  # type: ignore[assignment]
    compress_pages: Literal["none", "rle", "jpeg-ls", "jpeg-2000"] = "none"  # losslessly, where it accepts that
    storage_commitment: Literal["off", "same", "separate"] = "off"  # on which association the report is awaited
    commitment_seconds: Annotated[float, Field(gt=0)] = 3600.0  # without a report, it is asked again
    read_back: bool = False  # ask by C-FIND whether everything is there
    rejection_notes: bool = False  # say that the result which a new one replaces is rejected (IHE IOCM)
    url: Url = ""  # of the DICOMweb or FHIR service
    token_file: Path | None = Field(default=None, strict=False)  # a bearer token
    token_url: Url = ""  # OAuth2 client credentials
    client_id: str = ""
    client_secret_file: Path | None = Field(default=None, strict=False)
    scope: str = ""
    user: Annotated[str, Field(pattern=r"^[^:]*$")] = ""  # HTTP Basic
    password_file: Path | None = Field(default=None, strict=False)
    request_mb: Annotated[int, Field(ge=1, le=100_000)] = 64  # objects go in requests of about this size
    sending_application: str = "LIVERIRON"  # MSH-3
    sending_facility: str = ""  # MSH-4
    receiving_application: str = ""  # MSH-5
    receiving_facility: str = ""  # MSH-6
    patient_id_issuer: str = ""  # assigning authority where the images name none
    patient_id_system: str = ""  # URI of patient identifiers where the images name none
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    retry_first_seconds: Annotated[float, Field(gt=0)] = 5.0
    retry_longest_seconds: Annotated[float, Field(gt=0)] = 900.0
    give_up_after_hours: Annotated[float, Field(gt=0)] = 96.0

    @property
    def gets_objects(self) -> bool:
        """Whether it gets DICOM objects, and not what is measured alone."""
        return self.kind in OBJECT_KINDS

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken with it."""
        return self.tls or self.url.startswith("https://")

    @property
    def address(self) -> str:
        """The host name or address where it is."""
        return self.host or urlsplit(self.url).hostname or ""

    def keys_of_others(self) -> set[str]:
        """The keys that say nothing of a destination of its kind."""
        return {key for keys in _KEYS_OF.values() for key in keys} - set(_KEYS_OF[self.kind])

    def secret_files(self) -> dict[str, Path]:
        """The files that hold what it is told of who calls, by key."""
        return {key: path for key in SECRETS if (path := getattr(self, key)) is not None}

    @model_validator(mode="after")
    def _of_one_kind(self) -> DestinationSettings:
        faults = [*self._of_other_kinds(), *self._not_there(), *self._credentials()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _of_other_kinds(self) -> Iterator[str]:
        for key in sorted(self.model_fields_set - set(_KEYS_OF[self.kind])):
            kinds = [kind for kind, keys in _KEYS_OF.items() if key in keys]
            if kinds:
                named = " or ".join(f'"{kind}"' for kind in kinds)
                yield f'{key} belongs to kind {named}, this is kind "{self.kind}": remove it, or change kind'

    def _not_there(self) -> Iterator[str]:
        for key in _NEEDED_BY[self.kind]:
            if not getattr(self, key):
                yield f'{key} is needed for kind "{self.kind}"'

    def _credentials(self) -> Iterator[str]:
        oauth = (self.token_url, self.client_id, self.client_secret_file)
        basic = (self.user, self.password_file)
        if any(oauth) != all(oauth) or (self.scope and not all(oauth)):
            yield "token_url, client_id and client_secret_file belong together, scope to them"
        if any(basic) != all(basic):
            yield "user and password_file belong together"
        given = [bool(self.token_file), any(oauth), any(basic)].count(True)
        if given > 1:
            yield "token_file, token_url and user are three ways to say who calls: keep one"
        for url in (self.url, self.token_url) if given else ():
            if url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
                yield f"{url}: credentials would go unencrypted; use https"
