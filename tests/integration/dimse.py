"""Requests as pynetdicom sends them when it is not asked to check them."""

import time


def ask(association, request, context_id=None):
    """Send a request as it is, on the first context where none is said; the answer, None where the peer gave none."""
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.0001)
    association.dimse.send_msg(request, context_id or association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return answer
