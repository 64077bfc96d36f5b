"""Templates: files are parsed the way people write them; an edition is frozen at its first use."""

from datetime import UTC, datetime
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from lists.contacts import LANGUAGES
from lists.db import Database
from lists.errors import BadInput, BrokenTemplate, MailerError, NotFound
from mailer.compose import editions
from mailer.compose.editions import Edition
from mailer.policy import POLICY
from mailer.templates import templates
from mailer.templates.rendering import Frame

SHIPPED = templates.Path(__file__).resolve().parents[3] / "templates" / "email"
NOW = datetime(2026, 10, 6, 12, tzinfo=UTC)
FRAMES = {
    language: Frame(html="<html><body>[[body]]</body></html>", text="[[body]]", css="", words={})
    for language in LANGUAGES
}
FIELDS = frozenset({"name", "campaign"})
SHARED = {"en": {"campaign": "Restoring Trust"}, "es": {"campaign": "Recuperar la confianza"}}
TEMPLATE_TEXT = "---\nsubject: Hello\npreview: A word\n---\nDear {{ name }}, from {{ campaign }}.\n"
UPDATE = """---
subject:
  en: News: the call moved
  es: "Noticias: cambió la llamada"
preview:
    en: One hour later
    es: Una hora más tarde
---

<!-- en -->
Hello.

<!-- es -->
Hola.
"""


