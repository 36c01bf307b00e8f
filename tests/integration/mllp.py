"""A receiver of HL7 v2 messages on loopback that acknowledges as a test says."""

import contextlib
import socketserver

import hl7

from tests.integration.serving import Serving


def ack(message, code="AA", *, of=None, more=""):
    """An acknowledgement of a message, as most engines write it."""
    control_id = of or str(hl7.parse(message)["MSH"][0][10])
    return f"MSH|^~\\&|RIS|HOSP|LIVERIRON||20260101120000||ACK^R01^ACK|1|P|2.5.1\rMSA|{code}|{control_id}\r{more}"


class Receiver:
    """``answer(message)`` gives the text of an acknowledgement, bytes as they are, or None: it hangs up."""

    def __init__(self, answer=ack, context=None):
        self.messages = []
        self._server = Serving(_handler(self, answer, context))
        self.port = self._server.port

    def close(self):
        self._server.close()


def _handler(receiver, answer, context):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                connection = context.wrap_socket(self.request, server_side=True) if context else self.request
                with contextlib.closing(connection):
                    self._serve(connection)

        def _serve(self, connection):
            heard = bytearray()
            while not heard.endswith(b"\x1c\r"):
                piece = connection.recv(4096)
                if not piece:
                    return
                heard += piece
            message = heard[1:-2].decode("utf-8")
            receiver.messages.append(message)
            said = answer(message)
            if said is not None:
                connection.sendall(said if isinstance(said, bytes) else b"\x0b" + said.encode() + b"\x1c\r")

    return Handler
