"""Stage: the resources that the worlds of one run share, and the machine's values for the product.

The service of each process is built by `service.build`, as in production. Only results that are the same each
time are cached: templates read and compiled, SQLAlchemy's compiled statements. Names and the boot id are the
world's, so that the same seed always runs the same way.
"""

import gc
import shutil
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import structlog
from sqlalchemy.orm import Session

from lists import db
from lists.db import EPOCH, Database
from mailer import service as composition
from mailer.compose import editions
from mailer.compose.editions import Editions
from mailer.delivery import journal
from mailer.outbox import due_rows, outbox
from mailer.service import Service
from mailer.settings.loading import Settings
from mailer.sources import schedule
from mailer.templates import rendering, templates
from mailer.templates.rendering import CompiledTemplate, Frame, TemplateSource
from tests.databases import make_tables
from tests.loops import Inline
from tests.people import PEPPER
from tests.simulation.journal import SimulatedJournal
from tests.simulation.storage import SimulatedDatabase
from tests.simulation.witness import TRIGGERS

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

MANY = 10  # worlds between two clearances of memory
MEMORY = Path("/dev/shm")  # a disk in memory, where the machine has one
RELAYS = ("one.relay.example", "two.relay.example", "three.relay.example")
RESOURCES = ("toolkit", "webinar", "powerpoint", "guide", "pledge", "allies")
FAULTS_OF_OURS = ("a fault", "a message cannot", "an outcome is recorded, but")


