"""Key check: compares the keys with those of the database, so that a lost or changed key is detected.

A new pepper made in silence would end the protection of all erased people. A fingerprint is a hash under the
key itself: the database reveals nothing about the key.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import LargeBinary, String, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import keyed_hash
from lists.contacts import Contact
from lists.db import Base, Database, insert_or_nothing
from lists.errors import BadSettings, Conflict
from lists.suppressions import Suppression
from mailer.settings import keys
from mailer.settings.keys import LOSS_SENTENCES, Keys

FINGERPRINT_TEXT = "a fingerprint of this key"  # hashed under each key


class Fingerprint(Base):
    """The fingerprint (16 octets) of one key, by the name of its file."""

    __tablename__ = "fingerprints"

    key: Mapped[str] = mapped_column(String(20), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(keyed_hash.OCTETS))


def load_keys(database: Database, folder: Path, *, create: bool = False) -> Keys:
    """Return the keys in this folder; with `create`, make those of a database that depends on none yet.

    Raises BadSettings as `require` does, also for missing keys without `create`; and as `keys.load` does.
    """
    require(database, folder)
    missing = _list_missing(folder)
    if missing and not create:
        raise BadSettings([_missing_sentence(path) for path in missing])
    return keys.load(folder, create=create)


def require(database: Database, folder: Path) -> None:
    """Raise BadSettings, with what to do, when the database depends on other keys than are in this folder.

    It depends on the keys that it notes, and on any keys as soon as it holds contacts or suppressions.
    """
    with database.read() as session:
        noted = _read_fingerprints(session)
        depends = bool(noted) or _has_people(session)
    if not depends:
        return
    if missing := _list_missing(folder):
        raise BadSettings([_missing_sentence(path) for path in missing])
    _refuse_other_keys(noted, keys.load(folder, create=False), folder)


def note(session: Session, keys_in_use: Keys, folder: Path) -> None:
    """Write down the fingerprints of the keys in use, unless there are some.

    Raises BadSettings when those are of other keys, because another first start was faster.
    """
    rows = [{"key": name, "digest": digest} for name, digest in compute_fingerprints(keys_in_use).items()]
    insert_or_nothing(session, Fingerprint, rows)
    _refuse_other_keys(_read_fingerprints(session), keys_in_use, folder)


def require_noted(session: Session, keys_in_use: Keys, folder: Path) -> None:
    """Raise Conflict while the database notes no keys, BadSettings when it notes others than these."""
    noted = _read_fingerprints(session)
    if not noted:
        raise Conflict(
            "The database does not say yet which keys it is written with. Start “mailer serve” once, on the"
            " machine that has the right ones; then every other command and machine is held to them."
        )
    _refuse_other_keys(noted, keys_in_use, folder)


def compute_fingerprints(keys_in_use: Keys) -> Mapping[str, bytes]:
    """Return the fingerprint of each key by its name."""
    return {name: _fingerprint(key) for name, key in asdict(keys_in_use).items()}


def _fingerprint(key: bytes) -> bytes:
    return keyed_hash.compute(key, "fingerprint", FINGERPRINT_TEXT)


def _read_fingerprints(session: Session) -> Mapping[str, bytes]:
    if not _has_table(session, Fingerprint):
        return {}
    return {row.key: row.digest for row in session.execute(select(Fingerprint.key, Fingerprint.digest))}


def _has_people(session: Session) -> bool:
    """Tell whether the database holds a contact or a suppression; one without tables does not."""
    return any(
        _has_table(session, table) and session.scalar(select(table.id).limit(1)) is not None
        for table in (Contact, Suppression)
    )


def _has_table(session: Session, table: type[Base]) -> bool:
    return inspect(session.connection()).has_table(table.__tablename__)


def _list_missing(folder: Path) -> list[Path]:
    return [folder / name for name in LOSS_SENTENCES if not (folder / name).exists()]


def _refuse_other_keys(fingerprints: Mapping[str, bytes], keys_in_use: Keys, folder: Path) -> None:
    changed = [
        name
        for name, digest in compute_fingerprints(keys_in_use).items()
        if fingerprints.get(name, digest) != digest
    ]
    if changed:
        raise BadSettings([_changed_sentence(folder / name) for name in changed])


def _missing_sentence(path: Path) -> str:
    return f"{path} is missing, and the database needs it. {_remedy(path)}"


def _changed_sentence(path: Path) -> str:
    return f"{path} is not the key that the database was written with. {_remedy(path)}"


def _remedy(path: Path) -> str:
    return (
        f"Put the file back from a backup, or copy secrets/{path.name} from the machine that served this"
        f" database first: {LOSS_SENTENCES[path.name]}."
    )
