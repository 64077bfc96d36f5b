"""A backup of many people and its restore: time, memory, and the slowest sign-up meanwhile."""

import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import command, past
from tests.bench.importing import ALONE_SECONDS, SigningUp, noticed
from tests.bench.installation import installation
from tests.bench.table import Line, at_most

SECONDS = 60.0
WRITTEN_TO = 4  # one in so many was sent a message, which is still in the outbox
PASSPHRASE = "five words for a benchmark"


def backed_up(people: int) -> Iterator[Line]:
    """Back up so many people during twenty sign-ups a second; restore it into an empty folder."""
    with installation(people=people) as service:
        past.give(service, consents=1, messages=0)
        past.give(service, consents=0, messages=1, one_in=WRITTEN_TO)
        home = service.settings.home
        key, file, restore_folder = home / "passphrase", home / "bench.backup", home / "restored"
        key.touch(mode=0o600)
        key.write_text(PASSPHRASE, "utf-8")
        restore_folder.mkdir()
        with SigningUp(service) as alone:
            time.sleep(ALONE_SECONDS)
        passphrase_option = ("--passphrase-file", str(key))
        with SigningUp(service) as meanwhile:
            backup_usage = command.run("db", "backup", str(file), *passphrase_option, home=home)
        restore_usage = command.run("db", "restore", str(file), *passphrase_option, home=restore_folder)
        backup_size, database_size = _megabytes(file), _megabytes(restore_folder / "mailer.db")
    about = f"{backup_usage.cpu:.1f} s of CPU; a consent each, and a sent message to one in {WRITTEN_TO}"
    yield at_most(f"backup of {people:,} people", backup_usage.seconds, SECONDS, about=about)
    yield Line(what="memory of the backup", found=f"{backup_usage.memory:.0f} MB")
    yield Line(
        what="the sealed file", found=f"{backup_size:,.1f} MB, of a database of {database_size:,.1f} MB"
    )
    yield noticed(meanwhile, alone, of="a backup")
    yield Line(
        what="the same put back",
        found=f"{restore_usage.seconds:.1f} s, {restore_usage.cpu:.1f} s of CPU,"
        f" {restore_usage.memory:.0f} MB",
    )


def _megabytes(file: Path) -> float:
    return file.stat().st_size / 1_000_000
