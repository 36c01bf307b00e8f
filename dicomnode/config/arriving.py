"""The node on its network, who may send to it, and what of that makes a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from dicomnode.config.values import AeTitle, Organs, Pattern, Port, Seconds, Section, matching

if TYPE_CHECKING:
    from collections.abc import Iterable


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
Phantoms = Literal["measured", "refused"]


class ScannerSettings(Section):
    """A peer that may send to this node."""

    ae_title: AeTitle
    address: str | None = None  # IP address or host name; None: any address with that AE title
    anatomy: Anatomy | None = None  # None: as in [grouping]
    organs: Organs | None = None  # what is measured of what it sends; None: as in [grouping]
    phantoms: Phantoms | None = None  # None: as in [grouping]
    ignore_series: tuple[Pattern, ...] = ()  # what matches one of these is left out, first of all
    accept_series: tuple[Pattern, ...] = ()  # what matches one is the organ's, whatever [grouping] and its words say
    only_series: tuple[Pattern, ...] = ()  # where there are any: what matches none, and none to accept, is left out
    keeps_association: bool = False  # it sends many series on one association that it leaves open for hours
    port: Port | None = None  # where it hears storage commitment; None: on the association on which it asked

    @model_validator(mode="after")
    def _reachable(self) -> ScannerSettings:
        if self.port is not None and self.address is None:
            raise ValueError("port needs address: where the answer to a request for storage commitment goes")
        return self

    @property
    def chooses(self) -> bool:
        """Whether it says anything of which series are taken."""
        return bool(self.ignore_series or self.accept_series or self.only_series)

    def accepts(self, names: Iterable[str]) -> bool:
        """Whether a series of those names is the organ's by the site's own word."""
        names = tuple(names)
        return matching(self.ignore_series, names) is None and matching(self.accept_series, names) is not None


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
    anatomy: Anatomy = "judged"  # "any": what is not an organ's gets its maps too
    organs: Organs = ("liver",)  # that are measured: each series is of one of them, or refused
    phantoms: Phantoms = "measured"  # "refused": as other things that are no organ of them
