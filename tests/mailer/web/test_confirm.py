"""Confirming: what the page says to people who confirm first, again, and after they had left."""

import pytest
from sqlalchemy import select

from lists import subscriptions as subs
from lists import topic_optouts
from lists.contacts import Contact
from lists.subscriptions import Subscription
from mailer.sources.journeys import Journey
from tests.mailer.web.visitor import words


def confirm_path(service, email):
    with service.database.read() as session:
        query = select(Subscription).join(Contact, Contact.id == Subscription.contact_id)
        subscription = session.scalars(query.where(Contact.email == email)).one()
        return f"/confirm/{service.tokens.sign_confirm(subscription.id, subscription.round)}"


def rejoin(visitor, service, person):
    with service.database.write() as session:
        subs.leave(session, contact_id=person.id, now=service.clock.now())
    visitor.join(email=person.email)
    return words(visitor.post(confirm_path(service, person.email) + "?lang=en"))


def set_journey(service, person, state):
    with service.database.write() as session:
        journey = session.scalars(select(Journey).where(Journey.contact_id == person.id)).one()
        journey.state = state


def test_dora_who_joins_is_promised_the_first_email(visitor, service):
    visitor.join(email="dora@example.org")
    path = confirm_path(service, "dora@example.org")
    assert "Did you not ask for this?" in words(visitor.get(path))
    assert "The first email follows soon." in words(visitor.post(path))


def test_who_has_confirmed_is_told_so_and_offered_no_button(visitor, service, ben):
    path = confirm_path(service, ben.email)
    page = visitor.get(path + "?lang=en")
    assert page.status_code == 200
    assert "You are on the list already" in words(page) and "Nothing will come" not in words(page)
    assert "<form" not in page.text.partition("<main")[2].partition("</main")[0]
    assert "Ya está en la lista" in words(visitor.get(path + "?lang=es"))
    assert visitor.post(path).status_code == 200


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("left", "The welcome emails go on where they stopped."),
        ("done", "You have had our welcome emails already. We write when there is news."),
        ("goal", "You have had our welcome emails already. We write when there is news."),
    ],
)
def test_ben_who_returns_is_promised_what_comes_next(visitor, service, ben, state, sentence):
    service.jobs.tick()
    set_journey(service, ben, state)
    page = rejoin(visitor, service, ben)
    assert sentence in page and "The first email follows soon." not in page


def test_ben_who_wants_no_news_and_had_all_emails_is_promised_none(visitor, service, ben):
    service.jobs.tick()
    set_journey(service, ben, "done")
    with service.database.write() as session:
        topic_optouts.set_optouts(session, contact_id=ben.id, topics=["updates"], now=service.clock.now())
    assert "You chose to get no news, so for now we do not write." in rejoin(visitor, service, ben)
