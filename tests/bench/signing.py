"""How fast mail is signed: against the bare keys on one core, and against composing without signing.

`python -m tests.bench.signing` prints the table. Rates are by processor time, as `openssl speed` counts them,
and rounds alternate, so that other work on the machine disturbs all alike.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from mailer.compose import dkim_keys
from mailer.compose.composer import Composer, ReadyMessage
from mailer.compose.dkim import Signer
from mailer.outbox import due_rows
from mailer.outbox.outbox import Entry
from mailer.service import Service
from tests.bench import table
from tests.bench.installation import broadcast, installation
from tests.bench.sending import Way, by_turns, run
from tests.bench.table import Line, at_least

DOMAIN = "lists.example"
MESSAGES = 1_000
DELIVERED = 3_000
ROUNDS = 7
STEP = 50
TARGET = 0.7


def lines() -> Iterator[Line]:
    """Measure everything in one run."""
    with tempfile.TemporaryDirectory(prefix="mailer-bench-") as folder:
        key_folder = Path(folder)
        rsa, ed25519 = (
            Signer(keys=[dkim_keys.generate(key_folder, domain=DOMAIN, name=kind, kind=kind)])
            for kind in dkim_keys.KINDS
        )
        both = Signer(keys=[*rsa.keys, *ed25519.keys])
    with installation(people=MESSAGES, smtp_port=9) as service:
        entries = _claimed(service)
        finished = [ready.message for ready in _composed(service, service.composer, entries)]
        octets = len(finished[0])
        at = service.clock.now()
        rates: dict[str, float] = {}
        signers = {"rsa": rsa, "ed25519": ed25519, "both": both}
        signing = {name: replace(service.composer, signer=signer) for name, signer in signers.items()}
        work: dict[str, Callable[[], object]] = {
            "rsa": lambda: [rsa.sign(message, at=at) for message in finished],
            "ed25519": lambda: [ed25519.sign(message, at=at) for message in finished],
            "composed": lambda: _composed(service, service.composer, entries),
            "composed, rsa": lambda: _composed(service, signing["rsa"], entries),
            "composed, ed25519": lambda: _composed(service, signing["ed25519"], entries),
            "composed, both": lambda: _composed(service, signing["both"], entries),
        }
        for _ in range(ROUNDS):
            rates["openssl"] = max(rates.get("openssl", 0), _openssl())
            for name, run in work.items():
                rates[name] = max(rates.get(name, 0), _rate(run, time.process_time))
        walls = _pools(lambda message: rsa.sign(message, at=at), finished)
    yield at_least(
        f"finished messages of {octets:,} octets signed, rsa-2048, of openssl's bare rate",
        rates["rsa"] / rates["openssl"], TARGET,
        about=f"{rates['rsa']:,.0f} of {rates['openssl']:,.0f} a second",
    )  # fmt: skip
    delivered = by_turns(
        DELIVERED, {name: _delivering(signer) for name, signer in {"unsigned": Signer(), **signers}.items()}
    )
    yield at_least(
        "delivered signed, ed25519, of the rate unsigned",
        delivered["ed25519"] / delivered["unsigned"], TARGET,
        about="messages for each second of CPU",
    )  # fmt: skip
    for name in ("rsa", "both"):
        ratio = f"{delivered[name] / delivered['unsigned']:.2f} ×"
        yield Line(what=f"delivered signed, {name}, of the rate unsigned", found=ratio)
    yield Line(
        what="composed, encoded and signed, ed25519, of the rate unsigned",
        found=f"{rates['composed, ed25519'] / rates['composed']:.2f} × ({rates['composed, ed25519']:,.0f} of"
        f" {rates['composed']:,.0f} a second)",
    )
    for name in ("ed25519", "composed, rsa", "composed, both"):
        yield Line(
            what=f"{name}{'' if ',' in name else ', signed alone'}", found=f"{rates[name]:,.0f} a second"
        )
    yield Line(
        what="rsa-2048 by the clock: in one thread, in a pool of two",
        found=" and ".join(f"{rate:,.0f}" for rate in walls) + " a second",
    )


def _delivering(signer: Signer) -> Way:
    return lambda service, factory: run(
        replace(service, composer=replace(service.composer, signer=signer)), factory
    )


def _claimed(service: Service) -> Sequence[Entry]:
    broadcast(service, paragraphs=1)
    fill = service.jobs.get("fill-broadcast")
    while fill.run():
        pass
    until = service.clock.real() + timedelta(hours=1)
    with service.database.write() as session:
        return due_rows.claim(
            session, worker="bench", limit=MESSAGES, now=service.clock.now(), lease_until=until
        )


def _composed(service: Service, composer: Composer, entries: Sequence[Entry]) -> list[ReadyMessage]:
    messages: list[ReadyMessage] = []
    with service.database.read() as session:
        for first in range(0, len(entries), STEP):
            results = composer.compose(session, entries[first : first + STEP], now=service.clock.now())
            messages += [result for result in results if isinstance(result, ReadyMessage)]
    assert len(messages) == len(entries) == MESSAGES
    return messages


def _rate(work: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return MESSAGES / (clock() - began)


def _pools(sign: Callable[[bytes], bytes], messages: Sequence[bytes]) -> tuple[float, float]:
    """Return the rates by the clock with one thread and with a pool of two, the best of a few rounds each."""
    parts = [messages[first : first + STEP] for first in range(0, len(messages), STEP)]

    def each(part: Sequence[bytes]) -> None:
        for message in part:
            sign(message)

    best = [0.0, 0.0]
    for _ in range(3):
        for place, threads in enumerate((1, 2)):
            with ThreadPoolExecutor(threads) as pool:
                rate = _rate(lambda pool=pool: list(pool.map(each, parts)), time.perf_counter)  # type: ignore[misc]
            best[place] = max(best[place], rate)
    return best[0], best[1]


def _openssl() -> float:
    """Return how many times a second one core signs with rsa-2048."""
    program = shutil.which("openssl")
    if program is None:
        raise SystemExit("openssl is missing; install it with:  apt-get install openssl")
    command = [program, "speed", "-seconds", "1", "rsa2048"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"^rsa 2048 bits\s+\S+\s+\S+\s+([\d.]+)", printed, re.MULTILINE)
    assert match, printed
    return float(match[1])


if __name__ == "__main__":
    measured = list(lines())
    print(table.text(measured))
    sys.exit(0 if all(line.held is not False for line in measured) else 1)
