"""Texts: emails follow the campaign's rules about words: short, plain, honest, in both languages.

This guard reads the files with plain patterns and uses no other part of the project. `scripts/reading-ease`
shows the figures of every email and page.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.reading import readability
from tests.reading.readability import MAX_WORDS, WORD, Figures

EMAIL = Path(__file__).resolve().parents[2] / "templates" / "email"
LANGUAGES = ("en", "es")
SEQUENCES = {
    "welcome": ("toolkit", "powerpoint", "detainers", "partners", "map"),
    "organizer": ("hello", "first-call"),
}
TEMPLATES = [
    "confirm/interest",
    "confirm/organizers",
    "confirm/added",
    "confirm/readdressed",
    "already",
    "received",
    "access",
    "invitation",
    "notice",
]
TEMPLATES += [f"{sequence}/{step}" for sequence, steps in SEQUENCES.items() for step in steps]
LETTERS = [(name, language) for name in TEMPLATES for language in LANGUAGES]

MAX_SUBJECT = 70
MAX_STYLE = 15_000

# An email without a button says in its text what to do instead.
NO_BUTTON = {
    "received": {"en": "nothing you need to do now", "es": "no tiene que hacer nada"},
    "notice": {"en": "type “mailer status”", "es": "escriba “mailer status”"},
    "organizer/first-call": {"en": "reply to this email", "es": "Responda a este correo"},
}
# Emails are read on phones that others see, so the lines on a lock screen contain nothing that endangers.
NOT_ON_A_LOCK_SCREEN = re.compile(r"\bICE\b|migra|detain|detenc|status|papers|papeles", re.IGNORECASE)

EVERYONE = {"name", "greeting", "campaign", "motto", "postal_address", "sender_name", "reply_to"}
EVERYONE |= {"home_url", "privacy_url", "organize_url", "join_page_url"}
RESOURCES = {
    f"{resource}_{end}"
    for resource in ("toolkit", "webinar", "powerpoint", "guide", "pledge", "allies")
    for end in ("url", "note")
}
LIST_MAIL = {"leave_url", "preferences_url"}
CALL = {"event_title", "event_when", "event_note", "event_minutes"}
CALL |= {"join_url", "rsvp_yes_url", "rsvp_maybe_url", "rsvp_no_url"}
WAITS = {"waits_restore", "waits_pauses", "waits_resources", "waits_unknown"}
WAITS |= {"waits_faults", "waits_servers"}
WAITS |= {"waits_applications", "waits_expired", "waits_expiring", "waits_sign_ups"}
EXTRA = {
    "confirm": {"confirm_url", "list_title", "list_about"},
    "already": {"preferences_url"},
    "received": {"preferences_url"},
    "access": {"mine_url"},
    "welcome": LIST_MAIL,
    "organizer": LIST_MAIL,
    "invitation": LIST_MAIL | CALL,
    "notice": WAITS,
}
SAMPLE = {
    "en": {
        "campaign": "Restoring Trust",
        "greeting": "Hello Ana,",
        "sender_name": "Ana",
        "list_title": "Circle of clergy",
        "list_about": "One email a month, and an invitation to meet twice a year.",
        "event_title": "Monthly call for organizers",
        "event_minutes": "60",
        "event_when": "Tuesday, December 8, 8:00 pm Eastern, 6:00 pm your time in Phoenix",
        "event_note": "The clocks change before this call.",
    },
    "es": {
        "campaign": "Recuperar la confianza",
        "greeting": "Hola, Ben:",
        "sender_name": "Ana",
        "list_title": "Círculo del clero",
        "list_about": "Una carta al mes y una invitación a reunirnos dos veces al año.",
        "event_title": "Llamada del mes",
        "event_minutes": "60",
        "event_when": "martes 8 de diciembre, 8:00 p. m. hora del este, 6:00 p. m. en Phoenix",
        "event_note": "Antes de la llamada cambia la hora.",
    },
}

FIELD = re.compile(r"\{\{\s*(\w+)(?:\s*\|\s*\w+)*\s*\}\}")
TAG = re.compile(r"\{%-?\s*(?:(?:if|elif)\s+(\w+)|else|endif)\s*-?%\}")
LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
LONE_LINK = re.compile(r"\[[^\]]*\]\([^)]*\)")


@dataclass(frozen=True, kw_only=True)
class Text:
    """One email in one language, as it is in its file."""

    name: str
    language: str
    subject: str
    preview: str
    body: str

    @property
    def whole(self) -> str:
        """Everything in it that a person may read."""
        return f"{self.subject}\n{self.preview}\n{self.body}"

    @property
    def paragraphs(self) -> list[str]:
        """The body's paragraphs, without the lines of conditions."""
        return [part.strip() for part in re.split(r"\n\s*\n", TAG.sub("\n", self.body)) if part.strip()]

    @property
    def buttons(self) -> list[str]:
        """The paragraphs that contain one link and nothing else."""
        return [part for part in self.paragraphs if LONE_LINK.fullmatch(part)]


