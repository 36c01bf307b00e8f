"""Where earlier results of a patient are looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from dicomnode.config.values import Section


class TrendSettings(Section):
    """Where earlier results of a patient are looked for; no number depends on them."""

    own: bool = True  # what this node has made and still has
    table: Path | None = Field(default=None, strict=False)  # a site's table of earlier results, CSV
    ask: tuple[str, ...] = ()  # names of destinations that are asked for reports of this node
    ask_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0  # for all of them; then the report is made without
