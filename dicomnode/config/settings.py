"""The whole file as one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from dicomnode.config.arriving import GroupingSettings, NodeSettings, ReceiveSettings, ScannerSettings
from dicomnode.config.credentials import secret
from dicomnode.config.destination import OBJECT_KINDS, DestinationSettings
from dicomnode.config.keeping import EngineSettings, RetentionSettings, StorageSettings
from dicomnode.config.measuring import FitSettings, MeasureSettings, ReportSettings
from dicomnode.config.trending import TrendSettings
from dicomnode.config.values import Section
from dicomnode.config.watching import AuditSettings, NotifySettings, TlsSettings, WebSettings
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# By section: what provably changes no number of a result whose source images are known, and so is no part of its
# identity: how long is waited for images, which organs there may be and whether phantoms are measured (of each result
# ``organs.made_from`` says both), whether what is none of them is processed, and how many processes fit.
_CHANGES_NO_NUMBER = {
    "grouping": (
        *("quiet_seconds", "unreleased_quiet_seconds", "give_up_after", "rescan_seconds"),
        *("anatomy", "organs", "phantoms"),
    ),
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
    trend: TrendSettings = TrendSettings()
    destination: tuple[DestinationSettings, ...] = ()
    storage: StorageSettings = StorageSettings()
    engine: EngineSettings = EngineSettings()
    web: WebSettings = WebSettings()
    tls: TlsSettings = TlsSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    notify: NotifySettings = NotifySettings()

    @model_validator(mode="after")
    def _asks_archives(self) -> Settings:
        archives = [one.name for one in self.destination if one.gets_objects]
        if unknown := [name for name in self.trend.ask if name not in archives]:
            kinds = " or ".join(f'"{kind}"' for kind in OBJECT_KINDS)
            raise ValueError(f"[trend] ask: {', '.join(unknown)} is the name of no [[destination]] of kind {kinds}")
        return self

    def is_shared(self) -> bool:
        """Whether several processes may share the data folder: their queue is a server's."""
        return self.engine_url().startswith("postgresql")

    def storage_folder(self) -> Path:
        """Where everything is kept; load() always sets it."""
        if self.storage.folder is None:
            raise ConfigError("[storage] folder is not set: load the file with config.load")
        return self.storage.folder

    def grouping_of(self, sender: str, names: Iterable[str] = ()) -> GroupingSettings:
        """The rules for what a scanner sent; an AE title that stands twice is that of its first table that says.

        ``names`` are those of a series, by which the site may know it for the liver's.
        """
        tables = [one for one in self.scanner if one.ae_title == sender]
        said = {key: [getattr(one, key) for one in tables] for key in ("anatomy", "organs", "phantoms")}
        own = {key: next(one for one in found if one is not None) for key, found in said.items() if any(found)}
        chooser = self.choosing_scanners().get(sender)
        if chooser is not None and chooser.accepts(names):
            own["anatomy"] = "any"
        return self.grouping.model_copy(update=own) if own else self.grouping

    def choosing_scanners(self) -> dict[str, ScannerSettings]:
        """By AE title, the scanners of which not every series is treated alike."""
        found: dict[str, ScannerSettings] = {}
        for one in self.scanner:
            if one.chooses:
                found.setdefault(one.ae_title, one)
        return found

    def scanner_of(self, ae_title: str) -> ScannerSettings | None:
        """The table of a scanner; of several with its AE title the first that has a port."""
        found = [one for one in self.scanner if one.ae_title == ae_title]
        return next((one for one in found if one.port is not None), found[0] if found else None)

    def engine_url(self) -> str:
        """The durable queue's database; raises ConfigError where it is a credential that cannot be read."""
        url = self.engine.url or f"sqlite:///{self.storage_folder() / 'engine.sqlite'}"
        return secret(url, "[engine] url")

    def result_parameters(self) -> dict[str, Any]:
        """Every setting that can change a number in a result: part of each result's identity.

        All of the sections but what provably cannot; what is added to them is part of it unless it is said to be none.
        """
        return {
            name: getattr(self, name).model_dump(mode="json", exclude=set(cannot))
            for name, cannot in _CHANGES_NO_NUMBER.items()
        }
