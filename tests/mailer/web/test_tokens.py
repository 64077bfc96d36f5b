"""Pages behind links of mails: opening changes nothing, a button does, and no other person's link helps."""

import re
import threading

import pytest
from sqlalchemy import select

from lists import consents, contacts, directory
from lists import subscriptions as subs
from lists.directory import Listing
from lists.subscriptions import Subscription
from mailer.outbox.outbox import OutboxRow
from tests.mailer.web.visitor import Visitor, title, words

VERBS = ("confirm", "preferences", "unsubscribe", "rsvp")


def subscription(service, person, list_name=None):
    with service.database.read() as session:
        return subs.find(session, contact_id=person.id, list=list_name or person.list)


def path_of(url):
    return re.sub(r"^https?://[^/]+", "", url)


@pytest.fixture
def dora(visitor, service):
    """Dora asked to join; returns the path of her confirmation link."""
    visitor.join(email="dora@example.org", language="es")
    with service.database.read() as session:
        pending = session.scalars(select(Subscription)).one()
    return path_of(service.links.confirm_url(pending.id, pending.round))


def state(service):
    with service.database.read() as session:
        return session.scalars(select(Subscription.state)).all()


def test_looking_at_the_confirming_page_changes_nothing(visitor, service, dora):
    for method in ("GET", "HEAD"):
        assert visitor.ask(method, dora).status_code == 200
    assert state(service) == ["pending"]
    assert "Confirmar" in visitor.get(dora).text
    assert service.settings.campaign_name.es not in title(visitor.get(dora))


def test_confirming_gives_what_was_promised_at_once_and_twice_is_once(visitor, service, dora):
    for _ in range(2):
        answer = visitor.post(dora)
        assert answer.status_code == 200
        for name in ("toolkit", "webinar", "powerpoint", "guide"):
            assert f"/r/{name}?lang=es" in answer.text
        assert "(muestra)" in answer.text
    assert state(service) == ["confirmed"]
    with service.database.read() as session:
        dora_id = session.scalars(select(Subscription.contact_id)).one()
        assert [c.action for c in consents.list_for_contact(session, dora_id)] == ["asked", "confirmed"]


def test_an_old_confirming_link_never_brings_back_who_left(visitor, service, dora):
    visitor.post(dora)
    with service.database.write() as session:
        subs.leave(session, contact_id=1, now=service.clock.now())
    for answer in (visitor.get(dora), visitor.post(dora)):
        assert answer.status_code == 410
    assert state(service) == ["left"]


