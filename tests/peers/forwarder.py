"""Forwarder: a proxy between a worker and PostgreSQL that can be silenced, like a network without a cable.

While it is silent no connection is closed: data waits, and neither side is notified. It becomes silent by
itself after it forwarded a number of messages with certain words to the server, so in the middle of a
transaction.
"""

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

CHUNK = 65_536


class Forwarder:
    """Listens on `port` of this machine and forwards everything to a server's socket file."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.silent_since: float | None = None
        self._words, self._left = b"", 0
        self._speaks = threading.Event()
        self._speaks.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def silence_after(self, words: bytes, *, times: int) -> None:
        """Become silent once the client sent these words so many times."""
        self._words, self._left = words, times

    def silence(self) -> None:
        """Forward nothing from now on."""
        self.silent_since = time.monotonic()
        self._speaks.clear()

    def heal(self) -> None:
        """Forward the data that waits, and everything from now on."""
        self._words = b""
        self._speaks.set()

    def close(self) -> None:
        """Accept no more connections."""
        self.heal()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server))
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._speaks.wait()
                target.sendall(data)
                if from_client and self._words and self._words in data:
                    self._left -= 1
                    if self._left == 0:
                        self.silence()
            self._speaks.wait()
            target.shutdown(socket.SHUT_WR)
