"""Public URL: where the links of this database's mail lead, noted so that no machine mails other links.

A machine whose settings lack `public_url` would mail links to itself, by which no reader can leave. A URL
that only the machine itself can open is never noted.
"""

from sqlalchemy import String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, insert_or_nothing
from lists.errors import Conflict
from mailer.settings.loading import Settings


class PublicUrl(Base):
    """The one row with the public URL that this database is used with."""

    __tablename__ = "public_url"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    url: Mapped[str] = mapped_column(String(400))


def find(session: Session) -> str:
    """Return the noted public URL, or "" while there is none."""
    return session.scalar(select(PublicUrl.url)) or ""


def note(session: Session, settings: Settings) -> None:
    """Write the public URL down where none is noted; raises Conflict as `require` does."""
    if not settings.loopback:
        insert_or_nothing(session, PublicUrl, [{"id": 1, "url": settings.public_url}])
    require(session, settings)


def require(session: Session, settings: Settings) -> None:
    """Raise Conflict, with what to do, when another public URL is noted."""
    url = find(session)
    if url not in ("", settings.public_url):
        raise Conflict(
            f"public_url is {settings.public_url} here, but the mail of this database leads to {url}."
            f' On a second machine write public_url = "{url}" into mailer.toml, as on the first. If the'
            " address has really changed, say so once: “mailer config accept-url”."
        )


def replace(session: Session, settings: Settings) -> None:
    """Write down another public URL; none for one that only this machine can open."""
    session.execute(delete(PublicUrl))
    note(session, settings)
