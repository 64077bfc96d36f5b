"""Composer: the last check of permission before a message is sent, and complete, addressed messages."""

from datetime import timedelta
from email.message import Message
from email.utils import parsedate_to_datetime

import pytest
from sqlalchemy import update

from lists import contacts, subscriptions, suppressions
from lists.contacts import Contact
from lists.db import Database
from lists.identity import erasure
from mailer.compose.composer import ReadyMessage
from mailer.outbox import outbox
from mailer.outbox.outbox import Result
from mailer.reasons import Reason
from mailer.sources.confirmations import SignupRequest
from tests import crowd
from tests.clocks import StoppedClock
from tests.desk import UPDATE, WITH_LINK, Desk, read
from tests.people import Person
from tests.statements import recorded


def _text(message: Message, kind: str = "text/plain") -> str:
    part = next(part for part in message.walk() if part.get_content_type() == kind)
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


@pytest.fixture
def desk(database: Database, clock: StoppedClock) -> Desk:
    return Desk(database, clock)


def test_who_leaves_between_the_claim_and_the_last_moment_gets_nothing(
    desk: Desk, clock: StoppedClock, ben: Person
) -> None:
    desk.update()
    entries = desk.claim()
    with desk.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    assert desk.reasons(entries) == [("cancelled", "left")]


def test_who_pauses_in_between_gets_it_when_the_pause_is_over(
    desk: Desk, clock: StoppedClock, ben: Person
) -> None:
    desk.update()
    entries = desk.claim()
    with desk.database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=clock.now() + timedelta(days=2))
    assert desk.reasons(entries) == [("held", "paused")]
    clock.advance(days=2)
    assert isinstance(desk.compose(entries)[0], ReadyMessage)


def test_who_is_suppressed_in_between_gets_nothing(desk: Desk, clock: StoppedClock, ben: Person) -> None:
    desk.update()
    entries = desk.claim()
    with desk.database.write() as session:
        suppressions.add(session, ben.address.digest, reason="complaint", now=clock.now())
    assert desk.reasons(entries) == [("cancelled", "suppressed")]


def test_who_is_forgotten_in_between_gets_nothing_and_leaves_nothing_to_record(
    desk: Desk, clock: StoppedClock, ben: Person
) -> None:
    desk.update()
    entries = desk.claim()
    with desk.database.write() as session:
        erasure.erase_person(session, ben.address, now=clock.now(), actor="operator")
    results = [result for result in desk.compose(entries) if isinstance(result, Result)]
    assert [(result.state, result.reason) for result in results] == [("cancelled", "never joined")]
    with desk.database.write() as session:
        assert outbox.record(session, results, now=clock.now()) == []


def test_cleo_gets_nothing_from_any_source(desk: Desk, cleo: Person) -> None:
    desk.update()
    with desk.database.write() as session:
        desk.service.sequences.fill(session, now=desk.clock.now(), limit=100)
        desk.service.confirmations.fill(session, now=desk.clock.now(), limit=100)
    assert desk.claim() == []


def test_what_is_too_late_does_not_leave_though_nobody_has_tidied_up_yet(
    desk: Desk, clock: StoppedClock, ben: Person
) -> None:
    desk.update()
    clock.advance(days=5, microseconds=-1)
    entries = desk.claim()
    assert isinstance(desk.compose(entries)[0], ReadyMessage)
    clock.advance(microseconds=1)
    assert desk.reasons(entries) == [("expired", Reason.TOO_LATE)]


def test_a_letter_with_a_link_that_nobody_has_given_is_held_and_says_which(
    desk: Desk, clock: StoppedClock, ben: Person
) -> None:
    source = WITH_LINK.replace("subject: The toolkit", "subject:\n  en: The toolkit\n  es: La guía")
    source = source.replace("[Read it]", "<!-- en -->\n[Read it]")
    source += "\n<!-- es -->\n[Léala]({{ toolkit_url }})\n"
    with desk.database.write() as session:
        crowd.add(session, 1, list="interest", now=clock.now())  # a reader of English
    desk.update(source, toolkit="")
    spanish, english = desk.compose(desk.claim())
    assert isinstance(spanish, Result)
    assert (spanish.state, spanish.reason, spanish.detail) == ("held", Reason.MISSING_LINK, "toolkit_url")
    assert isinstance(english, ReadyMessage)
    desk.update(source, toolkit="https://example.org/guia")
    assert "https://example.org/guia" in _text(desk.letters()[0])


def test_a_name_that_no_header_can_hold_stops_only_its_own_message(
    desk: Desk, clock: StoppedClock, ben: Person
) -> None:
    with desk.database.write() as session:
        crowd.add(session, 2, list="interest", now=clock.now())
        values = {"name": "Ben\r\nBcc: everybody@example.org"}
        session.execute(update(Contact).where(Contact.id == ben.id).values(**values))
    desk.update()
    result, *others = desk.compose(desk.claim())
    assert isinstance(result, Result)
    assert (result.state, result.reason) == ("held", Reason.OUR_FAULT)
    assert result.detail.startswith("it cannot be written: ")
    assert [isinstance(other, ReadyMessage) for other in others] == [True, True]


def test_a_message_is_the_same_message_each_time_it_is_composed(
    desk: Desk, clock: StoppedClock, ben: Person
) -> None:
    desk.update()
    queued_at = clock.now()
    entries = desk.claim()
    (first,) = desk.compose(entries)
    clock.advance(hours=30)
    with desk.database.write() as session:
        outbox.give_back(session, entries)
    (again,) = desk.compose(desk.claim(), composer=desk.fresh_composer())
    assert isinstance(first, ReadyMessage) and isinstance(again, ReadyMessage)
    assert first.message == again.message
    assert parsedate_to_datetime(read(first)["Date"]) == queued_at


