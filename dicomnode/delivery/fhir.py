"""Findings to a FHIR R4 service: one transaction, which is taken as a whole or not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dicomnode.delivery.bundle import transaction
from dicomnode.delivery.carrier import NO_PATIENT, Outcome, Sent
from dicomnode.errors import NotOffered
from dicomnode.report import findings, identity
from dicomnode.store.durable import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicomnode.config import DestinationSettings, TlsSettings
    from dicomnode.delivery.web import Answer, Web
    from dicomnode.report.findings import Findings

_JSON = "application/fhir+json"
# R4's value set issue-type. Only these words of an answer are kept: any other may name the patient.
_ISSUES = frozenset(
    (
        *("invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired"),
        *("forbidden", "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found"),
        *("deleted", "too-long", "code-invalid", "extension", "too-costly", "business-rule", "conflict", "transient"),
        *("lock-error", "no-store", "exception", "timeout", "incomplete", "throttled", "informational"),
    )
)


class Fhir:
    """Updates the report and the observations of a result."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def use(self, tls: TlsSettings) -> None:
        """Speak TLS with other certificates from the next connection on."""
        self._web.use(tls)

    def send(self, destination: DestinationSettings, files: list[Path]) -> Iterator[Sent]:
        """Send findings; raises Unreachable, NoAnswer, NotAllowed, Busy."""
        for file in files:
            yield self._tell(destination, findings.read(read_json(file)))

    def ask(self, destination: DestinationSettings) -> str:
        """Read what it says of itself; raises DeliveryError, NotOffered where it takes no transactions of R4."""
        with self._web.session(destination) as session:
            answer = session.ask("GET", "/metadata", headers={"Accept": _JSON})
        statement = answer.object()
        version = str(statement.get("fhirVersion", ""))
        if not answer.is_success or not version.startswith("4."):
            raise NotOffered(f"{destination.name} does not say at {destination.url}/metadata that it speaks FHIR R4")
        if "transaction" not in _interactions(statement):
            raise NotOffered(f"{destination.name} does not say that it takes transactions")
        return "speaks FHIR R4 and takes transactions"

    def _tell(self, destination: DestinationSettings, told: Findings) -> Sent:
        uid = identity.uid(told.key, "findings")
        if not told.patient.id:
            return Sent(uid, Outcome.REFUSED, NO_PATIENT)
        content = json.dumps(transaction(told, destination)).encode()
        headers = {"Content-Type": _JSON, "Accept": _JSON, "Prefer": "return=minimal"}
        with self._web.session(destination) as session:
            answer = session.ask("POST", "", content=content, headers=headers)
        return Sent(uid, *_judge(answer))


def _judge(answer: Answer) -> tuple[Outcome, str | None]:
    """A transaction is answered with success when all of it is done (R4 3.1.0.11.2); each entry must agree."""
    said = answer.object()
    if answer.status not in (200, 201):
        issues = "".join(f", {issue}" for issue in _issues(said))
        return Outcome.REFUSED, f"{answer}{issues}"
    if said.get("type") != "transaction-response":
        return Outcome.REFUSED, f"{answer} that is no answer to a transaction"
    failed = [status for status in _statuses(said) if not status.startswith("2")]
    return (Outcome.REFUSED, f"an entry was answered with {failed[0]}") if failed else (Outcome.DELIVERED, None)


def _statuses(bundle: dict[str, Any]) -> Iterator[str]:
    """The number of each entry's status, which words may follow."""
    for entry in _objects(bundle.get("entry")):
        response = entry.get("response")
        status = str(response.get("status", ""))[:3] if isinstance(response, dict) else ""
        yield status if status.isdigit() else "no status"


def _issues(outcome: dict[str, Any]) -> list[str]:
    """The codes of an OperationOutcome, each once."""
    found = (str(issue.get("code")) for issue in _objects(outcome.get("issue")))
    return list(dict.fromkeys(code for code in found if code in _ISSUES))


def _interactions(statement: dict[str, Any]) -> set[str]:
    """What a CapabilityStatement says the whole system does."""
    return {
        str(one.get("code")) for rest in _objects(statement.get("rest")) for one in _objects(rest.get("interaction"))
    }


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
