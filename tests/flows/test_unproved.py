"""Nothing that a form says reaches an address before it is confirmed from there."""

import email
import email.policy
from collections.abc import Sequence
from dataclasses import replace
from html import unescape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from lists import addresses, catalog, consents, contacts, geography, subscriptions
from lists.contacts import DETAIL_LENGTH, LANGUAGES, NAME_LENGTH
from lists.directory import Application
from mailer.compose.composer import ReadyMessage
from mailer.outbox import due_rows, outbox
from mailer.outbox.outbox import Result
from mailer.people import address_change
from mailer.policy import POLICY
from mailer.service import Service
from mailer.sources.confirmations import SignupRequest
from tests.people import PEPPER, Person

MARK = "Evilness"  # all input contains it, so that it is found however it is encoded
LIST_WITH_OWN_MESSAGE = "drivers"
DORA = "dora@example.org"
EXAMPLES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SIGNS = st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp", "Zs"), include_characters=" ")


@pytest.fixture(autouse=True)
def add_list_with_own_message(service: Service) -> None:
    """A list whose own confirmation message would greet its reader by name."""
    message = {
        language: {
            "subject": "Yes, {{ name }}?",
            "preview": "",
            "body": "{{ name }} [Yes]({{ confirm_url }})",
        }
        for language in LANGUAGES
    }
    words = dict.fromkeys(LANGUAGES, "Drivers")
    with service.database.write() as session:
        catalog.add(
            session,
            LIST_WITH_OWN_MESSAGE,
            title=words,
            about=words,
            confirmation_message=message,
            now=service.clock.now(),
            actor="staff",
        )


def form_lines(limit: int) -> st.SearchStrategy[str]:
    """Generate what a form accepts as one line: anything printable, with the mark in it."""
    half_length = (limit - len(MARK) - 30) // 2
    around = st.one_of(
        st.text(SIGNS, max_size=half_length),
        st.sampled_from(["http://evil.example/win ", "<b>&amp;", "=?utf-8?q?"]),
    )
    return st.tuples(around, around).map(lambda pair: f"{pair[0]}{MARK}{pair[1]}".strip())


def sign_up(
    service: Service, session: Session, *, list: str, name: str = "", email: str = DORA,
    application: Application | None = None, language: str = "en",
) -> None:  # fmt: skip
    signup = SignupRequest(
        address=addresses.parse(email, pepper=PEPPER),
        list=list,
        language=language,
        wording="Yes",
        page="/join",
        name=name,
        place=geography.find("10027"),
    )
    service.confirmations.record_signup(session, signup, now=service.clock.now(), application=application)


def compose_due(service: Service, session: Session) -> dict[str, bytes]:
    """Compose what is due, as a worker does; returns the messages by kind and list."""
    now = service.clock.now()
    for source in {id(each): each for each in service.sources.values()}.values():
        source.fill(session, now=now, limit=1_000)
    entries = due_rows.claim(session, worker="w", limit=50, now=now, lease_until=now)
    composer = replace(service.composer)  # it has cached no edition of an example that was rolled back
    outcomes = composer.compose(session, entries, now=now)
    messages = [each for each in outcomes if isinstance(each, ReadyMessage)]
    results = [
        Result(entry=each.entry, state="sent", counts_as_try=True, outcome="sent") for each in messages
    ]
    outbox.record(session, results, now=now)
    return {f"{each.entry.kind} {each.entry.list}".strip(): each.message for each in messages}


