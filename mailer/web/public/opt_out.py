"""Opt-out: leaving as the pages do it, the list, the application and the evidence in one transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from lists import consents, directory, subscriptions


def leave(
    session: Session, *, contact_id: int, page: str, now: datetime, list: str | None = None
) -> Sequence[str]:
    """Leave one list, or all; returns the names of the lists left just now. Leaving twice is leaving once."""
    names = subscriptions.leave(session, contact_id=contact_id, list=list, now=now)
    for name in names:
        consents.add(session, contact_id=contact_id, list=name, action="left", page=page, now=now)
    if "organizers" in names:
        directory.withdraw(session, contact_id=contact_id)
    return names
