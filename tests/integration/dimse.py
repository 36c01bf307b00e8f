"""Requests as pynetdicom sends them when it is not asked to check them, and answers it may miss."""

import time

from pynetdicom import evt
from pynetdicom.pdu import A_ASSOCIATE_RJ


def _hear_rejection(event):
    if isinstance(event.pdu, A_ASSOCIATE_RJ):
        event.assoc.is_rejected = True


# A rejection that comes before pynetdicom looks whether its connection stands is, to it, no connection at all.
HEAR_REJECTION = (evt.EVT_PDU_RECV, _hear_rejection)


def ask(association, request, context_id=None):
    """Send a request as it is, on the first context where none is said; the answer, None where the peer gave none."""
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.0001)
    association.dimse.send_msg(request, context_id or association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return answer
