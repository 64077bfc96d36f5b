"""A forwarder between a worker and PostgreSQL that can go silent, as a network does when a cable is pulled.

Nothing is closed while it is silent: what is sent waits, and nobody is told. It goes silent by itself once a
number of messages with certain words in them were passed on to the server, so in the middle of a transaction.
"""

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

CHUNK = 65_536


class Forwarder:
    """Listens on `port` of this machine and passes everything on to a server's socket file."""

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
        """Go silent once the client said these words so many times."""
        self._words, self._left = words, times

    def silence(self) -> None:
        """Pass nothing on from now on."""
        self.silent_since = time.monotonic()
        self._speaks.clear()

    def heal(self) -> None:
        """Pass on what waits, and everything from now on."""
        self._words = b""
        self._speaks.set()

    def close(self) -> None:
        """Take no more connections."""
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

    def _pass_on(self, source: socket.socket, target: socket.socket, asked: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._speaks.wait()
                target.sendall(data)
                if asked and self._words and self._words in data:
                    self._left -= 1
                    if self._left == 0:
                        self.silence()
            self._speaks.wait()
            target.shutdown(socket.SHUT_WR)
