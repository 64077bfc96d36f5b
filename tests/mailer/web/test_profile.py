"""Stored data of a person is shown and changed only behind a link just mailed to their address."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from lists import consents, contacts, permission, suppressions, topic_optouts
from lists.contacts import Contact
from lists.permission import Purpose
from lists.topic_optouts import TOPICS
from mailer.outbox.outbox import OutboxRow
from mailer.sources.confirmations import ACCESS_LIFETIME
from mailer.sources.journeys import Journey
from tests.mailer.web.visitor import hidden, title, words
from tests.relays import World, deliver

EVERYTHING = {f"topic-{topic}": "yes" for topic in TOPICS}


def footer(service, person):
    return f"/preferences/{service.tokens.sign_preferences(person.id)}"


def deliver_link(service, world):
    """Deliver what is due, and return the link in the newest mail."""
    deliver(service, world)
    text = world.letters[-1].decode().replace("=\r\n", "")
    return re.findall(r"https?://[^/\s]+(/mine/[0-9a-f.]+)", text)[0]


def get_contact(service, person):
    with service.database.read() as session:
        return session.get(Contact, person.id)


@pytest.fixture
def world(clock):
    return World(clock)


@pytest.fixture
def link(visitor, service, ben, world):
    """The link that was mailed to Ben at his request."""
    visitor.post(footer(service, ben), {"do": "mine"})
    return deliver_link(service, world)


def test_the_link_goes_to_the_address_and_not_onto_the_page(visitor, service, ben, world):
    answer = visitor.post(footer(service, ben), {"do": "mine"})
    assert "/mine/" not in answer.text
    assert ben.email not in answer.text
    deliver(service, world)
    assert world.arrived == [ben.email]


def test_behind_it_ben_finds_what_is_known_of_him(visitor, service, ben, link):
    answer = visitor.get(link)
    assert answer.status_code == 200
    assert ben.email in answer.text
    assert 'value="Ben"' in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert service.settings.campaign_name.es not in title(answer)


def test_after_an_hour_the_link_opens_nothing(visitor, clock, link):
    clock.advance(seconds=ACCESS_LIFETIME.total_seconds() - 1)
    assert visitor.get(link).status_code == 200
    clock.advance(seconds=1)
    assert visitor.get(link).status_code == 404
    assert visitor.post(link, {"do": "forget-surely"}).status_code == 404


def test_neither_the_footer_s_token_nor_a_later_hour_can_be_made_into_one(visitor, service, ben, link):
    token = service.tokens.sign_preferences(ben.id)
    number, until, signature = link.removeprefix("/mine/").split(".")
    for forged in (
        token,
        f"{number}.{int(until) + 3600}.{signature}",
        f"{int(number) + 1}.{until}.{signature}",
    ):
        assert visitor.get(f"/mine/{forged}").status_code == 404
        assert visitor.post(f"/mine/{forged}", {"do": "forget-surely"}).status_code == 404
    assert get_contact(service, ben) is not None


def test_the_footer_s_link_changes_language_pause_and_leaving_and_nothing_else(visitor, service, ben):
    for action in ("save", "forget", "forget-surely", "topics", "discreet"):
        answer = visitor.post(footer(service, ben), {"do": action, "name": "Mallory", "discreet": "yes"})
        assert answer.status_code == 400
    now = get_contact(service, ben)
    assert (now.name, now.discreet) == ("Ben", False)


def test_at_most_three_links_are_mailed_in_a_day(visitor, service, ben, clock, world):
    for _ in range(5):
        answer = visitor.post(footer(service, ben), {"do": "mine"})
        clock.advance(minutes=2)
    assert "mañana" in words(answer)
    deliver(service, world)
    assert world.arrived == [ben.email] * 3


def test_name_and_place_change_and_journeys_go_by_the_new_clock(visitor, service, ben, link):
    service.jobs.tick()
    answer = visitor.post(
        link, {**hidden(visitor.get(link)), **EVERYTHING, "do": "save", "name": "Benito", "zip": "10027"}
    )
    assert answer.status_code == 200
    now = get_contact(service, ben)
    assert (now.name, now.city, now.zone) == ("Benito", "New York", "America/New_York")
    with service.database.read() as session:
        assert set(session.scalars(select(Journey.zone))) == {"America/New_York"}


def test_a_mistake_is_told_and_what_was_written_stays(visitor, service, ben, link):
    form = {**hidden(visitor.get(link)), **EVERYTHING, "do": "save", "name": "Benito", "zip": "123"}
    answer = visitor.post(link, form)
    assert answer.status_code == 422
    assert 'value="Benito"' in answer.text
    assert get_contact(service, ben).name == "Ben"


def test_two_who_change_at_once_do_not_overwrite_each_other(visitor, service, ben, link):
    form = {**hidden(visitor.get(link)), **EVERYTHING, "do": "save", "name": "Benito"}
    with service.database.write() as session:
        contacts.amend(session, ben.id, name="Benjamín")
    assert visitor.post(link, form).status_code == 409
    assert get_contact(service, ben).name == "Benjamín"


def test_a_topic_not_wanted_is_not_sent_and_the_consent_says_since_when(visitor, service, ben, link, clock):
    form = {**hidden(visitor.get(link)), **EVERYTHING, "do": "save", "name": "Ben"}
    del form["topic-updates"]
    visitor.post(link, form)
    with service.database.read() as session:
        reasons = {
            topic: permission.find_recipients(
                session,
                [ben.id],
                purpose=Purpose(needs="confirmed", list="interest", topic=topic),
                now=clock.now(),
            )[ben.id].refusal
            for topic in TOPICS
        }
        last = consents.list_for_contact(session, ben.id)[-1]
    assert reasons == dict.fromkeys(TOPICS) | {"updates": "declined"}
    assert (last.action, last.wording) == ("topics", "follow-up, calls, webinars")


def test_the_welcome_letters_go_on_where_they_stopped_when_they_are_wanted_again(
    visitor, service, ben, clock, world
):
    def step():
        service.jobs.tick()
        with service.database.read() as session:
            return session.execute(select(Journey.step, Journey.state)).one()

    service.jobs.tick()
    deliver(service, world)
    first, _ = step()
    with service.database.write() as session:
        topic_optouts.set_optouts(session, contact_id=ben.id, topics={"follow-up"}, now=clock.now())
    clock.advance(days=14, hours=4)
    assert tuple(step()) == (first, "left")
    sent = list(world.arrived)
    visitor.post(footer(service, ben), {"do": "mine"})
    link = deliver_link(service, world)
    visitor.post(link, {**hidden(visitor.get(link)), **EVERYTHING, "do": "save", "name": "Ben"})
    assert tuple(step()) == (first, "sending")
    assert world.arrived == [*sent, ben.email]


def test_forgetting_is_asked_about_once_more_and_then_it_is_done(visitor, service, ben, link):
    response = visitor.post(link, {"do": "forget"})
    assert "¿Borrar todo?" in words(response)
    assert get_contact(service, ben) is not None
    assert visitor.post(link, {"do": "forget-surely"}).status_code == 200
    assert get_contact(service, ben) is None
    assert visitor.get(link).status_code == 404
    with service.database.read() as session:
        assert suppressions.find_reason(session, ben.address.digest) == "forgotten"
        assert session.scalar(select(func.count()).select_from(OutboxRow)) == 0


def test_discreet_mail_shows_nothing_of_the_campaign_before_it_is_opened(visitor, service, world, clock):
    answer = visitor.join(email="dora@example.org", language="en", discreet="yes", name="Dora")
    assert "Neighbors" in words(answer)
    deliver(service, world)
    message = world.letters[-1].decode()
    head, _, body = message.partition("\r\n\r\n")
    campaign = service.settings.campaign_name.en
    assert "Subject: A note for you\r\n" in head
    assert re.search(r"^From: Neighbors <", head, re.MULTILINE)
    assert campaign not in head
    assert service.settings.from_name not in head
    assert "<title>A note for you</title>" in body.replace("=\r\n", "")
    shown = words_shown_first(body)
    assert shown.startswith("Open this when you have a quiet moment.")
    assert campaign not in shown[:200]


def words_shown_first(body):
    """Return the text that a phone shows beside the subject: the first words of the HTML part."""
    html = body.partition("text/html")[2].replace("=\r\n", "")
    return re.sub(r"<[^>]+>", "", html[html.index("<body") :]).strip()


def test_ticking_discreet_when_signing_up_again_hides_and_never_shows(visitor, service, ben):
    visitor.join(email=ben.email, language="es", discreet="yes")
    assert get_contact(service, ben).discreet
    visitor.clock.advance(days=1)
    visitor.join(email=ben.email, language="es")
    assert get_contact(service, ben).discreet


def test_a_key_of_an_hour_is_not_mailed_when_it_would_come_too_late(visitor, service, ben, clock, world):
    visitor.post(footer(service, ben), {"do": "mine"})
    clock.advance(seconds=timedelta(minutes=31).total_seconds())
    deliver(service, world)
    assert world.arrived == []


@pytest.mark.parametrize("version", ["", "x", "-1", "٣", "9" * 30, "9" * 5_000])
def test_a_version_that_no_form_has_changes_nothing(visitor, service, ben, link, version):
    form = {**hidden(visitor.get(link)), **EVERYTHING, "do": "save", "name": "Benito", "version": version}
    assert visitor.post(link, form).status_code == 422
    assert get_contact(service, ben).name == "Ben"
