"""Resources: slots that mails and pages link to, their versions, and which of them is current.

The slots are policy.RESOURCES. A version is a link, or a file stored by its hash
(mailer/library/file_store.py), in one language. The newest version of a language is current in its slot until
a newer one replaces it:

    add ─► current ◄─────── the newer one is retired ────── replaced
              ├────────────── a newer one is added ───────────►│
              └─ retire ─► retired, for good ◄──── retire ─────┘

Each change is one statement in one transaction, so no version is ever between two states. A link in the
settings is older than all other versions. The slot of allies holds one version for each title.
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
MAX_VERSIONS = 500  # that are not retired
EARLIEST_DAY = "1990-01-01"  # a date before this is a typing error

_LINK = re.compile(r"[!#$%&'()*+,./0-9:;=?@A-Z_a-z~-]+")  # RFC 3986, section 2, without what hosts need
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.IGNORECASE)


class ResourceVersion(Base):
    """One version of a resource in one language; `dated` is a day such as "2026-11-22".

    `file` is the hash of a stored file, `kind` its type such as "pdf" and `size` its octets; a link has none.
    """

    __tablename__ = "resource_versions"
    __table_args__ = (
        CheckConstraint(f"language IN {LANGUAGES}", name="language"),
        CheckConstraint("(link = '') <> (file = '')", name="link_or_file"),
        {"sqlite_autoincrement": True},  # a number that staff wrote down never means another version
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
    """The current version of a slot in one language; `number` is None for a link in the settings."""

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
        """Return the name under which its file is saved; no part of it was typed by a person."""
        return f"{self.slot}-{self.language}.{self.kind}"


@dataclass(frozen=True, kw_only=True)
class ResourceLibrary:
    """All slots of this installation: `links` are those of the settings, `home` the public address.

    In a try-out no slot is empty: a page marked SAMPLE replaces a missing version.
    """

    links: Resources
    home: str
    tryout: bool

    def build_url(self, slot: str, language: str) -> str:
        """Return the address that redirects to the version of a slot that is current when it is opened."""
        return f"{self.home}/r/{slot}?lang={language}"

    def list_current(self, session: Session) -> Sequence[CurrentVersion]:
        """Return the current versions of all slots and languages, in the order of the slots, then of age."""
        current = {_replacement_key(version): version for version in self._versions_from_settings()}
        for row in session.scalars(_SELECT_CURRENT):
            version = _build_version(row)
            current[_replacement_key(version)] = version
        return sorted(
            current.values(), key=lambda version: (RESOURCES.index(version.slot), version.number or 0)
        )

    def list_for_language(self, session: Session, language: str) -> Mapping[str, Sequence[CurrentVersion]]:
        """Return the versions of each slot for a reader of a language: in that language where possible."""
        return _choose_for_language(self.list_current(session), language)

    def list_empty_fields(self, session: Session) -> frozenset[str]:
        """Return the fields of templates, such as `toolkit_url`, whose slots are empty now."""
        if self.tryout:
            return frozenset()
        filled_slots = set(session.scalars(_SELECT_FILLED_SLOTS))
        filled_slots |= {version.slot for version in self._versions_from_settings()}
        return frozenset(f"{slot}_url" for slot in RESOURCES if slot not in filled_slots)

    def build_language_notes(
        self, session: Session, *, in_other: Mapping[str, Mapping[str, str]]
    ) -> dict[str, dict[str, str]]:
        """Return, by the reader's language, the fields that name the other language of a resource.

        `in_other` holds the note for such a reader for each language. A slot with several versions has none,
        because its page has a note for each of them.
        """
        current = self.list_current(session)
        notes: dict[str, dict[str, str]] = {language: {} for language in in_other}
        for language, sentences in in_other.items():
            for slot, versions in _choose_for_language(current, language).items():
                is_foreign = slot not in MULTIPLE_SLOTS and any(
                    version.language != language for version in versions
                )
                notes[language][f"{slot}_note"] = sentences[versions[0].language] if is_foreign else ""
        return notes

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
    """Add a version to a slot: a link, or a stored file; it is dated today by default.

    Raises BadInput for invalid values, Conflict when there are too many versions.
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
    ) >= MAX_VERSIONS:
        raise Conflict(f"There are {MAX_VERSIONS} versions. Retire old ones first: “mailer resource retire”.")
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
    """Retire a version for good; the one before it is current again. Raises NotFound, Conflict."""
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
    """Return all versions, retired ones too, of one slot or of all, the newest first."""
    query = select(ResourceVersion).order_by(ResourceVersion.id.desc())
    return session.scalars(query if slot is None else query.where(ResourceVersion.slot == slot)).all()


def list_needed_files(session: Session) -> frozenset[str]:
    """Return the hashes of the files that some version still needs."""
    query = _select_unretired().with_only_columns(ResourceVersion.file).where(ResourceVersion.file != "")
    return frozenset(session.scalars(query.distinct()))


def check_link(link: str) -> str:
    """Return a link that is safe to show to readers; raises BadInput.

    Only https, so that no party in between can read or change the page; the host in plain letters, because
    letters of other scripts look like those of a name that people trust.
    """
    try:
        parts = urlsplit(link)
        is_plain = parts.scheme == "https" and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        is_plain = False
    if not is_plain or "@" in parts.netloc or not _LINK.fullmatch(link):
        raise BadInput(
            "The link cannot be used. It must begin with https:// and a name in plain letters, such as"
            " example.org, and hold no space, no password and no special sign."
        )
    if len(link) > LINK_LENGTH:
        raise BadInput(f"The link is longer than {LINK_LENGTH} characters.")
    return link


def parse_day(text: str, *, now: datetime) -> str:
    """Return a day such as “2026-11-22” unchanged; raises BadInput for another form and the future."""
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
)  # runs for every few messages


def _choose_for_language(
    versions: Sequence[CurrentVersion], language: str
) -> Mapping[str, Sequence[CurrentVersion]]:
    selected: dict[tuple[str, str], CurrentVersion] = {}
    for version in versions:
        slot, _, title = _replacement_key(version)
        if (slot, title) not in selected or version.language == language:
            selected[slot, title] = version
    return {slot: [version for version in selected.values() if version.slot == slot] for slot in RESOURCES}


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
    """Return the values that a newer version must share to replace this one."""
    return (version.slot, version.language, version.title if version.slot in MULTIPLE_SLOTS else "")
