"""The next call on the first page, and the answer to an invitation."""

import pytest

from mailer.events import events
from mailer.sources import invitations
from tests.mailer.web.visitor import words


@pytest.fixture
def call(service, clock):
    """A call at 8 pm in New York, in two languages."""
    with service.database.write() as session:
        return events.create(
            session,
            title={"en": "Monthly call", "es": "Llamada mensual"},
            starts="2026-12-08 20:00",
            zone="America/New_York",
            minutes=60,
            join_url="https://meet.example/secret",
            audience="organizers",
            now=clock.now(),
            actor="test",
        )


def get_answer(service, call, person):
    with service.database.read() as session:
        return invitations.get_answer(session, event_id=call.id, contact_id=person.id)


def test_the_first_page_names_the_next_call_but_not_the_way_in(visitor, clock, call):
    page = visitor.get("/")
    assert "Monthly call" in words(page)
    assert "Tuesday, December 8, 8:00 pm Eastern" in words(page)
    assert "meet.example" not in page.text
    assert "Llamada mensual" in words(visitor.get("/?lang=es"))
    clock.advance(days=60)
    assert "Monthly call" not in words(visitor.get("/"))


def test_looking_at_an_invitation_only_chooses(visitor, service, ben, call):
    link = f"/rsvp/{service.tokens.sign_rsvp(call.id, ben.id)}?answer=yes"
    for method in ("GET", "HEAD"):
        assert visitor.ask(method, link).status_code == 200
    page = visitor.get(link)
    assert '<html lang="es">' in page.text
    assert 'value="yes" checked' in page.text
    assert "6:00 p. m. su hora" in words(page)
    assert get_answer(service, call, ben) is None


def test_an_invitation_page_names_neither_person_nor_city(visitor, service, ben, call):
    page = visitor.get(f"/rsvp/{service.tokens.sign_rsvp(call.id, ben.id)}").text
    for secret in (ben.name, ben.email, "Phoenix", "meet.example"):
        assert secret not in page


def test_the_latest_answer_counts_and_is_shown_again(visitor, service, ana, call):
    link = f"/rsvp/{service.tokens.sign_rsvp(call.id, ana.id)}"
    assert "We look forward to hearing you" in words(visitor.post(link, {"answer": "yes"}))
    assert "You will be missed" in words(visitor.post(link, {"answer": "no"}))
    assert get_answer(service, call, ana) == "no"
    assert 'value="no" checked' in visitor.get(link).text


def test_no_answer_or_another_word_is_asked_for_again(visitor, service, ana, call):
    link = f"/rsvp/{service.tokens.sign_rsvp(call.id, ana.id)}"
    for form in ({}, {"answer": "perhaps"}):
        answer = visitor.post(link, form)
        assert answer.status_code == 422
        assert 'href="#answer"' in answer.text
    assert get_answer(service, call, ana) is None
    assert "checked" not in visitor.get(f"{link}?answer=%3Cscript%3E").text


def test_a_call_that_is_over_or_cancelled_takes_no_answer(visitor, service, clock, ana, call):
    link = f"/rsvp/{service.tokens.sign_rsvp(call.id, ana.id)}"
    with service.database.write() as session:
        events.get(session, call.id).status = "cancelled"
    assert "This call was cancelled" in words(visitor.get(link))
    assert visitor.post(link, {"answer": "yes"}).status_code == 409
    with service.database.write() as session:
        events.get(session, call.id).status = "planned"
    clock.advance(days=60)
    assert "This call is over" in words(visitor.post(link, {"answer": "yes"}))
    assert get_answer(service, call, ana) is None


def test_the_link_of_one_person_never_answers_for_another(visitor, service, ana, ben, call):
    token = service.tokens.sign_rsvp(call.id, ana.id)
    stolen = token.replace(f".{ana.id}.", f".{ben.id}.", 1)
    assert visitor.post(f"/rsvp/{stolen}", {"answer": "no"}).status_code == 404
    assert get_answer(service, call, ben) is None
