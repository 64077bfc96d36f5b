"""The pages of the post office, and its time machine."""

import json
import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from smtplib import SMTP

import pytest
from sqlalchemy import select, update

from lists.subscriptions import Subscription
from mailer.tryout import postoffice, time_machine
from mailer.tryout.postoffice import PostOffice
from tests.mailer.web.visitor import words


@pytest.fixture
def office(service):
    """The port of the running post office."""
    post_office = PostOffice(service.database, service.clock, home=service.settings.home)
    yield post_office.start()
    post_office.stop()


def send_mail(
    port, *, html="<html><head></head><p>Hello", subject="Hello", text="See https://a.example/x?y=1.\n"
):
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "Ana <ana@a.example>", "ben@b.example"
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    with SMTP("127.0.0.1", port) as line:
        line.send_message(message)


def mails(visitor):
    return json.loads(visitor.get("/postoffice/messages.json").content)


def test_an_empty_post_office_explains_itself(visitor):
    assert "No email yet. Sign up on the first page" in words(visitor.get("/postoffice"))
    assert mails(visitor) == []


def test_the_list_is_told_to_scripts_with_links_to_the_octets(visitor, service, office):
    send_mail(office, subject="Grüße")
    captured = mails(visitor)
    assert [list(mail) for mail in captured] == [["id", "to", "subject", "date", "raw"]]
    assert captured[0]["to"] == "ben@b.example"
    assert captured[0]["subject"] == "Grüße"
    assert datetime.fromisoformat(captured[0]["date"]) == service.clock.now()
    raw = visitor.get(captured[0]["raw"])
    assert raw.headers["content-type"] == "message/rfc822"
    with service.database.read() as session:
        assert raw.content == postoffice.get_message(session, captured[0]["id"]).raw


@pytest.mark.parametrize(
    ("language", "day"), [("en", "Monday, November 2, 2026, "), ("es", "lunes 2 de noviembre de 2026, ")]
)
def test_dates_are_written_as_people_write_them(visitor, service, language, day):
    moment = datetime(2026, 11, 2, 18, tzinfo=UTC)
    with service.database.write() as session:
        session.add(postoffice.CapturedMessage(to="x", subject="Hello", date=moment, raw=b""))
    assert day in words(visitor.get(f"/postoffice?lang={language}"))


@pytest.mark.parametrize(("language", "ahead"), [("en", "3 days ahead"), ("es", "3 días por delante")])
def test_a_clock_that_is_almost_three_days_ahead_is_three_days_ahead(visitor, service, language, ahead):
    visitor.post("/postoffice/advance", {"days": "3"})
    with service.database.write() as session:
        lead = (timedelta(days=3) - timedelta(minutes=2)) // timedelta(microseconds=1)
        session.execute(update(time_machine.TryoutClock).values(offset=lead))
    assert ahead in words(visitor.get(f"/postoffice?lang={language}"))


@pytest.mark.parametrize("language", ["en", "es"])
def test_a_mail_with_a_calendar_entry_has_no_words_of_developers(visitor, service, language):
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Call", "Ana <ana@a.example>", "ben@b.example"
    message.set_content("Come.")
    calendar = "BEGIN:VCALENDAR\nEND:VCALENDAR\n"
    message.add_alternative(calendar, subtype="calendar", params={"method": "REQUEST"})
    message.add_attachment(calendar.encode(), maintype="application", subtype="ics", filename="call.ics")
    with service.database.write() as session:
        captured = postoffice.CapturedMessage(
            to="x", subject="Call", date=service.clock.now(), raw=message.as_bytes()
        )
        session.add(captured)
        session.flush()
        number = captured.id
    page = visitor.get(f"/postoffice/messages/{number}?lang={language}").text
    shown = re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)
    assert "call.ics" in shown
    for word in (
        "Headers",
        "Source",
        "raw message",
        "application/ics",
        "REQUEST",
        "HTML",
        "Encabez",
        "fuente",
    ):
        assert word not in shown, word


def test_a_mail_is_shown_framed_as_text_and_as_source(visitor, office):
    send_mail(office, html="<html><head><title>x</title></head><a href='https://a.example'>go</a></html>")
    number = mails(visitor)[0]["id"]
    page = visitor.get(f"/postoffice/messages/{number}")
    assert f'src="/postoffice/messages/{number}/html"' in page.text
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in page.text
    assert "frame-src 'self'" in page.headers["content-security-policy"]
    assert '<a href="https://a.example/x?y=1">https://a.example/x?y=1</a>.' in page.text
    assert "Subject: Hello" in words(page)
    framed = visitor.get(f"/postoffice/messages/{number}/html")
    assert '<head><base target="_blank"><title>' in framed.text
    policy = framed.headers["content-security-policy"]
    for part in ("default-src 'none'", "sandbox", "form-action 'none'", "frame-ancestors 'self'"):
        assert part in policy
    assert "allow-scripts" not in policy + page.text