def read(name: str, language: str) -> Text:
    """Return an email from its file."""
    content = (EMAIL / name / f"{language}.md").read_text(encoding="utf-8")
    match = re.fullmatch(r"---\n(.*?)\n---\n(.*)", content, re.DOTALL)
    assert match, f"{name}/{language}.md does not begin with front matter between two lines of ---"
    front_matter = dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", match[1], re.MULTILINE))
    assert set(front_matter) == {"subject", "preview"}, f"{name}/{language}.md has {sorted(front_matter)}"
    values = {key: re.sub(r'^"(.*)"$', r"\1", value) for key, value in front_matter.items()}
    return Text(name=name, language=language, body=match[2], **values)


def read_frame_words(language: str) -> dict[str, str]:
    """Return the frame's words in one language."""
    return tomllib.loads((EMAIL / "_layout" / f"words.{language}.toml").read_text(encoding="utf-8"))


def make_readable(part: str, language: str) -> str:
    """Return a part of an email as it is read: links as their label, fields with Ana's and Ben's values."""
    part = LINK.sub(r"\1", part).replace("**", "").replace("\\\n", "\n")
    return FIELD.sub(lambda field: SAMPLE[language].get(field[1], ""), part)


def list_sentences(text: Text) -> list[str]:
    """Return the sentences of an email, without greeting, button, signature and the data of a call."""
    sentences: list[str] = []
    for part in text.paragraphs:
        if part in text.buttons or FIELD.fullmatch(part.strip("*")) or "{{ sender_name }}" in part:
            continue
        sentences += re.split(r"^- ", make_readable(part, text.language), flags=re.MULTILINE)
    return sentences


def figures(text: Text) -> Figures:
    """Return the measures of an email; the words are all that a person reads, with the frame's foot."""
    readable = "\n".join(make_readable(part, text.language) for part in (*text.paragraphs, *foot(text)))
    return readability.figures(
        list_sentences(text), language=text.language, words=len(WORD.findall(readable))
    )


def foot(text: Text) -> list[str]:
    """Return the lines that the frame adds below an email."""
    words = read_frame_words(text.language)
    if EXTRA[text.name.partition("/")[0]] >= LIST_MAIL:
        return [words[key] for key in ("why_list", "leave", "preferences", "privacy")]
    return [words[key] for key in ("why_service", "privacy")]


@pytest.fixture(params=LETTERS, ids=[f"{name}-{language}" for name, language in LETTERS])
def text(request: pytest.FixtureRequest) -> Text:
    return read(*request.param)


def test_every_email_exists_in_both_languages_and_no_other_file_is_shipped() -> None:
    files = {str(path.relative_to(EMAIL)) for path in EMAIL.rglob("*.md")}
    assert files == {f"{name}/{language}.md" for name, language in LETTERS}


def test_subject_and_preview_are_present_and_short(text: Text) -> None:
    subject, preview = make_readable(text.subject, text.language), make_readable(text.preview, text.language)
    assert 0 < len(subject) <= MAX_SUBJECT
    assert 0 < len(preview) <= 120
    assert subject != preview


def test_subject_and_preview_are_discreet(text: Text) -> None:
    assert not NOT_ON_A_LOCK_SCREEN.search(text.subject + " " + text.preview)


def test_an_email_begins_with_the_greeting_and_is_signed(text: Text) -> None:
    assert text.paragraphs[0] == "{{ greeting }}"
    assert text.paragraphs[-1].endswith("{{ sender_name }}")


def test_an_email_is_short(text: Text) -> None:
    words = figures(text).words
    assert words <= MAX_WORDS, f"{text.name} in {text.language}: {words} words"


def test_an_email_is_easy_to_read(text: Text) -> None:
    measures = figures(text)
    assert measures.easy, f"{text.name} in {text.language}: {measures.scale} {measures.ease:.1f}"


def test_an_email_asks_one_thing(text: Text) -> None:
    sentences = NO_BUTTON.get(text.name)
    if sentences is None:
        assert len(text.buttons) == 1
    else:
        assert text.buttons == []
        assert sentences[text.language] in text.body


def test_nothing_shouts(text: Text) -> None:
    words = " ".join(read_frame_words(text.language).values())
    assert not re.search(r"[!¡]|\b[A-ZÁÉÍÓÚÑ]{4,}\b", text.whole + words)


def test_an_email_uses_only_the_fields_of_its_kind(text: Text) -> None:
    known_fields = EVERYONE | RESOURCES | EXTRA[text.name.partition("/")[0]]
    used_fields = set(FIELD.findall(text.whole)) | {name for name in TAG.findall(text.whole) if name}
    assert used_fields <= known_fields
    rest = TAG.sub("", FIELD.sub("", text.whole))
    assert not re.search(r"\{\{|\}\}|\{%|%\}|\{#", rest), "only plain fields and conditions on one field"
    assert text.whole.count("{% if") == text.whole.count("{% endif")


def test_a_link_is_one_field_or_a_constant_and_never_typed_text(text: Text) -> None:
    for label, target in LINK.findall(text.body):
        assert label.strip()
        assert re.fullmatch(r"\{\{ \w+_url \}\}|https://\S+|mailto:\S+", target)