@dataclass
class Stage:
    """A folder with a database file, empty but for its tables whenever a world begins."""

    folder: Path
    world: "World | None" = None
    _editions: dict[str, Editions] = field(default_factory=dict)
    _worlds: int = 0
    _compiled: dict[tuple[int, int], tuple[Any, ...]] = field(default_factory=dict)
    _idle: tuple[int, datetime] = (-1, EPOCH)  # no row is due while commits are so many, until this moment

    @property
    def file(self) -> Path:
        """Return the database file of the present world."""
        return self.folder / "mailer.db"

    def clear(self) -> None:
        """Restore the empty database, and remove every journal and the killed processes.

        The frames of killed processes are freed here; they have no effect any more.
        """
        self._worlds += 1
        if self._worlds % MANY == 0 or self._worlds == 2:
            gc.collect()
        if self._worlds == 2:
            gc.freeze()  # objects that every world needs are scanned no more
        self._idle = (-1, EPOCH)
        db._engine(f"sqlite:///{self.file}").dispose()
        for name in ("mailer.db-wal", "mailer.db-shm"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.copyfile(self.folder / "template.db", self.file)
        for home in self.homes:
            shutil.rmtree(home / journal.FOLDER, ignore_errors=True)

    def build(self, process: "Process") -> Service:
        """Build the service as a process of that name does."""
        home = process.home
        with patch.object(composition, "Database", partial(SimulatedDatabase, process=process)):
            service = composition.build(self.settings(home), clock=process.clock)
        return replace(service, name=process.name)

    @property
    def homes(self) -> tuple[Path, Path]:
        """Return the data folders of the two machines; the database of both is below the first."""
        return self.folder, self.folder / "elsewhere"

    def settings(self, home: Path) -> Settings:
        """Return the settings of a campaign with real relays, on the machine with this data folder."""
        assert self.world is not None
        plan = self.world.plan
        return _settings(
            home, self.file, plan.weights, plan.rate, plan.domain_rate, plan.connections, plan.shared
        )

    def load(self, *args: Any, **options: Any) -> Editions:
        """Return the templates, read and compiled once."""
        if "all" not in self._editions:
            self._editions["all"] = _load(*args, **options)
        return self._editions["all"]

    def compile(self, source: TemplateSource, *, frame: Frame, fields: frozenset[str]) -> CompiledTemplate:
        """Compile a text of a template once."""
        entry = self._compiled.get((id(source), id(frame)))
        if entry is None or entry[1] is not source:
            entry = (_compile(source, frame=frame, fields=fields), source, frame)
            self._compiled[id(source), id(frame)] = entry
        compiled: CompiledTemplate = entry[0]
        return compiled

    def is_anything_due(self, session: Session, *, now: datetime, least: int = outbox.LEAST_URGENT) -> bool:
        """Return whether a row is due; queries again only after a commit or the next due moment."""
        assert self.world is not None
        if least != outbox.LEAST_URGENT:
            return _anything_due(session, now=now, least=least)
        commits, until = self._idle
        if commits == self.world.witness.commits and now < until:
            return False
        if _anything_due(session, now=now):
            return True
        self._idle = self.world.witness.commits, self.world.witness.next_due(after=now)
        return False

    def listen(self, _: object, method: str, event: MutableMapping[str, Any]) -> str:
        """Receive the product's log: an error of its own is a broken promise."""
        if self.world is not None:
            self.world.logged(event)
        raise structlog.DropEvent


_load, _compile, _anything_due = editions.load, rendering.compile_template, due_rows.is_anything_due


@cache
def _settings(
    home: Path,
    file: Path,
    weights: tuple[int, ...],
    rate: str,
    domain_rate: str,
    connections: int,
    shared: bool,
) -> Settings:
    per_relay = (f"&rate={rate}" if rate else "") + (f"&connections={connections}" if shared else "")
    relays = " ".join(
        f"smtp://{host}:25?tls=opportunistic&weight={weight}{per_relay}"
        for host, weight in zip(RELAYS, weights, strict=False)
    )
    links = {
        name: {"en": f"https://example.org/{name}", "es": f"https://example.org/{name}"} for name in RESOURCES
    }
    return Settings.model_validate(
        {
            "home": home,
            "database_url": f"sqlite:///{file}",
            "public_url": "https://join.example.org",
            "smtp_url": relays,
            "from_address": "campaign@lists.example",
            "sending_domains": ("lists.example",),
            "postal_address": "123 Example Street, Anytown, NY 00000",
            "connections": connections,
            "domain_limits": f"*={domain_rate}" if domain_rate else (),
            "resources": links,
        }
    )


@contextmanager
def stage() -> Iterator[Stage]:
    """Prepare a stage for any number of worlds, one after the other."""
    memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=memory) as name:
        prepared = Stage(Path(name))
        for home in prepared.homes:
            secrets = home / "secrets"
            secrets.mkdir(mode=0o700, parents=True)
            for key, value in (("pepper", PEPPER), ("links", b"links key of the tests, 32 bytes")):
                (secrets / key).touch(mode=0o600)
                (secrets / key).write_text(value.hex())
        _make_template(prepared.folder / "template.db")
        engines = cache(db._engine)

        def token_hex(size: int = 32) -> str:
            assert prepared.world is not None
            return prepared.world.name_chance.randbytes(size).hex()

        def read_boot_id() -> str:
            assert prepared.world is not None
            return prepared.world.boot

        def inline(*_: object, **__: object) -> Inline:
            return Inline()

        before = structlog.get_config()
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None  # errors of killed processes
        structlog.configure(processors=[prepared.listen], cache_logger_on_first_use=False)
        try:
            with (
                warnings.catch_warnings(),
                patch.object(db, "_engine", engines),
                patch.object(composition, "ThreadPoolExecutor", inline),
                patch.object(due_rows, "is_anything_due", prepared.is_anything_due),
                patch.object(editions, "load", prepared.load),
                patch.object(rendering, "compile_template", prepared.compile),
                patch.object(templates, "load_frame", cache(templates.load_frame)),
                patch.object(schedule, "load_all", cache(schedule.load_all)),
                patch.object(journal, "read_boot_id", read_boot_id),
                patch("secrets.token_hex", token_hex),
            ):
                gc.disable()
                warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that never ran
                yield prepared
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                gc.collect()
            gc.unfreeze()
            gc.enable()
            structlog.configure(**before)
            engines(f"sqlite:///{prepared.file}").dispose()
            sys.unraisablehook = hook


@contextmanager
def journals_of(process: "Process") -> Iterator[None]:
    """Make the journal that is opened in this block a simulated one of this process."""

    def open_journal(folder: Path, *, worker: str) -> SimulatedJournal:
        process.journal = SimulatedJournal(folder, process=process)
        return process.journal

    with patch.object(journal, "Journal", open_journal):
        yield


def _make_template(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    make_tables(database)
    database.dispose()
    with sqlite3.connect(path) as connection:
        connection.executescript(TRIGGERS)
    connection.close()