def decode_message(raw: bytes) -> str:
    """Return the text of a message, decoded: headers, parts, and the HTML without its entities."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    words = [raw.decode("utf-8", "replace"), *(f"{name}: {value}" for name, value in message.items())]
    for part in message.walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            words += [payload.decode("utf-8"), unescape(payload.decode("utf-8"))]
    return "\n".join(words).casefold()


def with_the_mark(messages: dict[str, bytes]) -> Sequence[str]:
    return [name for name, raw in messages.items() if MARK.casefold() in decode_message(raw)]


NAMES = form_lines(NAME_LENGTH)
DETAILS = form_lines(DETAIL_LENGTH)


@EXAMPLES
@given(
    name=NAMES, organization=DETAILS, role=DETAILS, offer=form_lines(400), language=st.sampled_from(LANGUAGES)
)
def test_whatever_a_form_says_no_mail_before_the_yes_says_it(
    service: Service, name: str, organization: str, role: str, offer: str, language: str
) -> None:
    application = Application(
        organization=organization, name=name, tradition=role, role=role, zip="10027", offer=offer
    )
    with service.database.write() as session:
        sign_up(service, session, list="interest", name=name, language=language)
        sign_up(service, session, list=LIST_WITH_OWN_MESSAGE, name=name, language=language)
        sign_up(service, session, list="organizers", name=name, application=application, language=language)
        dora = contacts.find(session, addresses.parse(DORA, pepper=PEPPER))
        assert dora is not None
        service.confirmations.send_access_link(session, dora.id, now=service.clock.now())
        sent = compose_due(service, session)
        assert set(sent) == {
            "confirmation interest",
            f"confirmation {LIST_WITH_OWN_MESSAGE}",
            "confirmation organizers",
            "access",
        }
        assert with_the_mark(sent) == []
        session.rollback()


@EXAMPLES
@given(name=NAMES, organization=DETAILS)
def test_whoever_is_on_the_list_hears_nothing_of_what_a_stranger_typed(
    service: Service, ben: Person, cleo: Person, name: str, organization: str
) -> None:
    application = Application(organization=organization, name=name, zip="10027")
    with service.database.write() as session:
        for each in (ben, cleo):
            sign_up(service, session, list="interest", name=name, email=each.email)
            sign_up(service, session, list="organizers", name=name, email=each.email, application=application)
        sent = compose_due(service, session)
        assert "already interest" in sent and "confirmation organizers" in sent
        assert with_the_mark(sent) == []
        for each in (ben, cleo):  # DECISIONS, 3: a form changes no stored data
            assert contacts.get(session, each.id).name == each.name
        session.rollback()


@EXAMPLES
@given(name=NAMES)
def test_a_new_address_is_asked_without_a_name_until_somebody_there_says_yes(
    service: Service, ben: Person, name: str
) -> None:
    with service.database.write() as session:
        contacts.amend(session, ben.id, name=name)
        address_change.change_address(
            session,
            ben.id,
            addresses.parse("ben@nuevo.example.org", pepper=PEPPER),
            version=contacts.get(session, ben.id).version,
            source=service.confirmations,
            now=service.clock.now(),
            actor="staff",
        )
        sent = compose_due(service, session)
        assert set(sent) == {"confirmation interest"} and with_the_mark(sent) == []
        session.rollback()


@EXAMPLES
@given(name=NAMES)
def test_people_of_a_file_or_a_sheet_are_asked_without_a_name(service: Service, name: str) -> None:
    now = service.clock.now()
    with service.database.write() as session:
        address = addresses.parse(DORA, pepper=PEPPER)
        contact = contacts.find_or_add(session, address, now=now, name=name)
        subscriptions.add_all(session, [contact.id], list="interest", now=now, confirmed=False)
        sent = compose_due(service, session)
        assert set(sent) == {"confirmation interest"} and with_the_mark(sent) == []
        session.rollback()


def confirm(service: Service, session: Session, *, list: str) -> None:
    dora = contacts.find(session, addresses.parse(DORA, pepper=PEPPER))
    assert dora is not None
    subscription = subscriptions.find(session, contact_id=dora.id, list=list)
    assert subscription is not None
    service.confirmations.confirm(
        session,
        subscription_id=subscription.id,
        round=subscription.round,
        page="/confirm",
        now=service.clock.now(),
    )


def test_after_the_yes_a_name_greets(service: Service) -> None:
    with service.database.write() as session:
        sign_up(service, session, list="interest", name=f"Dora {MARK}")
        assert with_the_mark(compose_due(service, session)) == []
        confirm(service, session, list="interest")
        sent = compose_due(service, session)
    assert list(sent) == ["sequence interest"]
    assert f"hello dora {MARK}".casefold() in decode_message(sent["sequence interest"])
    assert f"to: dora {MARK} <{DORA}>".casefold() in decode_message(sent["sequence interest"])


def test_an_organizer_who_confirmed_the_address_is_greeted_before_staff_decide(service: Service) -> None:
    with service.database.write() as session:
        application = Application(organization="Friends", name=f"Dora {MARK}", zip="10027")
        sign_up(service, session, list="organizers", name=f"Dora {MARK}", application=application)
        assert with_the_mark(compose_due(service, session)) == []
        confirm(service, session, list="organizers")
        assert with_the_mark(compose_due(service, session)) == ["received organizers"]


@pytest.mark.parametrize("own_name", ["Dora", ""])
@pytest.mark.parametrize("stranger_first", [True, False])
def test_a_strangers_name_does_not_wait_for_the_yes_of_somebody_else(
    service: Service, own_name: str, stranger_first: bool
) -> None:
    with service.database.write() as session:
        for name in [MARK, own_name] if stranger_first else [own_name, MARK]:
            sign_up(service, session, list="interest", name=name)
        confirm(service, session, list="interest")
        assert with_the_mark(compose_due(service, session)) == []
        confirmed = contacts.find(session, addresses.parse(DORA, pepper=PEPPER))
        assert confirmed is not None and confirmed.name == ""


def test_the_same_name_twice_stays_and_what_staff_know_stays(service: Service, ben: Person) -> None:
    now = service.clock.now()
    with service.database.write() as session:
        for _ in range(2):
            sign_up(service, session, list="interest", name="Dora  Díaz")
        confirm(service, session, list="interest")
        dora = contacts.find(session, addresses.parse(DORA, pepper=PEPPER))
        assert dora is not None and dora.name == "Dora Díaz"
        gus = contacts.find_or_add(
            session, addresses.parse("gus@example.org", pepper=PEPPER), now=now, name="Gus"
        )
        consents.add(session, contact_id=gus.id, list="interest", action="imported", now=now)
        sign_up(service, session, list="interest", name=MARK, email="gus@example.org")
        session.expire_all()
        assert contacts.get(session, gus.id).name == "Gus"


def test_every_kind_that_may_come_before_a_yes_was_looked_at() -> None:
    before = {kind for kind, policy in POLICY.items() if policy.needs != "confirmed" and not policy.to_staff}
    assert before == {"confirmation", "access", "already", "received"}, "ask above what they say"
