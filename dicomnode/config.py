"""One TOML file -> frozen settings, with every fault reported at once."""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

PRODUCTS = (
    "mr_maps",
    "parametric_maps",
    "segmentation",
    "structured_report",
    "pictures",
    "pdf",
)

# measure.iron holds their lines.
PUBLISHED_CALIBRATIONS = ("hernando-2023", "wood-2005", "hankins-2009", "garbowski-2014")


NAMED_BY = "DICOMNODE_CONFIG"  # an environment variable
SYSTEM_FILE = Path("/etc/dicomnode/config.toml")


def _ae_title(text: str) -> str:
    """PS3.5 6.2: at most 16 characters, no backslash or control character, not only spaces."""
    title = text.strip(" ")
    if not 0 < len(title) <= 16 or "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as fault:
        raise ValueError(f"not a regular expression: {fault}") from fault
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(text: str) -> str:
    """Not repeated in a message: it may hold a password."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or " " in text:
        raise ValueError("https://HOST/PATH or http://HOST/PATH, without a query")
    if parts.username is not None:
        raise ValueError("no user and no password in it; give them by user and password_file")
    return text


_DATABASE = re.compile(r"sqlite:///.|postgresql(\+\w+)?://[^/]*/.|credential:[\w.-]+$")
_CREDENTIAL = "credential:"  # before the name of one that systemd's LoadCredential= hands to the service
AeTitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0)]
Days = Annotated[int, Field(ge=0, le=36500)]
Url = Annotated[str, AfterValidator(_url)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Product = Literal["mr_maps", "parametric_maps", "segmentation", "structured_report", "pictures", "pdf"]


class Section(BaseModel):
    """A table of the file: unknown keys are faults, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NodeSettings(Section):
    """Who this node is on the network."""

    ae_title: AeTitle = "LIVERIRON"
    host: str = "0.0.0.0"  # noqa: S104  a modality must reach it; [[scanner]] says who may speak
    port: Port = 11112
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class ReceiveSettings(Section):
    """Limits of the storage SCP."""

    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 50  # a known scanner gets two all the same
    setup_seconds: Annotated[float, Field(gt=0)] = 5.0  # from the connection to the request for an association
    network_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0  # of silence in the middle of a request
    request_seconds: Annotated[float, Field(gt=0)] = 600.0  # for one request as a whole
    idle_seconds: Annotated[float, Field(gt=0)] = 300.0  # between two requests of an association
    maximum_object_mb: Annotated[int, Field(ge=1, le=100_000)] = 2000
    require_called_ae_title: bool = True
    accept_any_scanner: bool = False


Anatomy = Literal["judged", "any"]


class ScannerSettings(Section):
    """A peer that may send to this node."""

    ae_title: AeTitle
    address: str | None = None  # IP address or host name; None: any address with that AE title
    anatomy: Anatomy | None = None  # None: as in [grouping]
    keeps_association: bool = False  # it sends many series on one association that it leaves open for hours
    port: Port | None = None  # where it hears storage commitment; None: on the association on which it asked

    @model_validator(mode="after")
    def _reachable(self) -> ScannerSettings:
        if self.port is not None and self.address is None:
            raise ValueError("port needs address: where the answer to a request for storage commitment goes")
        return self


class GroupingSettings(Section):
    """Which images make a stack, and how long a stack with holes may wait."""

    minimum_echoes: Annotated[int, Field(ge=2, le=64)] = 3
    quiet_seconds: Seconds = 5.0
    unreleased_quiet_seconds: Seconds = (
        600.0  # after an association that ended without A-RELEASE: its sender comes back
    )
    give_up_after: Annotated[float, Field(gt=0)] = 3600.0  # seconds without a new image
    when_given_up: Literal["report", "process_complete_slices"] = "report"
    rescan_seconds: Annotated[float, Field(gt=0)] = 15.0
    manufacturer: Pattern = ""
    series_description: Pattern = ""
    station_name: Pattern = ""
    exclude_series_description: Pattern = ""
    anatomy: Anatomy = "judged"  # "any": what is not a liver's gets its maps too


