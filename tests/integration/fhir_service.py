"""A small FHIR service in memory: transactions of conditional updates, and what it says of itself. It is no HAPI."""

import threading
from urllib.parse import parse_qs, urlsplit

from fhir.resources.R4B.bundle import Bundle

from tests.integration.web_service import WebService

FHIR = {"Content-Type": "application/fhir+json"}


class FhirService:
    def __init__(self, context=None):
        self.resources = {}  # by kind and identifier: resource and version
        self._lock = threading.Lock()
        self._web = WebService(self._answer, context)
        self.url = f"{self._web.url}/fhir"
        self.asked = self._web.asked

    def close(self):
        self._web.close()

    def kind(self, name):
        return [resource for (kind, _), (resource, _) in self.resources.items() if kind == name]

    def _answer(self, asked):
        if asked.path == "/fhir/metadata":
            rest = [{"mode": "server", "interaction": [{"code": "transaction"}]}]
            return 200, FHIR, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": rest}
        if (asked.method, asked.path) != ("POST", "/fhir"):
            return 404, FHIR, {"resourceType": "OperationOutcome", "issue": [{"code": "not-found"}]}
        Bundle.model_validate_json(asked.body)
        with self._lock:
            entries = [{"response": {"status": self._update(entry)}} for entry in asked.json()["entry"]]
        return 200, FHIR, {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}

    def _update(self, entry):
        url = urlsplit(entry["request"]["url"])
        key = (url.path, parse_qs(url.query)["identifier"][0])
        own = entry["resource"]["identifier"][0]
        assert key == (entry["resource"]["resourceType"], f"{own['system']}|{own['value']}")
        version = self.resources[key][1] + 1 if key in self.resources else 1
        self.resources[key] = (entry["resource"], version)
        return "200 OK" if version > 1 else "201 Created"
