"""An import of many people from a file: time, memory, and the slowest sign-up meanwhile."""

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
    """Import so many people, confirmed, during twenty sign-ups a second."""
    with installation(people=0) as service:
        file = service.settings.home / "people.csv"
        _write(file, people)
        with SigningUp(service) as alone:
            time.sleep(ALONE_SECONDS)
        with SigningUp(service) as meanwhile:
            usage = command.run(
                "list", "import", str(file), "--list", "interest", "--consent", "a benchmark", "--confirmed",
                home=service.settings.home,
            )  # fmt: skip
    yield at_most(f"import of {people:,} people", usage.seconds, SECONDS)
    yield megabytes("memory of the import", usage.memory, MEMORY)
    yield noticed(meanwhile, alone, of="an import")


def _write(file: Path, people: int) -> None:
    with file.open("w", encoding="utf-8") as text:
        text.write("email,name,language,zip\n")
        for number in range(people):
            place = f"{10_001 + number % 400:05d}"
            text.write(f"person{number}@mail{number % 997}.example.org,Person {number},es,{place}\n")


def noticed(meanwhile: "SigningUp", alone: "SigningUp", *, of: str) -> Line:
    """Compare the slowest sign-up during the work with the slowest without it."""
    about = f"p99 {meanwhile.at(0.99) * 1000:.0f} ms; without {of} {alone.at(1) * 1000:.0f} ms"
    return at_most("the slowest sign-up meanwhile", meanwhile.at(1), WRITE, about=about)


class SigningUp:
    """Signs up again and again, as the web does, while the block lasts."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._sign_up_repeatedly)
        self._times: list[float] = []

    def __enter__(self) -> "SigningUp":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended.set()
        self._thread.join()

    def at(self, part: float) -> float:
        """Return the longest time (seconds) of this part of the sign-ups."""
        return at(self._times, part)

    def _sign_up_repeatedly(self) -> None:
        service = self._service
        while not self._is_ended.wait(WEB_REST_SECONDS):
            address = addresses.parse(f"web{time.monotonic_ns()}@example.net", pepper=service.keys.pepper)
            signup = SignupRequest(
                address=address, list="interest", language="en", wording="words", page="/join"
            )
            began = time.monotonic()
            try:
                with service.database.write() as session:
                    service.confirmations.record_signup(session, signup, now=service.clock.now())
            finally:  # a sign-up that failed counts, too
                self._times.append(time.monotonic() - began)
