"""A service that runs while it is measured: its two processes, and a mail server that looks on."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailer.service import Service
from tests.bench.installation import broadcast, installation
from tests.peers.counting import Counting, counting

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Running:
    """The service as staff and readers meet it: its pages, its processes, and what arrived at its relay."""

    built: Service
    peer: Counting
    process: subprocess.Popen[bytes]
    address: str

    def post(self, path: str, fields: Mapping[str, str]) -> float:
        """Send a form; returns the moment of the answer (`time.monotonic`)."""
        body = urllib.parse.urlencode(fields).encode()
        with urllib.request.urlopen(self.address + path, data=body, timeout=30) as answer:
            answer.read()
        return time.monotonic()

    def processes(self) -> dict[str, int]:
        """The process that serves and its child that delivers."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [int(child) for task in tasks for child in task.read_text().split()]
        return {"serve": self.process.pid, "work": children[0]}

    def cpu(self, name: str) -> float:
        """How many seconds of CPU “serve” or “work” has used so far."""
        told = Path(f"/proc/{self.processes()[name]}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, of proc(5)

    def until(self, condition: Callable[[], bool], *, what: str) -> None:
        """Wait; ends the measurement where it is in vain."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit(f"in vain: {what}")
            time.sleep(0.005)


@contextmanager
def running(*, people: int, proxies: Sequence[str] = ()) -> Iterator[Running]:
    """A running service on SQLite with an update filled for so many people; these proxies are trusted."""
    with counting() as peer, installation(people=people, smtp_port=peer.port) as built:
        broadcast(built, paragraphs=1)
        while built.jobs.get("fill-broadcast").run():
            pass
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        home = built.settings.home
        values = {
            "MAILER_HOME": str(home),
            "MAILER_SMTP_URL": f"smtp://127.0.0.1:{peer.port}?tls=none",
            "MAILER_FROM_ADDRESS": built.settings.from_address,
            "MAILER_SENDING_DOMAINS": ",".join(built.settings.sending_domains),
            "MAILER_POSTAL_ADDRESS": built.settings.postal_address,
            "MAILER_TRUSTED_PROXIES": ",".join(proxies),
            "PORT": str(port),
        }
        command = [sys.executable, "-m", "mailer", "serve"]
        with (home / "serve.log").open("wb") as log:
            process = subprocess.Popen(command, env={**os.environ, **values}, stdout=log, stderr=log)
        try:
            yield Running(built=built, peer=peer, process=process, address=f"http://127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)
