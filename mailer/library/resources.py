"""Resource: a slot that mails and pages lead to, its versions, and which of them stands there now.

The slots are policy.RESOURCES. A version is a link, or a file kept by its hash
(mailer/library/file_store.py), in one language. The newest version of a language stands in the slot until a
newer one replaces it:

    add ─► current ◄─────── the newer one is retired ────── replaced
              ├────────────── a newer one is added ───────────►│
              └─ retire ─► retired, for good ◄──── retire ─────┘

Each is one statement in one transaction, so nothing is ever between two of them. A link in the settings is
the version that was there before all others. The slot of allies holds one version for each title.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from urllib.parse import urlsplit

from sqlalchemy import BigInteger, CheckConstraint, Select, String, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import audit, contacts
from lists.contacts import LANGUAGES
from lists.db import Base, PrimaryKey, Timestamp, UtcDateTime
from lists.errors import BadInput, Conflict, NotFound
from mailer.library.file_store import StoredFile
from mailer.policy import RESOURCES
from mailer.settings.loading import Resources

MULTIPLE_SLOTS = frozenset(
    {"allies"}
)  # slots that hold one version for each title, and so have a page of their own
TITLE_LENGTH, NOTE_LENGTH, LINK_LENGTH = 120, 300, 1_000  # characters
MOST_VERSIONS = 500  # that are not retired
MISSING_LINK = "missing link: "  # why a message is held that would lead to nothing; the fields follow
EARLIEST_DAY = "1990-01-01"  # a date before this is a slip of the hand

_LINK = re.compile(r"[!#$%&'()*+,./0-9:;=?@A-Z_a-z~-]+")  # RFC 3986, section 2, without what hosts need
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.IGNORECASE)


class ResourceVersion(Base):
    """One version of a resource in one language; `dated` is a day such as "2026-11-22".

    `file` is the hash of a kept file, `kind` its type such as "pdf" and `size` its octets; a link has none.
    """

    __tablename__ = "resource_versions"
    __table_args__ = (
        CheckConstraint(f"language IN {LANGUAGES}", name="language"),
        CheckConstraint("(link = '') <> (file = '')", name="link_or_file"),
        {"sqlite_autoincrement": True},  # a number that staff noted down never means another version
    )

    id: Mapped[PrimaryKey]
    slot: Mapped[str] = mapped_column(String(20))
    language: Mapped[str] = mapped_column(String(2))
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    note: Mapped[str] = mapped_column(String(NOTE_LENGTH))
    link: Mapped[str] = mapped_column(String(LINK_LENGTH))
    file: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(5))
    size: Mapped[int] = mapped_column(BigInteger)
    dated: Mapped[str] = mapped_column(String(10))
    added_at: Mapped[Timestamp]
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


@dataclass(frozen=True, kw_only=True)
class CurrentVersion:
    """What stands in a slot in one language; `number` is None for a link in the settings."""

    slot: str
    language: str
    link: str = ""
    title: str = ""
    note: str = ""
    file: str = ""
    kind: str = ""
    size: int = 0
    dated: str = ""
    number: int | None = None

    @property
    def name(self) -> str:
        """Return the name under which its file is saved, made of nothing that anybody typed."""
        return f"{self.slot}-{self.language}.{self.kind}"


@dataclass(frozen=True, kw_only=True)
class ResourceLibrary:
    """All slots as this installation has them: `links` are those of the settings, `home` the public address.

    In a try-out no slot is empty: a page marked SAMPLE stands in for what is missing.
    """

    links: Resources
    home: str
    tryout: bool

    def build_url(self, slot: str, language: str) -> str:
        """Return the address that always leads to what stands in a slot at the time of the visit."""
        return f"{self.home}/r/{slot}?lang={language}"

    def list_current(self, session: Session) -> Sequence[CurrentVersion]:
        """Return what stands in every slot, in every language, in the order of the slots and then of age."""
        found = {_replacement_key(each): each for each in self._versions_from_settings()}
        for row in session.scalars(_SELECT_CURRENT):
            version = _build_version(row)
            found[_replacement_key(version)] = version
        return sorted(found.values(), key=lambda each: (RESOURCES.index(each.slot), each.number or 0))

    def list_for_language(self, session: Session, language: str) -> Mapping[str, Sequence[CurrentVersion]]:
        """Return what a reader of a language finds in each slot: in that language where there is one."""
        return _choose_for_language(self.list_current(session), language)

    def list_empty_fields(self, session: Session) -> frozenset[str]:
        """Return the fields of templates, such as `toolkit_url`, that would lead to nothing now."""
        if self.tryout:
            return frozenset()
        filled = set(session.scalars(_SELECT_FILLED_SLOTS))
        filled |= {version.slot for version in self._versions_from_settings()}
        return frozenset(f"{slot}_url" for slot in RESOURCES if slot not in filled)

    def build_language_notes(
        self, session: Session, *, in_other: Mapping[str, Mapping[str, str]]
    ) -> dict[str, dict[str, str]]:
        """Return, by the reader's language, the fields that say in which other language a resource is.

        `in_other` is what to tell such a reader for each language. The page of a slot with several says it
        for each of them.
        """
        standing = self.list_current(session)
        noted: dict[str, dict[str, str]] = {language: {} for language in in_other}
        for language, said in in_other.items():
            for slot, versions in _choose_for_language(standing, language).items():
                foreign = slot not in MULTIPLE_SLOTS and any(
                    version.language != language for version in versions
                )
                noted[language][f"{slot}_note"] = said[versions[0].language] if foreign else ""
        return noted

    def _versions_from_settings(self) -> Iterable[CurrentVersion]:
        for slot in RESOURCES:
            for language in LANGUAGES:
                link = getattr(self.links[slot], language)
                if link:
                    yield CurrentVersion(slot=slot, language=language, link=link)


def add(
    session: Session,
    slot: str,
    *,
    language: str,
    now: datetime,
    actor: str,
    link: str = "",
    stored_file: StoredFile | None = None,
    title: str = "",
    note: str = "",
    dated: str = "",
) -> ResourceVersion:
    """Put a new version into a slot: a link, or a file that was deposited; it is dated today by default.

    Raises BadInput for what cannot be meant, Conflict when there are too many versions.
    """
    if slot not in RESOURCES:
        raise BadInput(f"There is no resource called “{slot[:40]}”. They are: {', '.join(RESOURCES)}.")
    if bool(link) == (stored_file is not None):
        raise BadInput("Give either a link or a file.")
    if language not in LANGUAGES:
        raise BadInput(f"“{language[:10]}” is not a language of this service. Write en or es.")
    title = contacts.clean(title, label="title", limit=TITLE_LENGTH)
    if slot in MULTIPLE_SLOTS and not title:
        raise BadInput(f"{slot} holds many links, so each needs a title: add --title.")
    if slot in MULTIPLE_SLOTS and stored_file is not None:
        raise BadInput(f"What others wrote is linked and not copied: {slot} takes links only.")
    if (
        session.scalar(select(func.count()).select_from(_select_unretired().subquery())) or 0
    ) >= MOST_VERSIONS:
        raise Conflict(
            f"There are {MOST_VERSIONS} versions. Retire old ones first: “mailer resource retire”."
        )
    version = ResourceVersion(
        slot=slot,
        language=language,
        title=title,
        note=contacts.clean(note, label="note", limit=NOTE_LENGTH),
        link=check_link(link) if link else "",
        file=stored_file.digest if stored_file else "",
        kind=stored_file.kind if stored_file else "",
        size=stored_file.size if stored_file else 0,
        dated=parse_day(dated, now=now) if dated else now.date().isoformat(),
        added_at=now,
    )
    session.add(version)
    session.flush()
    audit.record(session, actor=actor, action="resource add", subject=f"resource {version.id}", now=now)
    return version


def retire(session: Session, number: int, *, now: datetime, actor: str) -> ResourceVersion:
    """Take a version out for good; the one before it stands in the slot again. Raises NotFound, Conflict."""
    version = get(session, number)
    if version.retired_at is not None:
        raise Conflict(f"Version {number} was retired on {version.retired_at:%B %-d, %Y} already.")
    version.retired_at = now
    audit.record(session, actor=actor, action="resource retire", subject=f"resource {number}", now=now)
    return version


def get(session: Session, number: int) -> ResourceVersion:
    """Return one version; raises NotFound."""
    version = session.get(ResourceVersion, number)
    if version is None:
        raise NotFound(f"There is no version {number}. “mailer resource list --all” shows them.")
    return version


def list_versions(session: Session, slot: str | None = None) -> Sequence[ResourceVersion]:
    """Return every version there ever was, of one slot or of all, the newest first."""
    newest = select(ResourceVersion).order_by(ResourceVersion.id.desc())
    return session.scalars(newest if slot is None else newest.where(ResourceVersion.slot == slot)).all()


def list_needed_files(session: Session) -> frozenset[str]:
    """Return the hashes of the files that some version still needs."""
    needed = _select_unretired().with_only_columns(ResourceVersion.file).where(ResourceVersion.file != "")
    return frozenset(session.scalars(needed.distinct()))


def check_link(link: str) -> str:
    """Return a link that people can be sent to; raises BadInput.

    Only https, so that nobody on the way learns or changes what is read; the host in plain letters, because
    letters of other scripts look like those of a name that people trust.
    """
    try:
        parts = urlsplit(link)
        plain = parts.scheme == "https" and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        plain = False
    if not plain or "@" in parts.netloc or not _LINK.fullmatch(link):
        raise BadInput(
            "The link cannot be used. It must begin with https:// and a name in plain letters, such as"
            " example.org, and hold no space, no password and no special sign."
        )
    if len(link) > LINK_LENGTH:
        raise BadInput(f"The link is longer than {LINK_LENGTH} characters.")
    return link


def parse_day(text: str, *, now: datetime) -> str:
    """Return a day such as “2026-11-22” as it was typed; raises BadInput for another form and the future."""
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            raise ValueError
        date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"“{text[:20]}” is not a date. Write year-month-day, like 2026-11-22.") from None
    if not EARLIEST_DAY <= text <= now.date().isoformat():
        raise BadInput(f"{text} is not a day between {EARLIEST_DAY} and today. Please check it.")
    return text


def _select_unretired() -> Select[ResourceVersion]:
    return select(ResourceVersion).where(ResourceVersion.retired_at.is_(None))


_SELECT_CURRENT = _select_unretired().order_by(ResourceVersion.id)
_SELECT_FILLED_SLOTS = (
    _select_unretired().with_only_columns(ResourceVersion.slot).distinct()
)  # asked for each few messages


def _choose_for_language(
    versions: Sequence[CurrentVersion], language: str
) -> Mapping[str, Sequence[CurrentVersion]]:
    chosen: dict[tuple[str, str], CurrentVersion] = {}
    for version in versions:
        slot, _, title = _replacement_key(version)
        if (slot, title) not in chosen or version.language == language:
            chosen[slot, title] = version
    return {slot: [each for each in chosen.values() if each.slot == slot] for slot in RESOURCES}


def _build_version(row: ResourceVersion) -> CurrentVersion:
    return CurrentVersion(
        slot=row.slot,
        language=row.language,
        link=row.link,
        title=row.title,
        note=row.note,
        file=row.file,
        kind=row.kind,
        size=row.size,
        dated=row.dated,
        number=row.id,
    )


def _replacement_key(version: CurrentVersion) -> tuple[str, str, str]:
    """Return what a newer version must share to replace this one."""
    return (version.slot, version.language, version.title if version.slot in MULTIPLE_SLOTS else "")
