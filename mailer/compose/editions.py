"""Editions: the shipped templates as this installation sends them, frozen at their first use."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from lists.contacts import LANGUAGES
from lists.errors import BadInput
from mailer.library.resources import ResourceLibrary
from mailer.policy import POLICY
from mailer.templates import rendering, templates
from mailer.templates.rendering import Frame, RenderedMessage
from mailer.templates.templates import Edition, Template, get_renderer


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

    def get_current_id(self, session: Session, name: str, kind: str, *, now: datetime) -> int:
        """Return the id of the present edition of the template of this name and kind."""
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
        return templates.freeze_edition(
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
