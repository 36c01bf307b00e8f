"""A web service on loopback that answers as a test says, and remembers what it was asked."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)


class WebService:
    """``answer(asked)`` gives a status, headers and a body: bytes, or a value that is JSON; None: it hangs up."""

    def __init__(self, answer, context=None, keeps=True):
        self.asked = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, answer, keeps))
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._server.server_address[1]}"
        self._server.handle_error = lambda *_: None  # a client that does not trust it hangs up
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(service, answer, keeps):
    class Handler(BaseHTTPRequestHandler):
        def _serve(self):
            asked = Asked(self.command, self.path, dict(self.headers), self._body())
            service.asked.append(asked)
            said = answer(asked)
            if said is None:
                self.close_connection = True
                return
            status, headers, body = said
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": len(content), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def _body(self):
            left, pieces = int(self.headers.get("Content-Length", 0)), []
            while left > 0 and (piece := self.rfile.read(min(left, 1 << 16))):
                left -= len(piece)
                if keeps:
                    pieces.append(piece)
            return b"".join(pieces)

        def log_message(self, *_):
            pass

    for method in ("GET", "POST", "PUT"):
        setattr(Handler, f"do_{method}", Handler._serve)
    return Handler