def shipped_names() -> list[str]:
    """Return the name of every shipped template."""
    return sorted({path.parent.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*.md")})


@pytest.fixture
def sqlite_database(sqlite_url):
    """A fresh database of the embedded kind."""
    database = Database(sqlite_url)
    yield database
    database.dispose()


@pytest.fixture
def folder(tmp_path):
    """A folder with one small template in two languages."""
    for language, hello in (("en", "Hello"), ("es", "Hola")):
        path = tmp_path / "welcome" / "toolkit" / f"{language}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\nsubject: {hello}\n---\n{hello} {{{{ name }}}}, {{{{ campaign }}}}.\n", "utf-8")
    return tmp_path


def freeze(session, template, **changes):
    """Freeze an edition of a small template."""
    arguments = {"frames": FRAMES, "fields": FIELDS, "shared": SHARED, "now": NOW, **changes}
    return editions.freeze_edition(session, template, **arguments)


def test_a_template_is_read_in_every_language_it_has(folder):
    template = templates.load(folder, "welcome/toolkit")
    assert template.name == "welcome/toolkit"
    assert [source.subject for source in template.sources.values()] == ["Hello", "Hola"]
    assert template.sources["es"].body == "Hola {{ name }}, {{ campaign }}.\n"
    assert template.sources["es"].first_line == 4


@pytest.mark.parametrize(
    "line",
    [
        "subject: News: the call moved, 8:00 pm",
        'subject: "News: the call moved, 8:00 pm"',
        "subject: 'News: the call moved, 8:00 pm'",
        "Subject:News: the call moved, 8:00 pm  ",
        "# a remark\n\nsubject : News: the call moved, 8:00 pm",
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_subject_is_the_rest_of_its_line(line, ending):
    text = f"\ufeff---\n{line}\n---\nHello.\n".replace("\n", ending)
    source = templates.parse(text, path="x/en.md")
    assert source.subject == "News: the call moved, 8:00 pm"
    assert source.body == "Hello.\n"
    assert source.first_line == 4 + line.count("\n")
    assert source.subject_line == 2 + line.count("\n")


def test_quotes_inside_a_value_stay():
    for value in ('"Hold" is a word', 'A "hold"', '"A" and "B"', "don't"):
        assert templates.parse(f"---\nsubject: {value}\n---\nx", path="x").subject == value


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("Hello.\n", 1, 'must begin with a line "---"'),
        ("", 1, 'must begin with a line "---"'),
        ("\n\nsubject: x\n---\nHello.", 3, 'must begin with a line "---"'),
        ("---\nsubject: x\nHello.\n", 1, "that ends the lines at the top is missing"),
        ("---\npreview: x\n---\nHello.", 1, "The subject is missing"),
        ("---\nsubject:\n---\nHello.", 2, "The subject is missing"),
        ('---\nsubject: ""\n---\nHello.', 2, "The subject is missing"),
        ("---\nsubject: x\nsubjekt: y\n---\nHello.", 3, "Did you mean “subject”?"),
        ("---\nsubject: x\ncolour: y\n---\nHello.", 3, "The keys are: subject, preview"),
        ("---\nsubject: x\nsubject: y\n---\nHello.", 3, "stands here twice"),
        ("---\nsubject: x\nwhat is this\n---\nHello.", 3, 'not of the form "key: value"'),
        ("---\nsubject: x\n  en: y\n---\nHello.", 3, "at the left edge"),
        ("---\nsubject: |\n  x\n---\nHello.", 2, "on the same line as its key"),
        ("---\nsubject: x\n---\n \n\n", 4, "There is no text"),
        ("---\nsubject: x\n---\n" + "é" * 100_000, 1, "larger than 200 kB"),
    ],
)
def test_a_letter_that_cannot_be_used_says_why_and_where(text, line, sentence):
    for parse in (templates.parse, templates.parse_update):
        with pytest.raises(BrokenTemplate) as caught:
            parse(text, path="update.md")
        assert sentence in str(caught.value)
        assert str(caught.value).startswith(f"update.md, line {line}: ")


def test_a_letter_in_one_language_has_one_subject():
    with pytest.raises(BrokenTemplate, match="line 2: This file has one language"):
        templates.parse("---\nsubject:\n  en: x\n---\nHello.", path="x/en.md")


def test_an_update_in_two_languages_has_a_section_for_each():
    sources = templates.parse_update(UPDATE, path="update.md")
    assert list(sources) == ["en", "es"]
    assert sources["en"].subject == "News: the call moved"
    assert sources["es"].subject == "Noticias: cambió la llamada"
    assert sources["es"].preview == "Una hora más tarde"
    assert sources["en"].body.strip() == "Hello."
    assert sources["es"].body.strip() == "Hola."
    assert (sources["en"].first_line, sources["es"].first_line) == (11, 14)
    assert (sources["es"].subject_line, sources["es"].preview_line) == (4, 7)


def test_an_update_in_one_language_needs_no_section():
    source = "---\nsubject: Hola\n{}---\nHola.\n"
    assert list(templates.parse_update(source.format(""), path="u")) == ["en"]
    assert list(templates.parse_update(source.format("language: es\n"), path="u")) == ["es"]
    sources = templates.parse_update("---\nsubject: Hola\n---\n<!-- es -->\nHola.\n", path="u")
    assert sources["es"].body == "Hola.\n"
    assert sources["es"].first_line == 5


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"),
    [
        ("<!-- es -->\nHola.\n", "", 4, "given in Spanish, but no part of the text is"),
        ("<!-- en -->\nHello.\n\n<!-- es -->\n", "", 3, "given in English, but no part"),
        ('  es: "Noticias: cambió la llamada"\n', "", 12, "in Spanish, but there is no subject"),
        ("Hola.\n", "", 13, "<!-- es --> is empty"),
        ("<!-- es -->", "<!-- EN -->", 13, "<!-- en --> stands here twice"),
        ("<!-- es -->", "<!-- fr -->", 13, "“fr” is not a language"),
        ('  es: "Noticias', '  fr: "Noticias', 4, "“fr” is not a language"),
        ("<!-- en -->", "Hello both.\n<!-- en -->", 10, "belongs to no language"),
        ("preview:", "language: en\npreview:", 5, 'Take the line "language" out'),
        ("    es: Una hora más tarde\n", "", 5, "Write the preview in the subject's languages"),
        ('es: "Noticias: cambió la llamada"', "es:", 4, "The subject is empty"),
    ],
)
def test_an_update_that_contradicts_itself_says_where(old, new, line, sentence):
    assert old in UPDATE
    with pytest.raises(BrokenTemplate) as caught:
        templates.parse_update(UPDATE.replace(old, new), path="update.md")
    assert sentence in str(caught.value)
    assert caught.value.line == line


