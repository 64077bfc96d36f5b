"""A backup of many people and its restore: how long, how much memory, what a sign-up notices meanwhile."""

import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import command, past
from tests.bench.importing import ALONE_SECONDS, SigningUp, noticed
from tests.bench.installation import installation
from tests.bench.table import Line, at_most

SECONDS = 60.0
WRITTEN_TO = 4  # one in so many was sent a message, which is still in the ledger
PASSPHRASE = "five words for a benchmark"


def backed_up(people: int) -> Iterator[Line]:
    """Back up so many people while somebody signs up twenty times a second; put that into an empty folder."""
    with installation(people=people) as service:
        past.give(service, consents=1, messages=0)
        past.give(service, consents=0, messages=1, one_in=WRITTEN_TO)
        home = service.settings.home
        key, file, restored = home / "passphrase", home / "bench.backup", home / "restored"
        key.touch(mode=0o600)
        key.write_text(PASSPHRASE, "utf-8")
        restored.mkdir()
        with SigningUp(service) as alone:
            time.sleep(ALONE_SECONDS)
        opening = ("--passphrase-file", str(key))
        with SigningUp(service) as meanwhile:
            made = command.run("db", "backup", str(file), *opening, home=home)
        back = command.run("db", "restore", str(file), *opening, home=restored)
        sealed, database = _megabytes(file), _megabytes(restored / "mailer.db")
    about = f"{made.cpu:.1f} s of CPU; a consent each, and a sent message to one in {WRITTEN_TO}"
    yield at_most(f"backup of {people:,} people", made.seconds, SECONDS, about=about)
    yield Line(what="memory of the backup", found=f"{made.memory:.0f} MB")
    yield Line(what="the sealed file", found=f"{sealed:,.1f} MB, of a database of {database:,.1f} MB")
    yield noticed(meanwhile, alone, of="a backup")
    yield Line(
        what="the same put back", found=f"{back.seconds:.1f} s, {back.cpu:.1f} s of CPU, {back.memory:.0f} MB"
    )


def _megabytes(file: Path) -> float:
    return file.stat().st_size / 1_000_000
