"""The page of a list that staff added: joining, confirming, leaving, and when it closes."""

import re

import pytest
from sqlalchemy import select

from lists import catalog, consents, contacts
from lists import subscriptions as subs
from lists.subscriptions import Subscription
from mailer.outbox.outbox import OutboxRow
from mailer.web import routes
from tests import commands
from tests.mailer.web.visitor import title, words

MESSAGE = """---
subject:
  en: Shalom, please confirm
  es: Paz, por favor confirme
---
<!-- en -->
{{ greeting }}

[Count me in]({{ confirm_url }})
<!-- es -->
{{ greeting }}

[Cuenten conmigo]({{ confirm_url }})
"""


@pytest.fixture(autouse=True)
def clergy(service, monkeypatch):
    monkeypatch.setattr(routes, "RESPONSE_STEP_SECONDS", 0.001)
    with service.database.write() as session:
        catalog.add(
            session,
            "clergy",
            title={"en": "Clergy <circle>", "es": "Círculo del clero"},
            about={"en": "One letter a month & a prayer.", "es": "Una carta al mes."},
            confirmation_message={},
            now=service.clock.now(),
            actor="staff",
        )


def join_clergy(visitor, service, email="dora@example.org", language="en"):
    """Let an address join, and return the path of the link that asks to confirm."""
    visitor.join("/join/clergy", email=email, language=language)
    with service.database.read() as session:
        subscription = session.scalars(select(Subscription).order_by(Subscription.id.desc())).first()
    return re.sub(r"^https?://[^/]+", "", service.links.confirm_url(subscription.id, subscription.round))


def state(service):
    with service.database.read() as session:
        return sorted((row.list, row.state) for row in session.scalars(select(Subscription)))


def test_the_page_says_what_the_list_is_in_both_languages(visitor):
    assert "Clergy <circle>" in words(visitor.get("/join/clergy"))
    assert "One letter a month & a prayer." in words(visitor.get("/join/clergy"))
    spanish = visitor.get("/join/clergy?lang=es")
    assert "Círculo del clero" in title(spanish)
    assert "Una carta al mes." in words(spanish)
    assert "clergy" not in visitor.get("/").text


def test_dora_joins_and_the_wording_she_saw_is_kept(visitor, service):
    seen = words(visitor.get("/join/clergy"))
    answer = visitor.join("/join/clergy", email="dora@example.org", name="Dora")
    assert answer.status_code == 200
    assert state(service) == [("clergy", "pending")]
    with service.database.read() as session:
        consent = consents.list_for_contact(session, 1)[0]
        assert (consent.list, consent.page) == ("clergy", "/join/clergy")
        assert "Clergy <circle>" in consent.wording and consent.wording in seen
        assert [(row.kind, row.list) for row in session.scalars(select(OutboxRow))] == [
            ("confirmation", "clergy")
        ]


def test_a_mistake_leads_back_to_the_same_list(visitor, service):
    wrong = visitor.join("/join/clergy", email="dora@")
    assert wrong.status_code == 422
    assert 'action="/join/clergy"' in wrong.text
    assert state(service) == []


def test_confirming_says_what_will_come_and_offers_no_toolkit(visitor, service):
    link = join_clergy(visitor, service)
    assert "Clergy <circle>" in words(visitor.get(link))
    response = visitor.post(link)
    assert "One letter a month & a prayer." in words(response)
    assert "/r/toolkit" not in response.text
    assert state(service) == [("clergy", "confirmed")]


def test_who_is_on_it_sees_its_name_and_leaves_it_alone(visitor, service):
    visitor.post(join_clergy(visitor, service, language="es"))
    visitor.join(email="dora@example.org")
    token = service.tokens.sign_preferences(1)
    assert "Círculo del clero" in words(visitor.get(f"/preferences/{token}"))
    response = visitor.post(f"/preferences/{token}", {"do": "leave-clergy"})
    assert "Ya salió de esta lista: Círculo del clero." in words(response)
    assert state(service) == [("clergy", "left"), ("interest", "pending")]


def test_the_footer_link_of_its_mail_leaves_it(visitor, service):
    link = join_clergy(visitor, service)
    visitor.post(link)
    leave = f"/unsubscribe/{service.tokens.sign_unsubscribe(1, 'clergy')}"
    assert "Clergy <circle>" in words(visitor.get(leave))
    response = visitor.post(leave)
    assert state(service) == [("clergy", "left")]
    assert 'href="/join/clergy"' in response.text
    ended = visitor.get(link)
    assert ended.status_code == 410 and 'href="/join/clergy"' in ended.text


