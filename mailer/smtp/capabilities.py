"""Capabilities: what a relay can carry, by its last reply to EHLO (RFC 1870, 6152, 6531).

A message that one relay cannot carry may suit another relay, or the same one after its configuration changed.
So a message that no relay can carry is held and never counts as refused: it was not sent to a server.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self

from sqlalchemy import BigInteger, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Timestamp, insert_or_nothing
from mailer.reasons import Reason

_SIZE = re.compile(r"[0-9]{1,18}")


class RelayCapabilities(Base):
    """The last reply to EHLO of one relay, by its name (host and port); `size` 0 is no limit."""

    __tablename__ = "relay_offers"

    relay: Mapped[str] = mapped_column(String(260), primary_key=True)
    smtputf8: Mapped[bool]
    eightbit: Mapped[bool]
    size: Mapped[int] = mapped_column(BigInteger)
    heard_at: Mapped[Timestamp]


class RelayLimit(NamedTuple):
    """A limit of a relay that keeps a message from it: a code, and the octets of a size limit."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a relay can carry; `size` is the most octets of a message, 0 where it announced no limit."""

    smtputf8: bool
    eightbit: bool
    size: int

    @classmethod
    def from_extensions(cls, extensions: Mapping[str, str]) -> Self:
        """Read the extensions of a reply to EHLO: lowercase names with their parameters."""
        size = extensions.get("size", "").strip()
        return cls(
            smtputf8="smtputf8" in extensions,
            eightbit="8bitmime" in extensions,
            size=int(size) if _SIZE.fullmatch(size) else 0,
        )

    def find_limit(self, address: str, message: bytes) -> RelayLimit | None:
        """Return the limit that keeps this message to this address from this relay, None without one."""
        if not address.isascii() and not self.smtputf8:
            return RelayLimit(Reason.NO_SMTPUTF8)
        if not self.eightbit and not message.isascii():
            return RelayLimit(Reason.NO_8BITMIME)
        return self._size_limit if 0 < self.size < len(message) else None

    @property
    def limits(self) -> frozenset[RelayLimit]:
        """Every limit of this relay."""
        limits = {
            RelayLimit(Reason.NO_SMTPUTF8): not self.smtputf8,
            RelayLimit(Reason.NO_8BITMIME): not self.eightbit,
            self._size_limit: self.size,
        }
        return frozenset(limit for limit, holds in limits.items() if holds)

    @property
    def _size_limit(self) -> RelayLimit:
        return RelayLimit(Reason.RELAY_SIZE_LIMIT, f"{self.size:,}")


def record(session: Session, relay: str, relay_capabilities: Capabilities, *, now: datetime) -> bool:
    """Store the capabilities of a relay; returns whether they are new or have changed."""
    row = {
        "smtputf8": relay_capabilities.smtputf8,
        "eightbit": relay_capabilities.eightbit,
        "size": relay_capabilities.size,
        "heard_at": now,
    }
    if insert_or_nothing(session, RelayCapabilities, [{"relay": relay, **row}]) == 1:
        return True
    stored = session.get_one(RelayCapabilities, relay, with_for_update=True, populate_existing=True)
    is_news = _from_row(stored) != relay_capabilities
    for name, value in row.items():
        setattr(stored, name, value)
    session.flush()
    return is_news


def read_all(session: Session) -> dict[str, Capabilities]:
    """Return the stored capabilities of each relay."""
    return {row.relay: _from_row(row) for row in session.scalars(select(RelayCapabilities))}


def can_carry_smtputf8(session: Session, relays: Collection[str]) -> bool:
    """Tell whether one of these relays accepts addresses beyond ASCII, or has no stored reply yet."""
    answers = read_all(session)
    return not relays or any(relay not in answers or answers[relay].smtputf8 for relay in relays)


def _from_row(row: RelayCapabilities) -> Capabilities:
    return Capabilities(smtputf8=row.smtputf8, eightbit=row.eightbit, size=row.size)
