"""A service that runs while it is measured: its two processes, and a relay that records."""

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
    """The running service: its pages, its processes, and what arrived at its relay."""

    service: Service
    peer: Counting
    process: subprocess.Popen[bytes]
    address: str

    def post(self, path: str, fields: Mapping[str, str]) -> float:
        """Send a form; returns the time of the response (`time.monotonic`)."""
        body = urllib.parse.urlencode(fields).encode()
        with urllib.request.urlopen(self.address + path, data=body, timeout=30) as answer:
            answer.read()
        return time.monotonic()

    def processes(self) -> dict[str, int]:
        """Return the ids of the process that serves and of its child that delivers."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [int(child) for task in tasks for child in task.read_text().split()]
        return {"serve": self.process.pid, "work": children[0]}

    def cpu(self, name: str) -> float:
        """Return the seconds of CPU that “serve” or “work” has used so far."""
        fields = Path(f"/proc/{self.processes()[name]}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, of proc(5)

    def until(self, condition: Callable[[], bool], *, what: str) -> None:
        """Wait for a condition; ends the measurement when it does not come true."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit(f"in vain: {what}")
            time.sleep(0.005)


@contextmanager
def running(*, people: int, proxies: Sequence[str] = ()) -> Iterator[Running]:
    """Yield a running service on SQLite with an update queued for so many people; it trusts these proxies."""
    with counting() as peer, installation(people=people, smtp_port=peer.port) as service:
        broadcast(service, paragraphs=1)
        while service.jobs.get("fill-broadcast").run():
            pass
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        home = service.settings.home
        values = {
            "MAILER_HOME": str(home),
            "MAILER_SMTP_URL": f"smtp://127.0.0.1:{peer.port}?tls=none",
            "MAILER_FROM_ADDRESS": service.settings.from_address,
            "MAILER_SENDING_DOMAINS": ",".join(service.settings.sending_domains),
            "MAILER_POSTAL_ADDRESS": service.settings.postal_address,
            "MAILER_TRUSTED_PROXIES": ",".join(proxies),
            "PORT": str(port),
        }
        command = [sys.executable, "-m", "mailer", "serve"]
        with (home / "serve.log").open("wb") as log:
            process = subprocess.Popen(command, env={**os.environ, **values}, stdout=log, stderr=log)
        try:
            yield Running(service=service, peer=peer, process=process, address=f"http://127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)