def test_every_row_has_a_message_id_of_its_own(desk: Desk, clock: StoppedClock, ben: Person) -> None:
    with desk.database.write() as session:
        crowd.add(session, 20, list="interest", now=clock.now())
    desk.update()
    desk.update()
    ids = [message["Message-ID"] for message in desk.letters()]
    assert len(ids) == len(set(ids)) == 42
    assert all(message_id.startswith("<") and message_id.endswith(f"@{_domain(desk)}>") for message_id in ids)


def _domain(desk: Desk) -> str:
    return desk.service.settings.from_address.rpartition("@")[2]


LIST_HEADERS = (
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Help",
    "List-Owner",
    "List-Post",
)


def test_list_mail_says_how_to_leave_in_its_headers(desk: Desk, ben: Person) -> None:
    desk.update()
    (message,) = desk.letters()
    settings, leave_url = desk.service.settings, desk.service.links.unsubscribe_url(ben.id, "interest")
    assert message["List-Unsubscribe"].replace("\r\n ", "") == f"<{leave_url}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["List-Id"].endswith(f"<interest.{_domain(desk)}>")
    assert message["List-Help"] == f"<{desk.service.links.home}>"
    assert message["List-Owner"] == f"<mailto:{settings.reply_to}>"
    assert message["List-Post"] == "NO"
    assert message["Auto-Submitted"] is None  # a person pressed “send”
    assert (message["Reply-To"], message["To"]) == (settings.reply_to, f"Ben <{ben.email}>")
    assert settings.from_address in message["From"]
    assert leave_url in _text(message) and leave_url in _text(message, "text/html")
    for name in ("From", "To", "Subject", "Date", "Message-ID", *LIST_HEADERS):
        assert len(message.get_all(name) or []) == 1


def test_service_mail_is_no_list_mail(desk: Desk, clock: StoppedClock, cleo: Person) -> None:
    signup = SignupRequest(address=cleo.address, list="interest", language="en", wording="Yes", page="/join")
    with desk.database.write() as session:
        desk.service.confirmations.record_signup(session, signup, now=clock.now())
    (message,) = desk.letters()
    assert [name for name in message.keys() if name.lower().startswith("list-")] == []  # noqa: SIM118
    assert message["Auto-Submitted"] == "auto-generated"
    assert desk.service.links.confirm_url(cleo.subscription_id, 1) in _text(message)
    assert "/unsubscribe/" not in _text(message)


@pytest.mark.parametrize(
    ("language", "name", "greeting"),
    [
        ("en", "Ben", "Hello Ben,"),
        ("en", "", "Hello,"),
        ("es", "Ben", "Hola, Ben:"),
        ("es", "", "Hola:"),
        ("en", "{{7*7}} & <b>Co</b>", "Hello {{7*7}} & <b>Co</b>,"),
    ],
)
def test_everybody_is_greeted_in_their_language_with_or_without_a_name(
    desk: Desk, ben: Person, language: str, name: str, greeting: str
) -> None:
    with desk.database.write() as session:
        contacts.amend(session, ben.id, language=language, name=name)
    desk.update()
    (message,) = desk.letters()
    assert _text(message).startswith(greeting)
    html = greeting.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert html in _text(message, "text/html")


def test_an_update_in_one_language_reaches_everybody_in_it(desk: Desk, ben: Person) -> None:
    desk.update(WITH_LINK)
    (message,) = desk.letters()
    assert "Read it" in _text(message)


def test_what_is_personal_is_read_at_the_last_moment_and_the_wording_is_not(desk: Desk, ben: Person) -> None:
    desk.update()
    entries = desk.claim()
    with desk.database.write() as session:
        contacts.amend(session, ben.id, email="ben@new.example.org", language="en", name="Benjamín")
    (ready,) = desk.compose(entries)
    assert isinstance(ready, ReadyMessage) and ready.recipient == "ben@new.example.org"
    assert "Benjamín" in _text(read(ready))


def test_messages_of_many_kinds_come_back_in_the_order_they_were_given(
    desk: Desk, clock: StoppedClock, ben: Person, cleo: Person, ana: Person
) -> None:
    desk.update()
    desk.update(audience="organizers")
    signup = SignupRequest(address=cleo.address, list="interest", language="en", wording="Yes", page="/join")
    with desk.database.write() as session:
        desk.service.confirmations.record_signup(session, signup, now=clock.now())
    entries = list(reversed(desk.claim()))
    assert [message.entry for message in desk.compose(entries)] == entries
    assert desk.compose([]) == []


def test_fifty_messages_take_as_many_statements_as_one(desk: Desk, clock: StoppedClock) -> None:
    with desk.database.write() as session:
        crowd.add(session, 50, list="interest", now=clock.now())
    desk.update()
    entries = desk.claim()
    desk.compose(entries[:1])  # the edition is cached from now on
    counts = []
    for batch in (entries[:1], entries):
        with recorded(desk.database) as statements:
            desk.compose(batch)
        counts.append(len(statements))
    assert counts == [2, 2]  # one for the permission rule, one for the recall


def test_a_long_queue_of_editions_is_not_kept_in_memory_for_ever(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch, ben: Person
) -> None:
    monkeypatch.setattr("mailer.compose.composer.MAX_EDITIONS", 2)
    for number in range(5):
        desk.update(UPDATE.replace("Sunday", f"Sunday {number}").replace("domingo", f"domingo {number}"))
    texts = []
    for entry in desk.claim():
        texts += [_text(read(message)) for message in desk.compose([entry])]
    assert [text.partition("domingo ")[2][0] for text in texts] == list("01234")
