"""The log of the running service, and the process list, contain no name, address or secret."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from quopri import decodestring
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.crash.campaign import free_port
from tests.peers.polite import Polite, polite

ANA, BEN, CLEO = "ana+stmark@example.org", "ben.o'hara@poison.example", "cleo@left.example.org"
PASSWORD, TOKEN = "Passw0rd-of-the-relay", "f00dfeed" * 6
NAMES = ("Ana Paredes", "Ben Begay")
PATIENCE = 30.0


def environ(home: Path, *, smtp_port: int, port: int) -> dict[str, str]:
    secrets = home / "secrets"
    secrets.mkdir(mode=0o700)
    smtp_url = f"smtp://mailer:{PASSWORD}@127.0.0.1:{smtp_port}?tls=none"
    for name, secret in [("smtp_url", smtp_url), ("metrics_token", TOKEN)]:
        (secrets / name).touch(mode=0o600)
        (secrets / name).write_text(secret)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("MAILER_")},
        "MAILER_HOME": str(home),
        "MAILER_POSTAL_ADDRESS": "1 Main Street, New York, NY 10001",
        "MAILER_FROM_ADDRESS": "campaign@example.org",
        "MAILER_SENDING_DOMAINS": "example.org",
        "PORT": str(port),
    }


class Town:
    """People at their browsers."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    async def ask(self, path: str, form: dict[str, str] | None = None, **headers: str) -> str:
        body = None if form is None else urlencode(form).encode()
        request = Request(self.base + path, data=body, headers=headers)

        def get() -> str:
            try:
                with urlopen(request, timeout=20) as answer:
                    return str(answer.read().decode())
            except OSError as error:
                return str(error)

        return await asyncio.to_thread(get)

    async def until(self, condition: object, what: str) -> None:
        for _ in range(int(PATIENCE / 0.1)):
            if condition():  # type: ignore[operator]
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"in vain: {what}")


def processes() -> str:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(lines)


async def test_a_join_a_confirmation_a_refusal_and_an_outage_leave_nobodys_traces_in_the_log(
    tmp_path: Path,
) -> None:
    port, log = free_port(), tmp_path / "log"
    peer = Polite(password=PASSWORD, answers={BEN: f"550 5.1.1 <{BEN}>: {NAMES[1]} does not live here"})
    async with polite(peer):
        env = environ(tmp_path, smtp_port=peer.port, port=port)
        with log.open("wb") as errors:
            serving = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "mailer", "serve"),
                env=env,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
            )
        town = Town(port)
        try:
            await _run_scene(town, peer, log)
            process_list = processes()
            assert " mailer work" in process_list
        finally:
            serving.send_signal(signal.SIGTERM)
            await asyncio.wait_for(serving.wait(), 60)
    log_text = log.read_text()
    events = [json.loads(line) for line in log_text.splitlines()]
    assert {"relay unreachable"} <= {event["event"] for event in events}
    link = next(match.group(1) for match in [_link(peer)] if match)
    keys = [(tmp_path / "secrets" / name).read_text().strip() for name in ("pepper", "links")]
    for secret in (ANA, BEN, CLEO, "ana+stmark", "poison", *NAMES, PASSWORD, TOKEN, link, *keys, "Hello"):
        assert secret not in log_text, secret
        assert secret not in process_list, secret


async def _run_scene(town: Town, peer: Polite, log: Path) -> None:
    await town.until(lambda: (log.parent / "port").exists(), "the start")
    await town.until(lambda: _is_listening(town.base), "the pages")
    await town.until(lambda: _is_healthy(town.base), "health")
    for email, name in [(ANA, NAMES[0]), (BEN, NAMES[1]), (CLEO, "Cleo"), (f"{BEN}\r\nBcc: x@y.example", "")]:
        await town.ask("/join", {"email": email, "name": name, "zip": "10027", "language": "en"})
    await town.until(lambda: len(peer.letters) >= 2, "the confirmations")
    match = _link(peer)
    assert match
    assert "HTTP Error" not in await town.ask(f"/confirm/{match.group(1)}", {})
    await town.ask(f"/confirm/{match.group(1)}x", {})
    await town.ask(f"/unsubscribe/{match.group(1)}?{urlencode({'email': ANA})}")
    assert "mailer_messages" in await town.ask("/metrics", Authorization=f"Bearer {TOKEN}")
    peer.at_mail = f"421 4.3.2 closing for {CLEO}"
    await town.ask("/organize", {"email": CLEO, "name": "Cleo", "organization": "x", "zip": "10027"})
    await town.ask("/join", {"email": "late@poison.example", "name": "Late", "zip": "10027"})
    await town.until(lambda: "unreachable" in log.read_text(), "an outage")


def _link(peer: Polite) -> re.Match[str] | None:
    texts = [decodestring(raw).decode("utf-8", "replace") for to, raw in peer.letters if to == ANA]
    return re.search(r"/confirm/([A-Za-z0-9._~-]+)", texts[0]) if texts else None


def _is_listening(base: str) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", int(base.rpartition(":")[2]))) == 0


def _is_healthy(base: str) -> bool:
    try:
        with urlopen(f"{base}/health", timeout=5) as answer:
            return bool(json.loads(answer.read())["status"] == "ok")
    except OSError:
        return False
