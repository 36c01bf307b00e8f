"""Where studies and the queue are kept, and for how long."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dicomnode.config.values import Days, Section


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