def test_a_language_nobody_has_is_refused():
    with pytest.raises(BrokenTemplate, match="line 3: “fr” is not a language"):
        templates.parse_update("---\nsubject: x\nlanguage: fr\n---\nBonjour.", path="u")
    with pytest.raises(BadInput, match="not a language"):
        templates.load_frame(SHIPPED, "../../en")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="---:\n\n subjectnpviw en.es<!->\"'#|é", max_size=120))
def test_any_text_is_read_or_refused_in_a_sentence(text):
    for candidate in (text, f"---\nsubject:{text}", f"---\nsubject: x\n---\n{text}"):
        try:
            sources = templates.parse_update(candidate, path="update.md")
        except BrokenTemplate as error:
            assert 1 <= error.line <= candidate.count("\n") + 1
            assert error.sentence.endswith((".", "?"))
        else:
            assert all(source.subject and source.body.strip() for source in sources.values())


def test_a_file_is_read_as_utf8_and_no_other_way(tmp_path):
    path = tmp_path / "update.md"
    path.write_bytes("\ufeff---\nsubject: Año\n---\nx".encode())
    assert templates.read(path).startswith("---\nsubject: Año")
    path.write_bytes("---\nsubject: x\nAño\n".encode("latin-1"))
    with pytest.raises(BrokenTemplate, match="line 3: This line is not UTF-8"):
        templates.read(path)
    path.write_bytes("---\nsubject: x\n".encode("utf-16"))
    with pytest.raises(BrokenTemplate, match="line 1: This line is not UTF-8"):
        templates.read(path)
    path.write_bytes(b"---\nsubject: x\x00\n")
    with pytest.raises(BrokenTemplate, match="line 2: This line is not UTF-8"):
        templates.read(path)
    path.write_bytes(b"x" * 200_001)
    with pytest.raises(BrokenTemplate, match="larger than 200 kB"):
        templates.read(path)


def test_a_file_that_is_not_there_or_no_file_is_said_so(tmp_path):
    for name in ("missing.md", "missing/update.md", "x" * 300, "nul\0"):
        with pytest.raises(MailerError, match=r"There is no file|cannot be read"):
            templates.read(tmp_path / name)
    with pytest.raises(BadInput, match="not a file"):
        templates.read(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../secrets",
        "/etc",
        "welcome/../../x",
        "welcome//toolkit",
        "_layout",
        "",
        ".",
        "welcome/toolkit/",
        "a\0b",
        "A",
        "é",
    ],
)
def test_a_name_cannot_lead_out_of_the_folder(folder, name):
    with pytest.raises(BadInput, match="not the name of a template"):
        templates.load(folder, name)


