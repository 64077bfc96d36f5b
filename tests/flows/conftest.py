"""Fixtures of the flows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.backup import backup
from mailer.backup.encryption import Encryptor
from mailer.processes import restoring
from mailer.service import Service
from tests.clocks import StoppedClock
from tests.people import Person
from tests.sealed import FAST, FOREIGN, PASSPHRASE, Folder, Parts, seal


@pytest.fixture
def folder(
    request: pytest.FixtureRequest, service: Service, clock: StoppedClock, ben: Person, cleo: Person,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Folder]:  # fmt: skip
    monkeypatch.setattr(Encryptor.__init__, "__kwdefaults__", {"hardness": FAST})
    service.jobs.tick()
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / f"{'ab' * 32}.pdf").write_bytes(b"%PDF-1")
    (tmp_path / "mailer.toml").write_text('motto.en = "Hello"\n')
    complete = tmp_path / "whole"
    backup.make(
        complete,
        PASSPHRASE,
        database=service.database,
        home=tmp_path,
        now=clock.now(),
        progress=lambda _: None,
    )
    parts: Parts = {}
    with complete.open("rb") as file, backup.open_archive(file, PASSPHRASE) as tar:
        for member in tar:
            data = tar.extractfile(member)
            assert data is not None
            parts[member.name] = data.read()
    home = tmp_path / "home"
    for name in FOREIGN:
        (home / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / name).write_bytes(name.encode())
    environ = {"MAILER_HOME": str(home)}
    server = request.getfixturevalue("postgres_server") if service.database.dialect == "postgresql" else None
    if server:
        environ["MAILER_DATABASE_URL"] = server.empty()
    backup_file = seal(tmp_path / "monday", parts)

    def restore(passphrase: bytes = PASSPHRASE) -> restoring.RestoreSummary:
        return restoring.restore(
            backup_file, passphrase, environ=environ, clock=clock, progress=lambda _: None
        )

    yield Folder(home=home, backup=backup_file, parts=parts, restore=restore)
    if server:
        server.drop(environ["MAILER_DATABASE_URL"])