class FitSettings(Section):
    """How the decay is fitted: the arguments of solver.fit_t2star."""

    method: Literal["admm", "admm-published", "lm-published", "nls"] = "admm"
    noise: Literal["rician", "gaussian"] = "rician"
    weights: Literal["auto"] | tuple[float, float] = "auto"
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    deaths_allowed: Annotated[int, Field(ge=1, le=20)] = 2
    step_seconds: Annotated[float, Field(gt=0)] = 1800.0
    step_memory_mb: Annotated[int, Field(ge=500)] = 3000


Share = Annotated[float, Field(ge=0, le=0.5)]


class CalibrationSettings(Section):
    """A site's own line from R2* to liver iron: LIC = intercept + slope · R2*^exponent, mg/g dry weight."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,30}$")]
    organ: Literal["liver"] = "liver"
    field_t: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    intercept: float
    slope: Annotated[float, Field(gt=0)]
    exponent: Annotated[float, Field(gt=0, le=2)] = 1.0
    most_mg_per_g: Annotated[float, Field(gt=0, le=100)]  # where the data end that the line was drawn through
    relative_sd: Share = 0.05  # standard error of the slope
    source: Annotated[str, Field(min_length=3, max_length=120)]

    @model_validator(mode="after")
    def _in_order(self) -> CalibrationSettings:
        if self.field_t[0] >= self.field_t[1]:
            raise ValueError("field_t names the lowest and the highest field in tesla, in that order")
        if self.name in PUBLISHED_CALIBRATIONS or self.name == "none":
            raise ValueError(f"'{self.name}' is the name of a published calibration; choose another")
        return self


class MeasureSettings(Section):
    """From R2* to liver iron concentration."""

    calibration: str = "hernando-2023"
    calibrations: tuple[CalibrationSettings, ...] = ()  # a site's own, beside the published ones

    @model_validator(mode="after")
    def _known(self) -> MeasureSettings:
        names = (*PUBLISHED_CALIBRATIONS, *dict.fromkeys(one.name for one in self.calibrations), "none")
        if self.calibration not in names:
            raise ValueError(f"calibration '{self.calibration}' is none of {', '.join(names)}")
        return self


class ReportSettings(Section):
    """What the result objects say of themselves."""

    manufacturer: str = "Liver Iron Node"
    device_serial_number: str = "1"
    series_number_offset: Annotated[int, Field(ge=0, le=100000)] = 900
    drawing_replaces_result: bool = False
    identity_on_pages: bool = True
    products: tuple[Product, ...] = PRODUCTS  # type: ignore[assignment]


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
_SECRETS = ("token_file", "client_secret_file", "password_file")


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
        return {key: path for key in _SECRETS if (path := getattr(self, key)) is not None}

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
            if url.startswith("http://") and not _is_loopback(urlsplit(url).hostname or ""):
                yield f"{url}: credentials would go unencrypted; use https"


class StorageSettings(Section):
    """Where everything is kept."""

    folder: Path | None = Field(default=None, strict=False)
    minimum_free_mb: Annotated[int, Field(ge=0)] = 1024


class RetentionSettings(Section):
    """How long what is finished is kept, in days on which the node ran; 0: for ever."""

    originals_days: Days = 0  # received images
    objects_days: Days = 0  # what was made of them; it is in the PACS
    records_days: Days = 0  # numbers, states and reasons
    keep_free_gb: Annotated[float, Field(ge=0)] = 0.0  # with less, the oldest images go, then the oldest objects

    def days(self) -> tuple[int, int, int]:
        """Images, objects, records."""
        return self.originals_days, self.objects_days, self.records_days

    @model_validator(mode="after")
    def _in_order(self) -> RetentionSettings:
        kept = [days or math.inf for days in self.days()]
        if kept != sorted(kept):
            raise ValueError("originals_days <= objects_days <= records_days, where 0 is for ever")
        return self


class EngineSettings(Section):
    """Where the durable queue lives."""

    url: str | None = None  # None: an SQLite file in the storage folder
    poll_seconds: Annotated[float, Field(gt=0)] = 0.2


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
        return _is_loopback(self.host)


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


# By section: what provably changes no number of a result whose source images are known, and so is no part of its
# identity: how long is waited for images, whether what is no liver is processed, and how many processes fit.
_CHANGES_NO_NUMBER = {
    "grouping": ("quiet_seconds", "unreleased_quiet_seconds", "give_up_after", "rescan_seconds", "anatomy"),
    "fit": ("workers", "deaths_allowed", "step_seconds", "step_memory_mb"),
    "measure": (),
}


class Settings(Section):
    """The whole file."""

    node: NodeSettings = NodeSettings()
    receive: ReceiveSettings = ReceiveSettings()
    scanner: tuple[ScannerSettings, ...] = ()
    grouping: GroupingSettings = GroupingSettings()
    fit: FitSettings = FitSettings()
    measure: MeasureSettings = MeasureSettings()
    report: ReportSettings = ReportSettings()
    destination: tuple[DestinationSettings, ...] = ()
    storage: StorageSettings = StorageSettings()
    engine: EngineSettings = EngineSettings()
    web: WebSettings = WebSettings()
    tls: TlsSettings = TlsSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    notify: NotifySettings = NotifySettings()

    def is_shared(self) -> bool:
        """Whether several processes may share the data folder: their queue is a server's."""
        return self.engine_url().startswith("postgresql")

    def storage_folder(self) -> Path:
        """Where everything is kept; load() always sets it."""
        if self.storage.folder is None:
            raise ConfigError("[storage] folder is not set: load the file with config.load")
        return self.storage.folder

    def grouping_of(self, sender: str) -> GroupingSettings:
        """The rules for what a scanner sent; an AE title that stands twice is that of its first table that says."""
        said = (one.anatomy for one in self.scanner if one.ae_title == sender)
        own = next((anatomy for anatomy in said if anatomy is not None), None)
        return self.grouping if own is None else self.grouping.model_copy(update={"anatomy": own})

    def scanner_of(self, ae_title: str) -> ScannerSettings | None:
        """The table of a scanner; of several with its AE title the first that has a port."""
        found = [one for one in self.scanner if one.ae_title == ae_title]
        return next((one for one in found if one.port is not None), found[0] if found else None)

    def engine_url(self) -> str:
        """The durable queue's database; raises ConfigError where it is a credential that cannot be read."""
        url = self.engine.url or f"sqlite:///{self.storage_folder() / 'engine.sqlite'}"
        return _secret(url, "[engine] url")

    def result_parameters(self) -> dict[str, Any]:
        """Every setting that can change a number in a result: part of each result's identity.

        All of the sections but what provably cannot; what is added to them is part of it unless it is said to be none.
        """
        return {
            name: getattr(self, name).model_dump(mode="json", exclude=set(cannot))
            for name, cannot in _CHANGES_NO_NUMBER.items()
        }


