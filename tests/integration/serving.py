"""A server of a test on loopback, in a thread of its own."""

import socketserver
import threading


class Serving(socketserver.ThreadingTCPServer):
    """Serves from when it is made until ``close``; its ``port`` is a free one."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.port = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self):
        self.shutdown()
        self._thread.join()
        self.server_close()
