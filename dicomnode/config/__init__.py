"""The configuration: frozen settings, one module a group of tables, and the file that they are read from."""

from __future__ import annotations

import os
from pathlib import Path

from dicomnode.config.arriving import Anatomy, GroupingSettings, NodeSettings, ReceiveSettings, ScannerSettings
from dicomnode.config.changing import changed
from dicomnode.config.destination import OBJECT_KINDS, DestinationKind, DestinationSettings
from dicomnode.config.keeping import EngineSettings, RetentionSettings, StorageSettings
from dicomnode.config.loading import load
from dicomnode.config.measuring import (
    FIT_METHODS,
    PRODUCTS,
    PUBLISHED,
    PUBLISHED_CALIBRATIONS,
    CalibrationSettings,
    FitSettings,
    MeasureSettings,
    Product,
    ReportSettings,
)
from dicomnode.config.settings import Settings
from dicomnode.config.trending import TrendSettings
from dicomnode.config.values import Section, matching
from dicomnode.config.watching import AuditSettings, NotifySettings, TlsSettings, UserSettings, WebSettings
from dicomnode.errors import ConfigError

__all__ = [
    "FIT_METHODS",
    "NAMED_BY",
    "OBJECT_KINDS",
    "PRODUCTS",
    "PUBLISHED",
    "PUBLISHED_CALIBRATIONS",
    "SYSTEM_FILE",
    "Anatomy",
    "AuditSettings",
    "CalibrationSettings",
    "ConfigError",
    "DestinationKind",
    "DestinationSettings",
    "EngineSettings",
    "FitSettings",
    "GroupingSettings",
    "MeasureSettings",
    "NodeSettings",
    "NotifySettings",
    "Product",
    "ReceiveSettings",
    "ReportSettings",
    "RetentionSettings",
    "ScannerSettings",
    "Section",
    "Settings",
    "StorageSettings",
    "TlsSettings",
    "TrendSettings",
    "UserSettings",
    "WebSettings",
    "changed",
    "load",
    "matching",
    "named_file",
    "system_file",
]

NAMED_BY = "DICOMNODE_CONFIG"  # an environment variable
SYSTEM_FILE = Path("/etc/dicomnode/config.toml")


def named_file() -> Path | None:
    """The file that the environment names."""
    named = os.environ.get(NAMED_BY)
    return Path(named) if named else None


def system_file() -> Path | None:
    """The file of the node on this machine; what only looks at files never reads it unasked."""
    return SYSTEM_FILE if SYSTEM_FILE.is_file() else None
