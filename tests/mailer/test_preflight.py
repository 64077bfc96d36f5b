"""Preflight: every accepted text can be sent to every reader; a refusal has a sentence and a position."""

import email
import email.policy
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, example, given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st

from lists import addresses, contacts
from lists.catalog import MailingList
from lists.errors import BadInput
from lists.permission import Recipient
from mailer import preflight
from mailer import service as composition
from mailer.compose import mime
from mailer.compose.editions import Edition
from mailer.compose.source import AddressedMessage, MessageContent
from mailer.events import events
from mailer.outbox.outbox import Entry
from mailer.processes import serve
from mailer.service import Service
from mailer.settings.loading import Settings
from mailer.sources.confirmations import SignupRequest
from mailer.templates import templates
from mailer.templates.templates import Template
from tests import commands
from tests.commands import Mailer
from tests.people import PEPPER, Person
from tests.relays import World, deliver, rows, states

SENTENCE = re.compile(r"(update\.md, line [0-9]+: )?[A-Z“].*[.?]", re.DOTALL)
ODD = ["\x00", "\x07", "\x1b", "\x7f", "\u202e", "\u2066", "\u2028", "\x85"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite: these tests check texts, not the database."""
    return sqlite_url


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def write_text(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "text.md"
    file.write_text(text, encoding="utf-8", newline="")
    return file


def update(subject: str, body: str = "We meet.") -> str:
    return f"---\nsubject: {subject}\n---\n{body}\n"


def send(mailer: Mailer, tmp_path: Path, text: str) -> commands.Ran:
    path = write_text(tmp_path, text)
    return mailer("broadcast", "send", "--file", path, "--audience", "interest", "--yes")


def test_a_subject_of_three_thousand_characters_is_refused_where_it_stands(
    mailer: Mailer, service: Service, tmp_path: Path, ben: Person
) -> None:
    run = send(mailer, tmp_path, update("x" * 3000))
    assert run.status == 2
    sentence = "text.md, line 2: The subject has 3,000 characters; at most 900 fit. Shorten it."
    assert run.refusal.endswith(sentence)
    assert states(service) == {}


@pytest.mark.parametrize("odd", ODD)
def test_a_character_that_no_mail_can_carry_is_refused_with_its_place(
    mailer: Mailer, service: Service, tmp_path: Path, ben: Person, odd: str
) -> None:
    for text, place in [
        (update(f"News of Sun{odd}day"), "line 2: The subject holds"),
        (update("News", f"One\n\nOn Sunday{odd}."), "line 6: This line holds"),
    ]:
        run = send(mailer, tmp_path, text)
        assert run.status == 2 and (place in run.refusal or "not UTF-8" in run.refusal)
        assert odd == "\0" or f"(U+{ord(odd):04X}) at place" in run.refusal
    assert states(service) == {}


@pytest.mark.parametrize(
    ("subject", "sentence"),
    [
        ("{{ name }}", "Its subject is empty for readers without a name."),
        ('{% if name == "Ana" %}{% else %}Hi{% endif %}', "Its subject is empty for readers called “Ana”."),
        ("x" + "{{ name | upper }}" * 9, "characters for a reader with a long name; at most 998 fit."),
        ('{{ name }} {{ "\\x07" }}', "The text in quotes holds a control character (U+0007) at place 1"),
        ("{% if name < 5 %}a{% endif %} b", "compare them with a text in quotes"),
    ],
)
def test_a_subject_that_fails_for_some_readers_is_refused_before_anybody_is_written_to(
    mailer: Mailer, service: Service, tmp_path: Path, ben: Person, subject: str, sentence: str
) -> None:
    run = send(mailer, tmp_path, update(subject))
    assert run.status == 2 and sentence in run.refusal
    assert states(service) == {}


def test_a_text_far_too_long_for_one_message_is_refused(mailer: Mailer, tmp_path: Path, ben: Person) -> None:
    run = send(mailer, tmp_path, update("News", "- a\n" * 12_000))
    assert run.status == 2 and "Shorten it." in run.refusal


CONFIRMATION_TEXT = """---
subject:
  en: {subject}
  es: Confirme
---
<!-- en -->
{body} [Yes]({{{{ confirm_url }}}})

<!-- es -->
[Sí]({{{{ confirm_url }}}})
"""
LIST = ("--title", "Clergy", "--title-es", "Clero", "--about", "A letter.", "--about-es", "Una carta.")


@pytest.mark.parametrize(
    ("subject", "body"), [("Confirm\x07", ""), ("{{ name }}", ""), ("x" * 3000, ""), ("Confirm", "\x07")]
)
def test_a_letter_of_a_list_that_could_reach_nobody_is_refused_with_its_list(
    mailer: Mailer, service: Service, tmp_path: Path, subject: str, body: str
) -> None:
    file = write_text(tmp_path, CONFIRMATION_TEXT.format(subject=subject, body=body))
    run = mailer("list", "add", "clergy", *LIST, "--letter", file)
    assert run.status == 2 and "subject" in run.refusal + "subject" * ("This line" in run.refusal)
    assert "clergy" not in mailer("list").out
    assert mailer("list", "add", "clergy", *LIST).status == 0
    assert mailer("list", "reword", "clergy", "--letter", file).status == 2


CALL = ("--starts", "2026-12-08 20:00", "--zone", "America/New_York", "--audience", "interest")


@pytest.mark.parametrize("url", ["https://example.org/o'neil", "https://example.org/a'b"])
def test_a_call_whose_invitations_could_not_be_written_is_not_planned(mailer: Mailer, url: str) -> None:
    run = mailer("event", "create", "--title", "Call", "--join-url", url, *CALL)
    assert run.status == 2 and "join_url" in run.refusal
    assert mailer("event", "list", "--json").json == []


def test_a_call_of_the_longest_words_reaches_everybody(
    mailer: Mailer, service: Service, world: World, ben: Person, cleo: Person
) -> None:
    long = ("--title", "ñ" * 120, "--title-es", '"\\' * 60, "--description", "ñ" * 2000)
    link = ("--join-url", "https://example.org/" + "x" * 980)
    assert mailer("event", "create", *long, *link, *CALL).status == 0
    assert mailer("event", "invite", 1).status == 0
    deliver(service, world)
    assert states(service)["sent"] >= 1 and ben.email in world.arrived and cleo.email not in world.arrived


@pytest.mark.parametrize(
    "wrong",
    [
        {"public_url": "https://" + "x" * 60 + "." + "y" * 900 + ".example"},
        {"from_address": "camp..aign@example.org", "reply_to": "camp..aign@example.org"},
    ],
)
def test_a_start_with_settings_of_which_no_mail_can_be_made_is_refused(
    service: Service, settings: Settings, wrong: Mapping[str, str]
) -> None:
    changed_service = composition.build(settings.model_copy(update=wrong))
    try:
        with pytest.raises(BadInput, match=r"The email .* cannot be sent"):
            serve.serve(changed_service, environ={}, host="127.0.0.1", ready=lambda: None)
    finally:
        changed_service.close()


def test_a_letter_that_an_earlier_version_took_strands_nobody(
    mailer: Mailer, service: Service, world: World, ben: Person
) -> None:
    mailer("list", "add", "clergy", *LIST)
    with service.database.write() as session:
        mailing_list = session.get_one(MailingList, "clergy")
        part = {"subject": "Confirm\x07", "preview": "", "body": "[Yes]({{ confirm_url }})"}
        mailing_list.letter = {"en": part, "es": part}
    signup = SignupRequest(
        address=ben.address, list="clergy", language="es", wording="Yes", page="/join/clergy"
    )
    with service.database.write() as session:
        service.confirmations.record_signup(session, signup, now=service.clock.now())
    deliver(service, world)
    assert [(row.kind, row.state) for row in rows(service) if row.list == "clergy"] == [
        ("confirmation", "sent")
    ]


# Every text that is accepted, for every reader that is accepted

TAGS = st.sampled_from(
    """{{ name }}
    {{ name | upper }}
    {{ name | default("x") }}
    {{ greeting }}
    {{ campaign }}
    {{ leave_url }}
    {{ 5 }}
    {% if name %}{{ name }}{% endif %}
    {% if not name %}x{% endif %}
    {% if name < "M" %}x{% else %}{{ name | title }}{% endif %}
    {% if name == "Ana" %}{% else %}x{% endif %}
    {% if discreet %}x{% endif %}""".split("\n    ")  # noqa: SIM905 (a column of quotes reads worse)
)
CHARACTERS = st.one_of(
    st.characters(), st.sampled_from([*ODD, "=?utf-8?q?x?=", "\r\nBcc: x@y.example", ":", "'", '"'])
)
PLAIN = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"], exclude_characters="{}"))
ACCEPTED = st.lists(st.one_of(TAGS, PLAIN), min_size=1, max_size=8).map(
    lambda parts: "x" + "".join(parts)
)  # nearly always accepted
ODDER = st.lists(st.one_of(TAGS, CHARACTERS, st.sampled_from(["{% if name %}", "{% endif %}"])), max_size=8)
TEXTS = st.one_of(ACCEPTED, ACCEPTED, ACCEPTED, ODDER.map("".join))
SUBJECTS = st.tuples(st.sampled_from(["Hi ", "Hi ", ""]), TEXTS, st.sampled_from([1, 1, 1, 20])).map(
    lambda of: of[0] + of[1] * of[2]
)
PEOPLE = st.one_of(st.text(max_size=90), st.sampled_from(["", "Ana", "ﬃ" * 80, '"' * 80, "O'Neil, PhD <x>"]))
ADDRESSES = st.sampled_from(
    [
        "a@b.example",
        preflight.ADDRESS,
        preflight.WIDE_ADDRESS,
        "o'neil+x=y@señal.example",
        "a.b@xn--a.example",
    ]
)


def sample_entry(kind: str, key: str, now: datetime) -> Entry:
    numbers = dict.fromkeys(("id", "contact_id", "edition_id", "ref", "attempt", "tries"), 7)
    moments = {"queued_at": now, "expires_at": now + timedelta(days=5)}
    return Entry(kind=kind, key=key, list="interest", **numbers, **moments)


def freeze(service: Service, text: str) -> Edition:
    template = Template(name="broadcast", sources=templates.parse_update(text, path="update.md"))
    with service.database.write() as session:
        edition = service.editions.freeze(session, template, "broadcast", now=service.clock.now())
        session.expunge(edition)
        session.rollback()
    return edition


@of_hypothesis(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    subject=SUBJECTS,
    body=TEXTS,
    name=PEOPLE,
    address=ADDRESSES,
    discreet=st.booleans(),
    language=st.sampled_from(["en", "es"]),
)
@example(subject="{{ name }} x", body="x", name="", address="a@b.example", discreet=False, language="en")
def test_whatever_is_taken_can_be_written_for_whoever_is_taken(
    service: Service, subject: str, body: str, name: str, address: str, discreet: bool, language: str
) -> None:
    now = service.clock.now()
    try:
        edition = freeze(service, update(subject, body))
        service.preflight.check_update(edition, list="interest", now=now)
    except BadInput as error:
        assert SENTENCE.fullmatch(str(error)), str(error)
        event("refused: " + re.sub("[0-9,]+|“.*?”", "…", str(error))[:70])
        return
    try:
        clean_name = contacts.clean(name, label="name", limit=contacts.NAME_LENGTH)
        mailbox = addresses.parse(address, pepper=PEPPER).email
    except BadInput:
        return
    recipient = Recipient(7, mailbox, clean_name, language, "America/Phoenix", "Phoenix", discreet, None)
    entry = sample_entry("broadcast", "k", now)
    event("written")  # about a quarter of them; see --hypothesis-show-statistics
    mime_message = service.composer.build_mime(entry, recipient, MessageContent(), edition)
    message = mime.encode(mime_message)
    assert max(map(len, message.split(b"\r\n"))) <= 998 and b"\0" not in message
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    assert mime_message.subject.strip() and str(parsed["Subject"]).split() == mime_message.subject.split()
    assert parsed["Bcc"] is None and len(parsed.get_all("To")) == len(parsed.get_all("Subject")) == 1
    assert len(message) <= preflight.MAX_OCTETS + 50_000


TITLES = st.one_of(st.text(max_size=130), st.lists(CHARACTERS, max_size=130).map("".join))
URLS = st.one_of(st.text(max_size=30), st.sampled_from(["", "o'neil", 'a"b', "é", "{{ name }}", "x" * 980]))


@of_hypothesis(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=TITLES, spanish=TITLES, description=TITLES, url=URLS, name=PEOPLE, discreet=st.booleans())
def test_whatever_call_is_taken_invites_whoever_is_taken(
    service: Service, title: str, spanish: str, description: str, url: str, name: str, discreet: bool
) -> None:
    now = service.clock.now()
    with service.database.write() as session:
        edition = service.editions.freeze(
            session, service.editions.templates["invitation"], "invitation", now=now
        )
        try:
            call = events.create(
                session,
                title={"en": title, "es": spanish},
                description={"en": description},
                starts="2026-12-08 20:00",
                zone="America/New_York",
                minutes=60,
                join_url=f"https://example.org/{url}",
                audience="interest",
                now=now,
                actor="staff",
            )
            service.preflight.check_invitations(edition, call, now=now)
            clean_name = contacts.clean(name, label="name", limit=contacts.NAME_LENGTH)
        except BadInput as error:
            assert SENTENCE.fullmatch(str(error)), str(error)
            session.rollback()
            return
        for language, expected in (("en", title), ("es", spanish)):
            recipient = Recipient(
                7, "ben@b.example", clean_name, language, "America/Phoenix", "Phoenix", discreet, None
            )
            entry = sample_entry("invitation", service.invitations.build_key(call, 7), now)
            content = service.invitations.build_content(
                call, AddressedMessage(entry=entry, recipient=recipient), now=now
            )
            assert isinstance(content, MessageContent) and content.calendar is not None
            mime_message = service.composer.build_mime(entry, recipient, content, edition)
            parsed = email.message_from_bytes(mime.encode(mime_message), policy=email.policy.default)
            assert str(parsed["Subject"]).split() == mime_message.subject.split()
            if expected and not discreet:
                assert " ".join(expected.split()) in mime_message.subject
        session.rollback()
