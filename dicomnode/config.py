"""One TOML file -> frozen settings, with every fault reported at once."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from dicomnode.errors import ConfigError

PRODUCTS = (
    "mr_maps",
    "parametric_maps",
    "segmentation",
    "structured_report",
    "pictures",
    "pdf",
)
CALIBRATIONS = ("hernando-2023", "wood-2005", "hankins-2009", "garbowski-2014", "none")
METHODS = ("admm", "admm-published", "lm-published", "nls")


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


AeTitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Product = Literal["mr_maps", "parametric_maps", "segmentation", "structured_report", "pictures", "pdf"]


class Section(BaseModel):
    """A table of the file: unknown keys are faults, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=False)


class NodeSettings(Section):
    """Who this node is on the network."""

    ae_title: AeTitle = "LIVERIRON"
    host: str = "0.0.0.0"  # noqa: S104  a modality must reach it; [[scanner]] says who may speak
    port: Port = 11112


class ReceiveSettings(Section):
    """Limits of the storage SCP."""

    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 50
    network_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    accept_any_scanner: bool = False


class ScannerSettings(Section):
    """A peer that may send to this node."""

    ae_title: AeTitle
    address: str | None = None  # IP address or host name; None: any address with that AE title


class GroupingSettings(Section):
    """Which images make a stack, and how long a stack with holes may wait."""

    minimum_echoes: Annotated[int, Field(ge=2, le=64)] = 3
    quiet_seconds: Seconds = 5.0
    unreleased_quiet_seconds: Seconds = 60.0  # after an association that ended without A-RELEASE
    give_up_after: Annotated[float, Field(gt=0)] = 3600.0  # seconds without a new image
    when_given_up: Literal["report", "process_complete_slices"] = "report"
    rescan_seconds: Annotated[float, Field(gt=0)] = 15.0
    manufacturer: Pattern = ""
    series_description: Pattern = ""
    station_name: Pattern = ""
    exclude_series_description: Pattern = ""


class FitSettings(Section):
    """How the decay is fitted: the arguments of solver.fit_t2star."""

    method: Literal["admm", "admm-published", "lm-published", "nls"] = "admm"
    noise: Literal["rician", "gaussian"] = "rician"
    weights: Literal["auto"] | tuple[float, float] = "auto"
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    deaths_allowed: Annotated[int, Field(ge=1, le=20)] = 3


class MeasureSettings(Section):
    """From R2* to liver iron concentration."""

    calibration: Literal["hernando-2023", "wood-2005", "hankins-2009", "garbowski-2014", "none"] = "hernando-2023"


class ReportSettings(Section):
    """What the result objects say of themselves."""

    manufacturer: str = "Liver Iron Node"
    device_serial_number: str = "1"
    series_number_offset: Annotated[int, Field(ge=0, le=100000)] = 900
    products: tuple[Product, ...] = PRODUCTS  # type: ignore[assignment]


class DestinationSettings(Section):
    """A PACS that gets results."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    ae_title: AeTitle
    host: str
    port: Port
    products: tuple[Product, ...] = PRODUCTS  # type: ignore[assignment]
    tls: bool = False
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    retry_first_seconds: Annotated[float, Field(gt=0)] = 5.0
    retry_longest_seconds: Annotated[float, Field(gt=0)] = 900.0
    give_up_after_hours: Annotated[float, Field(gt=0)] = 96.0


class StorageSettings(Section):
    """Where everything is kept."""

    folder: Path | None = Field(default=None, strict=False)
    minimum_free_mb: Annotated[int, Field(ge=0)] = 1024


class EngineSettings(Section):
    """Where the durable queue lives."""

    url: str | None = None  # None: an SQLite file in the storage folder
    poll_seconds: Annotated[float, Field(gt=0)] = 0.2


class WebSettings(Section):
    """The status page."""


class TlsSettings(Section):
    """Certificates of this node."""

    certificate: Path | None = Field(default=None, strict=False)
    key: Path | None = Field(default=None, strict=False)
    authority: Path | None = Field(default=None, strict=False)
    receive: bool = False


class RetentionSettings(Section):
    """How long local files are kept."""