def load(path: Path | None, *, for_serving: bool = False) -> Settings:
    """Read the file, or the defaults without one.

    Relative paths in it are relative to the file. Raises ConfigError that names every fault with its line.
    """
    text, raw = _read(path)
    lines = _Lines(text)
    faults = _faults_of_serving(raw, lines) if for_serving else []
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        faults += [_sentence(fault, lines) for fault in error.errors()]
    if faults:
        raise ConfigError(_report(path, faults))
    return _with_folder(settings, path)


def _faults_of_serving(raw: dict[str, Any], lines: _Lines) -> list[str]:
    """What only matters when the node runs: who sends, who receives."""
    faults = []
    if not raw.get("scanner") and not raw.get("receive", {}).get("accept_any_scanner"):
        faults.append(
            "[[scanner]]: no scanner may send; add one with its ae_title, or [receive] accept_any_scanner = true"
        )
    if not raw.get("destination"):
        faults.append("[[destination]]: no PACS gets results; add one with name, ae_title, host and port")
    names = [one.get("name") for one in raw.get("destination", ()) if isinstance(one, dict)]
    faults += [
        f"{lines.of(('destination', i, 'name'))}[[destination]] name: '{name}' is used twice"
        for i, name in enumerate(names)
        if name is not None and name in names[:i]
    ]
    url = raw.get("engine", {}).get("url")
    if isinstance(url, str) and not _DATABASE.match(url):  # not repeated in the message: it may hold a password
        where = lines.of(("engine", "url"))
        faults.append(f"{where}[engine] url: neither sqlite:///FILE nor postgresql://USER@HOST/DATABASE")
    tls = raw.get("tls", {})
    if (tls.get("receive") or tls.get("key")) and not (tls.get("certificate") and tls.get("key")):
        faults.append(f"{lines.of(('tls',))}[tls]: certificate and key are both needed")
    return faults + _faults_of_the_page(raw, lines)


