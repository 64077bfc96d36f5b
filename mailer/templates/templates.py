"""Templates: the texts of emails as read from files: front matter, body, sections of two languages."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lists.contacts import LANGUAGES
from lists.errors import BadInput, BrokenTemplate, NotFound
from mailer.templates import front_matter
from mailer.templates.rendering import Frame, TemplateSource

MAX_BYTES = 200_000
LAYOUT = "_layout"

_LANGUAGE_NAMES = {"en": "English", "es": "Spanish"}
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*(?:/[a-z0-9]+(?:-[a-z0-9]+)*)*")
_SECTION = re.compile(r"\s*<!--\s*([a-z]{2})\s*-->\s*", re.IGNORECASE)
_TOML_LINE = re.compile(r"at line (\d+)")


@dataclass(frozen=True, kw_only=True)
class Template:
    """An email text under its name, such as `welcome/toolkit`, in each of its languages."""

    name: str
    sources: Mapping[str, TemplateSource]


def read(path: Path) -> str:
    """Return the text of a file in UTF-8, at most 200 kB.

    Raises NotFound when there is none, BrokenTemplate when it is too large or not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadInput(f"{path} is not a file. Name a file of text.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise NotFound(f"There is no file {path}.") from error
    except OSError as error:
        raise BadInput(f"The file {path} cannot be read by this account: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise BrokenTemplate(_TOO_LARGE, path=path, line=1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BrokenTemplate(_NOT_UTF8, path=path, line=line) from error
    if "\0" in text:
        raise BrokenTemplate(_NOT_UTF8, path=path, line=text.count("\n", 0, text.index("\0")) + 1)
    return text


_TOO_LARGE = f"The file is larger than {MAX_BYTES // 1000} kB. An email holds words only; shorten it."
_NOT_UTF8 = "This line is not UTF-8 text. Save the file again and choose the encoding UTF-8."


def load(folder: Path, name: str) -> Template:
    """Read `<name>/<language>.md` in every language that exists.

    Raises BadInput for a name that leads out of the folder, NotFound for one without files, BrokenTemplate
    for a bad file.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"“{name[:60]}” is not the name of a template; names look like welcome/toolkit.")
    root = folder.resolve()
    sources = {}
    for language in LANGUAGES:
        path = folder / name / f"{language}.md"
        if path.is_file():
            if not path.resolve().is_relative_to(root):
                raise BadInput(f"The template {name} leads out of its folder.")
            sources[language] = parse(read(path), path=_display_path(path))
    if not sources:
        raise NotFound(f"There is no template {name} in {folder}.")
    return Template(name=name, sources=sources)


def _display_path(path: Path) -> str:
    """Return a path for error messages: from the folder `templates` on, where it is in one."""
    parts = path.parts
    return "/".join(parts[parts.index("templates") :]) if "templates" in parts else path.as_posix()


def parse(text: str, *, path: str) -> TemplateSource:
    """Parse a template in one language: front matter with subject and preview, then the body."""
    document = _read_front_matter(text, path=path, keys=("subject", "preview"))
    for key, value in document.values.items():
        if value.nested:
            raise BrokenTemplate(
                f"This file has one language. Write the {key} on one line.", path=path, line=value.line
            )
    return _build_source(document, path=path, body=document.body, first_line=document.first_line)


def parse_update(text: str, *, path: str) -> dict[str, TemplateSource]:
    """Parse an update: one language, or a subject per language and a section for each under `<!-- es -->`.

    Raises BrokenTemplate with the line of anything that is missing or contradictory.
    """
    document = _read_front_matter(text, path=path, keys=("subject", "preview", "language"))
    subject = document.values["subject"]
    sections = _split_sections(document, path=path)
    if subject.nested:
        languages = tuple(subject.nested)
        if "language" in document.values:
            line = document.values["language"].line
            raise BrokenTemplate(
                'Take the line "language" out: the subject already names its languages.', path=path, line=line
            )
    else:
        languages = (_choose_language(document, sections, path=path),)
        sections = sections or {languages[0]: (document.body, document.first_line)}
    _check_languages(document, languages, sections, path=path)
    return {
        language: _build_source(
            document,
            path=path,
            body=sections[language][0],
            first_line=sections[language][1],
            language=language,
        )
        for language in LANGUAGES
        if language in languages
    }


def load_frame(folder: Path, language: str) -> Frame:
    """Read the frame of every email of a language from `_layout` in the folder of the email templates."""
    if language not in LANGUAGES:
        raise BadInput(f"“{language[:20]}” is not a language of this service. It has en and es.")
    layout = folder / LAYOUT
    path = layout / f"words.{language}.toml"
    try:
        words = tomllib.loads(read(path))
    except tomllib.TOMLDecodeError as error:
        match = _TOML_LINE.search(str(error))
        raise BrokenTemplate(
            f"{error}.", path=_display_path(path), line=int(match[1]) if match else 1
        ) from error
    for key, value in words.items():
        if not isinstance(value, str):
            raise BrokenTemplate(f"“{key}” must be a text in quotes.", path=_display_path(path), line=1)
    return Frame(
        html=read(layout / "frame.html"),
        text=read(layout / "frame.txt"),
        css=read(layout / "mail.css"),
        words=words,
        path=_display_path(layout),
    )


def _read_front_matter(text: str, *, path: str, keys: tuple[str, ...]) -> front_matter.FrontMatter:
    """Parse the front matter; raises BrokenTemplate without a subject in it or a body below it."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise BrokenTemplate(_TOO_LARGE, path=path, line=1)
    document = front_matter.read(text, path=path, keys=keys)
    subject = document.values.get("subject")
    if subject is None or not (subject.value or subject.nested):
        line = subject.line if subject else 1
        raise BrokenTemplate(
            'The subject is missing. Add a line "subject: …" at the top.', path=path, line=line
        )
    for language, value in subject.nested.items():
        if language in LANGUAGES and not value.value:
            raise BrokenTemplate("The subject is empty.", path=path, line=value.line)
    if not document.body.strip():
        raise BrokenTemplate(
            "There is no text below the lines at the top.",
            path=path,
            line=document.first_line,
        )
    return document


def _build_source(
    document: front_matter.FrontMatter, *, path: str, body: str, first_line: int, language: str = ""
) -> TemplateSource:
    """Return one language of a text."""
    subject = document.values["subject"]
    subject = subject.nested.get(language, subject)
    preview = document.values.get("preview", front_matter.FrontMatterValue(value="", line=subject.line))
    preview = preview.nested.get(language, preview)
    return TemplateSource(
        subject=subject.value,
        preview=preview.value,
        body=body,
        path=path,
        first_line=first_line,
        subject_line=subject.line,
        preview_line=preview.line,
    )


def _choose_language(
    document: front_matter.FrontMatter, sections: Mapping[str, tuple[str, int]], *, path: str
) -> str:
    """Return the language of an update with one subject: from its front matter, else its only section's."""
    entry = document.values.get("language")
    if entry is None:
        return next(iter(sections)) if len(sections) == 1 else LANGUAGES[0]
    language = entry.value.lower()
    if language not in LANGUAGES:
        raise BrokenTemplate(
            f"“{entry.value}” is not a language of this service. Write en or es.", path=path, line=entry.line
        )
    return language


def _split_sections(document: front_matter.FrontMatter, *, path: str) -> dict[str, tuple[str, int]]:
    """Return each language's part of the body and its first line; empty without any `<!-- en -->`."""
    lines = document.body.split("\n")
    marks = [
        (number, match[1].lower()) for number, line in enumerate(lines) if (match := _SECTION.fullmatch(line))
    ]
    if not marks:
        return {}
    first = document.first_line
    for number, words in enumerate(lines[: marks[0][0]]):
        if words.strip():
            raise BrokenTemplate(
                "This text belongs to no language. Put it below <!-- en --> or <!-- es -->.",
                path=path,
                line=first + number,
            )
    sections: dict[str, tuple[str, int]] = {}
    ends = [number for number, _ in marks[1:]] + [len(lines)]
    for (number, language), end in zip(marks, ends, strict=True):
        line = first + number
        if language not in LANGUAGES:
            raise BrokenTemplate(
                f"“{language}” is not a language of this service. Write en or es.", path=path, line=line
            )
        if language in sections:
            raise BrokenTemplate(f"The section <!-- {language} --> stands here twice.", path=path, line=line)
        body = "\n".join(lines[number + 1 : end])
        if not body.strip():
            raise BrokenTemplate(f"The section <!-- {language} --> is empty.", path=path, line=line)
        sections[language] = (body, line + 1)
    return sections


def _check_languages(
    document: front_matter.FrontMatter,
    languages: tuple[str, ...],
    sections: Mapping[str, tuple[str, int]],
    *,
    path: str,
) -> None:
    """Refuse subject, preview and sections that do not name the same languages."""
    subject, preview = document.values["subject"], document.values.get("preview")
    for language in languages:
        line = subject.nested[language].line if subject.nested else subject.line
        if language not in LANGUAGES:
            raise BrokenTemplate(
                f"“{language}” is not a language of this service. Write en or es.", path=path, line=line
            )
        if language not in sections:
            raise BrokenTemplate(
                f"The subject is given in {_LANGUAGE_NAMES[language]}, but no part of the text is. "
                f"Put it below a line <!-- {language} -->.",
                path=path,
                line=line,
            )
    for language, (_, line) in sections.items():
        if language not in languages:
            raise BrokenTemplate(
                f"This part is in {_LANGUAGE_NAMES[language]}, but there is no subject for it. Write "
                'a line "subject:" with indented lines "en: …" and "es: …" below it.',
                path=path,
                line=line - 1,
            )
    if preview is None:
        return
    has_other_languages = bool(preview.nested) and set(preview.nested) != set(languages)
    if has_other_languages or (preview.value and len(languages) > 1):
        raise BrokenTemplate("Write the preview in the subject's languages.", path=path, line=preview.line)