def test_an_organizer_confirms_and_waits_for_staff(visitor, service):
    visitor.join("/organize", email="emil@example.org", organization="Friends Meeting", zip="10027")
    with service.database.read() as session:
        pending = session.scalars(select(Subscription)).one()
    link = path_of(service.links.confirm_url(pending.id, pending.round))
    assert "I would like to lead" in words(visitor.get(link))
    answer = visitor.post(link)
    assert "staff looks at your sign-up" in words(answer)
    assert state(service) == ["pending"]
    with service.database.read() as session:
        assert session.scalars(select(Listing.state)).all() == ["waiting"]
        assert session.scalars(select(OutboxRow.kind)).all() == ["confirmation", "received"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_token_altered_by_one_byte_is_not_ours(visitor, service, ben, verb):
    token = {
        "confirm": service.tokens.sign_confirm(ben.subscription_id, 0),
        "preferences": service.tokens.sign_preferences(ben.id),
        "unsubscribe": service.tokens.sign_unsubscribe(ben.id, "interest"),
        "rsvp": service.tokens.sign_rsvp(1, ben.id),
    }[verb]
    for place in range(len(token)):
        altered = token[:place] + ("1" if token[place] != "1" else "2") + token[place + 1 :]
        assert visitor.get(f"/{verb}/{altered}").status_code == 404
        assert visitor.post(f"/{verb}/{altered}", {"do": "leave-all"}).status_code == 404
    assert subscription(service, ben).state == "confirmed"


@pytest.mark.parametrize("verb", VERBS)
def test_a_token_for_something_else_is_not_ours(visitor, service, ben, verb):
    others = {
        "confirm": service.tokens.sign_preferences(ben.id),
        "preferences": service.tokens.sign_unsubscribe(ben.id, "interest"),
        "unsubscribe": service.tokens.sign_confirm(ben.subscription_id, 0),
        "rsvp": service.tokens.sign_confirm(1, ben.id),
    }
    for token in (others[verb], "", "%00", "1", "…", "a" * 5_000, "../preferences"):
        assert visitor.post(f"/{verb}/{token}", {"do": "leave-all"}).status_code == 404
    assert subscription(service, ben).state == "confirmed"


def test_a_link_of_somebody_forgotten_is_gone(visitor, service, ben):
    token = service.tokens.sign_preferences(ben.id)
    with service.database.write() as session:
        contacts.erase(session, ben.id)
    for link in (
        f"/preferences/{token}",
        f"/unsubscribe/{service.tokens.sign_unsubscribe(ben.id, 'interest')}",
    ):
        assert visitor.get(link).status_code == 404
        assert visitor.post(link, {"do": "resume"}).status_code == 404


def test_looking_at_the_leaving_page_changes_nothing(visitor, service, ben):
    link = f"/unsubscribe/{service.tokens.sign_unsubscribe(ben.id, 'interest')}"
    for method in ("GET", "HEAD"):
        assert visitor.ask(method, link).status_code == 200
    assert subscription(service, ben).state == "confirmed"
    assert "Salir de esta lista" in words(visitor.get(link))


def test_leaving_by_the_button_leaves_once_with_evidence(visitor, service, ben):
    link = f"/unsubscribe/{service.tokens.sign_unsubscribe(ben.id, 'interest')}"
    for _ in range(2):
        assert "Ya salió de esta lista" in words(visitor.post(link))
    assert subscription(service, ben).state == "left"
    with service.database.read() as session:
        assert [c.action for c in consents.list_for_contact(session, ben.id)] == [
            "asked",
            "confirmed",
            "left",
        ]


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
def test_the_one_click_of_mailbox_providers_works_without_cookie_and_from_elsewhere(
    service, clock, ben, kind
):
    provider = Visitor(service, clock, client="203.0.113.9", host="mail.example.org")
    link = f"/unsubscribe/{service.tokens.sign_unsubscribe(ben.id, 'interest')}"
    body, content_type = b"List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"
    if kind == "multipart":
        body = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
        content_type = "multipart/form-data; boundary=b"
    headers = {
        "content-type": content_type,
        "sec-fetch-site": "cross-site",
        "origin": "https://mail.example.com",
    }
    assert provider.ask("POST", link, [body], headers).status_code == 200
    assert subscription(service, ben).state == "left"


@pytest.mark.parametrize("verb", VERBS)
def test_a_post_from_a_page_elsewhere_changes_nothing(visitor, service, ben, verb):
    link = (
        f"/{verb}/"
        + {
            "confirm": service.tokens.sign_confirm(ben.subscription_id, 0),
            "preferences": service.tokens.sign_preferences(ben.id),
            "unsubscribe": service.tokens.sign_unsubscribe(ben.id, "interest"),
            "rsvp": service.tokens.sign_rsvp(1, ben.id),
        }[verb]
    )
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        form = {"do": "leave-all", "answer": "no"}
        if verb != "unsubscribe":
            form["List-Unsubscribe"] = "One-Click"  # works on no other route
        assert visitor.post(link, form, headers=headers).status_code == 403
    assert subscription(service, ben).state == "confirmed"


def test_our_own_token_pages_say_no_referrer_so_a_null_origin_is_theirs(visitor, service, ben):
    link = f"/unsubscribe/{service.tokens.sign_unsubscribe(ben.id, 'interest')}"
    assert visitor.post(link, headers={"origin": "null"}).status_code == 200


def test_preferences_show_neither_name_nor_address_nor_place(visitor, service, ben):
    page = visitor.get(f"/preferences/{service.tokens.sign_preferences(ben.id)}")
    assert '<html lang="es">' in page.text
    for secret in (ben.name, ben.email, "Phoenix", "85003"):
        assert secret not in page.text
    assert "Restoring" not in title(page)


def test_a_pause_lasts_as_long_as_it_says_and_can_be_ended(visitor, service, clock, ben):
    link = f"/preferences/{service.tokens.sign_preferences(ben.id)}?lang=en"
    printed = words(visitor.post(link, {"do": "pause-30"}))
    assert "Paused. Nothing comes until Thursday, November 19." in printed
    assert (subscription(service, ben).paused_until - clock.now()).days == 30
    assert "Our emails start again" in words(visitor.post(link, {"do": "resume"}))
    assert subscription(service, ben).paused_until is None
    with service.database.read() as session:
        assert [c.action for c in consents.list_for_contact(session, ben.id)][2:] == ["paused", "resumed"]


def test_the_language_changes_at_once_on_the_page_too(visitor, service, ben):
    link = f"/preferences/{service.tokens.sign_preferences(ben.id)}"
    answer = visitor.post(link, {"do": "language", "language": "en"})
    assert '<html lang="en">' in answer.text
    assert "Saved. Our next email is in English." in words(answer)
    with service.database.read() as session:
        assert contacts.get(session, ben.id).language == "en"
    assert visitor.post(link, {"do": "language", "language": "xx"}).status_code == 400


def test_ana_leaves_one_list_and_keeps_the_other_then_leaves_all(visitor, service, clock, ana):
    with service.database.write() as session:
        pending = subs.ask(session, contact_id=ana.id, list="interest", now=clock.now())
        subs.confirm(session, subscription_id=pending.id, round=0, now=clock.now())
        directory.add_application(
            session, directory.Application(organization="St. Mark"), contact_id=ana.id, now=clock.now()
        )
    link = f"/preferences/{service.tokens.sign_preferences(ana.id)}"
    assert "Leave all lists" in words(visitor.get(link))
    visitor.post(link, {"do": "leave-interest"})
    assert subscription(service, ana, "interest").state == "left"
    assert subscription(service, ana).state == "confirmed"
    assert "You are on no list" in words(visitor.post(link, {"do": "leave-all"}))
    assert subscription(service, ana).state == "left"
    with service.database.read() as session:
        assert session.scalars(select(Listing.state)).all() == ["withdrawn"]


def test_a_button_that_is_not_there_does_nothing(visitor, service, ben):
    link = f"/preferences/{service.tokens.sign_preferences(ben.id)}"
    for action in ("", "leave-", "leave-nothing", "forget", "pause-9999"):
        assert visitor.post(link, {"do": action}).status_code == 400
    assert subscription(service, ben).state == "confirmed"


def test_confirming_and_leaving_at_once_is_one_state(service, clock, dora):
    leave = f"/unsubscribe/{service.tokens.sign_unsubscribe(1, 'interest')}"
    threads = [
        threading.Thread(target=Visitor(service, clock).post, args=(path,)) for path in (dora, leave) * 4
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert state(service) == ["left"]
    with service.database.read() as session:
        assert session.scalars(select(Subscription.round)).all() == [1]
        assert [c.action for c in consents.list_for_contact(session, 1)].count("left") == 1


def test_only_our_own_words_are_looked_up_by_what_a_form_says(visitor, service, ben):
    answer = visitor.post(f"/preferences/{service.tokens.sign_preferences(ben.id)}", {"do": "<script>"})
    assert answer.status_code == 400
    assert "<script>" not in answer.text
