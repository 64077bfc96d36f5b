"""Nothing that people read is left in one language: words, letters, templates, and what the code says."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.guards import source
from tests.guards.test_texts import FIELD, TAG, TEMPLATES, read

PAGES = source.ROOT / "templates" / "web"
WEB = source.ROOT / "mailer" / "web"
LANGUAGES = ("en", "es")
# The words that are the same in both languages, and why.
SAME = {
    "form.english": "a language is named in itself, so that whoever reads it finds it",
    "form.spanish": "a language is named in itself, so that whoever reads it finds it",
    "known.value.no": "the word is the same",
    "known.value.answer_no": "the word is the same",
    "office.octets": "a unit",
    "resources.kinds.pdf": "the name of a format",
}
# What stands in a template itself, and why.
LITERAL = {
    "sheet.html": {"English": "a language is named in itself", "Español": "a language is named in itself"},
}
# Texts with blanks in the code of the pages that no page shows in its own words, and why.
NO_SENTENCE = {
    "a page could not be made": "the log",
    "the person": "who did it, in the audit",
    "name of the congregation": "refusals of a command",
    "Wrote it on the paper sheet of ": "evidence of consent, as staff wrote it down",
    ", which says: “": "evidence of consent, as staff wrote it down",
}
READ_ALOUD = ("alt", "title", "placeholder", "aria-label", "content")
LETTERS = re.compile(r"[^\W\d_]{2,}")
JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
ATTRIBUTE = re.compile(r'[\w-]+="[^"]*"')
MARKUP = re.compile(r"<[^>]*>|^default-src .*")
SENTENCE = re.compile(r"[^\W\d_]+ [^\W\d_]+")


def flat(content: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield from ((f"{prefix}{key}.{number}", str(each)) for number, each in enumerate(value))
        else:
            yield f"{prefix}{key}", str(value)


def words(folder: Path, language: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in folder.glob(f"*.{language}.toml"):
        found |= dict(flat(tomllib.loads(file.read_text("utf-8"))))
    return found


def test_every_phrase_of_a_page_is_there_in_both_languages() -> None:
    english, spanish = words(PAGES, "en"), words(PAGES, "es")
    assert set(english) ^ set(spanish) == set()
    same = {key for key in english if english[key] == spanish[key]}
    assert same - set(SAME) == set(), "translate it, or say in SAME why it is the same"
    assert set(SAME) <= same, "SAME names what is translated by now"


def test_every_file_of_words_has_its_twin() -> None:
    for language, other in (LANGUAGES, LANGUAGES[::-1]):
        for folder in (PAGES, source.ROOT / "templates" / "email" / "_layout"):
            for file in folder.glob(f"*.{language}.toml"):
                assert file.with_name(file.name.replace(f".{language}.", f".{other}.")).exists(), file


@pytest.mark.parametrize("name", TEMPLATES)
def test_both_editions_of_a_letter_say_the_same_with_the_same_fields(name: str) -> None:
    english, spanish = read(name, "en"), read(name, "es")
    for part in ("subject", "preview", "body"):
        one, other = getattr(english, part), getattr(spanish, part)
        assert one != other
        assert sorted(FIELD.findall(one)) == sorted(FIELD.findall(other)), f"{name}, {part}"
        assert sorted(TAG.findall(one)) == sorted(TAG.findall(other)), f"{name}, {part}"
    assert len(english.paragraphs) == len(spanish.paragraphs), name
    shared = set(english.paragraphs) & set(spanish.paragraphs)
    assert shared <= {"{{ greeting }}"} | own(english.paragraphs), name


def own(paragraphs: list[str]) -> set[str]:
    """Paragraphs that hold fields alone and not one word."""
    return {part for part in paragraphs if not LETTERS.search(TAG.sub("", FIELD.sub("", part)))}


class Visible(HTMLParser):
    """Collects what a reader of a template sees or hears that does not come from the words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in ("style", "script")
        told = dict(attrs)
        if tag != "meta":
            self.found += [value for key in READ_ALOUD if LETTERS.search(value := told.get(key) or "")]

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        told = ATTRIBUTE.sub("", data)  # a macro may make some, which stand outside a tag here
        if not self._unseen and LETTERS.search(told):
            self.found.append(told.strip())


def literals(template: str) -> list[str]:
    seen = Visible()
    seen.feed(JINJA.sub("", template))
    return seen.found


def test_a_literal_in_a_template_is_found() -> None:
    assert literals("<p>{{ t.a.b }}</p><img alt='A map'><p>Hello <b>{% if x %}there{% endif %}</b></p>") == [
        "A map",
        "Hello",
        "there",
    ]


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_speaks_by_itself(path: Path) -> None:
    left = set(literals(path.read_text("utf-8")))
    assert left - set(LITERAL.get(path.name, ())) == set(), "put it into the words of both languages"


def said(tree: ast.Module) -> Iterator[str]:
    """Texts with blanks in a module that are no docstring and no refusal, which the doors never show."""
    hidden: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            hidden |= {id(inner) for inner in ast.walk(node)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            hidden.add(id(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in hidden:
            yield node.value


@pytest.mark.parametrize("path", sorted(WEB.rglob("*.py")), ids=lambda path: path.name)
def test_no_page_is_told_a_sentence_by_the_code(path: Path) -> None:
    texts = set(said(ast.parse(path.read_text("utf-8"))))
    sentences = {text for text in texts if SENTENCE.search(MARKUP.sub("", text))}
    assert sentences - set(NO_SENTENCE) == set(), "put it into the words of both languages"