def _faults_of_the_page(raw: dict[str, Any], lines: _Lines) -> list[str]:
    """Nobody opens the page to a network by accident."""
    web, tls = raw.get("web", {}), raw.get("tls", {})
    host = web.get("host", WebSettings().host)
    faults = []
    if ("certificate" in web) != ("key" in web):
        faults.append(f"{lines.of(('web',))}[web]: certificate and key go together")
    if web.get("enabled") is False or not isinstance(host, str) or _is_loopback(host):
        return faults
    where = f"{lines.of(('web', 'host'))}[web] host: {host} is open to the network, and that needs"
    if not web.get("users"):
        faults.append(f"{where} [[web.users]] with a name and a password (dicomnode password prints its hash)")
    if not any(section.get("certificate") and section.get("key") for section in (web, tls)):
        faults.append(f'{where} a certificate and a key, in [web] or [tls]; or use host = "127.0.0.1"')
    return faults


def named_file() -> Path | None:
    """The file that the environment names."""
    named = os.environ.get(NAMED_BY)
    return Path(named) if named else None


def system_file() -> Path | None:
    """The file of the node on this machine; what only looks at files never reads it unasked."""
    return SYSTEM_FILE if SYSTEM_FILE.is_file() else None


def _read(path: Path | None) -> tuple[str, dict[str, Any]]:
    if path is None:
        return "", {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: cannot be read: {fault}") from fault
    try:
        return text, _frozen(tomllib.loads(text))
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{path}: not TOML: {fault}") from fault


def _frozen(value: Any) -> Any:
    """Arrays become tuples, as the settings hold them."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value


# By section: the keys that name a file, or a credential that holds what would be in it.
_FILES = {
    "tls": ("certificate", "key", "authority"),
    "audit": ("file",),
    "web": ("certificate", "key"),
    "destination": _SECRETS,
    "notify": ("webhook_token_file", "smtp_password_file"),
}


def _with_folder(settings: Settings, path: Path | None) -> Settings:
    """Settle the storage folder: the file's, systemd's StateDirectory, or one beside the file."""
    base = path.parent.resolve() if path else Path.cwd()
    folder = settings.storage.folder
    if folder is None:
        state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
        folder = Path(state) if state else base / "dicomnode-data"
    storage = settings.storage.model_copy(update={"folder": base / folder})
    placed: dict[str, Section | tuple[Section, ...]] = {"storage": storage}
    for section, names in _FILES.items():
        table = getattr(settings, section)
        several = isinstance(table, tuple)
        placed[section] = (
            tuple(_with_files(one, names, base) for one in table) if several else _with_files(table, names, base)
        )
    return settings.model_copy(update=placed)


def _with_files(table: Section, names: tuple[str, ...], base: Path) -> Section:
    found = {name: _file(value, base) for name in names if (value := getattr(table, name))}
    return table.model_copy(update=found)


def _file(path: Path, base: Path) -> Path:
    """A file that is named by its path, or as a credential."""
    name = str(path)
    return _credentials() / name.removeprefix(_CREDENTIAL) if name.startswith(_CREDENTIAL) else base / path


def _secret(text: str, key: str) -> str:
    """A value that stands in the file, or in a credential."""
    if not text.startswith(_CREDENTIAL):
        return text
    path = _credentials() / text.removeprefix(_CREDENTIAL)
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        why = f"{getattr(fault, 'strerror', None) or fault}; see LoadCredential= in the unit"
        raise ConfigError(f"{key}: the credential {path} cannot be read: {why}") from fault
    if secret.startswith(_CREDENTIAL) or not _DATABASE.match(secret):
        raise ConfigError(
            f"{key}: the credential {path} holds neither sqlite:///FILE nor postgresql://USER@HOST/DATABASE"
        )
    return secret


def _credentials() -> Path:
    """Where systemd puts credentials; who is not the service finds them there while that runs, if allowed."""
    return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials/dicomnode.service"))


def _report(path: Path | None, faults: list[str]) -> str:
    head = f"{path or 'configuration'}: {len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return "\n".join([head, *(f"  {fault}" for fault in faults)])


_Key = tuple[str | int, ...]


class _Lines:
    """Finds the line of a key; tomllib reports none."""

    _TABLE = re.compile(r"^\s*(\[\[?)\s*([\w.-]+)\s*\]")
    _ASSIGNMENT = re.compile(r"""^\s*["']?([\w-]+)["']?\s*=""")

    def __init__(self, text: str) -> None:
        self._lines: dict[_Key, int] = {}
        table: _Key = ()
        seen: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if head := self._TABLE.match(line):
                name = head[2]
                table = tuple(name.split("."))
                if head[1] == "[[":
                    table = (*table, seen.get(name, 0))
                    seen[name] = seen.get(name, 0) + 1
                self._lines.setdefault(table, number)
            elif assignment := self._ASSIGNMENT.match(line):
                self._lines.setdefault((*table, assignment[1]), number)

    def of(self, key: _Key) -> str:
        """``line 12: `` for the key or the closest table around it; empty when neither is in the file."""
        while key:
            if key in self._lines:
                return f"line {self._lines[key]}: "
            key = key[:-1]
        return ""


def _name(key: _Key) -> str:
    """Write a key as it stands in the file: [grouping] quiet_seconds, [[scanner]] 2 address."""
    match key:
        case (str(table), int(index), *rest):
            number = f" {index + 1}" if index else ""
            return " ".join([f"[[{table}]]{number}", *map(_counted, rest)])
        case (str(table), *rest):
            return " ".join([f"[{table}]", *map(_counted, rest)])
    return ".".join(map(str, key))


def _counted(part: str | int) -> str:
    """People count from 1."""
    return str(part + 1) if isinstance(part, int) else part


def _known(key: _Key) -> list[str]:
    """Return the keys that exist where this one was looked for."""
    model: Any = Settings
    for part in key[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = annotation if isinstance(annotation, type) else annotation.__args__[0]
    return list(model.model_fields)


_SECRET = {"password", "url", "token_url"}  # what stands there may be the password itself, or hold one
_ALTERNATIVES = ("tuple[", "literal[")  # pydantic's names for the branches of a union


def _sentence(fault: Any, lines: _Lines) -> str:
    key: _Key = tuple(
        part for part in fault["loc"] if not (isinstance(part, str) and part.startswith(("tuple", "literal")))
    )
    where = lines.of(key) + _name(key)
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(key[-1]), _known(key), 1)
        return f"{where}: unknown key" + (f"; did you mean '{near[0]}'?" if near else "")
    if fault["type"] == "missing":
        return f"{where}: is needed"
    message = fault["msg"].removeprefix("Value error, ")
    value = fault["input"]
    if isinstance(value, dict) or key[-1] in _SECRET:
        return f"{where}: {message}"
    return f"{where}: {message}, not {value!r}"
