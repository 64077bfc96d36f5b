"""Languages: every text that people read exists in both languages: words, emails, templates, and the code."""

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
# The phrases that are the same in both languages, and why.
SAME_IN_BOTH = {
    "form.english": "a language is named in itself, so that its readers find it",
    "form.spanish": "a language is named in itself, so that its readers find it",
    "data_page.value.no": "the word is the same",
    "data_page.value.answer_no": "the word is the same",
    "office.octets": "a unit",
    "resources.kinds.pdf": "the name of a format",
}
# Literal texts in templates, and why.
LITERAL = {
    "signup_sheet.html": {
        "English": "a language is named in itself",
        "Español": "a language is named in itself",
    },
}
# Texts with spaces in the code of the pages that no page shows, and why.
NO_SENTENCE = {
    "a page could not be made": "the log",
    "the person": "the actor of an audit entry",
    "name of the congregation": "refusals of a command",
    "Wrote it on the paper sheet of ": "evidence of consent, as staff recorded it",
    ", which says: “": "evidence of consent, as staff recorded it",
}
READ_ALOUD = ("alt", "title", "placeholder", "aria-label", "content")
WORD = re.compile(r"[^\W\d_]{2,}")
JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
ATTRIBUTE = re.compile(r'[\w-]+="[^"]*"')
MARKUP = re.compile(r"<[^>]*>|^default-src .*")
SENTENCE = re.compile(r"[^\W\d_]+ [^\W\d_]+")


def flat(content: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield from ((f"{prefix}{key}.{number}", str(item)) for number, item in enumerate(value))
        else:
            yield f"{prefix}{key}", str(value)


def read_words(folder: Path, language: str) -> dict[str, str]:
    phrases: dict[str, str] = {}
    for file in folder.glob(f"*.{language}.toml"):
        phrases |= dict(flat(tomllib.loads(file.read_text("utf-8"))))
    return phrases


def test_every_phrase_of_a_page_exists_in_both_languages() -> None:
    english, spanish = read_words(PAGES, "en"), read_words(PAGES, "es")
    assert set(english) ^ set(spanish) == set()
    same_keys = {key for key in english if english[key] == spanish[key]}
    assert same_keys - set(SAME_IN_BOTH) == set(), "translate it, or add the reason to SAME_IN_BOTH"
    assert set(SAME_IN_BOTH) <= same_keys, "SAME_IN_BOTH contains a translated phrase"


def test_every_file_of_words_exists_in_both_languages() -> None:
    for language, other in (LANGUAGES, LANGUAGES[::-1]):
        for folder in (PAGES, source.ROOT / "templates" / "email" / "_layout"):
            for file in folder.glob(f"*.{language}.toml"):
                assert file.with_name(file.name.replace(f".{language}.", f".{other}.")).exists(), file


@pytest.mark.parametrize("name", TEMPLATES)
def test_both_languages_of_an_email_use_the_same_fields(name: str) -> None:
    english, spanish = read(name, "en"), read(name, "es")
    for part in ("subject", "preview", "body"):
        english_part, spanish_part = getattr(english, part), getattr(spanish, part)
        assert english_part != spanish_part
        assert sorted(FIELD.findall(english_part)) == sorted(FIELD.findall(spanish_part)), f"{name}, {part}"
        assert sorted(TAG.findall(english_part)) == sorted(TAG.findall(spanish_part)), f"{name}, {part}"
    assert len(english.paragraphs) == len(spanish.paragraphs), name
    shared = set(english.paragraphs) & set(spanish.paragraphs)
    assert shared <= {"{{ greeting }}"} | list_wordless(english.paragraphs), name


def list_wordless(paragraphs: list[str]) -> set[str]:
    """Return the paragraphs that contain only fields and no word."""
    return {part for part in paragraphs if not WORD.search(TAG.sub("", FIELD.sub("", part)))}


class Visible(HTMLParser):
    """Collects the texts in a template that a reader sees or hears and that are not from a file of words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in ("style", "script")
        attributes = dict(attrs)
        if tag != "meta":
            self.found += [value for key in READ_ALOUD if WORD.search(value := attributes.get(key) or "")]

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        text = ATTRIBUTE.sub("", data)  # a macro may make attributes, which are outside of a tag here
        if not self._unseen and WORD.search(text):
            self.found.append(text.strip())


def literals(template: str) -> list[str]:
    parser = Visible()
    parser.feed(JINJA.sub("", template))
    return parser.found


def test_a_literal_in_a_template_is_found() -> None:
    assert literals("<p>{{ t.a.b }}</p><img alt='A map'><p>Hello <b>{% if x %}there{% endif %}</b></p>") == [
        "A map",
        "Hello",
        "there",
    ]


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_contains_a_literal_text(path: Path) -> None:
    texts = set(literals(path.read_text("utf-8")))
    assert texts - set(LITERAL.get(path.name, ())) == set(), "put it into the words of both languages"


def list_texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module that are neither a docstring nor a refusal, which the pages never show."""
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
def test_the_code_contains_no_sentence_of_a_page(path: Path) -> None:
    texts = set(list_texts(ast.parse(path.read_text("utf-8"))))
    sentences = {text for text in texts if SENTENCE.search(MARKUP.sub("", text))}
    assert sentences - set(NO_SENTENCE) == set(), "put it into the words of both languages"
