"""A PACS made with pynetdicom that stores, commits, finds, and does each as badly as a test asks for."""

from __future__ import annotations

import threading
import time

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from dicomnode.commitment import PUSH_MODEL_INSTANCE, Report, Request
from dicomnode.report.instance import KINDS

CLASSES = sorted({kind.sop_class_uid for kind in KINDS.values()} | {MRImageStorage, KeyObjectSelectionDocumentStorage})


class Archive:
    """``report(request)`` gives the reports that follow a request for commitment; ``to`` is where they go.

    Without ``to`` they go on the association of the request. ``finds(question)`` gives a status and what matches.
    """

    def __init__(self, *, commits=True, report=None, to=None, finds=None, action=0x0000):
        self.stored, self.requests, self.questions, self.statuses = [], [], [], []
        self.objects = {}
        self.report = report or (lambda request: [Report(request.transaction_uid, request.objects)])
        self.to, self.finds, self.action = to, finds, action
        self._threads = []
        entity = AE("PACS")
        entity.add_supported_context(Verification)
        for sop_class in CLASSES:
            entity.add_supported_context(sop_class)
        if commits:
            entity.add_supported_context(StorageCommitmentPushModel)
        if finds:
            entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [
            (evt.EVT_C_ECHO, lambda _: 0x0000),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._commit),
            (evt.EVT_C_FIND, self._find),
        ]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self.server.server_address[1]

    def close(self):
        self.server.shutdown()
        for thread in self._threads:
            thread.join(10.0)

    def tell(self, report, calling="PACS", *, role=True, to=None, called="NODE"):
        """Report on an association of its own; the status that the node answers."""
        entity = AE(calling)
        context = build_context(StorageCommitmentPushModel)
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if role else []
        association = entity.associate("127.0.0.1", to or self.to, contexts=[context], ext_neg=roles, ae_title=called)
        assert association.is_established
        status = self._say(association, report)
        association.release()
        return status

    def _say(self, association, report):
        answer, _ = association.send_n_event_report(
            report.as_data_set(), report.event_type, StorageCommitmentPushModel, PUSH_MODEL_INSTANCE
        )
        self.statuses.append(answer.get("Status"))
        return self.statuses[-1]

    def _store(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        self.stored.append(uid)
        self.objects[uid] = event.dataset
        return 0x0000

    def _commit(self, event):
        request = Request.read(event.action_information)
        self.requests.append(request)
        if self.action == 0x0000:
            thread = threading.Thread(target=self._answer, args=(event.assoc, request), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self.action, None

    def _answer(self, association, request):
        for report in self.report(request):
            time.sleep(0.05)  # after the answer to the request
            if self.to is None:
                self._say(association, report)
            else:
                self.tell(report)

    def _find(self, event):
        self.questions.append(event.identifier)
        status, found = self.finds(event.identifier)
        for one in found:
            yield 0xFF00, one
        yield status, None


def instances_of(archive, question):
    """What a PACS answers that can be asked for everything."""
    held = [one for one in archive.objects.values() if one.SeriesInstanceUID == question.SeriesInstanceUID]
    if question.QueryRetrieveLevel == "SERIES":
        return 0x0000, [answer(question, NumberOfSeriesRelatedInstances=len(held))] if held else []
    return 0x0000, [answer(question, SOPInstanceUID=one.SOPInstanceUID) for one in held]


def answer(question, **more):
    found = Dataset()
    found.QueryRetrieveLevel = question.QueryRetrieveLevel
    found.StudyInstanceUID, found.SeriesInstanceUID = question.StudyInstanceUID, question.SeriesInstanceUID
    for keyword, value in more.items():
        setattr(found, keyword, value)
    return found
