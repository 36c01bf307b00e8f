"""What of the studies is looked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomnode.operate.status import Study

_LONGEST = 128  # letters of a field


@dataclass(frozen=True, slots=True)
class Search:
    """The fields of the form; what is empty asks for nothing."""

    text: str = ""  # the beginning of an accession number, or a whole UID or key
    status: str = ""
    code: str = ""  # of the reason
    since: str = ""  # 2026-11-30
    until: str = ""  # the last day

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Search:
        """Read it from a form; a date that is none asks for nothing."""
        text, status, code = (form.get(name, "").strip()[:_LONGEST] for name in ("text", "status", "code"))
        return cls(text, status, code, _day(form.get("since", "")), _day(form.get("until", "")))

    def finds(self, study: Study) -> bool:
        """Whether a study is among what is looked for."""
        if self.since and study.changed < _begin(self.since).timestamp():
            return False
        if self.until and study.changed >= (_begin(self.until) + timedelta(days=1)).timestamp():
            return False
        return any(self._finds(entry) for entry in study.entries)

    def _finds(self, entry: dict[str, Any]) -> bool:
        if self.status and entry["status"] != self.status:
            return False
        if self.code and entry["code"] != self.code:
            return False
        if not self.text:
            return True
        names = {entry["study_instance_uid"], entry["key"], *entry["series_instance_uids"]}
        return self.text in names or entry["accession_number"].lower().startswith(self.text.lower())


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        return ""


def _begin(day: str) -> datetime:
    """Midnight of a day where the node is."""
    return datetime.combine(date.fromisoformat(day), time.min).astimezone()
