"""Editions: templates with their frame and shared values, frozen at their first use, and rendered."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import JSON, LargeBinary, String, UniqueConstraint, bindparam, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import LANGUAGES
from lists.db import Base, PrimaryKey, Timestamp, insert_or_nothing
from lists.errors import BadInput
from mailer.library.resources import ResourceLibrary
from mailer.policy import POLICY
from mailer.templates import rendering, templates
from mailer.templates.rendering import CompiledTemplate, EditionRenderer, Frame, RenderedMessage
from mailer.templates.templates import Template

_FORMAT = 1  # raise it when the same files compile to something else, so that new editions are made
_MAX_RENDERERS = 256


class Edition(Base):
    """A template as it was compiled at its first use, shared by all messages; never changed afterwards.

    `content` holds subject, text, html and names for each language, `shared` the values for each language.
    """

    __tablename__ = "editions"
    __table_args__ = (UniqueConstraint("name", "digest"),)

    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[bytes] = mapped_column(LargeBinary(16))
    created_at: Mapped[Timestamp]
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    shared: Mapped[dict[str, dict[str, str]]] = mapped_column(JSON)


@dataclass(frozen=True, kw_only=True)
class Editions:
    """Every template by name, the frames, and the values that are the same for all readers of a language.

    `kinds` maps each template's name to its kind. The resource library changes while the service runs, so
    each edition reads it anew.
    """

    templates: Mapping[str, Template]
    kinds: Mapping[str, str]
    frames: Mapping[str, Frame]
    shared: Mapping[str, Mapping[str, str]]
    library: ResourceLibrary

    def check(self) -> None:
        """Compile every template when the service starts, so that a broken one is found before it is used.

        A command that uses one template compiles only that one. Raises BrokenTemplate with file and line.
        """
        for name, template in self.templates.items():
            for language, source in template.sources.items():
                fields = POLICY[self.kinds[name]].fields
                rendering.compile_template(source, frame=self.frames[language], fields=fields)

    def freeze_current(self, session: Session, name: str, kind: str, *, now: datetime) -> int:
        """Return the id of the edition of a shipped template as it is now, frozen if it is new."""
        return self.freeze(session, self.templates[name], kind, now=now).id

    def freeze(
        self,
        session: Session,
        template: Template,
        kind: str,
        *,
        now: datetime,
        values: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Edition:
        """Return the edition of a template with the present frame and shared values; creates it if new.

        `values` are, by language, the values that are the same for all readers of this one template. Raises
        BrokenTemplate for a template that cannot be used for this kind.
        """
        template_values, notes = values or {}, self._build_language_notes(session)
        return freeze_edition(
            session,
            template,
            frames=self.frames,
            fields=POLICY[kind].fields,
            shared={
                language: {**shared, **notes[language], **template_values.get(language, {})}
                for language, shared in self.shared.items()
            },
            now=now,
        )

    def preview(self, edition: Edition, language: str, *, sample: Mapping[str, str]) -> RenderedMessage:
        """Render an edition for a sample reader, without discreet mail unless `sample` sets it."""
        fields = add_greeting(edition, language, {"discreet": "", **sample})
        return get_renderer(edition, language).render(fields)

    def _build_language_notes(self, session: Session) -> Mapping[str, Mapping[str, str]]:
        frame_words = {language: self.frames[language].words for language in self.shared}
        in_other = {
            language: {"en": words["in_english"], "es": words["in_spanish"]}
            for language, words in frame_words.items()
        }
        return self.library.build_language_notes(session, in_other=in_other)


def add_greeting(edition: Edition, language: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of one reader with the greeting that goes with the name."""
    shared = edition.shared.get(language) or next(iter(edition.shared.values()))
    name = fields.get("name", "")
    greeting = shared["greeting_named"].replace("{{ name }}", name) if name else shared["greeting_plain"]
    return {**fields, "greeting": greeting}


def load(
    folder: Path,
    *,
    kinds: Mapping[str, str],
    frames: Mapping[str, Frame],
    shared: Mapping[str, Mapping[str, str]],
    library: ResourceLibrary,
) -> Editions:
    """Load every template below `folder`; `kinds` maps each name to its kind.

    Raises BrokenTemplate with file and line for the first that cannot be read, and BadInput for a template
    that is missing in a language.
    """
    loaded = {name: templates.load(folder, name) for name in kinds}
    for name, template in loaded.items():
        for language in LANGUAGES:
            if language not in template.sources:
                raise BadInput(
                    f"The template {name} has no {language}.md; every template speaks both languages."
                )
    return Editions(templates=loaded, kinds=kinds, frames=frames, shared=shared, library=library)


def freeze_edition(
    session: Session,
    template: Template,
    *,
    frames: Mapping[str, Frame],
    fields: frozenset[str],
    shared: Mapping[str, Mapping[str, str]],
    now: datetime,
) -> Edition:
    """Return the edition of exactly this wording, frame and shared values, frozen now if it is new.

    Two processes that freeze the same at once get the same one. Raises BrokenTemplate when the template
    cannot be compiled.
    """
    digest = _digest(template, frames=frames, shared=shared)
    key = {"template": template.name, "content_digest": digest}
    edition = session.scalars(_SELECT_EDITION, key).one_or_none()
    if edition is not None:
        return edition
    content = {}
    for language, source in template.sources.items():
        compiled = rendering.compile_template(source, frame=frames[language], fields=fields)
        content[language] = {
            "subject": compiled.subject,
            "text": compiled.text,
            "html": compiled.html,
            "names": sorted(compiled.names),
        }
    row = {
        "name": template.name,
        "digest": digest,
        "created_at": now,
        "content": content,
        "shared": {language: dict(shared.get(language, {})) for language in template.sources},
    }
    insert_or_nothing(session, Edition, [row])
    return session.scalars(_SELECT_EDITION, key).one()


def get_renderer(edition: Edition, language: str) -> EditionRenderer:
    """Return the renderer of an edition in a language, else in English, else in its only one; cached."""
    content = edition.content
    content_language = next(
        (candidate for candidate in (language, LANGUAGES[0]) if candidate in content), next(iter(content))
    )
    key = (edition.name, edition.digest, content_language)
    with _lock:
        renderer = _renderers.pop(key, None)
        if renderer is None:
            part = content[content_language]
            compiled = CompiledTemplate(
                subject=part["subject"], text=part["text"], html=part["html"], names=frozenset(part["names"])
            )
            renderer = EditionRenderer(compiled, edition.shared.get(content_language, {}))
        _renderers[key] = renderer
        if len(_renderers) > _MAX_RENDERERS:
            del _renderers[next(iter(_renderers))]
    return renderer


_SELECT_EDITION = select(Edition).where(
    Edition.name == bindparam("template"), Edition.digest == bindparam("content_digest")
)
_renderers: dict[tuple[str, bytes, str], EditionRenderer] = {}  # the least recently used comes first
_lock = Lock()


def _digest(
    template: Template, *, frames: Mapping[str, Frame], shared: Mapping[str, Mapping[str, str]]
) -> bytes:
    """Return 16 bytes that differ when anything visible to a reader differs."""
    parts: list[Any] = [_FORMAT]
    for language, source in sorted(template.sources.items()):
        frame = frames[language]
        parts.append(
            [language, source.subject, source.preview, source.body, frame.html, frame.text, frame.css]
        )
        parts.append([sorted(frame.words.items()), sorted(shared.get(language, {}).items())])
    return hashlib.sha256(json.dumps(parts).encode()).digest()[:16]