def test_all_that_is_known_names_the_list_as_people_do(visitor, service):
    visitor.post(join_clergy(visitor, service, language="es"))
    token = service.tokens.sign_profile(1, until=service.clock.now().replace(year=2099))
    assert "Círculo del clero" in words(visitor.get(f"/mine/{token}/all"))


def test_a_list_nobody_added_has_no_page(visitor):
    assert visitor.get("/join/friends").status_code == 404
    assert visitor.post("/join/friends", {"email": "dora@example.org"}).status_code == 404
    assert visitor.get("/join/interest").status_code == 404


def test_nobody_joins_a_closed_list_and_who_asked_before_may_still_confirm(visitor, service):
    link = join_clergy(visitor, service)
    form = {**visitor.read_form("/join/clergy"), "email": "eva@example.org", "language": "en"}
    with service.database.write() as session:
        catalog.close(session, "clergy", now=service.clock.now(), actor="staff")
    visitor.clock.advance(seconds=20)
    for answer in (visitor.get("/join/clergy"), visitor.post("/join/clergy", form)):
        assert answer.status_code == 410
        assert "Nobody can join this list any more" in words(answer)
    visitor.post(link)
    assert state(service) == [("clergy", "confirmed")]


def question(service, language):
    """Return the mail that asks Dora to confirm, as it is composed."""
    with service.database.write() as session:
        row = session.scalars(select(OutboxRow)).one()
        edition = service.confirmations.freeze_edition(session, row.list, now=service.clock.now())
        assert row.edition_id == edition.id
        sample = {
            "name": "Dora",
            "leave_url": "",
            "preferences_url": "",
            "confirm_url": "https://x.example/c",
        }
        return service.editions.preview(edition, language, sample=sample)


def test_the_shared_mail_asks_in_the_words_of_the_list(visitor, service):
    join_clergy(visitor, service)
    preview = question(service, "en")
    assert "Clergy <circle>" in preview.text and "One letter a month & a prayer." in preview.text
    assert "Clergy &lt;circle&gt;" in preview.html
    assert "Clergy" not in preview.subject
    assert "Círculo del clero" in question(service, "es").text


def test_a_list_asks_with_a_letter_of_its_own(visitor, service, tmp_path):
    file = tmp_path / "letter.md"
    file.write_text(MESSAGE)
    mailer = commands.mailer(service)
    printed = mailer("list", "reword", "clergy", "--letter", file).out
    assert "Shalom, please confirm" in printed and "Cuenten conmigo" in printed
    join_clergy(visitor, service)
    assert question(service, "es").subject == "Paz, por favor confirme"
    assert (
        mailer("list", "reword", "clergy", "--shared-letter", "--json").json["letter"] == "the shared letter"
    )


def test_the_brakes_hold_over_all_lists(visitor, service):
    for name in ("youth", "choir", "drivers"):
        with service.database.write() as session:
            catalog.add(
                session,
                name,
                title={"en": name, "es": name},
                about={"en": "News.", "es": "Noticias."},
                confirmation_message={},
                now=service.clock.now(),
                actor="staff",
            )
    for path in ("/join", "/join/clergy", "/join/youth", "/join/choir", "/join/drivers"):
        assert visitor.join(path, email="dora@example.org").status_code == 200
    with service.database.read() as session:
        assert len(session.scalars(select(OutboxRow)).all()) == 3
        assert contacts.get(session, 1).email == "dora@example.org"
        assert len(subs.list_for_contact(session, 1)) == 5


def test_a_name_that_no_list_can_have_is_no_page_and_no_trouble(visitor):
    for name in ("%00", "a" * 5_000, "Clergy", "clergy-", "%F0%9F%99%82"):
        assert visitor.get(f"/join/{name}").status_code == 404


def test_a_mail_of_a_list_that_an_older_backup_does_not_know_can_still_be_left(visitor, service):
    visitor.post(join_clergy(visitor, service))
    leave = f"/unsubscribe/{service.tokens.sign_unsubscribe(1, 'vigil-2027')}"
    assert "Leave this list: vigil-2027?" in words(visitor.get(leave))
    assert visitor.post(leave).status_code == 200
    assert state(service) == [("clergy", "confirmed")]