def test_what_a_stranger_writes_is_only_text_on_our_page(visitor, office):
    evil = "<script>alert(1)</script>"
    send_mail(
        office, subject=evil, text=f'{evil} javascript:alert(1) https://a.example/"><script>\n', html=evil
    )
    number = mails(visitor)[0]["id"]
    for path in ("/postoffice", f"/postoffice/messages/{number}"):
        page = visitor.get(path)
        assert "<script" not in page.text
        assert 'href="javascript' not in page.text
    assert "&lt;script&gt;" in visitor.get("/postoffice").text


def test_a_mail_that_is_no_mail_is_shown_too(visitor, service):
    with service.database.write() as session:
        session.add(
            postoffice.CapturedMessage(
                to="x", subject="", date=service.clock.now(), raw=b"\x00\xff no mail at all"
            )
        )
    number = mails(visitor)[0]["id"]
    for path in ("", "/html", "/raw"):
        assert visitor.get(f"/postoffice/messages/{number}{path}").status_code == 200
    for number in ("0", "999", "x", "-1", "9" * 30, "١"):
        assert visitor.get(f"/postoffice/messages/{number}").status_code == 404


def test_many_mails_are_turned_over_page_by_page(visitor, service):
    with service.database.write() as session:
        session.add_all(
            postoffice.CapturedMessage(to="x", subject=f"Mail {n}", date=service.clock.now(), raw=b"")
            for n in range(120)
        )
    first = visitor.get("/postoffice")
    assert "Mail 119" in words(first)
    assert "Mail 69 " not in words(first)
    older = visitor.get("/postoffice?page=71")
    assert "Mail 69 " in words(older)
    assert "Newest emails" in words(older)
    assert visitor.get("/postoffice?page=x").status_code == 200


def test_a_whole_journey_by_pages_alone(visitor, service, office):
    visitor.join(email="dora@example.org", zip="10027")
    service.deliver_until_empty()
    assert [mail["to"] for mail in mails(visitor)] == ["dora@example.org"]
    with service.database.read() as session:
        subscription = session.scalars(select(Subscription)).one()
    visitor.post(f"/confirm/{service.tokens.sign_confirm(subscription.id, subscription.round)}")
    response = visitor.post("/postoffice/advance", {"days": "25"})
    assert response.status_code == 303
    assert response.headers["location"].startswith("/postoffice?came=")
    page = words(visitor.get(response.headers["location"]))
    assert "The clock was moved. 5 emails came in." in page
    assert "25 days ahead of this machine’s clock" in page
    assert len(mails(visitor)) == 6
    with service.database.read() as session:
        assert time_machine.get_offset(session).days == 25


def test_the_clock_goes_to_the_next_mail_or_stays_when_none_waits(visitor, service, office, ben):
    response = visitor.post("/postoffice/advance", {"until": "next"})
    assert len(mails(visitor)) >= 1
    assert "came=" in response.headers["location"]


def test_the_clock_stays_when_nothing_will_ever_come(visitor, service, office):
    response = visitor.post("/postoffice/advance", {"until": "next"})
    assert response.headers["location"] == "/postoffice?came=none"
    assert "No further email is waiting" in words(visitor.get(response.headers["location"]))
    with service.database.read() as session:
        assert not time_machine.get_offset(session)


def test_hours_count_too_and_a_script_needs_no_token(visitor, service, office):
    assert visitor.post("/postoffice/advance", {"hours": "36"}).status_code == 303
    with service.database.read() as session:
        assert time_machine.get_offset(session).total_seconds() == 36 * 3600


@pytest.mark.parametrize(
    "form",
    [
        {},
        *({"days": days} for days in ("", "0", "-1", "x", "401", "9" * 15, "1.5")),
        {"hours": "0"},
        {"days": "1", "hours": "1"},
    ],
)
def test_the_clock_never_goes_back_nowhere_or_too_far(visitor, service, form):
    answer = visitor.post("/postoffice/advance", form)
    assert answer.status_code == 400
    assert "Enter a number between 1 and 400" in words(answer)
    with service.database.read() as session:
        assert not time_machine.get_offset(session)
