"""What a person wants processed although it was refused: who, when, and what was refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from dicomnode.errors import StorageError
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.jobs.manifest import Manifest
    from dicomnode.store.spool import Spool


@dataclass(frozen=True, slots=True)
class Order:
    """A person's word on one series of one study; it holds for whatever else arrives of that series."""

    by: str  # the name of an account
    at: str  # ISO 8601
    code: str  # of the reason why it was refused


def of_study(spool: Spool, study_uid: str) -> dict[str, Order]:
    """Every order on a study, by group; raises StorageError where that cannot be read."""
    said = read_json(path(spool, study_uid)) or {}
    names = [one.name for one in fields(Order)]
    try:
        return {group_id: Order(*(str(one[name]) for name in names)) for group_id, one in said.items()}
    except (AttributeError, KeyError, TypeError) as fault:
        raise StorageError(f"{path(spool, study_uid)} is damaged") from fault


def of(spool: Spool, manifest: Manifest) -> Order | None:
    """The order that a job is made on; None where no person had to say anything."""
    return of_study(spool, manifest.study_instance_uid).get(manifest.group_id) if manifest.study_instance_uid else None


def give(spool: Spool, study_uid: str, group_id: str, order: Order) -> None:
    """Make an order durable."""
    orders = {**of_study(spool, study_uid), group_id: order}
    write_json(path(spool, study_uid), {name: asdict(one) for name, one in orders.items()})


def path(spool: Spool, study_uid: str) -> Path:
    """Where the orders on a study are."""
    return spool.studies / f"{study_uid}.ordered"
