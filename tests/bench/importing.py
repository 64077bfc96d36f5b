"""An import of many people from a file: how long, how much memory, and what a sign-up notices meanwhile."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lists import addresses
from mailer.service import Service
from mailer.sources.confirmations import SignupRequest
from tests.bench import command
from tests.bench.installation import installation
from tests.bench.table import Line, at, at_most, megabytes

SECONDS, MEMORY, WRITE = 30.0, 150.0, 0.25
WEB_REST_SECONDS = 0.05
ALONE_SECONDS = 5.0


def imported(people: int) -> Iterator[Line]:
    """Import so many people, confirmed, while somebody signs up twenty times a second."""
    with installation(people=0) as service:
        file = service.settings.home / "people.csv"
        _write(file, people)
        with SigningUp(service) as alone:
            time.sleep(ALONE_SECONDS)
        with SigningUp(service) as meanwhile:
            used = command.run(
                "list", "import", str(file), "--list", "interest", "--consent", "a benchmark", "--confirmed",
                home=service.settings.home,
            )  # fmt: skip
    yield at_most(f"import of {people:,} people", used.seconds, SECONDS)
    yield megabytes("memory of the import", used.memory, MEMORY)
    yield noticed(meanwhile, alone, of="an import")


def _write(file: Path, people: int) -> None:
    with file.open("w", encoding="utf-8") as text:
        text.write("email,name,language,zip\n")
        for number in range(people):
            place = f"{10_001 + number % 400:05d}"
            text.write(f"person{number}@mail{number % 997}.example.org,Person {number},es,{place}\n")


def noticed(meanwhile: "SigningUp", alone: "SigningUp", *, of: str) -> Line:
    """Compare the slowest sign-up while something else went on with the slowest when nothing did."""
    about = f"p99 {meanwhile.at(0.99) * 1000:.0f} ms; without {of} {alone.at(1) * 1000:.0f} ms"
    return at_most("the slowest sign-up meanwhile", meanwhile.at(1), WRITE, about=about)


class SigningUp:
    """Somebody signs up again and again, as the web does it, for as long as the block lasts."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self._took: list[float] = []

    def __enter__(self) -> "SigningUp":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def at(self, part: float) -> float:
        """How many seconds this part of the sign-ups took at most."""
        return at(self._took, part)

    def _go_on(self) -> None:
        service = self._service
        while not self._over.wait(WEB_REST_SECONDS):
            who = addresses.parse(f"web{time.monotonic_ns()}@example.net", pepper=service.keys.pepper)
            asked = SignupRequest(address=who, list="interest", language="en", wording="words", page="/join")
            began = time.monotonic()
            try:
                with service.database.write() as session:
                    service.confirmations.record_signup(session, asked, now=service.clock.now())
            finally:  # who waited in vain waited longest
                self._took.append(time.monotonic() - began)
