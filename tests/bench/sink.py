"""Postfix's smtp-sink and smtp-source: a server that accepts everything, and the sender to compare with."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

CONNECTIONS = 10
OCTETS = 8_000
START_SECONDS = 10.0
FOLDER = "/usr/sbin"


def program(name: str) -> str:
    """Return the path of a program of Debian's package postfix; names the package where it is missing."""
    path = shutil.which(name) or shutil.which(name, path=FOLDER)
    if path is None:
        raise SystemExit(f"{name} is missing; install it with:  apt-get install postfix")
    return path


@contextmanager
def sink() -> Iterator[int]:
    """A running smtp-sink; yields its port on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    account = ["-u", pwd.getpwuid(65534).pw_name] if os.geteuid() == 0 else []
    command = [program("smtp-sink"), *account, f"127.0.0.1:{port}", "1000"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_until_it_answers(port)
        yield port
    finally:
        server.terminate()
        server.wait()


def source(port: int, messages: int) -> float:
    """Let smtp-source send so many messages of 8,000 octets over 10 connections; returns their rate."""
    options = ["-d", "-s", str(CONNECTIONS), "-l", str(OCTETS), "-m", str(messages)]
    addresses = ["-f", "campaign@lists.example", "-t", "ben@neighbor.example"]
    began = time.perf_counter()
    subprocess.run([program("smtp-source"), *options, *addresses, f"127.0.0.1:{port}"], check=True)
    return messages / (time.perf_counter() - began)


def _wait_until_it_answers(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as line:
                assert line.recv(100).startswith(b"220")
                return
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
