"""A TLS front on loopback before a server that speaks none, as hospitals have one."""

import contextlib
import socket
import socketserver
import threading

from tests.integration.serving import Serving


class Front:
    def __init__(self, context, to):
        self._server = Serving(_relay(context, to))
        self.port = self._server.port

    def close(self):
        self._server.close()


def _relay(context, to):
    class Relay(socketserver.BaseRequestHandler):
        def handle(self):
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as outside,
                socket.create_connection(("127.0.0.1", to)) as inside,
            ):
                back = threading.Thread(target=_pump, args=(inside, outside), daemon=True)
                back.start()
                _pump(outside, inside)
                back.join(10.0)

    return Relay


def _pump(source, target):
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