def test_each_resource_says_in_which_language_it_is(text: Text) -> None:
    for resource in re.findall(r"\{\{ (\w+)_url \}\}", text.body):
        if f"{resource}_note" in RESOURCES:
            note = re.escape(f"{{{{ {resource}_note }}}}")
            link = re.escape(f"({{{{ {resource}_url }}}})")
            assert re.search(rf"{note}\]{link}|\]{link}{note}", text.body)


def test_history_has_a_date_and_the_term_is_explained_once_with_its_caution() -> None:
    for name, language in LETTERS:
        body = read(name, language).body
        mention = re.search(r"Santa Clara|Cook County|condado de Cook|had won over|habían convencido", body)
        assert not mention or "2012" in body
        explains = name == "welcome/detainers"
        assert bool(re.search(r"hold request|detainer|solicitud de retención", body)) == explains
        cautions = re.search(r"general information, not legal advice|general, no asesoría legal", body)
        assert bool(cautions) == explains


def test_a_request_to_confirm_says_what_happens_and_what_is_never_asked() -> None:
    for name in ("confirm/interest", "confirm/organizers", "confirm/added", "already"):
        for language, phrases in {
            "en": ("If it was not you", "never ask about your immigration status"),
            "es": ("Si no fue usted", "Nunca le vamos a preguntar por su situación migratoria"),
        }.items():
            assert all(phrase in read(name, language).body for phrase in phrases)


def test_the_words_of_the_frame_are_complete_in_both_languages() -> None:
    english, spanish = read_frame_words("en"), read_frame_words("es")
    assert list(english) == list(spanish)
    assert all(value.strip() for value in (*english.values(), *spanish.values()))
    for frame in ("frame.html", "frame.txt"):
        slots = set(re.findall(r"\[\[(\w+)\]\]", (EMAIL / "_layout" / frame).read_text(encoding="utf-8")))
        assert "body" in slots
        assert slots - {"body", "subject", "preview"} <= set(english)


def test_a_name_is_only_ever_greeted() -> None:
    for language in LANGUAGES:
        keys = {key for key, value in read_frame_words(language).items() if "name" in FIELD.findall(value)}
        assert keys == {"greeting_named"}
        assert FIELD.sub("Ana", read_frame_words(language)["greeting_named"]) in ("Hello Ana,", "Hola, Ana:")
    assert all("name" not in FIELD.findall(read(*email).whole) for email in LETTERS)


def test_cleo_finds_the_link_to_leave_in_every_list_email() -> None:
    for frame in ("frame.html", "frame.txt"):
        content = (EMAIL / "_layout" / frame).read_text(encoding="utf-8")
        assert set(FIELD.findall(content)) <= EVERYONE | LIST_MAIL
        assert "{% if discreet %}" in content
        list_foot = content.partition("{% if leave_url %}")[2].partition("{% else %}")[0]
        assert "{{ leave_url }}" in list_foot
        assert "{{ preferences_url }}" in list_foot
        assert "{{ postal_address }}" in content.partition("{% endif %}")[2]


def test_the_frame_fetches_nothing_and_stays_light() -> None:
    page = (EMAIL / "_layout" / "frame.html").read_text(encoding="utf-8")
    style = (EMAIL / "_layout" / "mail.css").read_text(encoding="utf-8")
    assert not re.search(r"<img|<svg|<script|<link|https?://", page)
    assert not re.search(r"url\(|@import|@font-face|var\(", style)
    assert len(style.encode()) < MAX_STYLE


@pytest.mark.parametrize(
    "pair",
    """
    1d2433/faf6ef 1d2433/ffffff 556074/faf6ef 7a2e12/faf6ef 7a2e12/ffffff ffffff/7a2e12
    eef0f4/15181f eef0f4/1e232d a9b2c3/15181f f0a878/15181f f0a878/1e232d 15181f/f0a878
    """.split(),  # noqa: SIM905
)
def test_emails_have_enough_contrast_in_both_color_schemes(pair: str) -> None:
    style = (EMAIL / "_layout" / "mail.css").read_text(encoding="utf-8")
    assert all(f"#{color}" in style for color in pair.split("/"))
    darker, lighter = sorted(map(luminance, pair.split("/")))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def luminance(color: str) -> float:
    """Return the relative luminance of an sRGB color as WCAG 2.2 defines it."""
    parts = [int(color[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_sequence_sends_its_emails_in_daytime_hours(sequence: str) -> None:
    plan = tomllib.loads((EMAIL / sequence / "sequence.toml").read_text(encoding="utf-8"))
    assert tuple(step["name"] for step in plan["step"]) == SEQUENCES[sequence]
    first, *later = plan["step"]
    assert (first["delay_days"], first["window"], len(first["weekdays"])) == (0, ["08:00", "20:00"], 7)
    for step in later:
        assert step["delay_days"] >= 3
        assert step["window"] == ["10:00", "18:00"]
        assert step["weekdays"] == ["mon", "tue", "wed", "thu"]
    assert all(set(step) == {"name", "delay_days", "window", "weekdays", "skip"} for step in plan["step"])
