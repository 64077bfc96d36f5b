"""Fingerprint: which keys this database was written with, so that a lost or a changed key is noticed at once.

A new pepper made in silence would end the protection of everybody who was forgotten. A fingerprint is a hash
under the key itself: whoever reads the database learns nothing about the key.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import LargeBinary, String, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base, Database, insert_or_nothing
from lists.errors import BadSettings, Conflict
from lists.suppressions import Suppression
from mailer.settings import keys
from mailer.settings.keys import WITHOUT, Keys

OCTETS = 16
SAID = b"a fingerprint of this key"  # what is hashed under each key


class Fingerprint(Base):
    """The fingerprint (16 octets) of one key, by the name of its file."""

    __tablename__ = "fingerprints"

    key: Mapped[str] = mapped_column(String(20), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(OCTETS))


def keys_of(database: Database, folder: Path, *, making: bool = False) -> Keys:
    """Return the keys in this folder; with `making`, make those of a database that depends on none yet.

    Raises BadSettings as `require` does, also for what is missing where nothing is made; and as
    `keys.kept_in` does.
    """
    require(database, folder)
    missing = _missing_from(folder)
    if missing and not making:
        raise BadSettings([_missing(path) for path in missing])
    return keys.kept_in(folder, making=making)


def require(database: Database, folder: Path) -> None:
    """Raise BadSettings, with what to do, when the database depends on other keys than are in this folder.

    It depends on those it was noted with, and on any as soon as it knows people or whom to leave alone.
    """
    with database.read() as session:
        noted = _noted(session)
        depends = bool(noted) or _knows_anybody(session)
    if not depends:
        return
    if missing := _missing_from(folder):
        raise BadSettings([_missing(path) for path in missing])
    _refuse_others(noted, keys.kept_in(folder, making=False), folder)


def note(session: Session, found: Keys, folder: Path) -> None:
    """Write down the fingerprints of the keys in use, unless there are some.

    Raises BadSettings when those are of other keys, because another first start was faster.
    """
    rows = [{"key": name, "digest": digest} for name, digest in of(found).items()]
    insert_or_nothing(session, Fingerprint, rows)
    _refuse_others(_noted(session), found, folder)


def require_noted(session: Session, found: Keys, folder: Path) -> None:
    """Raise Conflict while the database does not say its keys, BadSettings when they are not these."""
    noted = _noted(session)
    if not noted:
        raise Conflict(
            "The database does not say yet which keys it is written with. Start “mailer serve” once, on the"
            " machine that has the right ones; then every other command and machine is held to them."
        )
    _refuse_others(noted, found, folder)


def of(found: Keys) -> Mapping[str, bytes]:
    """Return the fingerprint of each key by its name."""
    return {name: _print(key) for name, key in asdict(found).items()}


def _print(key: bytes) -> bytes:
    return hmac.new(key, SAID, hashlib.sha256).digest()[:OCTETS]


def _noted(session: Session) -> Mapping[str, bytes]:
    if not _is_there(session, Fingerprint):
        return {}
    return {row.key: row.digest for row in session.execute(select(Fingerprint.key, Fingerprint.digest))}


def _knows_anybody(session: Session) -> bool:
    """Tell whether the database holds a contact or a suppression; one without tables does not."""
    return any(
        _is_there(session, table) and session.scalar(select(table.id).limit(1)) is not None
        for table in (Contact, Suppression)
    )


def _is_there(session: Session, table: type[Base]) -> bool:
    return inspect(session.connection()).has_table(table.__tablename__)


def _missing_from(folder: Path) -> list[Path]:
    return [folder / name for name in WITHOUT if not (folder / name).exists()]


def _refuse_others(noted: Mapping[str, bytes], found: Keys, folder: Path) -> None:
    changed = [name for name, digest in of(found).items() if noted.get(name, digest) != digest]
    if changed:
        raise BadSettings([_changed(folder / name) for name in changed])


def _missing(path: Path) -> str:
    return f"{path} is missing, and the database needs it. {_remedy(path)}"


def _changed(path: Path) -> str:
    return f"{path} is not the key that the database was written with. {_remedy(path)}"


def _remedy(path: Path) -> str:
    return (
        f"Put the file back from a backup, or copy secrets/{path.name} from the machine that served this"
        f" database first: {WITHOUT[path.name]}."
    )