def test_a_link_cannot_lead_out_of_the_folder(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "en.md"
    outside.write_text(TEMPLATE_TEXT)
    (folder / "stolen").mkdir()
    (folder / "stolen" / "en.md").symlink_to(outside)
    with pytest.raises(BadInput, match="leads out of its folder"):
        templates.load(folder, "stolen")


def test_a_template_that_is_not_there_is_not_found(folder):
    with pytest.raises(NotFound, match="no template welcome/webinar"):
        templates.load(folder, "welcome/webinar")


def test_broken_words_of_the_frame_name_their_line(tmp_path):
    layout = tmp_path / "_layout"
    layout.mkdir()
    for name in ("frame.html", "frame.txt", "mail.css"):
        (layout / name).write_text("[[body]]")
    (layout / "words.en.toml").write_text('leave = "Leave"\nwhy = \n')
    with pytest.raises(BrokenTemplate, match=r"words.en.toml, line 2: "):
        templates.load_frame(tmp_path, "en")
    (layout / "words.en.toml").write_text("leave = 1\n")
    with pytest.raises(BrokenTemplate, match="“leave” must be a text"):
        templates.load_frame(tmp_path, "en")


def test_the_same_wording_is_the_same_edition_and_stays_as_it_was(folder, database):
    with database.write() as session:
        first = freeze(session, templates.load(folder, "welcome/toolkit"))
        again = freeze(session, templates.load(folder, "welcome/toolkit"))
        assert first.id == again.id
    path = folder / "welcome" / "toolkit" / "en.md"
    path.write_text(path.read_text().replace("Hello", "Good day"))
    with database.write() as session:
        changed = freeze(session, templates.load(folder, "welcome/toolkit"))
        other_shared = freeze(
            session, templates.load(folder, "welcome/toolkit"), shared={**SHARED, "es": {"campaign": "Otra"}}
        )
        ids = {first.id, changed.id, other_shared.id}
        assert len(ids) == 3
    with database.read() as session:
        stored = session.get(Edition, first.id)
        message = editions.get_renderer(stored, "en").render({"name": "Ana"})
        assert message.text == "Hello Ana, Restoring Trust.\n"
        assert stored.created_at == NOW
        message = editions.get_renderer(session.get(Edition, changed.id), "es").render({"name": "Ben"})
        assert message.text == "Hola Ben, Recuperar la confianza.\n"
        assert message.subject == "Hola"


def test_two_that_freeze_the_same_at_once_get_one_edition(folder, database):
    template, ids = templates.load(folder, "welcome/toolkit"), []

    def freeze_one() -> None:
        with database.write() as session:
            ids.append(freeze(session, template).id)

    threads = [Thread(target=freeze_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Edition)) == 1


def test_a_broken_template_freezes_nothing(folder, sqlite_database):
    (folder / "welcome" / "toolkit" / "es.md").write_text("---\nsubject: x\n---\n{{ nombre }}\n")
    refusal = pytest.raises(BrokenTemplate, match=r"es.md, line 4: There is no field “nombre”")
    with refusal, sqlite_database.write() as session:
        freeze(session, templates.load(folder, "welcome/toolkit"))
    with sqlite_database.read() as session:
        assert session.scalar(select(func.count()).select_from(Edition)) == 0


def test_a_renderer_is_made_once_and_falls_back_to_english_or_the_only_language(folder, sqlite_database):
    with sqlite_database.write() as session:
        both = freeze(session, templates.load(folder, "welcome/toolkit"))
        assert editions.get_renderer(both, "es") is editions.get_renderer(both, "es")
        assert editions.get_renderer(both, "fr") is editions.get_renderer(both, "en")
        (folder / "welcome" / "toolkit" / "en.md").unlink()
        only = freeze(session, templates.load(folder, "welcome/toolkit"))
        assert editions.get_renderer(only, "en").render({"name": "Cleo"}).subject == "Hola"


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_letter_compiles_and_reads_without_a_trace_of_markup(name, sqlite_database):
    kind = {"confirm": "confirmation", "welcome": "sequence", "organizer": "sequence"}.get(
        name.split("/")[0], name
    )
    fields = POLICY[kind].fields
    frames = {language: templates.load_frame(SHIPPED, language) for language in LANGUAGES}
    template = templates.load(SHIPPED, name)
    assert tuple(template.sources) == LANGUAGES
    with sqlite_database.write() as session:
        edition = freeze(session, template, frames=frames, fields=fields, shared={})
        for language in LANGUAGES:
            values = {field: f"O'{field.replace('_', ' ').title()} & Co" for field in fields}
            for field in fields:
                if field.endswith("_url"):
                    values[field] = f"https://example.org/{field.removesuffix('_url').replace('_', '-')}"
            message = editions.get_renderer(edition, language).render(values)
            text = message.text
            assert message.subject
            assert not set("{}<>*_[]`") & set(text)
            assert "&#39;" not in text and "&amp;" not in text
            assert "O&#39;Greeting &amp; Co" in message.html
            assert "[[" not in message.html and "{{" not in message.html and "{%" not in message.html
            assert values["leave_url"] in text and f'href="{values["leave_url"]}"' in message.html
            assert "src=" not in message.html
            assert len(message.html) < 30_000
