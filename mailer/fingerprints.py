"""Fingerprint: which keys this database was written with, so that a lost or a changed key is noticed at once.

A new pepper made in silence would end the protection of everybody who was forgotten. A fingerprint is a hash
under the key itself: whoever reads the database learns nothing about the key.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import LargeBinary, String, delete, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base, Database, insert_or_nothing
from lists.errors import BadSettings
from lists.suppressions import Suppression
from mailer import keys
from mailer.keys import WITHOUT, Keys

OCTETS = 16
SAID = b"a fingerprint of this key"  # what is hashed under each key


class Fingerprint(Base):
    """The fingerprint (16 octets) of one key, by the name of its file."""

    __tablename__ = "fingerprints"

    key: Mapped[str] = mapped_column(String(20), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(OCTETS))


def keys_of(database: Database, folder: Path) -> Keys:
    """Return the keys in this folder, making them for a database that knows nobody yet.

    Raises BadSettings, with what to do, when the database knows people or whom to leave alone, and a key is
    missing or another one than it was written with; and as `keys.kept_in` does.
    """
    keys.make_folder(folder)  # an embedded database may be in it, too
    with database.read() as session:
        depends = _knows_anybody(session)
        noted = _noted(session) if depends else {}
    found = keys.kept_in(folder, making=not depends)
    changed = [name for name, digest in of(found).items() if noted.get(name, digest) != digest]
    if changed:
        raise BadSettings([_sentence(folder / name) for name in changed])
    return found


def are_noted(session: Session, found: Keys) -> bool:
    """Tell whether the database says that it is written with these keys."""
    return _noted(session) == of(found)


def note(session: Session, found: Keys) -> None:
    """Write down the fingerprints of the keys in use, over those of a database that knew nobody."""
    session.execute(delete(Fingerprint))
    rows = [{"key": name, "digest": digest} for name, digest in of(found).items()]
    insert_or_nothing(session, Fingerprint, rows)


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


def _sentence(path: Path) -> str:
    return (
        f"{path} is not the key that the database was written with. Put the right file back from a backup:"
        f" {WITHOUT[path.name]}."
    )
