"""One origin for the viewers' pages and the PACS behind them, as a hospital's reverse proxy gives it."""

from __future__ import annotations

import mimetypes
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
PACS = ("/dicom-web/", "/instances/")


class Handler(BaseHTTPRequestHandler):
    """Answer from the PACS, from this folder, from a viewer's package, or with OHIF's one page."""

    protocol_version = "HTTP/1.1"

    def __init__(self, modules: Path, pacs: str, *arguments) -> None:
        self.modules, self.pacs = modules, pacs
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if self.path.startswith(PACS):
            return self._from_pacs()
        name = self.path.partition("?")[0].lstrip("/")
        folders = (HERE / "pages", self.modules.parent, self.modules / "@ohif/app/dist")
        found = [folder / name for folder in folders if name and (folder / name).is_file()]
        # OHIF routes in the browser: every other address is its page.
        return self._from_file(found[0] if found else self.modules / "@ohif/app/dist/index.html")

    def _from_file(self, path: Path) -> None:
        kind = "application/wasm" if path.suffix == ".wasm" else mimetypes.guess_type(path.name)[0]
        self._answer(200, kind or "application/octet-stream", path.read_bytes())

    def _from_pacs(self) -> None:
        wanted = {name: self.headers[name] for name in ("Accept", "Host") if name in self.headers}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.pacs + self.path, headers=wanted)) as answer:
                self._answer(200, answer.headers["Content-Type"] or "", answer.read())
        except urllib.error.HTTPError as fault:
            self._answer(fault.code, "text/plain", fault.read())

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        """Stay quiet."""


@contextmanager
def serving(modules: Path, pacs_port: int) -> Iterator[str]:
    """Serve until the block ends; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, modules, f"http://127.0.0.1:{pacs_port}"))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
